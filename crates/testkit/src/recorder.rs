//! A backend that keeps the exact bytes it was sent and answers with whatever bytes a test wants.

mod connection;
mod extent;
mod script;

use std::fmt;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use crate::deadline::PATIENCE;
pub use script::{Script, Step, Taken};

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The peer closed in order.
    Closed,
    /// The peer reset it, or it broke.
    Reset,
    /// Our script closed it.
    ByUs,
}

/// What came over one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Counted from 0 in the order accepted.
    pub number: usize,
    /// Every byte, in order; after [`Recorder::take`] those since then.
    pub bytes: Vec<u8>,
    /// `None`: it is open.
    pub ended: Option<Ended>,
}

type Answer = Box<dyn Fn(&Taken) -> Script + Send + Sync>;

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    answer: Answer,
}

#[derive(Default)]
struct State {
    connections: Vec<Recorded>,
    streams: Vec<(usize, TcpStream)>,
    requests: usize,
    over: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A test that failed while it held the lock must not hide its own message behind a second one.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.changed.notify_all();
        result
    }
}

/// The backend. It listens from [`Recorder::start`] on and stops when dropped.
pub struct Recorder {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Recorder {
    /// Answers every request, once it is complete, with [`Script::ok`].
    #[must_use]
    pub fn start() -> Self {
        Self::answering(|taken| Script::ok(taken, "ok"))
    }

    /// Asks `answer` what to do as soon as the head of a request is there.
    ///
    /// # Panics
    /// When no socket can be opened.
    #[must_use]
    pub fn answering(answer: impl Fn(&Taken) -> Script + Send + Sync + 'static) -> Self {
        Self::at(Ipv4Addr::LOCALHOST, answer)
    }

    /// The same on every address: all of 127.0.0.0/8 leads to it, on the port that [`Recorder::address`] has.
    ///
    /// # Panics
    /// When no socket can be opened.
    #[must_use]
    pub fn everywhere(answer: impl Fn(&Taken) -> Script + Send + Sync + 'static) -> Self {
        Self::at(Ipv4Addr::UNSPECIFIED, answer)
    }

    fn at(ip: Ipv4Addr, answer: impl Fn(&Taken) -> Script + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((ip, 0)).expect("a socket");
        let address = (Ipv4Addr::LOCALHOST, listener.local_addr().expect("its address").port()).into();
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), answer: Box::new(answer) });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        Self { address, shared }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came so far, by connection.
    #[must_use]
    pub fn recorded(&self) -> Vec<Recorded> {
        self.shared.state().connections.clone()
    }

    /// What came since the last call, by connection; those that brought nothing and stay open are left out, and
    /// those that have ended are forgotten.
    #[must_use]
    pub fn take(&self) -> Vec<Recorded> {
        let mut state = self.shared.state();
        let mut taken = Vec::new();
        for connection in &mut state.connections {
            if !connection.bytes.is_empty() || connection.ended.is_some() {
                let bytes = std::mem::take(&mut connection.bytes);
                taken.push(Recorded { bytes, ..*connection });
            }
        }
        state.connections.retain(|c| c.ended.is_none());
        taken
    }

    /// Waits until what was recorded satisfies `condition`.
    ///
    /// # Panics
    /// If it does not within [`PATIENCE`]: says `what` was awaited and what was there instead.
    pub fn wait_for(&self, what: &str, mut condition: impl FnMut(&[Recorded]) -> bool) {
        let waiting = self
            .shared
            .changed
            .wait_timeout_while(self.shared.state(), PATIENCE, |state| !condition(&state.connections));
        let (state, timeout) = waiting.unwrap_or_else(std::sync::PoisonError::into_inner);
        assert!(!timeout.timed_out(), "the backend waited in vain: {what}; recorded: {}", shown(&state.connections));
    }
}

/// The recorded bytes as a person can read them.
#[must_use]
pub fn shown(connections: &[Recorded]) -> String {
    let one = |c: &Recorded| format!("connection {} {:?}: \"{}\"", c.number, c.ended, c.bytes.escape_ascii());
    if connections.is_empty() {
        "nothing".to_owned()
    } else {
        connections.iter().map(one).collect::<Vec<_>>().join("; ")
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.change(|state| {
            state.over = true;
            for (_, stream) in state.streams.drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
        // Wakes the accepting thread, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for (number, stream) in listener.incoming().enumerate() {
        let Ok(stream) = stream else { return };
        let Ok(copy) = stream.try_clone() else { return };
        let over = shared.change(|state| {
            if !state.over {
                state.connections.push(Recorded { number, bytes: Vec::new(), ended: None });
                state.streams.push((number, copy));
            }
            state.over
        });
        if over {
            return;
        }
        let shared = Arc::clone(shared);
        thread::spawn(move || connection::serve(number, stream, &shared));
    }
}

#[cfg(test)]
mod tests;
