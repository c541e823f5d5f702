//! People who sign in with a browser, at an OpenID provider.

use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_core::section;
use tollgate_core::units::{Bounded, Period};

use crate::model::auth::provider::Tenants;
use crate::model::auth::secret::Secret;
use crate::model::auth::tokens::{ClientAuth, ClientProof, proof};
use crate::model::auth::url::{Url, is_private};
use crate::model::defaults::v1;
use crate::model::named::Named;
use crate::model::route::PathPrefix;
use crate::model::tls::FilePath;
use tollgate_core::text::{FromText, decode_from_text, text_schema, words};

/// Fewest bytes of a key for sessions.
const SHORTEST_KEY: usize = 32;

section! {
    /// A source of identity: people who sign in with a browser, at an OpenID provider.
    pub struct Login: fits {
        /// The provider: its issuer, exactly as its metadata says.
        login: Spanned<Url>,
        /// With Microsoft's `…/organizations/v2.0`: the ids of the tenants of Entra whose users may sign in; or `any`, those of whichever
        /// organization.
        tenants: Option<Spanned<Tenants>>,
        /// Who the gateway is there: its client id.
        client: Spanned<String>,
        /// How it proves that: by a secret. Without it and without `key`, it is a public client.
        secret: Option<Secret>,
        /// The same by a token that this key signs (`private_key_jwt`): PEM, PKCS #8.
        key: Option<Spanned<Secret>>,
        /// Where a secret is shown: in the `Authorization` field (`basic`), or in the body (`post`).
        auth: ClientAuth = v1::INTROSPECTION_AUTH,
        /// What is asked for. `offline_access` lets a session last longer than its first token, at most providers.
        scopes: Option<Vec<Spanned<String>>>,
        /// What else the provider is told when somebody signs in: `prompt`, `audience`, `resource`. What `acr_values` and `max_age` ask for,
        /// its answer must say (`acr`, `auth_time`).
        parameters: Option<Named<String>>,
        /// Whether the provider is asked for more about the user than its ID token says.
        userinfo: bool = v1::LOGIN_USERINFO,
        /// Below which path the pages are by which people come and go: a route there says `serve: login`.
        at: Spanned<PathPrefix> = v1::LOGIN_AT,
        /// Where clients reach the gateway; without it, where each request came to.
        url: Option<Spanned<Origin>>,
        /// Other hosts whose pages may change things here on behalf of who is signed in.
        origins: Option<Vec<Origin>>,
        /// The page that is shown to whoever has signed out.
        after_logout: LocalPath = v1::LOGIN_AFTER_LOGOUT,
        /// How sessions are kept.
        session: Session,
        /// How often the provider's keys are read. A key that is not known is asked for at once.
        refresh: Period = v1::AUTH_REFRESH,
        /// For how long known keys hold when the provider is down.
        keep: Period = v1::AUTH_KEEP,
        /// How long the provider may take to answer.
        timeout: Period = v1::AUTH_TIMEOUT,
        /// The certificates of those who may vouch for the provider (PEM); without it, whom the system trusts.
        ca: Option<Spanned<FilePath>>,
    }
}

section! {
    /// How sessions of browsers are kept.
    pub struct Session: session_fits {
        /// How long one lasts at most.
        lasts: Spanned<Period> = v1::SESSION_LASTS,
        /// How long one lasts that is not used.
        idle: Spanned<Period> = v1::SESSION_IDLE,
        /// Where they are: in cookies, sealed; or in the store, and cookies only name them.
        kept as "in": SessionIn = v1::SESSION_IN,
        /// The name of the cookie; under https with `__Host-` before it.
        cookie: Spanned<CookieName> = v1::SESSION_COOKIE,
        /// What they are sealed with: 32 bytes or more, the same for all gateways; the first one seals, all open. Without it, one is
        /// made in the folder `data`.
        key: Option<Spanned<Vec<Secret>>>,
        /// About how many are remembered that were looked at.
        remember: Bounded<0, 10_000_000> = v1::AUTH_REMEMBER,
    }
}

words! {
    /// Where sessions are.
    pub enum SessionIn {
        /// In cookies.
        Cookie = "cookie",
        /// In the store.
        Store = "store",
    }
}

impl Login {
    /// How the gateway proves who it is; `None`: not at all.
    #[must_use]
    pub fn proof(&self) -> Option<ClientProof<'_>> {
        proof(self.secret.as_ref(), self.key.as_ref(), self.auth)
    }
}

