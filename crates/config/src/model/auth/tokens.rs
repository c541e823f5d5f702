//! Tokens of one identity provider.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Node, Span, Spanned, Value};
use tollgate_core::section;
use tollgate_core::units::{Bounded, BoundedSize, Period};

use crate::model::auth::bound::{Bound, Dpop, ProxysWord, can_be_shown};
use crate::model::auth::provider::{self, Provider, Tenants};
use crate::model::auth::secret::Secret;
use crate::model::auth::url::{Url, is_private};
use crate::model::defaults::v1;
use crate::model::tls::FilePath;
use tollgate_core::text::{FromText, decode_from_text, text_schema, words};

section! {
    /// A source of identity: tokens (JWT) of one identity provider.
    pub struct Tokens: fits {
        /// Who gives the tokens out, exactly as their `iss` says. Unless `jwks` says where they are, the provider's keys are found by
        /// its metadata (OpenID Connect Discovery, RFC 8414).
        issuer: Spanned<Url>,
        /// Which make of identity provider it is, if its tokens differ from what the standards say.
        provider: Option<Spanned<Provider>>,
        /// With `provider: entra`, in place of an issuer: the ids of the tenants whose tokens are taken; or `any`, those of whichever
        /// organization.
        tenants: Option<Spanned<Tenants>>,
        /// With `provider: google`: the Workspace domains whose users may come (`hd`).
        hosted_domain: Option<Spanned<Vec<String>>>,
        /// Whom the tokens must be for (`aud`; with `provider: cognito`, `client_id`): one of these, or `any`, which takes tokens that were given out for others.
        audience: Spanned<Audience>,
        /// Where the provider's keys are: a URL or a file.
        jwks: Option<Spanned<KeysAt>>,
        /// How tokens may be signed; without it, in all ways for which the provider has keys. Never by a shared secret.
        algorithms: Option<Spanned<Vec<Algorithm>>>,
        /// What the tokens say they are (`typ`), such as `at+jwt`; without it, anything but what is made for something else.
        kind as "type": Option<Spanned<TokenType>>,
        /// By how much the clocks of the provider and of this machine may differ.
        skew: Spanned<Period> = v1::AUTH_SKEW,
        /// How often the provider's keys are read. A key that is not known is asked for at once.
        refresh: Spanned<Period> = v1::AUTH_REFRESH,
        /// For how long known keys hold when the provider is down; after that, requests are answered 503.
        keep: Spanned<Period> = v1::AUTH_KEEP,
        /// How long the provider may take to answer.
        timeout: Period = v1::AUTH_TIMEOUT,
        /// How the provider is asked about each token (RFC 7662), also about those that are no JWT; without it, tokens are read and
        /// checked here.
        introspection: Option<Introspection>,
        /// How the provider's tokens are traded for others that are meant for a service (RFC 8693): `backend_token: exchange`.
        exchange: Option<TokenExchange>,
        /// What tokens have to be bound to, so that whoever steals one cannot use it.
        bound: Spanned<Bound> = v1::BOUND,
        /// How proofs are judged that come with tokens bound to a key (DPoP, RFC 9449); without it, such tokens are refused.
        dpop: Option<Dpop>,
        /// Whether a proxy of `trust` says (`Client-Cert`, RFC 9440) what certificate its client has shown, for tokens that are bound to one.
        forwarded: Spanned<ProxysWord> = v1::BOUND_FORWARDED,
        /// The certificates of those who may vouch for the provider (PEM); without it, whom the system trusts.
        ca: Option<Spanned<FilePath>>,
        /// The largest token.
        largest: BoundedSize<256, 65_536> = v1::AUTH_LARGEST,
        /// About how many tokens that were checked are remembered, so that they need not be checked again.
        remember: Bounded<0, 10_000_000> = v1::AUTH_REMEMBER,
    }
}

section! {
    /// How the provider is asked about a token.
    pub struct Introspection: introspection_proves {
        /// Who the gateway is there: its client id.
        client: Spanned<String>,
        /// How it proves that: by a secret.
        secret: Option<Secret>,
        /// The same by a token that this key signs (`private_key_jwt`): PEM, PKCS #8.
        key: Option<Spanned<Secret>>,
        /// Where a secret is shown: in the `Authorization` field (`basic`), or in the body (`post`).
        auth: ClientAuth = v1::INTROSPECTION_AUTH,
        /// Where to ask; without it, where the issuer's metadata says.
        url: Option<Spanned<Url>>,
        /// For how long an answer holds: so long may a token still pass that was revoked.
        cache: Period = v1::INTROSPECTION_CACHE,
        /// For how long the answer holds that a token is not valid.
        negative: Period = v1::INTROSPECTION_NEGATIVE,
        /// Most tokens that the provider is asked about at a time; what comes beyond that is answered 503.
        at_once: Bounded<1, 10_000> = v1::INTROSPECTION_AT_ONCE,
    }
}

