//! HTTP Message Signatures (RFC 9421) of requests: checks them ([`Verifier`]), and makes them ([`Signer`]).
//!
//! A signature covers what its list names and nothing else, so [`Expected::components`] says what has to be on it. A body is
//! covered only by way of its hash: [`crate::content_digest`].
//!
//! Not here: signatures of answers (`@status`, `req`), trailers (`tr`), and fields that are written anew before they are signed
//! (`sf`, `key`, `bs`). They are refused, each in its own words. Whoever sees a request can send it again for as long as it
//! is good: nothing is remembered of nonces, but they are told.

mod component;
pub(crate) mod fields;
mod key;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tollgate_core::problem::Problem;

use crate::checks::{Check, on};
use crate::faults::{
    SIGNATURE_COVERAGE, SIGNATURE_EXPIRED, SIGNATURE_INVALID, SIGNATURE_MALFORMED, SIGNATURE_UNKNOWN_KEY,
};
use crate::message::Message;
use crate::signing::unique;
pub use component::Component;
use component::{base, components};
use fields::{InnerList, Item, Member, dictionary, is_key, is_string, write_item, write_list};
pub use key::{Algorithm, SigningKey, VerifyingKey};

/// The field that says what is signed (§4.1).
pub const INPUT: &str = "Signature-Input";
/// The field that has the signatures (§4.2).
pub const SIGNATURE: &str = "Signature";
/// Most signatures of a request that are looked at.
const MOST: usize = 4;

/// What signatures must say.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// What each of them has to cover.
    pub components: Vec<Component>,
    /// What they are for (`tag`): others are passed over. `None`: whichever.
    pub tag: Option<String>,
    /// How old they may be, counted from `created`, which they must have.
    pub age: Duration,
    /// By how much clocks may differ.
    pub skew: Duration,
}

/// A signature that was read, and not believed yet. It covers what it has to, and is for now.
#[derive(Debug)]
pub struct Claim {
    said: Verified,
    /// The algorithm that it names.
    algorithm: Option<String>,
    /// What is covered and said, as it is signed.
    list: InnerList,
    signature: Vec<u8>,
}

impl Claim {
    /// The name of the key, if it says one.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.said.key.as_deref()
    }

    /// Judges it by this key. `message`: the one that it was read from.
    ///
    /// # Errors
    /// The key did not make it, or not for this request.
    pub fn judge(self, message: &Message<'_>, key: &VerifyingKey) -> Result<Verified, Problem> {
        // §3.2: what the request says of the algorithm must agree with what is known.
        if self.algorithm.is_some_and(|named| named != key.algorithm().name()) {
            return Err(SIGNATURE_INVALID.problem().detail("`alg` is not what the key is for"));
        }
        let base = base(message, &self.said.components, &self.list).map_err(malformed)?;
        if !on(Check::MessageSignature) || key.verifies(base.as_bytes(), &self.signature) {
            Ok(self.said)
        } else {
            Err(SIGNATURE_INVALID.problem())
        }
    }
}

/// A signature that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Its label among those of the request.
    pub label: String,
    /// The name of the key that made it (`keyid`), if it says one.
    pub key: Option<String>,
    /// What it covers; nothing else of the request is its signer's word.
    pub components: Vec<Component>,
    /// When it was made.
    pub created: SystemTime,
    /// When it ends.
    pub expires: SystemTime,
    /// What tells it from all others of its key, if it says so: for whoever remembers those.
    pub nonce: Option<String>,
    /// What it is for.
    pub tag: Option<String>,
}

/// Checks signatures.
#[derive(Clone, Debug)]
pub struct Verifier {
    expected: Expected,
}

impl Verifier {
    /// Takes those that say what is expected.
    #[must_use]
    pub fn new(expected: Expected) -> Self {
        Self { expected }
    }

    /// Whether a request has signatures of this kind.
    #[must_use]
    pub fn has_signature(message: &Message<'_>) -> bool {
        message.all(INPUT).next().is_some()
    }

