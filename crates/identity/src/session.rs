//! Sessions of people who signed in with a browser: kept sealed in cookies of theirs, or in the store with a cookie that names them.
//!
//! Whoever signed in where is not this module's business: OpenID Connect and SAML make the same sessions.

pub(crate) mod browser;
pub(crate) mod cookie;
mod seal;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tollgate_core::cache::{CacheStore, StoreError};
use tollgate_core::clock::Clock;
use tollgate_core::exchange::Exchange;
use tollgate_core::head::RequestHead;
use tollgate_core::principal::{Principal, SessionState};
use tollgate_core::problem::Problem;

pub use self::seal::Sealer;

use self::cookie::SameSite;
use crate::checks::{Check, on};
use crate::faults::because;
use crate::login::faults::{SESSION, STORE, TOO_LARGE};
use crate::remembered::{Digest, Remembered, digest};
use crate::signing::unique;
use crate::source::principal;

/// How long what was found out about a session holds: so late may its end be seen that another gateway was told of.
const FRESH: Duration = Duration::from_secs(5);
/// How long a sign-in may take.
pub(crate) const SIGN_IN: Duration = Duration::from_secs(600);
/// Most sign-ins of one browser that are under way.
const MOST_UNDER_WAY: usize = 5;

/// How sessions are kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long one lasts at most.
    pub lasts: Duration,
    /// How long one lasts that is not used.
    pub idle: Duration,
    /// Whether they are in the store, and cookies only name them.
    pub in_store: bool,
    /// The name of the cookie.
    pub cookie: String,
    /// Largest one that is kept in cookies, in bytes as they are sent: with them a request still has to pass.
    pub largest: usize,
    /// About how many are remembered that were looked at.
    pub remember: usize,
}

/// Who signed in, and what goes with it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    /// Names it, to nobody but the gateway.
    pub(crate) id: String,
    /// When it began: milliseconds of Unix time, so that one that begins right after a logout is told from those before.
    pub(crate) born: u64,
    /// When it ends, and was last used: seconds of Unix time.
    pub(crate) ends: u64,
    pub(crate) seen: u64,
    /// What the provider says of the user.
    pub(crate) claims: Map<String, Value>,
    /// What services may be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<AccessToken>,
    /// What a new one is got with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refresh: Option<String>,
    /// What tells the provider whose session ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    /// The provider's own name of its session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sid: Option<String>,
}

/// An access token, and when it ends.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct AccessToken {
    pub(crate) text: String,
    pub(crate) ends: u64,
}

/// A session as it was found.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) session: Arc<Session>,
    pub(crate) principal: Arc<Principal>,
    looked: Looked,
}

/// When the store was asked about a session, and how many had been ended here by then.
#[derive(Clone, Copy)]
pub(crate) struct Looked {
    at: Instant,
    ended: u64,
}

/// What a request has of a session.
pub(crate) struct Brought {
    /// The cookie's text.
    text: String,
    digest: Digest,
    /// The names of the cookies.
    names: Vec<String>,
    is_secure: bool,
}

/// The sessions of one source.
pub(crate) struct Sessions {
    source: Arc<str>,
    settings: Settings,
    sealer: Arc<Sealer>,
    store: Arc<dyn CacheStore>,
    known: Remembered<Known>,
    /// How many were ended here: none of them waits until it is looked at again.
    ended: AtomicU64,
    clock: Clock,
}

impl Session {
    /// One that begins now. `None`: there are no random numbers.
    pub(crate) fn new(claims: Map<String, Value>, lasts: Duration, now: SystemTime) -> Option<Self> {
        let (id, now) = (unique().ok()?, now.duration_since(UNIX_EPOCH).unwrap_or_default());
        let (born, seen) = (u64::try_from(now.as_millis()).unwrap_or(u64::MAX), now.as_secs());
        let ends = seen.saturating_add(lasts.as_secs());
        Some(Self { id, born, ends, seen, claims, token: None, refresh: None, hint: None, sid: None })
    }

    /// Whether its access token ends within this time, or has.
    pub(crate) fn is_due(&self, now: u64, within: Duration) -> bool {
        self.token.as_ref().is_some_and(|token| token.ends <= now.saturating_add(within.as_secs()))
    }
}

