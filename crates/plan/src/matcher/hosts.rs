//! From the request's host to the classes of routes that answer to it, the most specific first.

use std::collections::HashMap;
use std::ops::ControlFlow;

use foldhash::fast::FixedState;
use tollgate_core::host;

use super::regexes::RegexTable;
use super::trie::Trie;
use super::{HostPattern, MAX_HOST};

/// The routes that share a host pattern.
#[derive(Debug)]
pub(super) struct HostClass {
    /// `None`: routes without a host.
    pub(super) host: Option<HostPattern>,
    pub(super) trie: Trie,
    pub(super) regexes: RegexTable,
}

/// All classes, by their pattern.
#[derive(Debug)]
pub(super) struct HostIndex {
    classes: Vec<HostClass>,
    exact: HashMap<Box<[u8]>, usize, FixedState>,
    below: HashMap<Box<[u8]>, usize, FixedState>,
    any: Option<usize>,
}

impl HostIndex {
    pub(super) fn new() -> Self {
        Self { classes: Vec::new(), exact: HashMap::default(), below: HashMap::default(), any: None }
    }

    /// The class for a host pattern, made if need be.
    pub(super) fn class_mut(&mut self, host: Option<&HostPattern>) -> &mut HostClass {
        let fresh = self.classes.len();
        let at = match host {
            None => *self.any.get_or_insert(fresh),
            Some(HostPattern::Exact(name)) => *self.exact.entry(name.as_bytes().into()).or_insert(fresh),
            Some(HostPattern::Wildcard(suffix)) => *self.below.entry(suffix.as_bytes().into()).or_insert(fresh),
        };
        if at == fresh {
            let class = HostClass { host: host.cloned(), trie: Trie::new(), regexes: RegexTable::default() };
            self.classes.push(class);
        }
        &mut self.classes[at]
    }

    pub(super) fn classes_mut(&mut self) -> impl Iterator<Item = &mut HostClass> {
        self.classes.iter_mut()
    }

    /// Shows `visit` every class that answers to `host`: exact, wildcards from long to short, none.
    pub(super) fn each_class<B>(
        &self,
        host: &[u8],
        visit: &mut impl FnMut(&HostClass) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let mut buffer = [0; MAX_HOST];
        let named = !self.exact.is_empty() || !self.below.is_empty();
        if let Some(host) = named.then(|| canonical(host, &mut buffer)).flatten() {
            if let Some(&class) = self.exact.get(host) {
                visit(&self.classes[class])?;
            }
            if !self.below.is_empty() {
                let dots = host.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'.');
                for (dot, _) in dots {
                    if let Some(&class) = self.below.get(&host[dot + 1..]) {
                        visit(&self.classes[class])?;
                    }
                }
            }
        }
        self.any.map_or(ControlFlow::Continue(()), |class| visit(&self.classes[class]))
    }
}

/// The host in lower case without port and final dot; `None` if it is too long to match anything.
fn canonical<'b>(host: &[u8], buffer: &'b mut [u8; MAX_HOST]) -> Option<&'b [u8]> {
    let name = host::name_bytes(host);
    let lower = buffer.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    Some(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_compared_without_case_port_and_final_dot() {
        let table: [(&str, Option<&str>); 8] = [
            ("Shop.Example.COM", Some("shop.example.com")),
            ("shop.example.com:8080", Some("shop.example.com")),
            ("shop.example.com.", Some("shop.example.com")),
            ("shop.example.com.:80", Some("shop.example.com")),
            ("[::1]", Some("[::1]")),
            ("[2001:DB8::1]:443", Some("[2001:db8::1]")),
            ("", Some("")),
            (&"a".repeat(254), None),
        ];
        for (given, expected) in table {
            let mut buffer = [0; MAX_HOST];
            assert_eq!(canonical(given.as_bytes(), &mut buffer), expected.map(str::as_bytes), "{given}");
        }
    }
}
