//! Tokens of the gateway's own: access tokens (RFC 9068) for the services behind it, and the keys that sign them.
//!
//! Keys follow each other: the next one is published for a while before it signs, and the one before for as long as tokens of it
//! may be under way, so that whoever reads the keys now and then is never met with one that they cannot know.

use std::fmt;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tollgate_core::clock::Clock;
use tollgate_core::onward::{Minted, Minter, Recipe};
use tollgate_core::principal::Principal;
use tollgate_core::problem::Problem;

use crate::faults::{MINT, because};
use crate::jwk::{Algorithm, Key};
use crate::private_file::{self, PrivateError};
use crate::remembered::{Digest, Remembered};
use crate::signing::{SigningKey, unique};
use tollgate_follow::LOOK;

/// What minted tokens say they are (RFC 9068 §2.1).
const KIND: &str = "at+jwt";
/// The longest that a token may hold.
pub const LONGEST: Duration = Duration::from_secs(3600);
/// How long a key is published before it signs, at most.
const AHEAD: Duration = Duration::from_secs(3600);
/// A token holds for at least so long, however soon the caller's own credential ends.
const SHORTEST: Duration = Duration::from_secs(10);
/// About how many tokens are remembered.
const REMEMBERED: usize = 10_000;
/// Most bytes of the file.
const MOST: u64 = 64 * 1024;

/// Where the keys are.
#[derive(Clone)]
pub enum KeysIn {
    /// In this file, which is made if it is not there; a new one follows after so long.
    File(PathBuf, Duration),
    /// Here, in PEM: the first one signs, all are published.
    Text(String),
    /// Nowhere: made now, and forgotten with the process.
    Memory,
}

/// How tokens are made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who gives them out (`iss`).
    pub url: String,
    /// How a key that is made here signs.
    pub algorithm: Algorithm,
    /// The keys.
    pub keys: KeysIn,
}

/// Gives out tokens.
pub struct Issuer {
    settings: Settings,
    clock: Clock,
    known: ArcSwap<Known>,
    made: Remembered<Made>,
    task: Mutex<Option<AbortHandle>>,
}

struct Known {
    /// In the order in which they sign.
    keys: Vec<Signing>,
    /// The JWK set.
    published: String,
}

/// A key, and from when on it signs.
struct Signing {
    key: SigningKey,
    public: Key,
    from: SystemTime,
}

/// The same in the file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    pkcs8: String,
    signs_from: u64,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKeys {
    keys: Vec<Stored>,
}

impl Issuer {
    /// Reads the keys, or makes the first one. Blocks.
    ///
    /// # Errors
    /// They can be neither read nor made.
    pub fn open(settings: Settings, clock: Clock) -> Result<Arc<Self>, PrivateError> {
        let known = ArcSwap::from_pointee(Known { keys: Vec::new(), published: String::new() });
        let own = Self { settings, clock, known, made: Remembered::new(REMEMBERED), task: Mutex::default() };
        let now = own.clock.unix();
        match &own.settings.keys {
            KeysIn::File(path, rotate) => own.tend(path, *rotate)?,
            KeysIn::Text(text) => {
                let wrong = |message| PrivateError { message, hint: "`openssl genpkey -algorithm ed25519`".to_owned() };
                let keys = SigningKey::from_pem(text, KIND).map_err(wrong)?;
                // The first one signs.
                let signing = keys.into_iter().rev().map(|key| Signing::new(key, now)).collect::<Result<_, _>>();
                own.know(signing.map_err(wrong)?);
            }
            KeysIn::Memory => {
                let made = SigningKey::generate(own.settings.algorithm, KIND);
                let made = made.and_then(|(key, _)| Signing::new(key, now));
                own.know(vec![made.map_err(|message| PrivateError { message, hint: String::new() })?]);
            }
        }
        Ok(Arc::new(own))
    }

