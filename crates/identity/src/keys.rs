//! The keys of one provider: read again and again in the background, and once more when a token names one that is not known.
//!
//! The provider may be down: what is known serves on for a stated time. One task does all the asking, so that however many
//! requests wait for a new key, the provider is asked once, and not more often than every [`THROTTLE`].

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tollgate_core::caller::Caller;
use tollgate_core::clock::Clock;
use tollgate_core::principal::Standing;

use crate::jwk::{self, Algorithm, Key};
use crate::metadata::{self, get};

/// A provider is asked out of turn no more often than this.
pub const THROTTLE: Duration = Duration::from_secs(5);
/// How long until the next try after a failure, at first; twice as long each further time, up to [`SLOWEST`].
const FIRST_RETRY: Duration = Duration::from_secs(1);
const SLOWEST: Duration = Duration::from_secs(30);
/// How often a file is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Where the keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// Where the metadata of this issuer says (OpenID Connect Discovery 1.0 §4, RFC 8414 §3).
    Issuer(String),
    /// At this URL.
    Url(String),
    /// In this file.
    File(PathBuf),
}

/// How keys are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where they are.
    pub from: From,
    /// How often they are read.
    pub refresh: Duration,
    /// For how long those that are known hold when they cannot be read any more.
    pub keep: Duration,
    /// How long the provider may take to answer.
    pub timeout: Duration,
}

/// The keys of one provider.
#[derive(Debug)]
pub struct KeyRing {
    settings: Settings,
    clock: Clock,
    known: ArcSwap<Known>,
    round: watch::Sender<Round>,
    asked: Arc<Notify>,
    task: Mutex<Option<AbortHandle>>,
}

#[derive(Debug, Default)]
struct Known {
    keys: Vec<Arc<Key>>,
    /// When the provider last gave them.
    heard: Option<Instant>,
    /// What is wrong, and since when.
    trouble: Option<(SystemTime, String)>,
}

/// The reading that goes on, or was last.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    number: u64,
    began: Option<Instant>,
    is_over: bool,
}

/// What came of looking for a key.
#[derive(Debug)]
pub enum Looked {
    /// Any of these may have made the signature.
    Keys(Vec<Arc<Key>>),
    /// The key is there, and not for that algorithm.
    WrongAlgorithm,
    /// No such key is known.
    Unknown,
    /// Nothing is known, or not any more.
    Nothing,
}

impl KeyRing {
    /// A ring without keys yet: [`KeyRing::start`] has them read.
    #[must_use]
    pub fn new(settings: Settings, clock: Clock) -> Arc<Self> {
        let (known, round) = (ArcSwap::from_pointee(Known::default()), watch::Sender::new(Round::default()));
        Arc::new(Self { settings, clock, known, round, asked: Arc::default(), task: Mutex::default() })
    }

