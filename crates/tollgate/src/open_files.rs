//! How many files may be open: each connection is one, and each that is served has another to its service.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets this process open as many as the system allows it (the hard limit): what it may by default (the soft one, often 1024) is for
/// programs that cannot deal with more.
pub(crate) fn allow_all() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, ?current, ?maximum, "no more files may be open than by default");
    }
}