impl Sessions {
    pub(crate) fn new(
        source: Arc<str>,
        settings: Settings,
        sealer: Arc<Sealer>,
        store: Arc<dyn CacheStore>,
        clock: Clock,
    ) -> Self {
        let known = Remembered::new(settings.remember);
        Self { source, settings, sealer, store, known, ended: AtomicU64::new(0), clock }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Unix time, in seconds.
    pub(crate) fn now(&self) -> u64 {
        self.clock.unix().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    fn name(&self, is_secure: bool) -> String {
        cookie::named(&self.settings.cookie, is_secure)
    }

    /// What a request has of a session.
    pub(crate) fn brought(&self, x: &Exchange) -> Option<Brought> {
        let is_secure = x.scheme == "https";
        let name = self.name(is_secure);
        x.head.fields.get("cookie")?;
        let text = cookie::whole(&x.head, &name)?;
        Some(Brought { digest: digest(&text), names: cookie::names(&x.head, &name), text, is_secure })
    }

    /// What is known of a session, if nobody need be asked.
    pub(crate) fn known(&self, brought: &Brought) -> Option<Known> {
        let (now, unix) = (self.looking(), self.now());
        let known = self.known.get(&brought.digest, |_| true)?;
        let is_fresh = known.looked.ended == now.ended && now.at.duration_since(known.looked.at) < FRESH;
        (is_fresh && self.lasts(&known.session, unix)).then_some(known)
    }

    fn lasts(&self, session: &Session, now: u64) -> bool {
        now < session.ends && now < session.seen.saturating_add(self.settings.idle.as_secs())
    }

    /// Now, before the store is asked: what is ended while it is, or later, is not missed.
    pub(crate) fn looking(&self) -> Looked {
        Looked { at: self.clock.now(), ended: self.ended.load(Ordering::Acquire) }
    }

    /// The session of a cookie, as the store knows of it.
    ///
    /// # Errors
    /// It is over; or nobody can tell.
    pub(crate) async fn look(&self, brought: &Brought) -> Result<Session, Problem> {
        // What was found before tells more than the cookie: a token may have taken the place of the one that is in it.
        let session = match self.known.get(&brought.digest, |_| true) {
            Some(known) if !self.settings.in_store => Session::clone(&known.session),
            _ => self.opened(brought).await?,
        };
        if !self.lasts(&session, self.now()) {
            return Err(because(&SESSION, "its time is over"));
        }
        let subject = session.claims.get("sub").and_then(Value::as_str).unwrap_or_default();
        let marks = [("id", Some(&*session.id)), ("sid", session.sid.as_deref()), ("sub", Some(subject))];
        for (what, whose) in marks {
            let Some(whose) = whose else { continue };
            let mark = self.store.get(&self.mark(what, whose)).await.map_err(unkept)?;
            let ended = mark.and_then(|mark| str::from_utf8(&mark).ok()?.parse::<u64>().ok());
            if ended.is_some_and(|ended| session.born <= ended) {
                return Err(because(&SESSION, "it was ended"));
            }
        }
        Ok(session)
    }

    async fn opened(&self, brought: &Brought) -> Result<Session, Problem> {
        let none = |why: &'static str| because(&SESSION, why);
        let kept = if self.settings.in_store {
            let kept = self.store.get(&self.key(&brought.text)).await.map_err(unkept)?;
            String::from_utf8(kept.ok_or_else(|| none("not in the store"))?.to_vec()).unwrap_or_default()
        } else {
            brought.text.clone()
        };
        let text = self.sealer.open(&self.purpose("session"), &kept, self.clock.unix(), self.settings.lasts);
        let text = text.ok_or_else(|| none("not sealed here"))?;
        serde_json::from_slice(&text).map_err(|_| none("of another version"))
    }

    /// Notes that it is used, which has to be kept now and then.
    pub(crate) fn touch(&self, session: &mut Session) -> bool {
        let (now, idle) = (self.now(), self.settings.idle.as_secs());
        let is_due = now >= session.seen.saturating_add((idle / 10).max(1));
        if is_due {
            session.seen = now;
        }
        is_due
    }

    /// Remembers what was found since that moment; `is_new`: it is not what the browser's cookie says.
    ///
    /// # Errors
    /// It cannot be kept.
    pub(crate) async fn found(
        &self,
        brought: &Brought,
        session: Session,
        is_new: bool,
        looked: Looked,
    ) -> Result<Known, Problem> {
        let before = || self.known.get(&brought.digest, |_| true)?.principal.session.clone();
        let cookies = match is_new {
            false => before().map_or_else(Vec::new, |state| state.cookies.clone()),
            true if self.settings.in_store => {
                self.put(&brought.text, &session).await?;
                Vec::new()
            }
            true => self.lines(&self.sealed(&session)?, &session, brought.is_secure, &brought.names)?,
        };
        let until = UNIX_EPOCH + Duration::from_secs(session.ends.min(1 << 40));
        let token = session.token.as_ref().map(|token| token.text.as_str().into());
        let principal = Principal {
            session: Some(Arc::new(SessionState { token, cookies })),
            ..principal(&self.source, &session.claims, Some(until))
        };
        let known = Known { session: Arc::new(session), principal: Arc::new(principal), looked };
        self.known.add(brought.digest, known.clone());
        Ok(known)
    }

    /// Begins one: the lines that have the browser keep it.
    ///
    /// # Errors
    /// It cannot be kept.
    pub(crate) async fn begin(
        &self,
        head: &RequestHead,
        is_secure: bool,
        session: &Session,
    ) -> Result<Vec<Bytes>, Problem> {
        let before = cookie::names(head, &self.name(is_secure));
        let text = if self.settings.in_store {
            // Twice as long as it need be.
            let id =
                [unique(), unique()].into_iter().collect::<Result<String, _>>().map_err(|why| because(&STORE, why))?;
            self.put(&id, session).await?;
            id
        } else {
            self.sealed(session)?
        };
        self.lines(&text, session, is_secure, &before)
    }

    fn lines(&self, text: &str, session: &Session, is_secure: bool, before: &[String]) -> Result<Vec<Bytes>, Problem> {
        let lasts = Duration::from_secs(session.ends.saturating_sub(self.now()));
        let lines = cookie::kept(&self.name(is_secure), text, lasts, SameSite::Lax, is_secure, before);
        lines
            .filter(|_| text.len() <= self.settings.largest)
            .ok_or_else(|| because(&TOO_LARGE, format!("{} bytes", text.len())))
    }

    fn sealed(&self, session: &Session) -> Result<String, Problem> {
        let text = serde_json::to_vec(session).map_err(|error| because(&STORE, error.to_string()))?;
        let sealed = self.sealer.seal(&self.purpose("session"), &text, self.clock.unix());
        sealed.ok_or_else(|| because(&STORE, "no random numbers"))
    }

    async fn put(&self, id: &str, session: &Session) -> Result<(), Problem> {
        let (sealed, lasts) = (self.sealed(session)?, session.ends.saturating_sub(self.now()));
        let lasts = Duration::from_secs(lasts).min(self.settings.idle);
        self.store.put(&self.key(id), sealed.into(), lasts).await.map_err(unkept)
    }

    /// Ends one, here and, if there is a copy of its cookie, anywhere: the lines that have the browser forget it.
    ///
    /// # Errors
    /// That cannot be kept.
    pub(crate) async fn end(&self, brought: &Brought, session: Option<&Session>) -> Result<Vec<Bytes>, Problem> {
        if let Some(session) = session {
            self.end_all("id", &session.id).await?;
        }
        if self.settings.in_store {
            self.store.remove(&self.key(&brought.text)).await.map_err(unkept)?;
        }
        Ok(self.forgotten(brought))
    }

    /// Ends all that began before now: of this `id`, of this `sid`, or of this user (`sub`).
    ///
    /// # Errors
    /// That cannot be kept.
    pub(crate) async fn end_all(&self, what: &str, whose: &str) -> Result<(), Problem> {
        let now = self.clock.unix().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis().to_string();
        self.store.put(&self.mark(what, whose), now.into(), self.settings.lasts).await.map_err(unkept)?;
        self.ended.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// The lines that have the browser forget it.
    pub(crate) fn forgotten(&self, brought: &Brought) -> Vec<Bytes> {
        brought.names.iter().map(|name| cookie::forgotten(name, SameSite::Lax, brought.is_secure)).collect()
    }

    /// The names of the cookies of sign-ins that are under way.
    pub(crate) fn setting_out(&self, x: &Exchange) -> Vec<String> {
        self.under_way(&x.head, &self.name(x.scheme == "https"))
    }

    /// Has the browser keep what belongs to a sign-in that begins: the lines. `before`: those that are under way, forgotten if they
    /// are too many.
    ///
    /// # Errors
    /// There are no random numbers.
    pub(crate) fn set_out(
        &self,
        is_secure: bool,
        before: &[String],
        state: &str,
        text: &[u8],
        same_site: SameSite,
    ) -> Result<Vec<Bytes>, Problem> {
        let name = self.name(is_secure);
        let until = self.now().saturating_add(SIGN_IN.as_secs());
        let text = [&until.to_be_bytes()[..], text].concat();
        let sealed = self.sealer.seal(&self.purpose("sign-in"), &text, self.clock.unix());
        let sealed = sealed.ok_or_else(|| because(&STORE, "no random numbers"))?;
        let own = under_way(&name, state);
        let mut lines = cookie::kept(&own, &sealed, SIGN_IN, same_site, is_secure, &[])
            .ok_or_else(|| because(&TOO_LARGE, "a sign-in"))?;
        if before.len() >= MOST_UNDER_WAY {
            lines.extend(before.iter().map(|name| cookie::forgotten(name, same_site, is_secure)));
        }
        Ok(lines)
    }

    /// What was kept for a sign-in, and the line that has it forgotten.
    pub(crate) fn came_back(&self, x: &Exchange, state: &str, same_site: SameSite) -> Option<(Vec<u8>, Bytes)> {
        let is_secure = x.scheme == "https";
        let name = under_way(&self.name(is_secure), state);
        let sealed = cookie::whole(&x.head, &name)?;
        let text = self.sealer.open(&self.purpose("sign-in"), &sealed, self.clock.unix(), SIGN_IN)?;
        // What is sealed is told apart by the day only.
        let (until, text) = text.split_first_chunk::<8>()?;
        let is_late = on(Check::SignInTime) && u64::from_be_bytes(*until) <= self.now();
        (!is_late).then(|| (text.to_vec(), cookie::forgotten(&name, same_site, is_secure)))
    }

    /// Whether it is the first time that this is used.
    ///
    /// # Errors
    /// Nobody can tell.
    pub(crate) async fn is_first(&self, what: &str, which: &str, lasts: Duration) -> Result<bool, Problem> {
        self.store.add(&self.mark(what, which), Bytes::new(), lasts).await.map_err(unkept)
    }

    /// Whether this was marked.
    ///
    /// # Errors
    /// Nobody can tell.
    pub(crate) async fn is_marked(&self, what: &str, which: &str) -> Result<bool, Problem> {
        let found = self.store.get(&self.mark(what, which)).await.map_err(unkept)?;
        Ok(found.is_some() && on(Check::LogoutTwice))
    }

    fn under_way(&self, head: &RequestHead, name: &str) -> Vec<String> {
        let prefix = format!("{name}.f.");
        let lines = head.fields.all("cookie").filter_map(|line| str::from_utf8(line).ok());
        let names = lines.flat_map(|line| line.split(';')).filter_map(|pair| Some(pair.trim().split_once('=')?.0));
        names.filter(|name| name.starts_with(&prefix)).map(str::to_owned).collect()
    }

    fn purpose(&self, what: &str) -> String {
        format!("{what} {}", self.source)
    }

    fn mark(&self, what: &str, whose: &str) -> Vec<u8> {
        [b"login ", what.as_bytes(), b" ", &digest(&format!("{}\n{whose}", self.source))].concat()
    }

    /// The store learns no names that would open anything.
    fn key(&self, id: &str) -> Vec<u8> {
        self.mark("session", id)
    }
}

/// A name of its own for each sign-in, so that several may be under way.
fn under_way(name: &str, state: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let short: String = state.bytes().filter(plain).take(8).map(char::from).collect();
    format!("{name}.f.{short}")
}

/// The name under which browsers keep a cookie that is called so in the config.
#[must_use]
pub fn cookie_name(name: &str, is_secure: bool) -> String {
    cookie::named(name, is_secure)
}

fn unkept(error: StoreError) -> Problem {
    because(&STORE, error.0).header("Retry-After", "5")
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("source", &self.source).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
