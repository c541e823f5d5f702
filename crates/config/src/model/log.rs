//! `log`: what is written about what happens.

use std::path::PathBuf;

use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::section;
use tollgate_core::units::BoundedSize;

use crate::model::defaults::v1;
use tollgate_core::text::{FromText, decode_from_text, text_schema, unknown_word, words};

words! {
    /// How much the gateway tells about itself.
    pub enum Level {
        /// Only what went wrong.
        Error = "error",
        /// And what may go wrong.
        Warn = "warn",
        /// And what changed.
        Info = "info",
        /// And why.
        Debug = "debug",
        /// And each step.
        Trace = "trace",
    }
}

words! {
    /// What a line of the access log looks like.
    pub enum AccessFormat {
        /// One JSON object per line.
        Json = "json",
    }
}

words! {
    /// How much of queries the access log shows.
    pub enum LoggedQueries {
        /// All, but for the values of parameters that are known to be secrets.
        Redacted = "redacted",
        /// All.
        Full = "full",
        /// The names of the parameters.
        Names = "names",
        /// Nothing.
        Off = "off",
    }
}

section! {
    /// What is written about what happens.
    pub struct Log {
        /// How much the gateway tells about itself (on standard error).
        level: Level = v1::LOG_LEVEL,
        /// One line per request.
        access: Access,
    }
}

section! {
    /// The access log: one line per request.
    pub struct Access {
        /// Where it goes: `stdout`, `stderr`, `off`, or a file (`/path/file`).
        to: LogTarget = v1::ACCESS_TO,
        /// What a line looks like.
        format: AccessFormat = v1::ACCESS_FORMAT,
        /// What is shown of queries, that of `Referer` too: `redacted` (not the values of `token`, `code`, `key` and other known
        /// secrets), `full`, only the `names` of the parameters, or `off`.
        query: LoggedQueries = v1::ACCESS_QUERY,
        /// How much may wait to be written; lines beyond it are dropped and counted.
        queue: BoundedSize<65_536, 1_073_741_824> = v1::ACCESS_QUEUE,
    }
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Nowhere.
    Off,
    /// Appended to this file.
    File(PathBuf),
}

impl FromText for LogTarget {
    const WHAT: &'static str = "`stdout`, `stderr`, `off` or a file";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        match text {
            "stdout" => Ok(Self::Stdout),
            "stderr" => Ok(Self::Stderr),
            "off" => Ok(Self::Off),
            _ if text.starts_with('/') && !text.ends_with('/') && !text.contains('\0') => Ok(Self::File(text.into())),
            _ => Err(unknown_word(text, &["stdout", "stderr", "off", "/path/file"])),
        }
    }
}

decode_from_text!(LogTarget);
text_schema!(LogTarget, "LogTarget", "description": "A stream, a file by its absolute path, or nowhere.",  "pattern": "^(stdout|stderr|off|/.*[^/])$", "examples": ["stdout", "off", "/var/log/tollgate/access.log"]);
