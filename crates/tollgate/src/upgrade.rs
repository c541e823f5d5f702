//! Another binary in place of this one, without a connection refused: it is started with the same arguments, is given all
//! sockets, and once it serves, this process comes to its end. If it does not, nothing has changed.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::{Child, Command};
use tollgate_engine::Gateway;
use tollgate_net::handover::Giver;

/// Where the successor finds the name of the socket between the two.
pub(crate) const NAME: &str = "TOLLGATE_UPGRADE";

/// Tells the successor that the node is taken out: it is not put back by being upgraded.
pub(crate) const TAKEN_OUT: &str = "TOLLGATE_TAKEN_OUT";

/// Tells the successor that systemd opened the sockets: the files of those in the file system are not the gateway's to remove.
pub(crate) const ACTIVATED: &str = "TOLLGATE_ACTIVATED";

/// How long the successor may take until it serves.
const STARTING: Duration = Duration::from_secs(60);
/// How long one that gave up may take to end.
const ENDING: Duration = Duration::from_secs(5);

/// How this process was started, and so how its successor will be.
#[derive(Clone, Debug)]
pub(crate) struct Started {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Started {
    /// As it was: to be called before anything moves. A path is kept as it was written, so that a link may lead to another
    /// binary later; a program that was found in `PATH` is where it was found.
    pub(crate) fn look() -> std::io::Result<Self> {
        let mut arguments = std::env::args_os();
        let program = match arguments.next().map(PathBuf::from) {
            Some(program) if program.components().count() > 1 => std::path::absolute(program)?,
            _ => std::env::current_exe()?,
        };
        Ok(Self { program, arguments: arguments.collect() })
    }

    /// The binary.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }
}

/// A process that is to take this one's place; ended if it does not come to that.
struct Successor {
    child: Child,
    serves: bool,
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.serves {
            // It may have ended by itself.
            let _ = self.child.start_kill();
        }
    }
}

/// What the successor is to know of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    /// Balancers are told to send nothing, which goes on.
    pub(crate) is_out: bool,
    /// Systemd opened the sockets.
    pub(crate) is_activated: bool,
}

/// Starts the successor and gives it all sockets; its process number, once it serves.
///
/// # Errors
/// Why it does not, in words.
pub(crate) async fn upgrade(started: &Started, gateway: &Gateway, state: State) -> Result<u32, String> {
    let program = started.program.display();
    let giver = Giver::new().map_err(|error| format!("no socket for a successor: {error}"))?;
    let sockets = gateway.sockets().map_err(|error| format!("the sockets cannot be given: {error}"))?;
    let mut command = Command::new(&started.program);
    command.args(&started.arguments).env(NAME, giver.name()).env_remove("LISTEN_PID");
    for (name, holds) in [(TAKEN_OUT, state.is_out), (ACTIVATED, state.is_activated)] {
        match holds {
            true => command.env(name, "1"),
            false => command.env_remove(name),
        };
    }
    let child = command.spawn().map_err(|error| format!("{program} cannot be started: {error}"))?;
    let mut successor = Successor { child, serves: false };
    let Some(pid) = successor.child.id() else { return Err(format!("{program} ended at once")) };
    tokio::select! {
        given = giver.give(pid, &sockets) => match given {
            Ok(()) => {
                successor.serves = true;
                Ok(pid)
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                let ended = tokio::time::timeout(ENDING, successor.child.wait()).await;
                let how = ended.ok().and_then(Result::ok).map_or_else(String::new, |status| format!(" ({status})"));
                Err(format!("{program} gave up before it served{how}: what it said is above"))
            }
            Err(error) => Err(format!("{program} did not take the sockets: {error}")),
        },
        ended = successor.child.wait() => match ended {
            Ok(status) => Err(format!("{program} ended before it served ({status})")),
            Err(error) => Err(format!("{program} was lost: {error}")),
        },
        () = tokio::time::sleep(STARTING) => {
            Err(format!("{program} did not serve within {} s: ended", STARTING.as_secs()))
        }
    }
}
