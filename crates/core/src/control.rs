//! What the admin API may ask of the process it runs in: a port, implemented by the one place that knows everybody.

use std::fmt;

use crate::facts::ClientAddress;
use crate::policy::BoxFuture;

/// The process, as those see it who run it.
pub trait Control: fmt::Debug + Send + Sync + 'static {
    /// This view of it as JSON; `None`: the process is ending. Not made on a worker, since there may be ten thousands of routes.
    fn show(&self, view: View) -> BoxFuture<'_, Option<String>>;

    /// Reads the config again and brings it into force. Goes on if nobody waits for it any more.
    fn reload(&self, by: Actor) -> BoxFuture<'_, Result<Reloaded, NotReloaded>>;

    /// Says from now on that it is ready, or that it is not; either way it serves whatever comes. `None`: another process has taken
    /// its place.
    fn welcome(&self, welcome: Welcome, by: Actor) -> BoxFuture<'_, Option<()>>;
}

/// What can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// All of it in short.
    Status,
    /// The config in short: the one in force, the last one refused, and those before.
    Config,
    /// The config in force, long forms only, without its secrets.
    Running,
    /// The config that was refused last, unless one came into force since.
    Refused,
    /// The routes.
    Routes,
    /// The services with their instances and their health.
    Services,
    /// Connections and requests, in numbers.
    Connections,
}

/// Whether balancers are told to send new traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Welcome {
    /// They are.
    On,
    /// They are not: the node is about to be taken out.
    Off,
}

/// Who did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Whoever has the token of the admin API, from there.
    Token(ClientAddress),
    /// Whoever sent this signal to the process.
    Signal(&'static str),
    /// Whoever changed the files.
    Files,
    /// The process itself.
    Gateway,
}

impl Actor {
    /// Which kind, in a word.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::Signal(_) => "signal",
            Self::Files => "files",
            Self::Gateway => "gateway",
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(from) => write!(f, "the admin API was asked from {from}"),
            Self::Signal(name) => f.write_str(name),
            Self::Files => f.write_str("its files changed"),
            Self::Gateway => f.write_str("the gateway itself"),
        }
    }
}

/// What came of a config that was read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// It is in force.
    Applied {
        /// Its number.
        revision: u64,
        /// What works, but probably not as meant; as text for people, empty if there is nothing.
        warnings: String,
    },
    /// It says what was in force already.
    Unchanged {
        /// The number of what is in force.
        revision: u64,
    },
}

/// Why no other config came into force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotReloaded {
    /// Everything that is wrong with it, as text for people.
    Refused(String),
    /// The process is ending, or its config came from no file.
    Unavailable,
}
