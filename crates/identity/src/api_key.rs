//! API keys: made here, and known by their keyed hashes alone (HMAC-SHA256, RFC 2104).
//!
//! A key has 256 random bits, so that a hash that costs much would bring nothing: nobody guesses it. The key of the hash keeps whoever
//! reads or writes the list without it from adding a key of their own.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::{hmac, rand};
use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use tollgate_core::clock::Clock;
use tollgate_core::exchange::Exchange;
use tollgate_core::principal::{Authenticator, Bearers, Credential, Effort, Found, Principal, Standing};
use tollgate_core::problem::Problem;

use crate::checks::{Check, on};
use crate::faults::{KEY_EXPIRED, KEY_LIST, KEY_MALFORMED, KEY_UNKNOWN, because};
use crate::json;
use crate::login::faults::CROSS_SITE;
use crate::remembered::Digest;
use crate::session::browser;
use tollgate_follow::Followed;

/// What all keys begin with, so that those who look for secrets in code and logs find them.
pub const PREFIX: &str = "tgk_";
/// The longest key that is looked at, in bytes.
const LONGEST: usize = 512;
/// Most bytes of the list for each key in it.
const ROOM: u64 = 2048;

/// A key in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Names it to people; no secret.
    pub id: String,
    /// The application that it is for.
    pub name: String,
    /// What it is good for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Its keyed hash, in base64url.
    pub hash: String,
}

/// All keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// One by one, in the order made.
    pub keys: Vec<Record>,
}

impl List {
    /// The list in this file.
    ///
    /// # Errors
    /// It cannot be read, in words for a person.
    pub fn load(path: &Path, most: usize) -> Result<Self, String> {
        Self::read(&tollgate_follow::read(path, largest(most))?, most)
    }

    /// Reads a list.
    ///
    /// # Errors
    /// It is none, or too long; in words for a person.
    pub fn read(text: &[u8], most: usize) -> Result<Self, String> {
        let mut object = json::object(text)?;
        let Some(Value::Array(keys)) = object.remove("keys") else { return Err("it has no list `keys`".to_owned()) };
        if let Some(name) = object.keys().next() {
            return Err(format!("`{name}` is not known here"));
        }
        if keys.len() > most {
            return Err(format!("it has {} keys: `most` allows {most}", keys.len()));
        }
        let read = |(at, key): (usize, Value)| {
            let record: Record = serde_json::from_value(key).map_err(|error| format!("key {}: {error}", at + 1))?;
            match digest_of(&record.hash) {
                Some(_) => Ok(record),
                None => Err(format!("key {}: `hash` is none", at + 1)),
            }
        };
        Ok(Self { keys: keys.into_iter().enumerate().map(read).collect::<Result<_, String>>()? })
    }

    /// As it stands in the file: a line for each key, so that a comparison shows which ones changed.
    #[must_use]
    pub fn write(&self) -> String {
        let lines: Vec<String> = self.keys.iter().filter_map(|key| serde_json::to_string(key).ok()).collect();
        if lines.is_empty() {
            "{\"keys\":[]}\n".to_owned()
        } else {
            format!("{{\"keys\":[\n{}\n]}}\n", lines.join(",\n"))
        }
    }
}

fn largest(most: usize) -> u64 {
    u64::try_from(most).unwrap_or(u64::MAX).saturating_mul(ROOM)
}

fn digest_of(hash: &str) -> Option<Digest> {
    BASE64URL_NOPAD.decode(hash.as_bytes()).ok()?.try_into().ok()
}

/// The key of the hashes.
#[derive(Clone)]
pub struct Pepper(hmac::Key);

