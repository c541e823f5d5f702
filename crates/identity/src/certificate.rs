//! Certificates of clients as a source of identity: shown in the handshake, or forwarded by a trusted proxy (RFC 9440).
//!
//! The handshake has verified what it was shown, against the authorities of its listener. A source with authorities of its own holds the
//! certificate against these, too; of one that is forwarded, either they or the proxy vouch for it.

mod authorities;
pub mod faults;
mod names;
mod parsed;
pub(crate) mod shown;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use tollgate_core::clock::Clock;
use tollgate_core::exchange::Exchange;
use tollgate_core::principal::{Authenticator, Bearers, Credential, Effort, Found, Principal, Standing};
use tollgate_core::problem::Problem;

use self::faults::{AUTHORITIES, EXPIRED, MALFORMED, NAME, PROXY, UNKNOWN, UNTRUSTED};
use self::parsed::Parsed;
use self::shown::{Shown, chain, shown};
use crate::faults::{TOO_MANY_FAILURES, because};
use crate::remembered::{Digest, Remembered};
use tollgate_follow::Followed;

pub use self::authorities::Authorities;
pub use self::names::Kind;

/// What a certificate calls the one that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The subject, as RFC 4514 writes it; may be empty.
    pub subject: String,
    /// The alternative names of the DNS, in lower case.
    pub dns: Vec<String>,
    /// The alternative names that are URIs.
    pub uris: Vec<String>,
}

/// What the client's certificate calls it, which the handshake has verified. `None`: it has shown none to us, or is a proxy that speaks for
/// others, or its certificate has ended since, or has names that may be read in more than one way.
#[must_use]
pub fn names(x: &Exchange, now: SystemTime) -> Option<Names> {
    let Ok(Shown::Here(der)) = shown(x, false) else { return None };
    let Parsed { subject, dns, uris, not_before, not_after, .. } = Parsed::read(der).ok()?;
    (not_before <= now && now < not_after).then_some(Names { subject, dns, uris })
}

/// For how long it holds that somebody vouched for a certificate: those in between may end before it does.
const VOUCHED: Duration = Duration::from_secs(300);

/// What becomes of certificates that a trusted proxy forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// They are not looked at.
    Ignored,
    /// They are taken if the source's own authorities vouch for them.
    Verified,
    /// They are taken on the proxy's word.
    Believed,
}

/// Which certificates are taken, and what they say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which name says who somebody is.
    pub subject: Kind,
    /// Which one says by what application they call.
    pub consumer: Kind,
    /// Which names are let in; empty: all.
    pub names: Vec<String>,
    /// Which trust domains of SPIFFE; empty: all.
    pub domains: Vec<String>,
    /// A file with those who have to vouch for a certificate, whatever the listener asks for.
    pub authorities: Option<PathBuf>,
    /// Whether trusted proxies tell of their clients' certificates.
    pub forwarded: Forwarded,
    /// About how many certificates are remembered.
    pub remember: usize,
}

/// Certificates of clients as a source of identity. Cheap to copy: whoever waits holds it, too.
#[derive(Clone)]
pub struct CertificateSource(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    settings: Settings,
    clock: Clock,
    authorities: Option<Arc<Followed<Authorities>>>,
    remembered: Remembered<Known>,
    slow: OnceLock<Handle>,
}

/// What was found out about a certificate, until then.
#[derive(Clone)]
struct Known {
    principal: Arc<Principal>,
    /// Those who vouched for it.
    by: Option<Arc<Authorities>>,
    until: SystemTime,
}

impl CertificateSource {
    /// Takes certificates; with authorities of its own, once [`CertificateSource::start`] was called.
    #[must_use]
    pub fn new(name: &str, settings: Settings, clock: Clock) -> Self {
        let follow =
            |path: &PathBuf| Followed::new(path.clone(), authorities::LARGEST, clock.clone(), Authorities::read);
        let authorities = settings.authorities.as_ref().map(follow);
        let (remembered, name, slow) = (Remembered::new(settings.remember), name.into(), OnceLock::new());
        Self(Arc::new(Inner { name, settings, authorities, remembered, slow, clock }))
    }

