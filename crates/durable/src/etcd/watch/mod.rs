//! A watch: what one member shows, held against what a quorum says.
//!
//! - [`Link`] is the stream of one member. When it ends, another member goes on from the next revision.
//! - [`Check`] asks a quorum how far the store has come. Once the link has shown all up to there, that is confirmed: not what a member shows,
//!   or does not, but that nothing is missing.
//! - Revisions are of all keys, and etcd tells a watch of its own keys only. So if the store has come further than the link, something else
//!   changed, or the link is behind: a mark is put among the watched keys. The link that shows it has shown all before it, and one that does
//!   not is given up. All watches of the same keys see the same mark, and while nothing else changes, none is needed.

mod check;
mod link;
mod order;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate_core::clock::Clock;

use self::check::{Check, Checked};
use self::link::{Came, Link};
use self::order::Order;
use super::MARK;
use super::client::{Client, Failure};
use super::wire::{Watched, cancelled};
use crate::{CONFIRMED_EVERY, Outcome, Revision, Seen, Trouble, Watch};

/// When a quorum is asked again after it has confirmed.
const REST: Duration = Duration::from_millis(400);
/// First pause after nobody answered; each is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What is watched, and how far it came.
#[derive(Debug)]
pub(super) struct Watching {
    about: About,
    /// Which member shows it, or is to.
    at: usize,
    link: Link,
    check: Check,
    order: Order,
    /// What was seen, and not taken yet.
    ready: VecDeque<Seen>,
    /// When the link was opened.
    opened: Instant,
    /// When it brought something last.
    heard: Instant,
    /// Members in a row that could not show anything.
    failed: usize,
    /// The token was refused, and is fetched anew; it has not shown yet whether that is better.
    is_doubted: bool,
    /// Nothing is asked before.
    until: Option<Instant>,
    pause: Duration,
    is_compacted: bool,
}

/// What does not change.
#[derive(Debug)]
struct About {
    client: Arc<Client>,
    /// What the keys begin with.
    prefix: String,
    /// The key of the mark.
    mark: String,
}

/// What happened next.
enum Event {
    Came(Came),
    Checked(Checked),
}

impl Watching {
    pub(super) fn new(client: Arc<Client>, prefix: &str, after: Revision) -> Self {
        let (now, at) = (client.clock.now(), client.preferred());
        Self {
            at,
            link: Link::Closed,
            check: Check::Rest(now),
            order: Order::new(after),
            ready: VecDeque::new(),
            opened: now,
            heard: now,
            failed: 0,
            is_doubted: false,
            until: None,
            pause: FIRST_PAUSE,
            is_compacted: false,
            about: About { client, prefix: prefix.to_owned(), mark: format!("{prefix}{MARK}") },
        }
    }

    async fn seen(&mut self) -> Result<Seen, Trouble> {
        loop {
            if let Some(seen) = self.ready.pop_front() {
                return Ok(seen);
            }
            if self.is_compacted {
                return Ok(Seen::Compacted);
            }
            if let Some(confirmed) = self.confirmed() {
                return Ok(confirmed);
            }
            if let Some(until) = self.until {
                sleep_until(until, &self.about.client.clock).await;
                self.until = None;
            }
            if matches!(self.link, Link::Closed) {
                self.link = Link::open(&self.about.client, self.at, &self.about.prefix, self.order.shown());
            }
            let (clock, heard) = (&self.about.client.clock, self.heard);
            let (link, check) = (&mut self.link, &mut self.check);
            let is_open = link.is_open();
            // What completes here is taken into account before anything else is awaited: so this may be dropped at any time.
            let event = tokio::select! {
                biased;
                came = link.next(clock) => Event::Came(came),
                checked = check.next(clock, heard), if is_open => Event::Checked(checked),
            };
            match event {
                Event::Came(came) => self.take(came)?,
                Event::Checked(checked) => self.take_check(checked)?,
            }
        }
    }

    fn take(&mut self, came: Came) -> Result<(), Trouble> {
        self.heard = self.about.client.clock.now();
        match came {
            Came::Opened(opened) => (self.link, self.opened) = (opened, self.heard),
            Came::Messages(messages) => {
                for message in messages {
                    self.take_message(message)?;
                }
            }
            // Nobody could hold it. A listing comes in pieces.
            Came::TooMuch => self.is_compacted = true,
            Came::Ended(failure) => self.take_end(failure)?,
        }
        Ok(())
    }