    /// Reads the keys on this runtime from now on, until the ring is dropped. Only the first call counts.
    pub fn start(self: &Arc<Self>, caller: &Arc<dyn Caller>, slow: &Handle) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.is_none() {
            *task = Some(slow.spawn(follow(Arc::downgrade(self), Arc::clone(caller))).abort_handle());
        }
    }

    /// Waits until the provider was asked once, whatever came of it.
    pub fn heard(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut rounds = self.round.subscribe();
        async move {
            // An error means that nobody will ask any more.
            let _ = rounds.wait_for(|round| round.is_over || round.number > 1).await;
        }
    }

    /// The keys that may have made a signature.
    #[must_use]
    pub fn look(&self, id: Option<&str>, algorithm: Algorithm) -> Looked {
        /// Of a token that names no key, so many are tried: each costs a signature.
        const TRIES: usize = 8;
        let known = self.known.load();
        if !self.keeps(&known) {
            return Looked::Nothing;
        }
        let named: Vec<_> = known.keys.iter().filter(|key| id.is_none() || key.id.as_deref() == id).collect();
        let fit = named.iter().filter(|key| key.is_for(algorithm)).take(TRIES).map(|key| Arc::clone(key));
        match fit.collect::<Vec<_>>() {
            fit if !fit.is_empty() => Looked::Keys(fit),
            _ if named.is_empty() => Looked::Unknown,
            _ => Looked::WrongAlgorithm,
        }
    }

    /// Whether the keys were read lately enough to hold.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.keeps(&self.known.load())
    }

    fn keeps(&self, known: &Known) -> bool {
        let most = self.settings.refresh + self.settings.keep;
        known.heard.is_some_and(|heard| self.clock.now().duration_since(heard) < most)
    }

    /// Whether asking once more now may bring something.
    #[must_use]
    pub fn may_ask(&self) -> bool {
        let round = *self.round.borrow();
        self.is_started() && self.may_begin(round)
    }

    fn may_begin(&self, round: Round) -> bool {
        let rests = |began: Instant| self.clock.now().duration_since(began) < THROTTLE;
        !round.is_over || !round.began.is_some_and(rests)
    }

    /// Has the keys read once more, together with all others who want that, and waits for it. At once if that was done just
    /// now.
    pub async fn ask(&self) {
        let mut rounds = self.round.subscribe();
        let before = *rounds.borrow_and_update();
        if !self.is_started() || !self.may_begin(before) {
            return;
        }
        // One that is under way will do.
        let wanted = if before.is_over || before.number == 0 { before.number + 1 } else { before.number };
        self.asked.notify_one();
        let _ = rounds.wait_for(|round| round.number > wanted || (round.number == wanted && round.is_over)).await;
    }

    /// Whether the last reading failed.
    #[must_use]
    pub fn is_troubled(&self) -> bool {
        self.known.load().trouble.is_some()
    }

    /// Whether it has what it needs.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let known = self.known.load();
        let has_keys = !matches!(self.look(None, Algorithm::Rs256), Looked::Nothing);
        match &known.trouble {
            None if has_keys => Standing::Good,
            None => Standing::Down { since: None, error: "the keys were not read yet".to_owned() },
            Some((since, error)) if has_keys => Standing::Stale { since: *since, error: error.clone() },
            Some((since, error)) => Standing::Down { since: Some(*since), error: error.clone() },
        }
    }

    fn is_started(&self) -> bool {
        self.task.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn begin(&self) {
        let began = Some(self.clock.now());
        self.round.send_modify(|round| *round = Round { number: round.number + 1, began, is_over: false });
    }

    /// Takes in what a reading brought.
    fn learn(&self, read: Result<Vec<Key>, String>) {
        let before = self.known.load_full();
        let new = match read {
            Ok(read) => {
                // The same key stays the same: tokens that were checked with it are remembered by it.
                let same =
                    |key: Key| before.keys.iter().find(|old| ***old == key).map_or_else(|| Arc::new(key), Arc::clone);
                let keys: Vec<Arc<Key>> = read.into_iter().map(same).collect();
                before
                    .keys
                    .iter()
                    .filter(|old| !keys.iter().any(|key| Arc::ptr_eq(key, old)))
                    .for_each(|old| old.retire());
                if before.trouble.is_some() {
                    tracing::info!(from = %self.settings.from, keys = keys.len(), "the keys of an identity provider are there again");
                }
                Known { keys, heard: Some(self.clock.now()), trouble: None }
            }
            Err(error) => {
                let since = before.trouble.as_ref().map(|(since, _)| *since);
                if since.is_none() {
                    let (from, kept) = (&self.settings.from, before.keys.len());
                    tracing::warn!(%from, %error, kept, "the keys of an identity provider cannot be read; it is tried again");
                }
                let trouble = Some((since.unwrap_or_else(|| self.clock.unix()), error));
                Known { keys: before.keys.clone(), heard: before.heard, trouble }
            }
        };
        self.known.store(Arc::new(new));
        self.round.send_modify(|round| round.is_over = true);
    }
}

impl Drop for KeyRing {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

impl std::fmt::Display for From {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Issuer(url) | Self::Url(url) => f.write_str(url),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// Reads, tells, waits; until nobody is left to be told.
async fn follow(weak: std::sync::Weak<KeyRing>, caller: Arc<dyn Caller>) {
    let mut failures = 0u32;
    loop {
        let Some(ring) = weak.upgrade() else { return };
        ring.begin();
        let settings = ring.settings.clone();
        let read = read(&settings, &caller).await;
        failures = if read.is_ok() { 0 } else { failures.saturating_add(1) };
        ring.learn(read);
        let wait = match (failures, &settings.from) {
            (0, From::File(_)) => LOOK,
            (0, _) => settings.refresh,
            (failures, _) => FIRST_RETRY.saturating_mul(1 << (failures - 1).min(16)).min(SLOWEST),
        };
        // Gateways that were started together do not all ask together.
        let wait = wait + wait.mul_f64(fastrand::f64() / 10.0);
        let asked = Arc::clone(&ring.asked);
        // Not held while nothing happens: it ends with its last user.
        drop(ring);
        let mut sleep = std::pin::pin!(tokio::time::sleep(wait));
        loop {
            tokio::select! {
                () = &mut sleep => break,
                // Whoever asked while it was read has what they wanted.
                () = asked.notified() => if weak.upgrade().is_none_or(|ring| ring.may_ask()) { break },
            }
        }
    }
}

async fn read(settings: &Settings, caller: &Arc<dyn Caller>) -> Result<Vec<Key>, String> {
    match &settings.from {
        From::Issuer(issuer) => {
            let url = metadata::endpoint(issuer, "jwks_uri", settings.timeout, caller).await?;
            jwk::set(&get(&url, settings.timeout, caller).await?).map_err(|why| format!("{url}: {why}"))
        }
        From::Url(url) => jwk::set(&get(url, settings.timeout, caller).await?).map_err(|why| format!("{url}: {why}")),
        From::File(path) => {
            let (own, shown) = (path.clone(), path.display());
            let text = tokio::task::spawn_blocking(move || std::fs::read(own)).await.map_err(|e| e.to_string())?;
            jwk::set(&text.map_err(|error| format!("{shown}: {error}"))?).map_err(|why| format!("{shown}: {why}"))
        }
    }
}

#[cfg(test)]
mod tests;
