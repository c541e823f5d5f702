//! Names and passwords (RFC 7617), checked against a file of `htpasswd`: bcrypt or Argon2 only.
//!
//! Checking takes long, which is what such hashes are for: it is done off the workers, a few at a time, and what came of it is remembered
//! for a while, by a keyed digest whose key is forgotten with the process.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use serde_json::{Map, json};
use tokio::runtime::Handle;
use tollgate_core::clock::Clock;
use tollgate_core::exchange::Exchange;
use tollgate_core::principal::{Authenticator, Bearers, Credential, Effort, Found, Principal, Standing};
use tollgate_core::problem::Problem;

use crate::faults::{BASIC_CROWDED, BASIC_LIST, BASIC_REFUSED, TOO_MANY_FAILURES, because};
use crate::password::{self, Digests, Password};
use crate::remembered::{Digest, Remembered};
use crate::together::{Together, Waits};
use tollgate_follow::Followed;

/// Largest file, in bytes.
const LARGEST: u64 = 16 * 1024 * 1024;
/// The greatest cost of bcrypt that is taken: each step is twice the time.
const MOST_BCRYPT: u32 = 15;
/// The most memory of Argon2 that is taken, in KiB, and the most passes.
const MOST_ARGON2: (u32, u32) = (256 * 1024, 16);

/// Whose passwords are taken, and how they are checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file.
    pub file: PathBuf,
    /// For how long it is remembered that a password was right.
    pub cache: Duration,
    /// For how long it is remembered that one was wrong.
    pub negative: Duration,
    /// Most passwords that are checked at a time.
    pub at_once: usize,
    /// About how many credentials are remembered, of each kind.
    pub remember: usize,
}

/// Names and passwords as a source of identity. Cheap to copy: whoever waits holds it, too.
#[derive(Clone)]
pub struct BasicSource(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    settings: Settings,
    clock: Clock,
    digests: Option<Digests>,
    users: Arc<Followed<Users>>,
    good: Remembered<Good>,
    bad: Remembered<(Arc<Users>, Instant)>,
    together: Arc<Together<Option<Arc<Principal>>>>,
    asking: OnceLock<Handle>,
}

/// A password that was right, by this file, until then.
#[derive(Clone)]
struct Good {
    principal: Arc<Principal>,
    users: Arc<Users>,
    until: Instant,
}

/// A file of `htpasswd`.
#[derive(Debug, Default)]
pub struct Users(HashMap<String, Hash>);

#[derive(Clone, Debug)]
enum Hash {
    Bcrypt(String),
    Argon2(String),
}

impl Users {
    /// The users in this file.
    ///
    /// # Errors
    /// It cannot be read, or has hashes that are not taken; in words for a person, without any hash.
    pub fn load(path: &Path) -> Result<Self, String> {
        Self::read(&tollgate_follow::read(path, LARGEST)?)
    }

    fn read(text: &[u8]) -> Result<Self, String> {
        let text = str::from_utf8(text).map_err(|_| "it is no text".to_owned())?;
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        let mut users = HashMap::new();
        for (at, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let (name, hash) = line.split_once(':').ok_or_else(|| format!("line {at} is no `name:hash`"))?;
            let hash = Hash::read(hash).map_err(|why| format!("line {at}: {why}"))?;
            if name.is_empty() || users.insert(name.to_owned(), hash).is_some() {
                return Err(format!("line {at}: the name is missing, or stands twice"));
            }
        }
        Ok(Self(users))
    }

    /// Whether this is the password of that user. Takes long, also for a user that there is not.
    fn verify(&self, name: &str, password: &[u8]) -> bool {
        match self.0.get(name) {
            Some(hash) => hash.verifies(password),
            None => {
                // As long as for one that there is, so that nobody learns which there are.
                self.0.values().next().map(|hash| hash.verifies(password));
                false
            }
        }
    }
}

impl Hash {
    fn read(text: &str) -> Result<Self, String> {
        if ["$2a$", "$2b$", "$2y$"].iter().any(|start| text.starts_with(start)) {
            let cost = text.get(4..6).and_then(|cost| cost.parse::<u32>().ok());
            return match cost.filter(|_| text.len() == 60) {
                Some(cost) if (4..=MOST_BCRYPT).contains(&cost) => Ok(Self::Bcrypt(text.to_owned())),
                Some(_) => Err(format!("a cost of bcrypt above {MOST_BCRYPT}")),
                None => Err("no hash of bcrypt that can be read".to_owned()),
            };
        }
        if text.starts_with("$argon2") {
            let hash = PasswordHash::new(text).map_err(|_| "no hash of Argon2 that can be read".to_owned())?;
            let params =
                argon2::Params::try_from(&hash).map_err(|_| "no hash of Argon2 that can be read".to_owned())?;
            if params.m_cost() > MOST_ARGON2.0 || params.t_cost() > MOST_ARGON2.1 {
                return Err(format!("Argon2 with more than {} MiB or {} passes", MOST_ARGON2.0 / 1024, MOST_ARGON2.1));
            }
            return Ok(Self::Argon2(text.to_owned()));
        }
        Err("a hash that is guessed in no time: `htpasswd -B` makes one of bcrypt".to_owned())
    }

    fn verifies(&self, password: &[u8]) -> bool {
        match self {
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Argon2(hash) => {
                PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
            }
        }
    }
}