    /// Reads the signatures of a request that are for what is expected, and judges what can be judged without a key: one
    /// result for each of them, none if there are none.
    ///
    /// # Errors
    /// The fields cannot be read.
    pub fn read(&self, message: &Message<'_>, now: SystemTime) -> Result<Vec<Result<Claim, Problem>>, Problem> {
        if !Self::has_signature(message) {
            return Ok(Vec::new());
        }
        let unread = |field: &str, why: &str| malformed(format!("`{field}`: {why}"));
        let inputs = dictionary(message.all(INPUT)).map_err(|why| unread(INPUT, why))?;
        let mut signatures = dictionary(message.all(SIGNATURE)).map_err(|why| unread(SIGNATURE, why))?;
        let mut claims = Vec::new();
        for (label, member) in inputs {
            let Member::List(list) = member else { return Err(unread(INPUT, "a member that is no inner list")) };
            let at = signatures.iter().position(|(own, _)| *own == label);
            let Some(Member::Item(Item::Bytes(signature), _)) = at.map(|at| signatures.swap_remove(at).1) else {
                return Err(malformed(format!("the signature `{label}` is not in `{SIGNATURE}`, or is none")));
            };
            let tag = text(&list, "tag")?;
            if self.expected.tag.is_some() && self.expected.tag != tag {
                continue;
            }
            if claims.len() >= MOST {
                return Err(malformed(format!("more than {MOST} signatures")));
            }
            claims.push(self.claim(label, tag, list, signature, now));
        }
        Ok(claims)
    }

    /// Reads and judges in one go, for those who have the keys at hand: `lookup` tells the one of a name. The first signature
    /// that holds counts. `None`: the request has none that is for what is expected.
    ///
    /// # Errors
    /// None of them holds: what is wrong with the first one.
    pub fn verify(
        &self,
        message: &Message<'_>,
        now: SystemTime,
        lookup: impl Fn(Option<&str>) -> Option<Arc<VerifyingKey>>,
    ) -> Result<Option<Verified>, Problem> {
        let mut wrong = None;
        for claim in self.read(message, now)? {
            let judged = claim.and_then(|claim| {
                let key = lookup(claim.key()).ok_or_else(|| SIGNATURE_UNKNOWN_KEY.problem())?;
                claim.judge(message, &key)
            });
            match judged {
                Ok(verified) => return Ok(Some(verified)),
                Err(problem) => drop(wrong.get_or_insert(problem)),
            }
        }
        wrong.map_or(Ok(None), Err)
    }

    fn claim(
        &self,
        label: String,
        tag: Option<String>,
        list: InnerList,
        signature: Vec<u8>,
        now: SystemTime,
    ) -> Result<Claim, Problem> {
        let components = components(&list).map_err(malformed)?;
        if let Some(missing) = self.expected.components.iter().find(|wanted| !components.contains(wanted))
            && on(Check::MessageCoverage)
        {
            return Err(SIGNATURE_COVERAGE.problem().detail(format!("{missing} is not covered")));
        }
        let created =
            time(&list, "created")?.ok_or_else(|| SIGNATURE_COVERAGE.problem().detail("`created` is missing"))?;
        let expires = time(&list, "expires")?;
        if on(Check::MessageTime) && created > now + self.expected.skew {
            return Err(SIGNATURE_EXPIRED.problem().detail("`created` is ahead of the gateway's clock"));
        }
        let oldest = created + self.expected.age;
        let expires = expires.map_or(oldest, |expires| expires.min(oldest)) + self.expected.skew;
        if on(Check::MessageTime) && expires < now {
            return Err(SIGNATURE_EXPIRED.problem());
        }
        let (key, nonce, algorithm) = (text(&list, "keyid")?, text(&list, "nonce")?, text(&list, "alg")?);
        let said = Verified { label, key, components, created, expires, nonce, tag };
        Ok(Claim { said, algorithm, list, signature })
    }
}

/// Signatures that cannot be read, in words for whoever sent them.
fn malformed(why: impl Into<String>) -> Problem {
    let why = why.into();
    SIGNATURE_MALFORMED.problem().cause(&why).detail(why)
}

/// A parameter of a signature (§2.3). Those that are not known are signed as all others, and say nothing here.
fn parameter<'l>(list: &'l InnerList, name: &str) -> Option<&'l Item> {
    list.parameters.iter().find(|(have, _)| have == name).map(|(_, value)| value)
}

fn text(list: &InnerList, name: &str) -> Result<Option<String>, Problem> {
    match parameter(list, name) {
        None => Ok(None),
        Some(Item::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(malformed(format!("`{name}` is no string"))),
    }
}

fn time(list: &InnerList, name: &str) -> Result<Option<SystemTime>, Problem> {
    // Times beyond this are mistakes, or made to overflow somebody.
    const YEAR_9999: u64 = 253_402_300_799;
    let Some(value) = parameter(list, name) else { return Ok(None) };
    let seconds = match value {
        Item::Integer(seconds) => u64::try_from(*seconds).ok().filter(|seconds| *seconds <= YEAR_9999),
        _ => None,
    };
    let seconds = seconds.ok_or_else(|| malformed(format!("`{name}` is no time")))?;
    Ok(Some(UNIX_EPOCH + Duration::from_secs(seconds)))
}

/// Signs requests with one key.
#[derive(Clone, Debug)]
pub struct Signer {
    label: String,
    key: Arc<SigningKey>,
    settings: Settings,
}

/// What a signature says, and what it covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The name of the key (`keyid`).
    pub key: Option<String>,
    /// What is covered; a request without it cannot be signed.
    pub components: Vec<Component>,
    /// What is covered, too, if the request has it.
    pub optional: Vec<Component>,
    /// What it is for (`tag`).
    pub tag: Option<String>,
    /// How long it is good (`expires`).
    pub life: Option<Duration>,
    /// Whether it has a nonce.
    pub nonce: Nonce,
    /// Whether it names the algorithm (`alg`).
    pub algorithm: Told,
}