fn fits(login: &Login, cx: &mut DecodeCx) -> bool {
    let mut well = true;
    if login.secret.is_some() && login.key.is_some() {
        let mistake = Diagnostic::error("the gateway proves who it is by a secret or by a key: by one of them");
        cx.report(mistake.at(&login.client.span));
        well = false;
    }
    if let Some(scopes) = &login.scopes {
        for scope in scopes.iter().filter(|scope| scope.value.is_empty() || scope.value.contains([' ', '"', '\\'])) {
            cx.report(Diagnostic::error(format!("`{}` is no scope", scope.value)).at(&scope.span));
            well = false;
        }
        if let Some(first) = scopes.first().filter(|_| scopes.iter().all(|scope| scope.value != "openid")) {
            let mistake = Diagnostic::error("without `openid` the provider does not say who signed in").at(&first.span);
            cx.report(mistake.hint("`scopes: [openid, profile]`"));
            well = false;
        }
    }
    const OWN: [&str; 8] = [
        "response_type",
        "client_id",
        "redirect_uri",
        "scope",
        "state",
        "nonce",
        "code_challenge",
        "code_challenge_method",
    ];
    for (name, _) in login.parameters.iter().flat_map(Named::iter).filter(|(name, _)| OWN.contains(&&*name.value)) {
        cx.report(Diagnostic::error(format!("`{}` is said by the gateway itself", name.value)).at(&name.span));
        well = false;
    }
    let url = &login.login.value.0;
    well &= has_its_tenants(login, cx);
    if url.contains(['?', '#']) {
        cx.report(Diagnostic::error("an issuer has neither a query nor a fragment").at(&login.login.span));
        well = false;
    }
    if !is_private(url) {
        let warning =
            Diagnostic::warning(format!("what `{url}` says is not protected on its way")).at(&login.login.span);
        cx.report(warning.hint("whoever is on the network between can let anybody in: use https"));
    }
    if let Some(ca) = login.ca.as_ref().filter(|_| !url.starts_with("https://")) {
        cx.report(Diagnostic::error("`ca` has no use: nothing is read under https").at(&ca.span));
        well = false;
    }
    well
}

/// Whether it is said whose users may sign in, where the provider is that of several tenants.
fn has_its_tenants(login: &Login, cx: &mut DecodeCx) -> bool {
    let url = &login.login.value.0;
    let is_of_all = url
        .strip_prefix("https://login.microsoftonline.com/")
        .is_some_and(|rest| matches!(rest, "organizations/v2.0" | "common/v2.0"));
    match &login.tenants {
        None if is_of_all => {
            let mistake = Diagnostic::error("users of all tenants could sign in").at(&login.login.span);
            cx.report(mistake.hint("say whose may: `tenants: [<id>, …]`, or `any`"));
            false
        }
        Some(tenants) if !is_of_all => {
            let mistake = Diagnostic::error("only Microsoft's provider for all tenants has several").at(&tenants.span);
            cx.report(mistake.hint("`login: https://login.microsoftonline.com/organizations/v2.0`"));
            false
        }
        _ => true,
    }
}

fn session_fits(session: &Session, cx: &mut DecodeCx) -> bool {
    let mut well = true;
    if session.idle.value > session.lasts.value {
        let mistake =
            Diagnostic::error("`idle` is longer than a session lasts").at(&session.idle.span).at(&session.lasts.span);
        cx.report(mistake);
        well = false;
    }
    if session.idle.value.0.as_secs() < 10 || session.lasts.value.0.as_secs() < 10 {
        cx.report(Diagnostic::error("nobody would stay signed in for so short a time").at(&session.idle.span));
        well = false;
    }
    if let Some(keys) = &session.key
        && (keys.value.is_empty() || keys.value.iter().any(|key| key.0.len() < SHORTEST_KEY))
    {
        let mistake = Diagnostic::error("a key for sessions has 32 bytes or more").at(&keys.span);
        cx.report(mistake.hint("`openssl rand -base64 32` makes one"));
        well = false;
    }
    well
}

/// Scheme and host of a page (RFC 6454 §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(pub String);

impl FromText for Origin {
    const WHAT: &'static str = "an origin";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let Url(url) = Url::from_text(text)?;
        let bare = url.strip_suffix('/').unwrap_or(&url);
        let host = bare.split_once("://").map_or("", |(_, host)| host);
        match host.contains(['/', '?', '#']) {
            false => Ok(Self(bare.to_ascii_lowercase())),
            true => Err(Diagnostic::error(format!("`{text}` is more than a scheme and a host"))
                .hint("`https://app.example.com`")),
        }
    }
}

decode_from_text!(Origin);
text_schema!(Origin, "Origin", "description": "Scheme and host.", "pattern": "^https?://[^/?#]+/?$", "examples": ["https://app.example.com"]);

/// A place on the gateway's own host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPath(pub String);

impl FromText for LocalPath {
    const WHAT: &'static str = "a path";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let is_local = text.starts_with('/') && !text.starts_with("//");
        match is_local && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
            true => Ok(Self(text.to_owned())),
            false => Err(Diagnostic::error(format!("`{text}` is no path on this host")).hint("`/`, `/goodbye`")),
        }
    }
}

decode_from_text!(LocalPath);
text_schema!(LocalPath, "LocalPath", "description": "A path on the gateway's own host.", "pattern": "^/", "examples": ["/goodbye"]);

/// The name of a cookie: a token (RFC 6265 §4.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieName(pub String);

impl FromText for CookieName {
    const WHAT: &'static str = "the name of a cookie";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        match !text.is_empty() && text.len() <= 64 && text.bytes().all(allowed) && !text.starts_with("__") {
            true => Ok(Self(text.to_owned())),
            false => Err(Diagnostic::error(format!("`{text}` is no name of a cookie"))
                .hint("letters, digits, `-` and `_`; what stands before it is added under https")),
        }
    }
}

decode_from_text!(CookieName);
text_schema!(CookieName, "CookieName", "description": "The name of a cookie.", "pattern": "^[A-Za-z0-9_-]{1,64}$", "examples": ["session"]);