    /// Reads the authorities now, and again whenever they change; certificates are held against them there, too. Blocks.
    pub fn start(&self, slow: &Handle) {
        self.0.authorities.iter().for_each(|authorities| authorities.start(slow));
        let _ = self.0.slow.set(slow.clone());
    }
}

impl Inner {
    fn holds(&self, known: &Known, by: Option<&Arc<Authorities>>) -> bool {
        let is_same = match (&known.by, by) {
            (Some(then), Some(now)) => Arc::ptr_eq(then, now),
            (None, None) => true,
            _ => false,
        };
        is_same && self.clock.unix() < known.until
    }

    /// What a certificate says, if that is enough; it is held against nobody yet.
    fn read(&self, der: &[u8], digest: &Digest) -> Result<(Principal, SystemTime), Judged> {
        let parsed = Parsed::read(der).map_err(|why| Judged::Refused(because(&MALFORMED, why)))?;
        let now = self.clock.unix();
        // The handshake looked at this once: a connection may be open for longer.
        if now < parsed.not_before || parsed.not_after <= now {
            return Err(Judged::Refused(EXPIRED.problem()));
        }
        let subject = self.name_of(&parsed)?;
        let consumer = match self.settings.consumer == self.settings.subject {
            true => subject,
            false => {
                let consumer = self.settings.consumer.of(&parsed).and_then(only);
                consumer.map_err(|why| Judged::Foreign(because(&NAME, why)))?
            }
        };
        let claims = claims(&parsed, der, digest, subject, consumer);
        let principal = crate::principal(&self.name, &claims, Some(parsed.not_after));
        Ok((principal, parsed.not_after))
    }

    /// The name that counts: the first one that is let in, or the only one if all are.
    fn name_of<'p>(&self, parsed: &'p Parsed) -> Result<&'p str, Judged> {
        let (kind, settings) = (self.settings.subject, &self.settings);
        let names = kind.of(parsed).map_err(|why| Judged::Foreign(because(&NAME, why)))?;
        let name = match settings.names.is_empty() {
            true => only(names).map_err(|why| Judged::Foreign(because(&NAME, why)))?,
            false => {
                let is_let_in = |name: &&String| settings.names.iter().any(|pattern| kind.matches(pattern, name));
                names.iter().find(is_let_in).ok_or_else(|| Judged::Foreign(because(&UNKNOWN, "not among `names`")))?
            }
        };
        let is_of_domain = settings.domains.is_empty()
            || names::trust_domain(name).is_some_and(|domain| settings.domains.iter().any(|own| own == domain));
        if is_of_domain { Ok(name) } else { Err(Judged::Foreign(because(&UNKNOWN, "not of one of `domains`"))) }
    }

    fn remember(
        &self,
        digest: Digest,
        principal: Principal,
        by: Option<Arc<Authorities>>,
        ends: SystemTime,
    ) -> Arc<Principal> {
        let principal = Arc::new(principal);
        let until = if by.is_some() { ends.min(self.clock.unix() + VOUCHED) } else { ends };
        self.remembered.add(digest, Known { principal: Arc::clone(&principal), by, until });
        principal
    }

    fn check<'a>(&'a self, x: &'a Exchange, effort: Effort) -> Result<Found<'a>, Problem> {
        let (der, is_forwarded) = match shown(x, self.settings.forwarded != Forwarded::Ignored)? {
            Shown::Nothing => return Ok(Found::Nothing),
            Shown::Proxys => return Ok(Found::Foreign(PROXY.problem())),
            Shown::Here(der) => (der.clone(), false),
            Shown::There(der) => (der, true),
        };
        let is_believed = is_forwarded && self.settings.forwarded == Forwarded::Believed;
        let by = match &self.authorities {
            Some(authorities) if !is_believed => match authorities.said() {
                Some(said) => Some(said),
                None => return Err(because(&AUTHORITIES, "the file cannot be read").header("Retry-After", "5")),
            },
            _ => None,
        };
        let digest = fingerprint(&der);
        if let Some(known) = self.remembered.get(&digest, |known| self.holds(known, by.as_ref())) {
            return Ok(Found::Checked(Ok(known.principal)));
        }
        if effort == Effort::Little {
            return Err(TOO_MANY_FAILURES.problem());
        }
        let (principal, ends) = match self.read(&der, &digest) {
            Ok(read) => read,
            Err(Judged::Foreign(problem)) => return Ok(Found::Foreign(problem)),
            Err(Judged::Refused(problem)) => return Err(problem),
        };
        let Some(by) = by else { return Ok(Found::Checked(Ok(self.remember(digest, principal, None, ends)))) };
        let chain = if is_forwarded { chain(x)? } else { Vec::new() };
        Ok(Found::Checking(Box::pin(self.vouched(der, chain, by, (digest, principal, ends)))))
    }

    /// Once somebody vouches for it: that takes longer than a worker has.
    async fn vouched(
        &self,
        der: Bytes,
        chain: Vec<Vec<u8>>,
        by: Arc<Authorities>,
        (digest, principal, ends): (Digest, Principal, SystemTime),
    ) -> Result<Arc<Principal>, Problem> {
        let Some(slow) = self.slow.get() else { return Err(because(&AUTHORITIES, "nobody looks at it")) };
        let (now, own) = (self.clock.unix(), Arc::clone(&by));
        let vouched = slow.spawn_blocking(move || own.vouch(&der, &chain, now)).await;
        match vouched {
            Ok(Ok(())) => Ok(self.remember(digest, principal, Some(by), ends)),
            Ok(Err(why)) => Err(because(&UNTRUSTED, why)),
            Err(error) => Err(because(&AUTHORITIES, error)),
        }
    }
}