    /// Has the file looked after on this runtime from now on, until this is dropped. Only the first call counts.
    pub fn start(self: &Arc<Self>, slow: &Handle) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if let (KeysIn::File(path, rotate), None) = (&self.settings.keys, &*task) {
            *task = Some(slow.spawn(follow(Arc::downgrade(self), path.clone(), *rotate)).abort_handle());
        }
    }

    /// Who gives the tokens out.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.settings.url
    }

    /// The public halves as a JWK set (RFC 7517 §5).
    #[must_use]
    pub fn published(&self) -> String {
        self.known.load().published.clone()
    }

    /// Whether any of the published keys signed this.
    pub(crate) fn signed(&self, token: &crate::jwt::Token<'_>) -> bool {
        self.known.load().keys.iter().any(|signing| token.is_signed_by(&signing.public))
    }

    fn know(&self, keys: Vec<Signing>) {
        let all: Vec<&Map<String, Value>> = keys.iter().map(|signing| signing.key.public()).collect();
        let published = json!({ "keys": all }).to_string();
        self.known.store(Arc::new(Known { keys, published }));
    }

    /// Takes in what the file says, and sees to it that the keys follow each other. Blocks.
    fn tend(&self, path: &Path, rotate: Duration) -> Result<(), PrivateError> {
        let now = self.clock.unix();
        let mut stored = read(path)?;
        if is_due(&stored, now, rotate) {
            let _lock = lock(path).map_err(|error| private_file::cannot_make(path, &error))?;
            // Another process may have seen to it meanwhile.
            stored = read(path)?;
            if is_due(&stored, now, rotate) {
                stored = self.follow_up(stored, now, rotate).map_err(|message| wrong(path, message))?;
                let text = serde_json::to_vec(&stored).map_err(|error| wrong(path, error.to_string()))?;
                private_file::replace(path, &text).map_err(|error| private_file::cannot_make(path, &error))?;
            }
        }
        let keys = stored.keys.iter().map(signing).collect::<Result<Vec<_>, _>>().map_err(|why| wrong(path, why))?;
        let ids = |keys: &[Signing]| keys.iter().map(|signing| signing.key.id().to_owned()).collect::<Vec<_>>();
        if ids(&keys) != ids(&self.known.load().keys) {
            self.know(keys);
        }
        Ok(())
    }

    /// One more key, without those of which no token can be under way.
    fn follow_up(&self, mut stored: StoredKeys, now: SystemTime, rotate: Duration) -> Result<StoredKeys, String> {
        let from = if stored.keys.is_empty() { now } else { now + ahead(rotate) };
        let over = |successor: &Stored| successor.from() + LONGEST + LONGEST < now;
        let first = stored.keys.iter().skip(1).take_while(|successor| over(successor)).count();
        stored.keys.drain(..first);
        let (key, pkcs8) = SigningKey::generate(self.settings.algorithm, KIND)?;
        let signs_from = from.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        tracing::info!(key = key.id(), signs_from, "a new key for tokens of the gateway's own");
        stored.keys.push(Stored { pkcs8: BASE64URL_NOPAD.encode(&pkcs8), signs_from });
        Ok(stored)
    }
}

impl Stored {
    fn from(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.signs_from.min(1 << 40))
    }
}

impl Signing {
    fn new(key: SigningKey, from: SystemTime) -> Result<Self, String> {
        let public = Key::read(key.public())
            .ok_or_else(|| "an RSA key: services are shown P-256 and Ed25519 only".to_owned())?;
        Ok(Self { key, public, from })
    }
}

fn signing(stored: &Stored) -> Result<Signing, String> {
    let document = BASE64URL_NOPAD.decode(stored.pkcs8.as_bytes()).map_err(|_| "a key that is none".to_owned())?;
    Signing::new(SigningKey::from_pkcs8(&document, KIND)?, stored.from())
}

fn ahead(rotate: Duration) -> Duration {
    AHEAD.min(rotate / 4)
}

/// Whether another key is to be made: there is none, or the last one is about to have signed for long enough.
fn is_due(stored: &StoredKeys, now: SystemTime, rotate: Duration) -> bool {
    stored.keys.last().is_none_or(|last| last.from() + rotate <= now + ahead(rotate))
}

fn read(path: &Path) -> Result<StoredKeys, PrivateError> {
    if !path.exists() {
        return Ok(StoredKeys::default());
    }
    let text = private_file::read(path, MOST)?;
    // What is wrong with it may show a part of it.
    serde_json::from_slice(&text).map_err(|_| wrong(path, "no keys that can be read".to_owned()))
}

fn wrong(path: &Path, why: String) -> PrivateError {
    PrivateError {
        message: format!("{}: {why}", path.display()),
        hint: "move the file away, and a new one is made".to_owned(),
    }
}

/// The folder is locked: the file is another one after each change.
fn lock(path: &Path) -> std::io::Result<File> {
    let folder = path.parent().unwrap_or(Path::new("."));
    private_file::folder(folder)?;
    let lock = File::open(folder)?;
    lock.lock()?;
    Ok(lock)
}

