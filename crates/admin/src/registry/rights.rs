//! Who may register instances of which services, and who may look them up.

use std::fmt;
use std::time::SystemTime;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use tollgate_config::model::{self, Registrars, ServicePattern, ShownName};
use tollgate_core::exchange::Exchange;
use tollgate_core::facts::ClientAddress;
use tollgate_identity::certificate::{self, Names};

/// What somebody wants with a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    /// To register its instances, change them, and take them away.
    Register,
    /// To know them.
    Read,
}

/// Who asks, as far as that is known.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    from: ClientAddress,
    shows: Shows,
}

/// What somebody shows.
#[derive(Clone)]
enum Shows {
    Nothing,
    AdminToken,
    /// A token, of which the SHA-256 is known.
    Token([u8; 32]),
    Certificate(Box<Names>),
}

impl Asker {
    /// The one that has the admin token.
    pub(crate) fn admin(x: &Exchange) -> Self {
        Self { from: x.client, shows: Shows::AdminToken }
    }

    /// One that has this token.
    pub(crate) fn with_token(x: &Exchange, token: &str) -> Self {
        Self { from: x.client, shows: Shows::Token(sha256(token)) }
    }

    /// One that shows no token, but perhaps a certificate.
    pub(crate) fn without_token(x: &Exchange, now: SystemTime) -> Self {
        let shows = certificate::names(x, now).map_or(Shows::Nothing, |names| Shows::Certificate(Box::new(names)));
        Self { from: x.client, shows }
    }

    /// Whether it shows a token, which is not the admin's.
    pub(crate) fn has_token(&self) -> bool {
        matches!(self.shows, Shows::Token(_))
    }

    /// Whether it shows nothing at all.
    pub(crate) fn is_nobody(&self) -> bool {
        matches!(self.shows, Shows::Nothing)
    }
}

impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shows {
            Shows::Nothing => f.write_str("nobody who is known"),
            Shows::AdminToken => f.write_str("the admin token"),
            Shows::Token(_) => f.write_str("a token"),
            Shows::Certificate(names) => match names.uris.first().or(names.dns.first()) {
                Some(name) => write!(f, "the certificate of {name}"),
                None => write!(f, "the certificate of {}", names.subject),
            },
        }?;
        write!(f, ", from {}", self.from)
    }
}

impl fmt::Debug for Shows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Who may do what, as the config says. Whoever has the admin token may do all.
#[derive(Debug)]
pub(super) struct Rights {
    register: Vec<Entry>,
    read: Vec<Entry>,
}

/// Some, and for which services.
struct Entry {
    services: ServicePattern,
    /// SHA-256 of their tokens: alike in length, so that comparing tells nothing of them.
    tokens: Vec<[u8; 32]>,
    names: Vec<ShownName>,
}

impl Rights {
    /// Those that the config gives.
    pub(super) fn new(registry: &model::Registry) -> Self {
        Self { register: entries(&registry.register), read: entries(&registry.read) }
    }

    /// Whether it has this right.
    pub(crate) fn may(&self, asker: &Asker, right: Right, service: &str) -> bool {
        let mut entries = self.entries(right).filter(|entry| entry.services.covers(service));
        matches!(asker.shows, Shows::AdminToken) || entries.any(|entry| entry.is_of(asker))
    }

    /// Whether it is somebody at all: has this right for some service, which need not be there.
    pub(crate) fn knows(&self, asker: &Asker, right: Right) -> bool {
        matches!(asker.shows, Shows::AdminToken) || self.entries(right).any(|entry| entry.is_of(asker))
    }

    /// Who may register may read.
    fn entries(&self, right: Right) -> impl Iterator<Item = &Entry> {
        let read = if right == Right::Read { self.read.as_slice() } else { &[] };
        self.register.iter().chain(read)
    }
}

impl Entry {
    fn is_of(&self, asker: &Asker) -> bool {
        match &asker.shows {
            Shows::Nothing | Shows::AdminToken => false,
            // All are compared, whichever is the right one.
            Shows::Token(shown) => {
                self.tokens.iter().filter(|own| verify_slices_are_equal(*own, shown).is_ok()).count() > 0
            }
            Shows::Certificate(names) => self.names.iter().any(|own| match own {
                ShownName::Uri(uri) => names.uris.contains(uri),
                ShownName::Dns(host) => names.dns.contains(host),
                ShownName::Subject(subject) => names.subject == *subject,
            }),
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("services", &self.services).finish_non_exhaustive()
    }
}

fn entries(registrars: &Registrars) -> Vec<Entry> {
    let entry = |(services, who): &(_, model::Registrar)| {
        let services: &tollgate_core::node::Spanned<ServicePattern> = services;
        Entry {
            services: services.value.clone(),
            tokens: who.token.iter().flatten().map(|token| sha256(&token.0)).collect(),
            names: who.certificate.iter().flatten().map(|name| name.value.clone()).collect(),
        }
    };
    registrars.0.iter().map(entry).collect()
}

fn sha256(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}
