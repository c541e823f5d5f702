//! Sockets that were open before this process was: the gateway before it handed them over, or systemd opened them.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use listenfd::ListenFd;
use tollgate_config::model::Listener as ListenerConfig;
use tollgate_engine::{BindError, Bound, adopt, is_of};
use tollgate_net::Listener;
use tollgate_net::handover::Taken;

use crate::upgrade::{ACTIVATED, NAME};

/// The sockets that no listener has asked for yet. Copies mean the same ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inherited(Arc<Mutex<Given>>);

#[derive(Debug, Default)]
struct Given {
    sockets: Vec<Listener>,
    from: Option<Taken>,
    /// Whether the files of Unix sockets are this process's own: not before it serves, and never if systemd made them.
    ours: Arc<AtomicBool>,
    /// Whether systemd opened the sockets, for this process or one before it.
    activated: bool,
}

impl Inherited {
    /// Takes those that the environment tells of (sd_listen_fds(3) for systemd's).
    ///
    /// # Errors
    /// They cannot be taken, or are not such that clients could connect there.
    pub(crate) fn take() -> io::Result<Self> {
        if let Ok(name) = std::env::var(NAME) {
            let mut from = Taken::take(&name)?;
            let activated = std::env::var_os(ACTIVATED).is_some();
            let given = Given { sockets: from.listeners(), from: Some(from), ours: Arc::default(), activated };
            return Ok(Self(Arc::new(Mutex::new(given))));
        }
        let (mut given, mut sockets) = (ListenFd::from_env(), Vec::new());
        for at in 0..given.len() {
            let socket = match given.take_unix_listener(at) {
                Ok(socket) => socket.map(Into::into),
                Err(_) => given.take_tcp_listener(at)?.map(Into::into),
            };
            sockets.extend(socket.map(|socket: OwnedFd| Listener::try_from(socket)).transpose()?);
        }
        let activated = !sockets.is_empty();
        Ok(Self(Arc::new(Mutex::new(Given { sockets, activated, ..Given::default() }))))
    }

    /// Whether systemd opened the sockets, for this process or one before it.
    pub(crate) fn are_activated(&self) -> bool {
        self.given().activated
    }

    /// Whether a process that serves waits to be replaced.
    pub(crate) fn replaces(&self) -> bool {
        self.given().from.is_some()
    }

    /// Those of one listener, and as many beside them as it lacks; `None`: there are none.
    pub(crate) fn of(&self, listener: &ListenerConfig, workers: usize) -> Option<Result<Bound, BindError>> {
        let is_of = |socket: &Listener| socket.local_addr().is_ok_and(|at| is_of(&listener.address, &at));
        let mut given = self.given();
        let (its, others): (Vec<_>, Vec<_>) = std::mem::take(&mut given.sockets).into_iter().partition(is_of);
        given.sockets = others;
        (!its.is_empty()).then(|| adopt(&listener.address, its, workers, &given.ours))
    }

    /// Tells the process before this one that it need not serve any more.
    ///
    /// # Errors
    /// It is gone, or has given up waiting.
    pub(crate) fn serves(&self) -> io::Result<()> {
        let mut given = self.given();
        let unused: Vec<String> = given.sockets.drain(..).map(|socket| shown(&socket)).collect();
        if !unused.is_empty() {
            tracing::warn!(sockets = unused.join(", "), "sockets that were given belong to no listener of the config");
        }
        if let Some(from) = given.from.take() {
            from.serves()?;
            given.ours.store(!given.activated, Ordering::Release);
        }
        Ok(())
    }

    fn given(&self) -> MutexGuard<'_, Given> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shown(socket: &Listener) -> String {
    socket.local_addr().map_or_else(|error| error.to_string(), |at| at.to_string())
}