impl Issuer {
    /// A token that says this, beside `iss`, `aud`, `iat`, `exp` and `jti`.
    ///
    /// # Errors
    /// There is no key, or no random numbers.
    pub fn give(
        &self,
        mut claims: Map<String, Value>,
        audience: &[String],
        until: SystemTime,
    ) -> Result<Minted, Problem> {
        let now = self.clock.unix();
        let seconds = |at: SystemTime| json!(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
        let id = unique().map_err(|why| because(&MINT, why))?;
        let audience = match audience {
            [one] => json!(one),
            several => json!(several),
        };
        for (name, value) in [
            ("iss", json!(self.settings.url)),
            ("aud", audience),
            ("iat", seconds(now)),
            ("exp", seconds(until)),
            ("jti", json!(id)),
        ] {
            claims.insert(name.to_owned(), value);
        }
        let known = self.known.load();
        // The youngest that signs already; before the first one does, that one.
        let signing = known.keys.iter().rev().find(|signing| signing.from <= now).or(known.keys.first());
        let signing = signing.ok_or_else(|| because(&MINT, "there is no key"))?;
        let token = signing.key.sign(&claims).map_err(|why| because(&MINT, why))?;
        Ok(Minted { token: token.into(), until })
    }
}

impl Minter for Issuer {
    fn mint(&self, caller: &Arc<Principal>, recipe: &Recipe, service: &str) -> Result<Minted, Problem> {
        let (now, about) = (self.clock.unix(), about(caller, recipe, service));
        // Half of its time is left for what the service does with it.
        let holds = |made: &Made| now + made.lifetime / 2 < made.minted.until && Arc::ptr_eq(&made.caller, caller);
        if let Some(made) = self.made.get(&about, holds) {
            return Ok(made.minted);
        }
        let of_service = [service.to_owned()];
        let audience = if recipe.audience().is_empty() { &of_service[..] } else { recipe.audience() };
        // It does not outlive what let the caller in by more than a moment.
        let ends = caller.expires.map_or(recipe.lifetime(), |ends| ends.duration_since(now).unwrap_or_default());
        let lifetime = recipe.lifetime().min(ends.max(SHORTEST));
        let minted = self.give(claims(caller, recipe), audience, now + lifetime)?;
        self.made.add(about, Made { caller: Arc::clone(caller), minted: minted.clone(), lifetime });
        Ok(minted)
    }
}

/// A token that was made, and for whom.
#[derive(Clone)]
struct Made {
    /// Held, so that nobody else has its address.
    caller: Arc<Principal>,
    minted: Minted,
    lifetime: Duration,
}

/// Which token it is: whose, made how, for which service. Callers are told apart by where they are in memory.
fn about(caller: &Arc<Principal>, recipe: &Recipe, service: &str) -> Digest {
    let mut hasher = DefaultHasher::new();
    (Arc::as_ptr(caller).addr(), recipe.id(), service).hash(&mut hasher);
    let mut about = [0; 32];
    let mut of_service = DefaultHasher::new();
    (service, recipe.id()).hash(&mut of_service);
    let parts = [hasher.finish(), Arc::as_ptr(caller).addr() as u64, recipe.id(), of_service.finish()];
    for (room, part) in about.chunks_exact_mut(8).zip(parts) {
        room.copy_from_slice(&part.to_ne_bytes());
    }
    about
}

/// RFC 9068 §2.2, and what the recipe takes over.
fn claims(caller: &Principal, recipe: &Recipe) -> Map<String, Value> {
    let mut claims = Map::new();
    for path in recipe.claims() {
        if let (Some(value), Some(name)) = (caller.claim(path), path.last()) {
            claims.insert(name.clone(), value.clone());
        }
    }
    claims.insert("sub".to_owned(), json!(&*caller.subject));
    let client = caller.consumer.as_deref().unwrap_or(&caller.subject);
    claims.insert("client_id".to_owned(), json!(client));
    if !caller.scopes.is_empty() {
        claims.insert("scope".to_owned(), json!(caller.scopes.join(" ")));
    }
    claims
}

impl Drop for Issuer {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

async fn follow(weak: Weak<Issuer>, path: PathBuf, rotate: Duration) {
    let mut is_troubled = false;
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(own) = weak.upgrade() else { return };
        let path = path.clone();
        let tended = tokio::task::spawn_blocking(move || own.tend(&path, rotate)).await;
        match tended {
            Ok(Ok(())) => is_troubled = false,
            Ok(Err(error)) => {
                if !std::mem::replace(&mut is_troubled, true) {
                    tracing::error!(%error, "the keys for tokens of the gateway's own: those before stay in force");
                }
            }
            // The runtime ends.
            Err(_) => return,
        }
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("url", &self.settings.url).finish_non_exhaustive()
    }
}

impl fmt::Debug for KeysIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File(..) => "File",
            Self::Text(_) => "Text",
            Self::Memory => "Memory",
        })
    }
}

#[cfg(test)]
mod tests;
