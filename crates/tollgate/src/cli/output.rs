//! The only place that writes to the terminal.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use tollgate_config::{Look, Report, diagnose};
use tollgate_core::diagnostic::Diagnostic;

use crate::start::{StartError, Trouble};

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The config is at fault: exit code 2.
    Config(Report),
    /// The same, told by somebody else, as text: exit code 2.
    Refused(String),
    /// Something else is: exit code 1.
    Other {
        /// What.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// What stands in the way of a start, all of it: exit code 1.
    Start(Vec<Trouble>),
    /// Everything was said already: exit code 1.
    Silent,
}

/// Standard output and standard error.
#[derive(Debug)]
pub(crate) struct Output {
    look: Look,
}

impl Output {
    pub(crate) fn new() -> Self {
        let coloured = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self { look: if coloured { Look::Coloured } else { Look::Plain } }
    }

    /// Prints a result. A reader that went away (`| head`) is no failure.
    pub(crate) fn print(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::Other { message: format!("cannot write the output: {e}"), hint: None })
            }
            _ => Ok(()),
        }
    }

    /// Tells something beside the result.
    pub(crate) fn note(&self, text: &str) {
        // Nobody is left to tell if this fails.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Tells mistakes that do not stop anything.
    pub(crate) fn warn(&self, warnings: &[Diagnostic]) {
        if !warnings.is_empty() {
            self.note(diagnose::render_all(warnings, self.look).trim_end());
        }
    }

    /// Tells why a command failed; gives the exit code.
    pub(crate) fn failed(&self, failure: &Failure) -> ExitCode {
        match failure {
            Failure::Config(report) => {
                self.note(report.render(self.look).trim_end());
                ExitCode::from(2)
            }
            Failure::Refused(report) => {
                self.note(report.trim_end());
                ExitCode::from(2)
            }
            Failure::Other { message, hint } => {
                self.error(message, hint.as_deref());
                ExitCode::FAILURE
            }
            Failure::Start(troubles) => {
                troubles.iter().for_each(|trouble| self.error(&trouble.message, trouble.hint.as_deref()));
                ExitCode::FAILURE
            }
            Failure::Silent => ExitCode::FAILURE,
        }
    }

    fn error(&self, message: &str, hint: Option<&str>) {
        self.note(&format!("error: {message}"));
        if let Some(hint) = hint {
            self.note(&format!("hint: {hint}"));
        }
    }
}

impl fmt::Display for Failure {
    /// All of it, without colours.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |message: &str, hint: Option<&str>| {
            writeln!(f, "error: {message}")?;
            hint.map_or(Ok(()), |hint| writeln!(f, "hint: {hint}"))
        };
        match self {
            Self::Config(report) => f.write_str(&report.render(Look::Plain)),
            Self::Refused(report) => f.write_str(report),
            Self::Other { message, hint } => line(message, hint.as_deref()),
            Self::Start(troubles) => troubles.iter().try_for_each(|t| line(&t.message, t.hint.as_deref())),
            Self::Silent => Ok(()),
        }
    }
}

impl Failure {
    /// A failure to start, of the config called `name`.
    pub(crate) fn to_start(name: &str, error: StartError) -> Self {
        match error {
            StartError::Config(diagnostics) => Self::Config(Report::new(name, diagnostics)),
            StartError::Other(troubles) => Self::Start(troubles),
        }
    }
}