impl Pepper {
    /// From a secret of at least 16 bytes.
    #[must_use]
    pub fn new(secret: &[u8]) -> Option<Self> {
        (secret.len() >= 16).then(|| Self(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// A key's hash, as it stands in the list.
    #[must_use]
    pub fn hash(&self, key: &str) -> String {
        BASE64URL_NOPAD.encode(&self.digest(key))
    }

    fn digest(&self, key: &str) -> Digest {
        let mut digest = [0; 32];
        digest.copy_from_slice(hmac::sign(&self.0, key.as_bytes()).as_ref());
        digest
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A new key: its id, and its text, which is told once.
///
/// # Errors
/// The system has no random numbers.
pub fn generate() -> Result<(String, String), String> {
    let (mut id, mut secret) = ([0; 5], [0; 32]);
    for bytes in [&mut id[..], &mut secret[..]] {
        rand::fill(bytes).map_err(|_| "the system has no random numbers".to_owned())?;
    }
    let id = BASE32_NOPAD.encode(&id).to_ascii_lowercase();
    let text = format!("{PREFIX}{id}_{}", BASE64URL_NOPAD.encode(&secret));
    Ok((id, text))
}

/// Where a request has its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In this header field.
    Header(String),
    /// In this parameter of the query.
    Query(String),
    /// In this cookie.
    Cookie(String),
}

/// What keys are taken.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where they are in requests.
    pub place: Place,
    /// The list.
    pub file: PathBuf,
    /// The key of the hashes; `None`: there is none, and no key is taken.
    pub pepper: Option<Pepper>,
    /// Most keys in the list.
    pub most: usize,
}

/// API keys as a source of identity.
pub struct ApiKeySource {
    name: Arc<str>,
    settings: Settings,
    clock: Clock,
    keys: Arc<Followed<Keys>>,
}

/// By their hashes.
type Keys = HashMap<Digest, Known>;

struct Known {
    principal: Arc<Principal>,
    expires: Option<SystemTime>,
}

impl ApiKeySource {
    /// Takes keys once [`ApiKeySource::start`] was called.
    #[must_use]
    pub fn new(name: &str, settings: Settings, clock: Clock) -> Arc<Self> {
        let name: Arc<str> = name.into();
        let (most, source) = (settings.most, Arc::clone(&name));
        let parse = move |text: &[u8]| List::read(text, most).map(|list| by_hash(&source, list));
        let keys = Followed::new(settings.file.clone(), largest(most), clock.clone(), parse);
        Arc::new(Self { name, settings, clock, keys })
    }

    /// Reads the list now, and again whenever it changes. Blocks.
    pub fn start(&self, slow: &Handle) {
        self.keys.start(slow);
    }

    fn check(&self, key: &str) -> Result<Arc<Principal>, Problem> {
        let unavailable = |why: &str| because(&KEY_LIST, why).header("Retry-After", "5");
        let keys = self.keys.said().ok_or_else(|| unavailable("the list cannot be read"))?;
        let pepper = self.settings.pepper.as_ref().ok_or_else(|| unavailable("the key of the hashes is missing"))?;
        // How long the look-up takes tells of a keyed hash, from which nothing follows about a key.
        let known = keys.get(&pepper.digest(key)).ok_or_else(|| KEY_UNKNOWN.problem())?;
        if on(Check::KeyExpiry) && known.expires.is_some_and(|end| end <= self.clock.unix()) {
            return Err(KEY_EXPIRED.problem());
        }
        Ok(Arc::clone(&known.principal))
    }

    /// The key of a request; `None`: it has none.
    fn key<'a>(&self, x: &'a Exchange) -> Option<Result<std::borrow::Cow<'a, str>, Problem>> {
        // Of two, another reader may take the other one.
        let (key, count) = match &self.settings.place {
            Place::Header(name) => {
                let first = x.head.fields.get(name)?;
                match str::from_utf8(first) {
                    Ok(text) => (text.into(), x.head.fields.all(name).count()),
                    Err(_) => return Some(Err(because(&KEY_MALFORMED, "no text"))),
                }
            }
            Place::Query(name) => (x.head.query_value(name)?, x.head.query_values(name)),
            // Browsers send it along whoever asks them to.
            Place::Cookie(name) if x.head.cookies(name) > 0 && browser::is_cross_site(x, &[]) => {
                return Some(Err(CROSS_SITE.problem()));
            }
            Place::Cookie(name) => (x.head.cookie(name)?.into(), x.head.cookies(name)),
        };
        if count > 1 {
            return Some(Err(because(&KEY_MALFORMED, "more than one")));
        }
        match key.len() {
            0 => Some(Err(because(&KEY_MALFORMED, "empty"))),
            1..=LONGEST => Some(Ok(key)),
            _ => Some(Err(because(&KEY_MALFORMED, "too long"))),
        }
    }
}

/// The application that a key is for is both who calls and by what they call.
fn by_hash(source: &Arc<str>, list: List) -> Keys {
    let known = |record: Record| {
        let digest = digest_of(&record.hash)?;
        let expires = match record.expires {
            Some(end) => Some(SystemTime::try_from(end).ok()?),
            None => None,
        };
        let mut claims = Map::new();
        claims.insert("sub".to_owned(), json!(record.name));
        claims.insert("client_id".to_owned(), json!(record.name));
        claims.insert("key_id".to_owned(), json!(record.id));
        claims.insert("scope".to_owned(), json!(record.scopes.join(" ")));
        let principal = Arc::new(crate::principal(source, &claims, expires));
        Some((digest, Known { principal, expires }))
    };
    list.keys.into_iter().filter_map(known).collect()
}

impl Authenticator for ApiKeySource {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn authenticate<'a>(&'a self, x: &'a Exchange, _: Effort) -> Found<'a> {
        match self.key(x) {
            None => Found::Nothing,
            Some(key) => Found::Checked(key.and_then(|key| self.check(&key))),
        }
    }

