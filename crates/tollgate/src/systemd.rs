//! What the service manager is told (sd_notify(3)), if one asked to be.

use sd_notify::NotifyState;

/// Everything is served.
pub(crate) fn ready(revision: u64) {
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("serving config revision {revision}"))]);
}

/// The config is being read again; [`ready`] follows, whatever comes of it.
pub(crate) fn reloading() {
    // Without the time, systemd would take it for an error.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// It ends.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Another process is the service from now on.
pub(crate) fn handed_over(to: u32) {
    tell(&[NotifyState::MainPid(to)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
