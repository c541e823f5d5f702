//! What a service is told of the caller: ports for whoever makes tokens, implemented by `identity`.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::head::RequestHead;
use crate::policy::BoxFuture;
use crate::principal::Principal;
use crate::problem::Problem;

/// What one attempt says beside, or in place of, what the client sent.
#[derive(Clone, Debug, Default)]
pub struct Onward {
    /// Fields of the gateway's own: the client's of the same names are not sent.
    pub fields: Vec<(Bytes, Bytes)>,
    /// The credential of the caller, kept for being traded when it is not sent itself; or the token of their session.
    pub token: Option<Box<str>>,
    /// Who signs what is sent, once it is written.
    pub signer: Option<Arc<dyn Signer>>,
}

impl Onward {
    /// Whether a field of this name is the gateway's own.
    #[must_use]
    pub fn hides(&self, name: &[u8]) -> bool {
        self.fields.iter().any(|(own, _)| own.eq_ignore_ascii_case(name))
    }

    /// Has nothing to say any more.
    pub fn clear(&mut self) {
        self.fields.clear();
        self.token = None;
        self.signer = None;
    }
}

/// A request as it is about to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Start line and field lines, each with its line break, without the empty line behind them.
    pub head: &'a [u8],
    /// `https` or `http`.
    pub scheme: &'a str,
    /// Its body, if it has one that was read; see [`Signer::most_content`].
    pub content: Option<&'a Bytes>,
}

/// Signs requests for services that ask for that.
pub trait Signer: fmt::Debug + Send + Sync + 'static {
    /// Its name under `signers`.
    fn name(&self) -> &str;

    /// The largest body that it signs, in bytes; 0: it signs none, so that bodies need not be read before they are sent.
    fn most_content(&self) -> usize;

    /// Takes away what the client sent in place of what is written here.
    fn prepare(&self, head: &mut RequestHead);

    /// Whether it writes a field of this name: nothing else is sent under it.
    fn writes(&self, name: &[u8]) -> bool;

    /// The fields that make the request a signed one, to be added behind those that are there. Takes as long as a signature.
    ///
    /// # Errors
    /// The request cannot be signed.
    fn sign(&self, request: &Outgoing<'_>) -> Result<Vec<(&'static str, String)>, Problem>;

    /// How it signs, in a few words.
    fn describe(&self) -> String;
}

/// A token for a service.
#[derive(Clone, PartialEq, Eq)]
pub struct Minted {
    /// Its text.
    pub token: Bytes,
    /// When it ends.
    pub until: SystemTime,
}

impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minted").field("until", &self.until).finish_non_exhaustive()
    }
}

/// How tokens of the gateway's own are made for a route.
#[derive(Clone, Debug)]
pub struct Recipe {
    audience: Vec<String>,
    lifetime: Duration,
    claims: Vec<Vec<String>>,
    id: u64,
}

impl Recipe {
    /// `audience`: whom the token is for; empty: the service that it is sent to. `claims`: those that are taken over from the caller,
    /// each by the names that lead to it.
    #[must_use]
    pub fn new(audience: Vec<String>, lifetime: Duration, claims: Vec<Vec<String>>) -> Self {
        let mut hasher = DefaultHasher::new();
        (&audience, lifetime, &claims).hash(&mut hasher);
        Self { audience, lifetime, claims, id: hasher.finish() }
    }

    /// Whom the token is for; empty: the service that it is sent to.
    #[must_use]
    pub fn audience(&self) -> &[String] {
        &self.audience
    }

    /// How long it holds, unless the caller's own credential ends sooner.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// The claims that are taken over.
    #[must_use]
    pub fn claims(&self) -> &[Vec<String>] {
        &self.claims
    }

    /// The same number for the same recipe, in this process.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }
}

/// Makes tokens of the gateway's own.
pub trait Minter: fmt::Debug + Send + Sync + 'static {
    /// A token that tells this service of the caller; one that was made just now will do. Takes as long as a signature.
    ///
    /// # Errors
    /// There is no key, or no random numbers.
    fn mint(&self, caller: &Arc<Principal>, recipe: &Recipe, service: &str) -> Result<Minted, Problem>;
}

/// A token that is to be traded for another (RFC 8693).
#[derive(Clone, Copy, Debug)]
pub struct Trade<'a> {
    /// The token that there is.
    pub token: &'a str,
    /// Whom the other one is to be for.
    pub audience: &'a [String],
    /// What it is to be good for; empty: whatever the provider gives.
    pub scope: &'a [String],
}

/// Trades tokens.
pub trait Exchanger: fmt::Debug + Send + Sync + 'static {
    /// Trades one, or gives what was traded for it before.
    fn exchange(&self, trade: &Trade<'_>) -> BoxFuture<'static, Result<Minted, Problem>>;
}
