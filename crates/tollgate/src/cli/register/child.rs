//! The service as a process. As the first process of a container, this one also reaps what others leave behind.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

/// Exit codes of a shell for what it cannot run.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// A process that was started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process(Pid);

impl Process {
    /// Sends it a signal. One that has ended gets none.
    pub(super) fn signal(self, kind: Signal) {
        // It may have ended just now, and is not reaped before that is noticed here: nobody else has its number.
        let _ = kill_process(self.0, kind);
    }
}

/// The service.
#[derive(Debug)]
pub(super) struct Child {
    process: Process,
    ends: Signals,
    code: Option<u8>,
}

/// It does not run.
#[derive(Debug)]
pub(super) struct NotStarted {
    pub(super) message: String,
    pub(super) code: u8,
}

impl Child {
    /// Starts it, in a process group of its own: Ctrl-C in a terminal goes to all of a group, and it would stop before it is deregistered.
    pub(super) fn start(command: &[OsString]) -> Result<Self, NotStarted> {
        let not_started = |message, code| NotStarted { message, code };
        let [program, arguments @ ..] = command else {
            return Err(not_started("no command is given".to_owned(), NOT_FOUND));
        };
        // Listened for before it can end.
        let ends = signal(SignalKind::child());
        let ends = ends.map_err(|e| not_started(format!("signals cannot be received: {e}"), NOT_EXECUTABLE))?;
        let shown = program.display();
        let started = Command::new(program).args(arguments).process_group(0).spawn().map_err(|e| match e.kind() {
            ErrorKind::NotFound => {
                not_started(format!("`{shown}` is not found: no such file, or not in PATH"), NOT_FOUND)
            }
            _ => not_started(format!("`{shown}` cannot be executed: {e}"), NOT_EXECUTABLE),
        })?;
        let process = Process(Pid::from_child(&started));
        Ok(Self { process, ends, code: None })
    }

    /// It, for whoever passes signals on.
    pub(super) fn process(&self) -> Process {
        self.process
    }

    pub(super) fn signal(&self, kind: Signal) {
        if self.code.is_none() {
            self.process.signal(kind);
        }
    }

    /// Waits until it has ended; its exit code, or 128 and the number of the signal that ended it. May be dropped and called again.
    pub(super) async fn ended(&mut self) -> u8 {
        loop {
            self.reap();
            if let Some(code) = self.code {
                return code;
            }
            self.ends.recv().await;
        }
    }

    /// Takes leave of all that have ended: whose parent is gone is left to the first process of a container.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == self.process.0 {
                self.code = Some(code(status));
            }
        }
    }
}

fn code(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