section! {
    /// How the provider's tokens are traded for others.
    pub struct TokenExchange: exchange_proves {
        /// Who the gateway is there: its client id.
        client: Spanned<String>,
        /// How it proves that: by a secret.
        secret: Option<Secret>,
        /// The same by a token that this key signs (`private_key_jwt`): PEM, PKCS #8.
        key: Option<Spanned<Secret>>,
        /// Where a secret is shown: in the `Authorization` field (`basic`), or in the body (`post`).
        auth: ClientAuth = v1::INTROSPECTION_AUTH,
        /// Where tokens are traded; without it, where the issuer's metadata says.
        url: Option<Spanned<Url>>,
        /// For how long a token that was traded is used, at most: until it ends.
        cache: Period = v1::TOKEN_EXCHANGE_CACHE,
        /// Most trades at a time; what comes beyond that is answered 503.
        at_once: Bounded<1, 10_000> = v1::INTROSPECTION_AT_ONCE,
    }
}

/// How a client proves who it is.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientProof<'c> {
    /// By a secret in the `Authorization` field.
    Basic(&'c str),
    /// By a secret in the body.
    Post(&'c str),
    /// By a token that it signs with this key.
    Key(&'c Spanned<Secret>),
}

impl Introspection {
    /// How the gateway proves who it is.
    #[must_use]
    pub fn proof(&self) -> Option<ClientProof<'_>> {
        proof(self.secret.as_ref(), self.key.as_ref(), self.auth)
    }
}

impl TokenExchange {
    /// How the gateway proves who it is.
    #[must_use]
    pub fn proof(&self) -> Option<ClientProof<'_>> {
        proof(self.secret.as_ref(), self.key.as_ref(), self.auth)
    }
}

pub(super) fn proof<'c>(
    secret: Option<&'c Secret>,
    key: Option<&'c Spanned<Secret>>,
    auth: ClientAuth,
) -> Option<ClientProof<'c>> {
    match (secret, key) {
        (Some(secret), None) if auth == ClientAuth::Post => Some(ClientProof::Post(&secret.0)),
        (Some(secret), None) => Some(ClientProof::Basic(&secret.0)),
        (None, Some(key)) => Some(ClientProof::Key(key)),
        _ => None,
    }
}

fn introspection_proves(written: &Introspection, cx: &mut DecodeCx) -> bool {
    proves(written.proof().is_some(), &written.client.span, cx)
}

fn exchange_proves(written: &TokenExchange, cx: &mut DecodeCx) -> bool {
    proves(written.proof().is_some(), &written.client.span, cx)
}

fn proves(does: bool, client: &Span, cx: &mut DecodeCx) -> bool {
    if !does {
        let mistake =
            Diagnostic::error("the gateway proves who it is by a secret or by a key: by one of them").at(client);
        cx.report(mistake.hint("`secret: ${env:NAME}`, or `key: ${file:/run/secrets/client.pem}`"));
    }
    does
}

words! {
    /// Where a client proves who it is.
    pub enum ClientAuth {
        /// In the `Authorization` field.
        Basic = "basic",
        /// In the body.
        Post = "post",
    }
}

/// Whether its parts go together, and are as they are probably meant.
fn fits(source: &Tokens, cx: &mut DecodeCx) -> bool {
    let mut well = true;
    if source.issuer.value.0.contains(['?', '#']) {
        let mistake = Diagnostic::error("an issuer has neither a query nor a fragment").at(&source.issuer.span);
        cx.report(mistake.hint("write it as the provider's tokens do (`iss`)"));
        well = false;
    }
    let keys = match (&source.introspection, &source.jwks) {
        (Some(Introspection { url: Some(url), .. }), _) => Some((&url.value.0, &url.span)),
        (Some(_), _) | (None, None) => Some((&source.issuer.value.0, &source.issuer.span)),
        (None, Some(Spanned { value: KeysAt::Url(url), span })) => Some((&url.0, span)),
        (None, Some(Spanned { value: KeysAt::File(_), .. })) => None,
    };
    if let Some((url, span)) = keys.filter(|(url, _)| !is_private(url)) {
        let warning = Diagnostic::warning(format!("what `{url}` says is not protected on its way")).at(span);
        cx.report(warning.hint("whoever is on the network between can let anybody in: use https"));
    }
    well &= provider::suits(source, cx);
    well &= is_of_one_kind(source, cx);
    well &= can_be_shown(source, cx);
    if source.audience.value.0.is_empty() {
        let warning =
            Diagnostic::warning("tokens that were given out for other services are taken").at(&source.audience.span);
        cx.report(warning.hint("name what they must be for: `audience: orders`"));
    }
    if let (Some(ca), None) = (&source.ca, keys.filter(|(url, _)| url.starts_with("https://"))) {
        cx.report(Diagnostic::error("`ca` has no use: nothing is read under https").at(&ca.span));
        well = false;
    }
    if source.refresh.value.0.as_secs() < 1 {
        let mistake = Diagnostic::error("so many questions would be a load of their own").at(&source.refresh.span);
        cx.report(mistake.hint("a second or more; a few minutes are usual"));
        well = false;
    }
    if source.skew.value.0.as_secs() > 600 {
        let mistake = Diagnostic::error("clocks do not differ by so much").at(&source.skew.span);
        cx.report(mistake.hint("ten minutes at most: tokens hold for that much longer"));
        well = false;
    }
    well
}

