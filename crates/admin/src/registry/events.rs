//! Changes of the registry as events that are sent as they come (WHATWG HTML §9.2).

use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tollgate_core::body::BodyStream;
use tollgate_core::policy::BoxFuture;
use tollgate_core::problem::Problem;
use tollgate_registry::directory::{Change, Trouble};

use super::access::Place;
use super::asked::Known;
use super::faults::FORBIDDEN;
use super::lists::Subject;
use super::rights::Rights;
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
    /// What was told.
    told: Known,
    /// Who may know what; the config may change meanwhile.
    rights: watch::Receiver<Option<Arc<Rights>>>,
    /// Its place among those who wait.
    _place: Place,
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
    /// The config is another one.
    Rights,
    /// The gateway ends, or its registry does.
    End,
}

impl Events {
    /// Tells what changes after what is known; if that is nothing, all that is there before that.
    pub(super) fn new(subject: Subject, known: Option<Known>, place: Place) -> Result<Self, Problem> {
        let begin = std::iter::once(format!("retry: {RETRY}\n\n"));
        let rights = subject.registry.access.changes();
        // What changed since it was let in is not heard any more.
        if !subject.may_still() {
            return Err(FORBIDDEN.problem());
        }
        let (state, told) = match known {
            // Who knew of other services than now is told all.
            Some(known) if known.sees == subject.sees() => {
                subject.registry.known(Some(""))?;
                (State::Tells(Text::new(begin)), known)
            }
            _ => subject.snapshot(begin)?,
        };
        Ok(Self { subject, state, told, rights, _place: place })
    }

    /// Tells all that there is.
    fn tell_all(&mut self) {
        match self.subject.snapshot(std::iter::empty()) {
            Ok(all) => (self.state, self.told) = all,
            Err(_) => self.state = State::Over,
        }
    }

    /// Goes on if it still may, under the config that is in force now.
    fn ask_again(&mut self) {
        self.rights.mark_unchanged();
        match self.subject.may_still() {
            false => {
                tracing::info!(by = %self.subject.asker, "whoever follows the registry may not any more: its stream ends");
                self.state = State::Over;
            }
            true if self.subject.service.is_some() => self.state = State::Tells(Text::new(std::iter::empty())),
            // It may know of other services now.
            true => self.tell_all(),
        }
    }
}

impl BodyStream for Events {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            match &mut self.state {
                State::Tells(text) => match text.next() {
                    Some(piece) => return Poll::Ready(Some(Ok(piece))),
                    None => self.state = State::Waits(self.subject.clone().wait(self.told, self.rights.clone())),
                },
                State::Waits(waiting) => match ready!(waiting.as_mut().poll(cx)) {
                    Heard::Changes(revision, changes) => {
                        self.told.revision = self.told.revision.max(revision);
                        self.state = State::Tells(self.subject.changes(changes, self.told));
                    }
                    Heard::Lost => self.tell_all(),
                    Heard::Rights => self.ask_again(),
                    Heard::End => self.state = State::Over,
                },
                State::Over => return Poll::Ready(None),
            }
        }
    }
}

impl Subject {
    /// All that is there, as one event whose data goes over many lines.
    fn snapshot(&self, begin: impl Iterator<Item = String> + Send + 'static) -> Result<(State, Known), Problem> {
        let (head, instances, known) = self.listed()?;
        let mut list = Text::list(&head, instances, "data: ");
        let open = std::iter::once(format!("event: snapshot\nid: {known}\n"));
        let data = std::iter::from_fn(move || list.next()).map(|piece| String::from_utf8_lossy(&piece).into_owned());
        Ok((State::Tells(Text::new(begin.chain(open).chain(data).chain(std::iter::once("\n".to_owned())))), known))
    }

    /// Changes as events. Of those that belong to one revision only the last one names it: who is cut off before that asks for all of
    /// them again. `told`: what was so all the while.
    pub(super) fn changes(&self, changes: Vec<Change>, told: Known) -> Text {
        let seen: Vec<Change> = self.registry.seen(changes, &self.filter, &self.asker).collect();
        if seen.is_empty() {
            return Text::new(std::iter::once(":\n\n".to_owned()));
        }
        let mut seen = seen.into_iter().peekable();
        Text::new(std::iter::from_fn(move || {
            let change = seen.next()?;
            let is_last = seen.peek().is_none_or(|next| next.revision() != change.revision());
            let known = Known { revision: change.revision(), ..told };
            let id = if is_last { format!("id: {known}\n") } else { String::new() };
            let kind = if matches!(change, Change::Put(_)) { "put" } else { "gone" };
            Some(format!("event: {kind}\n{id}data: {}\n\n", shown::change(&change)))
        }))
    }

    fn wait(self, told: Known, mut rights: watch::Receiver<Option<Arc<Rights>>>) -> BoxFuture<'static, Heard> {
        let after = told.revision;
        Box::pin(async move {
            if Known::of(&self.registry.directory.list(Some("")), told.sees).lapsed != told.lapsed {
                return Heard::Lost;
            }
            let changes = self.registry.directory.changes(self.service.as_deref(), after, QUIET);
            let heard = tokio::select! {
                biased;
                _ = rights.changed() => return Heard::Rights,
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

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("told", &self.told).finish_non_exhaustive()
    }
}
