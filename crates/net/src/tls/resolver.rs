//! Which certificate is shown: the one for the name that the client asks for.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::material::Material;

/// All certificates of a listener, exchanged as one.
#[derive(Debug)]
pub(super) struct Resolver(ArcSwap<Table>);

/// Certificates by name. Of one name there may be several, with keys of different kinds.
#[derive(Debug, Default)]
pub(super) struct Table {
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what stands behind `*.`: a wildcard is one label, and the leftmost (RFC 9525 §6.3).
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// For clients that ask for no name, or for one of which there is no certificate.
    default: Vec<Arc<CertifiedKey>>,
}

impl Table {
    /// The first is the default, together with those of exactly the same names.
    pub(super) fn new(materials: &[Material]) -> Self {
        let mut table = Self::default();
        for material in materials {
            for name in &material.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(suffix) => (&mut table.wildcard, suffix),
                    None => (&mut table.exact, name.as_str()),
                };
                names.entry(name.to_owned()).or_default().push(Arc::clone(&material.certified));
            }
        }
        if let Some(first) = materials.first() {
            let alike = materials.iter().filter(|other| other.names == first.names);
            table.default = alike.map(|material| Arc::clone(&material.certified)).collect();
        }
        table
    }

    fn find(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let found = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            self.exact.get(&name).or_else(|| name.split_once('.').and_then(|(_, suffix)| self.wildcard.get(suffix)))
        });
        found.unwrap_or(&self.default)
    }
}

impl Resolver {
    pub(super) fn new(table: Table) -> Self {
        Self(ArcSwap::from_pointee(table))
    }

    pub(super) fn replace(&self, table: Table) {
        self.0.store(Arc::new(table));
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.0.load();
        let candidates = table.find(hello.server_name());
        let understood = |have: &&Arc<CertifiedKey>| have.key.choose_scheme(hello.signature_schemes()).is_some();
        candidates.iter().find(understood).or(candidates.first()).cloned()
    }
}