/// What is said of tokens that are read here has no meaning for those that are asked about.
fn is_of_one_kind(source: &Tokens, cx: &mut DecodeCx) -> bool {
    if source.introspection.is_none() {
        return true;
    }
    let mistake =
        |what: &str| Diagnostic::error(format!("`{what}` has no use with `introspection`: tokens are not read here"));
    let mut well = true;
    if let Some(jwks) = &source.jwks {
        cx.report(mistake("jwks").at(&jwks.span));
        well = false;
    }
    for (what, span) in [
        ("algorithms", source.algorithms.as_ref().map(|a| &a.span)),
        ("type", source.kind.as_ref().map(|kind| &kind.span)),
        ("provider", source.provider.as_ref().map(|provider| &provider.span)),
        ("refresh", Some(&source.refresh.span).filter(|span| span.is_some())),
        ("keep", Some(&source.keep.span).filter(|span| span.is_some())),
    ] {
        if let Some(span) = span {
            cx.report(mistake(what).at(span));
            well = false;
        }
    }
    well
}

words! {
    /// How a token may be signed.
    pub enum Algorithm {
        /// RSA with SHA-256.
        Rs256 = "RS256",
        /// RSA with SHA-384.
        Rs384 = "RS384",
        /// RSA with SHA-512.
        Rs512 = "RS512",
        /// RSA-PSS with SHA-256.
        Ps256 = "PS256",
        /// RSA-PSS with SHA-384.
        Ps384 = "PS384",
        /// RSA-PSS with SHA-512.
        Ps512 = "PS512",
        /// ECDSA on P-256.
        Es256 = "ES256",
        /// ECDSA on P-384.
        Es384 = "ES384",
        /// ECDSA on P-521.
        Es512 = "ES512",
        /// Ed25519.
        EdDsa = "EdDSA",
    }
}

/// What a token says it is: a media type without `application/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenType(pub String);

impl FromText for TokenType {
    const WHAT: &'static str = "a type of tokens";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let bare = text.to_ascii_lowercase();
        let bare = bare.strip_prefix("application/").unwrap_or(&bare);
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        match !bare.is_empty() && bare.bytes().all(allowed) {
            true => Ok(Self(bare.to_owned())),
            false => Err(Diagnostic::error(format!("`{text}` is no type of tokens")).hint("`at+jwt`, `JWT`")),
        }
    }
}

decode_from_text!(TokenType);
text_schema!(TokenType, "TokenType", "description": "What tokens say they are (`typ`).", "examples": ["at+jwt", "JWT"]);

/// Whom tokens must be for; empty: whomever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audience(pub Vec<String>);

impl Decode for Audience {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        let Value::List(items) = &node.value else { return cx.expected(node, "an audience, or a list of them") };
        if let [Node { value: Value::String(text), .. }] = items.as_slice()
            && text == "any"
        {
            return Some(Self(Vec::new()));
        }
        let mut names = Vec::with_capacity(items.len());
        for item in items {
            match item.text() {
                Some("any") => cx.report(Diagnostic::error("`any` stands alone").at(&item.span)),
                Some(name) if !name.is_empty() => names.push(name.to_owned()),
                _ => return cx.expected(item, "an audience"),
            }
        }
        if items.is_empty() {
            cx.report(Diagnostic::error("nobody is named").at(&node.span).hint("`audience: orders`; or `any`"));
        }
        (!names.is_empty() && names.len() == items.len()).then_some(Self(names))
    }
}

impl JsonSchema for Audience {
    fn schema_name() -> Cow<'static, str> {
        "Audience".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Whom tokens must be for, or `any`.",
            "type": "array", "minItems": 1, "items": { "type": "string", "minLength": 1 },
        })
    }
}

/// Where keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysAt {
    /// At this URL.
    Url(Url),
    /// In this file.
    File(PathBuf),
}

impl Decode for KeysAt {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        match node.text() {
            Some(text) if text.starts_with("http://") || text.starts_with("https://") => {
                Url::decode(node, cx).map(Self::Url)
            }
            Some(text) if text.contains("://") => {
                cx.report(Diagnostic::error(format!("`{text}` is neither a URL of the web nor a file")).at(&node.span));
                None
            }
            _ => FilePath::decode(node, cx).map(|file| Self::File(file.0)),
        }
    }
}

impl KeysAt {
    /// The file, if it is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Url(_) => None,
        }
    }
}

impl JsonSchema for KeysAt {
    fn schema_name() -> Cow<'static, str> {
        "KeysAt".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Where keys are: a URL, or a file.",
            "examples": ["https://idp.example.com/keys", "./keys.json"],
        })
    }
}
