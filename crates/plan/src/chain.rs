//! The policies of a route: three layers merged, built, and put into the one fixed order.

use std::sync::Arc;

use tollgate_config::known_route_keys;
use tollgate_core::decode::{DecodeCx, unknown_key};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::facts::Route;
use tollgate_core::node::Entry;
use tollgate_core::policy::{BuildCx, Merge, PolicyKind};

use crate::table::Link;

/// Builds chains for the routes of one api after the other.
pub(crate) struct Chains<'c> {
    kinds: &'c [&'static PolicyKind],
    file: Vec<Layered<'c>>,
    api: Vec<Layered<'c>>,
}

/// A policy's key in one layer.
#[derive(Clone, Copy)]
struct Layered<'c> {
    kind: usize,
    entry: &'c Entry,
}

impl<'c> Chains<'c> {
    /// With the file's own `defaults`.
    pub(crate) fn new(
        kinds: &'c [&'static PolicyKind],
        defaults: &'c [Entry],
        mistakes: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut chains = Self { kinds, file: Vec::new(), api: Vec::new() };
        chains.file = chains.usable(defaults, mistakes);
        chains
    }

    /// Goes on with the routes of an api that has these `defaults`.
    pub(crate) fn enter(&mut self, defaults: &'c [Entry], mistakes: &mut Vec<Diagnostic>) {
        self.api = self.usable(defaults, mistakes);
    }

    /// The keys of `defaults` that name policies and build; what does not is told once, here, not with every route.
    fn usable(&self, defaults: &'c [Entry], mistakes: &mut Vec<Diagnostic>) -> Vec<Layered<'c>> {
        let layer = self.known(defaults, mistakes);
        let anywhere = Route { name: "defaults".to_owned(), api: String::new() };
        let builds = |layered: &Layered<'c>| {
            is_none(layered.entry) || self.links(layered, &anywhere, &mut Vec::new(), mistakes)
        };
        layer.into_iter().filter(builds).collect()
    }

    fn known(&self, entries: &'c [Entry], mistakes: &mut Vec<Diagnostic>) -> Vec<Layered<'c>> {
        let mut layer = Vec::new();
        for entry in entries {
            match self.kinds.iter().position(|kind| kind.name == entry.key) {
                Some(kind) => layer.push(Layered { kind, entry }),
                None => {
                    let mut known = known_route_keys();
                    known.extend(self.kinds.iter().map(|kind| kind.name));
                    mistakes.push(unknown_key(entry, &known));
                }
            }
        }
        layer
    }

    /// The chain of a route with these policies of its own. `None`: a mistake was told.
    pub(crate) fn build(
        &self,
        own: &'c [Entry],
        route: &Route,
        mistakes: &mut Vec<Diagnostic>,
    ) -> Option<Box<[Link]>> {
        let before = mistakes.len();
        let own = self.known(own, mistakes);
        let mut links = Vec::new();
        for (kind, described) in self.kinds.iter().enumerate() {
            // From the outermost layer in: what replaces or removes forgets what came before it.
            let mut holding: Vec<Layered<'c>> = Vec::new();
            for layered in self.file.iter().chain(&self.api).chain(&own).filter(|layered| layered.kind == kind) {
                if is_none(layered.entry) || described.merge == Merge::Replace {
                    holding.clear();
                }
                if !is_none(layered.entry) {
                    holding.push(*layered);
                }
            }
            for layered in &holding {
                self.links(layered, route, &mut links, mistakes);
            }
        }
        // Stable: within a stage the order of the list holds.
        links.sort_by_key(|link| link.stage);
        (mistakes.len() == before).then(|| links.into())
    }

    fn links(
        &self,
        layered: &Layered<'c>,
        route: &Route,
        links: &mut Vec<Link>,
        mistakes: &mut Vec<Diagnostic>,
    ) -> bool {
        let Some(kind) = self.kinds.get(layered.kind) else { return false };
        let mut cx = DecodeCx::default();
        let built = (kind.build)(&layered.entry.value, &mut cx, &BuildCx { route });
        mistakes.append(&mut cx.diagnostics);
        let Some(built) = built else { return false };
        links.extend(built.into_iter().map(|(stage, policy)| Link {
            name: kind.name,
            stage,
            hooks: policy.hooks(),
            policy: Arc::clone(&policy),
        }));
        true
    }
}

/// `cors: none` takes away what `defaults` brought.
fn is_none(entry: &Entry) -> bool {
    entry.value.text() == Some("none")
}
