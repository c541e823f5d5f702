//! Who may register instances of which services, and who may look them up.

use std::collections::BTreeSet;
use std::fmt;
use std::time::SystemTime;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use tollgate_config::model::{self, Registrars, ServicePattern, ShownName};
use tollgate_core::exchange::Exchange;
use tollgate_core::facts::ClientAddress;
use tollgate_identity::certificate::{self, Names};

use crate::token::{Digest, sha256};

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
    /// The admin token, as it was then.
    AdminToken(Digest),
    /// Another token.
    Token(Digest),
    Certificate(Box<Names>),
}

impl Asker {
    /// The one that has the admin token.
    pub(crate) fn admin(x: &Exchange, token: Digest) -> Self {
        Self { from: x.client, shows: Shows::AdminToken(token) }
    }

    /// One that has this token.
    pub(crate) fn with_token(x: &Exchange, token: &str) -> Self {
        Self { from: x.client, shows: Shows::Token(sha256(token.as_bytes())) }
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
            Shows::AdminToken(_) => f.write_str("the admin token"),
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
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rights {
    /// SHA-256 of the admin token; `None`: it is not known here, and whoever let somebody in with it knows better.
    admin: Option<Digest>,
    register: Vec<Entry>,
    read: Vec<Entry>,
}

/// Some, and for which services.
#[derive(PartialEq, Eq)]
struct Entry {
    services: ServicePattern,
    /// SHA-256 of their tokens: alike in length, so that comparing tells nothing of them.
    tokens: Vec<Digest>,
    names: Vec<ShownName>,
}

impl Rights {
    /// Those that the config gives.
    pub(super) fn new(registry: &model::Registry, admin: Option<Digest>) -> Self {
        Self { admin, register: entries(&registry.register), read: entries(&registry.read) }
    }

    /// Whether it has this right.
    pub(crate) fn may(&self, asker: &Asker, right: Right, service: &str) -> bool {
        let mut entries = self.entries(right).filter(|entry| entry.services.covers(service));
        self.is_admin(asker) || entries.any(|entry| entry.is_of(asker))
    }

    /// Whether it is somebody at all: has this right for some service, which need not be there.
    pub(crate) fn knows(&self, asker: &Asker, right: Right) -> bool {
        self.is_admin(asker) || self.entries(right).any(|entry| entry.is_of(asker))
    }

    /// Which services it may know of, as a number; 0: all of them, by the admin token. The same on every gateway with this config.
    pub(crate) fn sees(&self, asker: &Asker) -> u32 {
        if self.is_admin(asker) {
            return 0;
        }
        let theirs = self.entries(Right::Read).filter(|entry| entry.is_of(asker));
        let written = |entry: &Entry| match &entry.services {
            ServicePattern::Name(name) => name.clone(),
            ServicePattern::Prefix(prefix) => format!("{prefix}*"),
        };
        let patterns: BTreeSet<String> = theirs.map(written).collect();
        let [a, b, c, d, ..] = sha256(patterns.into_iter().collect::<Vec<_>>().join(" ").as_bytes());
        u32::from_be_bytes([a, b, c, d]).max(1)
    }

    fn is_admin(&self, asker: &Asker) -> bool {
        matches!(asker.shows, Shows::AdminToken(shown) if self.admin.is_none_or(|own| own == shown))
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
            Shows::Nothing | Shows::AdminToken(_) => false,
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
            tokens: who.token.iter().flatten().map(|token| sha256(token.0.as_bytes())).collect(),
            names: who.certificate.iter().flatten().map(|name| name.value.clone()).collect(),
        }
    };
    registrars.0.iter().map(entry).collect()
}