    fn take_message(&mut self, message: Watched) -> Result<(), Trouble> {
        if !matches!(self.link, Link::Open(_)) || self.is_compacted {
            return Ok(());
        }
        if message.canceled {
            if message.compact_revision > 0 {
                self.is_compacted = true;
                return Ok(());
            }
            let failure = match cancelled(&message.cancel_reason) {
                Failure::Token => {
                    self.forget_token();
                    Failure::Token
                }
                // In the words of some versions, a token that is not known (any more) is a right that is not had.
                Failure::Refused(_) if !self.is_doubted && self.forget_token() => Failure::Token,
                failure => failure,
            };
            return self.take_end(failure);
        }
        if message.created {
            self.link.created();
            return Ok(());
        }
        match self.order.take(message, &self.about.client) {
            Ok(batches) => self.ready.extend(batches),
            Err(order::TooMuch) => self.is_compacted = true,
        }
        Ok(())
    }

    /// The link is no more.
    fn take_end(&mut self, failure: Failure) -> Result<(), Trouble> {
        match failure {
            Failure::Compacted => self.is_compacted = true,
            Failure::Token if !self.is_doubted => {
                self.is_doubted = true;
                self.close();
            }
            Failure::Token | Failure::Unavailable(_) => {
                (self.is_doubted, self.failed) = (false, self.failed + 1);
                self.move_on();
                if self.failed.is_multiple_of(self.about.client.endpoints()) {
                    return Err(self.rest(failure));
                }
            }
            failure => {
                self.is_doubted = false;
                self.close();
                return Err(self.rest(failure));
            }
        }
        Ok(())
    }

    fn take_check(&mut self, checked: Checked) -> Result<(), Trouble> {
        let about = &self.about;
        match checked {
            Checked::Due => self.check = Check::read(&about.client, self.at, &about.mark, self.order.shown()),
            Checked::Stood(stood) => {
                let now = about.client.clock.now();
                // A link that ends as soon as it is there is none.
                if now.saturating_duration_since(self.opened) > LONGEST_PAUSE {
                    (self.failed, self.is_doubted, self.pause) = (0, false, FIRST_PAUSE);
                }
                self.check = Check::behind(stood, now);
                // The member that shows it did not answer.
                if stood.endpoint != self.at {
                    self.close();
                    self.at = stood.endpoint;
                }
            }
            // What is there now is not what was shown, and its changes have numbers that were.
            Checked::WentBack => self.is_compacted = true,
            Checked::StillBehind(stood) => self.check = Check::mark(&about.client, stood, &about.mark),
            Checked::Marked(stood) => self.check = Check::Marked { stood, since: about.client.clock.now() },
            // What was put is not shown: it is paused, or cut off from the others.
            Checked::Stuck => self.move_on(),
            Checked::Failed(failure) => {
                let trouble = self.rest(failure);
                self.check = Check::Rest(self.about.client.clock.now());
                return Err(trouble);
            }
        }
        Ok(())
    }

    /// If the link has shown all that a quorum had when it was asked just now. Not put where it may wait: it is true now.
    fn confirmed(&mut self) -> Option<Seen> {
        let (stood, now) = (self.check.stood()?, self.about.client.clock.now());
        if self.order.shown() < stood.revision {
            return None;
        }
        let is_of_now = now.saturating_duration_since(stood.began) < CONFIRMED_EVERY;
        self.check = Check::Rest(if is_of_now { now + REST } else { now });
        is_of_now.then(|| Seen::Confirmed(self.order.shown()))
    }

    fn move_on(&mut self) {
        self.about.client.pass_over(self.at);
        self.at = (self.at + 1) % self.about.client.endpoints();
        self.close();
    }

    fn close(&mut self) {
        self.link = Link::Closed;
        self.order.forget_halves();
        self.check = Check::Rest(self.about.client.clock.now());
    }

    /// The token with which the link was opened; `false`: there is none.
    fn forget_token(&self) -> bool {
        let token = self.link.token();
        self.about.client.forget(token);
        token.is_some()
    }

    fn rest(&mut self, failure: Failure) -> Trouble {
        self.until = Some(self.about.client.clock.now() + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        failure.into()
    }
}

impl Watch for Watching {
    fn next(&mut self) -> Outcome<'_, Seen> {
        Box::pin(self.seen())
    }
}

async fn sleep_until(until: Instant, clock: &Clock) {
    tokio::time::sleep(until.saturating_duration_since(clock.now())).await;
}
