//! Changes of the registry as events that are sent as they come (WHATWG HTML §9.2).

use std::fmt;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tollgate_core::body::BodyStream;
use tollgate_core::policy::BoxFuture;
use tollgate_registry::directory::{Change, Trouble};

use super::lists::Subject;
use super::shown::{self, Text};

/// How often something is sent when nothing changes: so that whoever is in between does not take the connection for dead, and that the place
/// of a client that has left becomes free, which only a write that fails tells.
const QUIET: Duration = Duration::from_secs(5);
/// When to come again once the stream has ended, in milliseconds.
const RETRY: u32 = 1000;

/// A stream of events.
pub(super) struct Events {
    subject: Subject,
    state: State,
    /// Up to which revision all was told.
    told: u64,
    /// Its place among those who wait.
    _place: OwnedSemaphorePermit,
}

enum State {
    Tells(Text),
    Waits(BoxFuture<'static, Heard>),
    Over,
}

/// What came of waiting.
enum Heard {
    Changes(u64, Vec<Change>),
    /// What changed is not known: all is told anew.
    Lost,
    /// The gateway ends, or its registry does.
    End,
}

impl Events {
    /// Tells what changes after this revision; without one, all that is there before that.
    pub(super) fn new(subject: Subject, after: Option<u64>, place: OwnedSemaphorePermit) -> Self {
        let begin = std::iter::once(format!("retry: {RETRY}\n\n"));
        let (state, told) = match after {
            Some(after) => (State::Tells(Text::new(begin)), after),
            None => subject.snapshot(begin),
        };
        Self { subject, state, told, _place: place }
    }
}

impl BodyStream for Events {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            match &mut self.state {
                State::Tells(text) => match text.next() {
                    Some(piece) => return Poll::Ready(Some(Ok(piece))),
                    None => self.state = State::Waits(self.subject.clone().wait(self.told)),
                },
                State::Waits(waiting) => match ready!(waiting.as_mut().poll(cx)) {
                    Heard::Changes(revision, changes) => {
                        self.told = self.told.max(revision);
                        self.state = State::Tells(self.subject.changes(changes));
                    }
                    Heard::Lost => (self.state, self.told) = self.subject.snapshot(std::iter::empty()),
                    Heard::End => self.state = State::Over,
                },
                State::Over => return Poll::Ready(None),
            }
        }
    }
}

impl Subject {
    /// All that is there, as one event whose data goes over many lines.
    fn snapshot(&self, begin: impl Iterator<Item = String> + Send + 'static) -> (State, u64) {
        let (head, instances, revision) = self.registry.listed(self.service.as_deref(), &self.filter, &self.asker);
        let mut list = Text::list(&head, instances, "data: ");
        let open = std::iter::once(format!("event: snapshot\nid: {revision}\n"));
        let data = std::iter::from_fn(move || list.next()).map(|piece| String::from_utf8_lossy(&piece).into_owned());
        (State::Tells(Text::new(begin.chain(open).chain(data).chain(std::iter::once("\n".to_owned())))), revision)
    }

    /// Changes as events. Of those that belong to one revision only the last one names it: who is cut off before that asks for all of
    /// them again.
    pub(super) fn changes(&self, changes: Vec<Change>) -> Text {
        let seen: Vec<Change> = self.registry.seen(changes, &self.filter, &self.asker).collect();
        if seen.is_empty() {
            return Text::new(std::iter::once(":\n\n".to_owned()));
        }
        let mut seen = seen.into_iter().peekable();
        Text::new(std::iter::from_fn(move || {
            let change = seen.next()?;
            let is_last = seen.peek().is_none_or(|next| revision(next) != revision(&change));
            let id = if is_last { format!("id: {}\n", revision(&change)) } else { String::new() };
            let kind = if matches!(change, Change::Put(_)) { "put" } else { "gone" };
            Some(format!("event: {kind}\n{id}data: {}\n\n", shown::change(&change)))
        }))
    }

    fn wait(self, after: u64) -> BoxFuture<'static, Heard> {
        Box::pin(async move {
            let changes = self.registry.directory.changes(self.service.as_deref(), after, QUIET);
            let heard = tokio::select! {
                heard = changes => heard,
                () = self.registry.ending.begun() => return Heard::End,
            };
            match heard {
                Ok((_, changes)) if changes.is_empty() && self.registry.is_behind(after) => Heard::Lost,
                Ok((revision, changes)) => Heard::Changes(revision, changes),
                Err(Trouble::Compacted) => Heard::Lost,
                Err(_) => Heard::End,
            }
        })
    }
}

/// When it was.
fn revision(change: &Change) -> u64 {
    match change {
        Change::Put(instance) => instance.revision,
        Change::Gone { revision, .. } => *revision,
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("told", &self.told).finish_non_exhaustive()
    }
}