    /// No scheme is registered for keys: one that says where they go helps a person all the same.
    fn challenge(&self) -> String {
        let (place, name) = match &self.settings.place {
            Place::Header(name) => ("header", name),
            Place::Query(name) => ("query", name),
            Place::Cookie(name) => ("cookie", name),
        };
        format!("ApiKey realm=\"{}\", in=\"{place}\", name=\"{name}\"", self.name)
    }

    fn credential(&self) -> Credential<'_> {
        match &self.settings.place {
            Place::Header(name) => Credential::Header(name),
            Place::Query(name) => Credential::Query(name),
            Place::Cookie(name) => Credential::Cookie(name),
        }
    }

    fn bearers(&self) -> Bearers {
        Bearers::None
    }

    fn describe(&self) -> String {
        match &self.settings.place {
            Place::Header(name) => format!("keys in the header {name}"),
            Place::Query(name) => format!("keys in the parameter {name} of the query"),
            Place::Cookie(name) => format!("keys in the cookie {name}"),
        }
    }

    fn standing(&self) -> Standing {
        match &self.settings.pepper {
            Some(_) => self.keys.standing(),
            None => Standing::Down { since: None, error: "the key of the hashes is missing".to_owned() },
        }
    }
}

impl fmt::Debug for ApiKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeySource").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, hash: String) -> Record {
        let (name, scopes) = ("shop".to_owned(), vec!["orders.read".to_owned()]);
        Record {
            id: id.to_owned(),
            name,
            scopes,
            created: "2026-01-01T00:00:00Z".parse().unwrap(),
            expires: None,
            hash,
        }
    }

    #[test]
    fn a_list_reads_as_it_was_written() {
        let pepper = Pepper::new(&[1; 32]).unwrap();
        let (_, key) = generate().unwrap();
        assert!(key.starts_with(PREFIX) && key.len() > 50 && generate().unwrap().1 != key, "{key}");
        let end = Some("2026-02-01T00:00:00Z".parse().unwrap());
        let keys = vec![record("a", pepper.hash(&key)), Record { expires: end, ..record("b", pepper.hash("x")) }];
        let list = List { keys };
        let text = list.write();
        assert!(text.lines().count() == 4 && !text.contains(&key), "{text}");
        assert_eq!(List::read(text.as_bytes(), 2).as_ref(), Ok(&list));
        assert_eq!(List::read(List::default().write().as_bytes(), 0), Ok(List::default()));
        assert!(List::read(text.as_bytes(), 1).unwrap_err().contains("`most` allows 1"));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let good = List { keys: vec![record("a", Pepper::new(&[1; 32]).unwrap().hash("x"))] }.write();
        for (text, why) in [
            ("", "EOF"),
            ("[]", "no object"),
            ("{}", "no list `keys`"),
            ("{\"keys\":[], \"more\": 1}", "`more`"),
            ("{\"keys\":[], \"keys\": []}", "twice"),
            (&good.replace("\"hash\"", "\"hush\""), "key 1"),
            (&good.replace("\"hash\":\"", "\"hash\":\"A"), "`hash` is none"),
            (&good.replace("2026-01-01", "2026-13-01"), "key 1"),
        ] {
            let told = List::read(text.as_bytes(), 9).unwrap_err();
            assert!(told.contains(why), "{text}: {told}");
        }
        assert!(Pepper::new(b"short").is_none());
    }

    #[test]
    fn a_key_opens_until_it_ends() {
        let (folder, pepper) = (tempfile::tempdir().unwrap(), Pepper::new(&[1; 32]).unwrap());
        let file = folder.path().join("keys.json");
        let end = "2026-02-01T00:00:00Z".parse::<jiff::Timestamp>().unwrap();
        let keys = vec![Record { expires: Some(end), ..record("a", pepper.hash("key")) }];
        std::fs::write(&file, List { keys }.write()).unwrap();
        let settings = Settings { place: Place::Header("X-Key".to_owned()), file, pepper: Some(pepper), most: 9 };
        let second = std::time::Duration::from_secs(1);
        let ends = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(end.as_second().unsigned_abs());
        let clock = Clock::fake(ends - second);
        let source = ApiKeySource::new("keys", settings, clock.clone());
        source.keys.look();
        let slug = || source.check("key").map_or_else(|problem| problem.fault.slug, |_| "");
        assert_eq!(slug(), "");
        clock.advance(second);
        assert_eq!(slug(), KEY_EXPIRED.slug);
        assert_eq!(source.check("other").unwrap_err().fault.slug, KEY_UNKNOWN.slug);
    }

    #[test]
    fn another_key_of_the_hashes_makes_other_hashes() {
        let (one, other) = (Pepper::new(&[1; 32]).unwrap(), Pepper::new(&[2; 32]).unwrap());
        assert_eq!(one.hash("k"), one.hash("k"));
        assert_ne!(one.hash("k"), other.hash("k"));
        assert_eq!(format!("{one:?}"), "***");
    }
}