/// Whether a signature has a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nonce {
    /// None.
    None,
    /// 128 random bits.
    Random,
}

/// Whether something is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is.
    Yes,
    /// It is not: whoever verifies knows it.
    No,
}

impl Signer {
    /// Signs with this key, under this label.
    ///
    /// # Errors
    /// Something of it cannot be written, in words for a person.
    pub fn new(label: &str, key: Arc<SigningKey>, settings: Settings) -> Result<Self, String> {
        if !is_key(label) {
            return Err(format!("`{label}` is no label of a signature: lower-case letters, digits, `_`, `-`, `.`"));
        }
        let texts = [settings.key.as_ref(), settings.tag.as_ref()];
        if let Some(text) = texts.into_iter().flatten().find(|text| !is_string(text)) {
            return Err(format!("`{text}` has more than visible ASCII"));
        }
        let mut seen: Vec<&Component> = Vec::new();
        for component in settings.components.iter().chain(&settings.optional) {
            if !component.is_sound() || seen.contains(&component) {
                return Err(format!("{component} is no component, or is there twice"));
            }
            seen.push(component);
        }
        Ok(Self { label: label.to_owned(), key, settings })
    }

    /// How it signs.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.key.algorithm()
    }

    /// Whether a request has a signature under its label, or fields of signatures to which nothing can be added since they cannot be read.
    #[must_use]
    pub fn is_taken(&self, message: &Message<'_>) -> bool {
        let is_taken = |name: &str| {
            dictionary(message.all(name)).map_or(true, |all| all.iter().any(|(own, _)| *own == self.label))
        };
        is_taken(INPUT) || is_taken(SIGNATURE)
    }

    /// The lines of `Signature-Input` and of `Signature` to add to a request. Whatever is changed of what is covered
    /// afterwards makes them worthless.
    ///
    /// # Errors
    /// The request cannot be signed, in words for a person.
    pub fn sign(&self, message: &Message<'_>, now: SystemTime) -> Result<[(&'static str, String); 2], String> {
        if self.is_taken(message) {
            return Err(format!("the request has a signature `{}` already", self.label));
        }
        let optional = self.settings.optional.iter().filter(|component| component.is_in(message));
        let covered: Vec<Component> = self.settings.components.iter().chain(optional).cloned().collect();
        let list =
            InnerList { items: covered.iter().map(Component::item).collect(), parameters: self.parameters(now)? };
        let signature = self.key.sign(base(message, &covered, &list)?.as_bytes())?;
        let (mut input, mut value) = (format!("{}=", self.label), format!("{}=", self.label));
        write_list(&list, &mut input);
        write_item(&Item::Bytes(signature), &mut value);
        Ok([(INPUT, input), (SIGNATURE, value)])
    }

    fn parameters(&self, now: SystemTime) -> Result<fields::Parameters, String> {
        let seconds = |time: SystemTime| {
            let since = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
            i64::try_from(since).ok().filter(|seconds| *seconds < 1_000_000_000_000_000).map(Item::Integer)
        };
        let none = "the clock tells no time that can be written";
        let mut parameters = vec![("created".to_owned(), seconds(now).ok_or(none)?)];
        let mut add = |name: &str, value: Item| parameters.push((name.to_owned(), value));
        if let Some(life) = self.settings.life {
            add("expires", now.checked_add(life).and_then(seconds).ok_or(none)?);
        }
        if let Some(key) = &self.settings.key {
            add("keyid", Item::String(key.clone()));
        }
        if self.settings.algorithm == Told::Yes {
            add("alg", Item::String(self.key.algorithm().name().to_owned()));
        }
        if self.settings.nonce == Nonce::Random {
            add("nonce", Item::String(unique()?));
        }
        if let Some(tag) = &self.settings.tag {
            add("tag", Item::String(tag.clone()));
        }
        Ok(parameters)
    }
}

#[cfg(test)]
mod tests;