/// Why a certificate is not taken.
enum Judged {
    /// Another source may take it.
    Foreign(Problem),
    /// Nobody should.
    Refused(Problem),
}

/// SHA-256 of a certificate.
pub(crate) fn fingerprint(der: &[u8]) -> Digest {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, der).as_ref());
    out
}

fn only(names: &[String]) -> Result<&String, &'static str> {
    match names {
        [one] => Ok(one),
        [] => Err("no name of the kind that is asked for"),
        _ => Err("several names of the kind that is asked for"),
    }
}

fn claims(parsed: &Parsed, der: &[u8], digest: &Digest, subject: &str, consumer: &str) -> Map<String, Value> {
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let said = [
        ("sub", json!(subject)),
        ("client_id", json!(consumer)),
        ("subject", json!(parsed.subject)),
        ("issuer", json!(parsed.issuer)),
        ("serial", json!(parsed.serial)),
        ("sha256", json!(HEXLOWER.encode(digest))),
        ("cn", json!(parsed.common_names)),
        ("dns", json!(parsed.dns)),
        ("uri", json!(parsed.uris)),
        ("email", json!(parsed.emails)),
        ("ip", json!(parsed.addresses)),
        ("not_before", json!(seconds(parsed.not_before))),
        ("not_after", json!(seconds(parsed.not_after))),
        // RFC 9440 §2.1: as a service would be sent it in `Client-Cert`.
        ("client_cert", json!(format!(":{}:", BASE64.encode(der)))),
    ];
    said.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

impl Authenticator for CertificateSource {
    fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    fn authenticate<'a>(&'a self, x: &'a Exchange, effort: Effort) -> Found<'a> {
        self.0.check(x, effort).unwrap_or_else(|problem| Found::Checked(Err(problem)))
    }

    /// RFC 9110 §11.6.1 wants one with each 401, and no scheme is registered for certificates: a client that knows none passes it over,
    /// and a person reads what is looked for.
    fn challenge(&self) -> String {
        format!("Certificate realm=\"{}\"", self.0.name)
    }

    fn credential(&self) -> Credential<'_> {
        Credential::Connection
    }

    fn bearers(&self) -> Bearers {
        Bearers::None
    }

    fn describe(&self) -> String {
        let by = match self.0.settings.forwarded {
            Forwarded::Ignored => "of the connection",
            Forwarded::Verified => "of the connection, or forwarded by a trusted proxy and verified",
            Forwarded::Believed => "of the connection, or as a trusted proxy says",
        };
        format!("certificates {by}")
    }

    fn standing(&self) -> Standing {
        self.0.authorities.as_ref().map_or(Standing::Good, |authorities| authorities.standing())
    }
}

impl fmt::Debug for CertificateSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateSource").field("name", &self.0.name).finish_non_exhaustive()
    }
}