impl BasicSource {
    /// Takes passwords once [`BasicSource::start`] was called.
    #[must_use]
    pub fn new(name: &str, settings: Settings, clock: Clock) -> Self {
        let users = Followed::new(settings.file.clone(), LARGEST, clock.clone(), Users::read);
        let digests = Digests::new();
        let (good, bad) = (Remembered::new(settings.remember), Remembered::new(settings.remember));
        let (together, name) = (Together::new(settings.at_once), name.into());
        let asking = OnceLock::new();
        Self(Arc::new(Inner { name, settings, clock, digests, users, good, bad, together, asking }))
    }

    /// Reads the file now, and again whenever it changes; passwords are checked on `asking`. Blocks.
    pub fn start(&self, slow: &Handle, asking: &Handle) {
        self.0.users.start(slow);
        let _ = self.0.asking.set(asking.clone());
    }

    /// The check that is under way, or that begins now. `None`: too many are.
    fn check(&self, digest: Digest, given: Password, users: &Arc<Users>) -> Option<Waits<Option<Arc<Principal>>>> {
        let (own, users, Password { name, secret }) = (Arc::clone(&self.0), Arc::clone(users), given);
        let asking = self.0.asking.get()?;
        self.0.together.ask(digest, asking, || async move {
            let (checked, named) = (Arc::clone(&users), name.clone());
            let is_right = tokio::task::spawn_blocking(move || checked.verify(&named, &secret)).await.unwrap_or(false);
            own.remember(digest, is_right.then_some(&name), users)
        })
    }
}

impl Inner {
    fn remember(&self, digest: Digest, name: Option<&String>, users: Arc<Users>) -> Option<Arc<Principal>> {
        let now = self.clock.now();
        let Some(name) = name else {
            self.bad.add(digest, (users, now + self.settings.negative));
            return None;
        };
        let claims = Map::from_iter([("sub".to_owned(), json!(name))]);
        let principal = Arc::new(crate::principal(&self.name, &claims, None));
        let until = now + self.settings.cache;
        self.good.add(digest, Good { principal: Arc::clone(&principal), users, until });
        Some(principal)
    }

    /// What is known of a credential, by the file as it is now.
    fn known(&self, digest: &Digest, users: &Arc<Users>) -> Option<Result<Arc<Principal>, Problem>> {
        let now = self.clock.now();
        let good = self.good.get(digest, |good| now < good.until && Arc::ptr_eq(&good.users, users));
        let bad = || self.bad.get(digest, |(by, until)| now < *until && Arc::ptr_eq(by, users));
        good.map(|good| Ok(good.principal)).or_else(|| bad().map(|_| Err(BASIC_REFUSED.problem())))
    }
}

impl Authenticator for BasicSource {
    fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    fn authenticate<'a>(&'a self, x: &'a Exchange, effort: Effort) -> Found<'a> {
        let own = &self.0;
        let given = match password::read(&x.head.fields) {
            None => return Found::Nothing,
            Some(Err(problem)) => return Found::Checked(Err(problem)),
            Some(Ok(given)) => given,
        };
        let (Some(users), Some(digests)) = (own.users.said(), &own.digests) else {
            return Found::Checked(Err(because(&BASIC_LIST, "the file cannot be read").header("Retry-After", "5")));
        };
        let digest = digests.of(&given);
        if let Some(known) = own.known(&digest, &users) {
            return Found::Checked(known);
        }
        if effort == Effort::Little {
            return Found::Checked(Err(TOO_MANY_FAILURES.problem()));
        }
        match self.check(digest, given, &users) {
            None => Found::Checked(Err(BASIC_CROWDED.problem().header("Retry-After", "1"))),
            Some(waits) => Found::Checking(Box::pin(async move {
                waits.answer().await.flatten().ok_or_else(|| BASIC_REFUSED.problem())
            })),
        }
    }

    fn challenge(&self) -> String {
        password::challenge(&self.0.name)
    }

    fn credential(&self) -> Credential<'_> {
        Credential::Authorization
    }

    fn bearers(&self) -> Bearers {
        Bearers::None
    }

    fn describe(&self) -> String {
        format!("names and passwords of {}", self.0.settings.file.display())
    }

    fn standing(&self) -> Standing {
        self.0.users.standing()
    }
}

impl fmt::Debug for BasicSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BasicSource").field("name", &self.0.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hashes_that_take_their_time_are_taken() {
        let bcrypt = bcrypt::hash("secret", 4).unwrap();
        let users = Users::read(format!("# staff\nalice:{bcrypt}\n\n").as_bytes()).unwrap();
        assert!(users.verify("alice", b"secret"));
        for (name, password) in [("alice", "Secret"), ("alice", ""), ("bob", "secret"), ("", "")] {
            assert!(!users.verify(name, password.as_bytes()), "{name}:{password}");
        }
        for (line, why) in [
            ("alice", "line 1 is no"),
            ("alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "htpasswd -B"),
            ("alice:$apr1$abc$def", "htpasswd -B"),
            ("alice:secret", "htpasswd -B"),
            (&format!("alice:{}", bcrypt.replace("$04$", "$31$")), "a cost"),
            ("alice:$2y$10$short", "no hash of bcrypt"),
            ("alice:$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "more than 256 MiB"),
            ("alice:$argon2id$nonsense", "no hash of Argon2"),
            (&format!("alice:{bcrypt}\nalice:{bcrypt}"), "line 2"),
        ] {
            let told = Users::read(line.as_bytes()).unwrap_err();
            assert!(told.contains(why) && !told.contains("AAAA"), "{line}: {told}");
        }
    }
}
