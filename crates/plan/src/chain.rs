//! The policies of a route: three layers merged, built, and put into the one fixed order.

use std::cell::Cell;

use tollgate_config::{known_route_keys, known_setting_keys};
use tollgate_core::decode::{DecodeCx, unknown_key};
use tollgate_core::diagnostic::{Diagnostic, Severity};
use tollgate_core::facts::Route;
use tollgate_core::node::Entry;
use tollgate_core::policy::{BuildCx, Merge, Place, PolicyKind};
use tollgate_core::principal::Sources;

use crate::table::Link;

/// Builds chains for the routes of one api after the other.
pub(crate) struct Chains<'c> {
    kinds: &'c [&'static PolicyKind],
    sources: &'c Sources,
    file: Vec<Layered<'c>>,
    api: Vec<Layered<'c>>,
}

/// A policy's key in one layer.
struct Layered<'c> {
    kind: usize,
    entry: &'c Entry,
    place: Place,
    /// Its mistakes are told already.
    is_broken: Cell<bool>,
}

impl Layered<'_> {
    /// `cors: none` takes away what `defaults` brought.
    fn is_none(&self) -> bool {
        self.entry.value.text() == Some("none")
    }
}

impl<'c> Chains<'c> {
    /// With the file's own `defaults`.
    pub(crate) fn new(
        kinds: &'c [&'static PolicyKind],
        sources: &'c Sources,
        defaults: &'c [Entry],
        told: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut chains = Self { kinds, sources, file: Vec::new(), api: Vec::new() };
        chains.file = chains.defaults(defaults, Place::File, told);
        chains
    }

    /// The policies of this build.
    pub(crate) fn kinds(&self) -> &'c [&'static PolicyKind] {
        self.kinds
    }

    /// Goes on with the routes of an api that has these `defaults`.
    pub(crate) fn enter(&mut self, defaults: &'c [Entry], told: &mut Vec<Diagnostic>) {
        self.api = self.defaults(defaults, Place::Api, told);
    }

    /// Reads a layer of `defaults`. What is wrong with it is told here, once, even if no route takes it over.
    fn defaults(&self, entries: &'c [Entry], place: Place, told: &mut Vec<Diagnostic>) -> Vec<Layered<'c>> {
        let layer = self.known(entries, place, told);
        let anywhere = Route::new("", "defaults");
        for layered in layer.iter().filter(|layered| !layered.is_none()) {
            self.links(layered, &anywhere, &mut Vec::new(), told);
        }
        layer
    }

    fn known(&self, entries: &'c [Entry], place: Place, told: &mut Vec<Diagnostic>) -> Vec<Layered<'c>> {
        let mut known = Vec::with_capacity(entries.len());
        for entry in entries {
            match self.kinds.iter().position(|kind| kind.name == entry.key) {
                Some(kind) => known.push(Layered { kind, entry, place, is_broken: Cell::new(false) }),
                None => told.push(self.unknown(entry, place)),
            }
        }
        known
    }

    fn unknown(&self, entry: &Entry, place: Place) -> Diagnostic {
        let mut known = match place {
            Place::Route => known_route_keys(),
            Place::File | Place::Api if known_route_keys().contains(&entry.key.as_str()) => {
                let mistake = Diagnostic::error(format!("`{}` cannot stand in `defaults`", entry.key));
                return mistake.at(&entry.key_span).hint("each route says it for itself");
            }
            Place::File | Place::Api => known_setting_keys(),
        };
        known.extend(self.kinds.iter().map(|kind| kind.name));
        unknown_key(entry, &known)
    }

    /// The chain of a route with these policies of its own. `None`: there is a mistake, and it is told.
    pub(crate) fn build(&self, own: &'c [Entry], route: &Route, told: &mut Vec<Diagnostic>) -> Option<Box<[Link]>> {
        let written = own.len();
        let own = self.known(own, Place::Route, told);
        let mut well = own.len() == written;
        let layers = || self.file.iter().chain(&self.api).chain(&own);
        if layers().next().is_none() {
            return well.then(Box::default);
        }
        let mut links = Vec::new();
        let mut holding: Vec<&Layered<'c>> = Vec::new();
        let (mut needy, mut present): (Vec<&Layered<'c>>, Vec<&str>) = (Vec::new(), Vec::new());
        for (number, kind) in self.kinds.iter().enumerate() {
            // From the outermost layer in: what replaces or removes forgets what came before it.
            holding.clear();
            for layered in layers().filter(|layered| layered.kind == number) {
                if layered.is_none() || kind.merge == Merge::Replace {
                    holding.clear();
                }
                if !layered.is_none() {
                    holding.push(layered);
                }
            }
            if !holding.is_empty() {
                present.push(kind.name);
            }
            needy.extend(holding.iter().filter(|_| kind.needs.is_some()));
            for layered in &holding {
                let before = told.len();
                well &= self.links(layered, route, &mut links, told);
                if layered.place != Place::Route {
                    // Its warnings were told when the layer was read.
                    let found = told.split_off(before);
                    told.extend(found.into_iter().filter(|found| found.severity == Severity::Error));
                }
            }
        }
        well &= self.has_what_it_needs(&needy, &present, route, told);
        // Stable: within a stage the order of the list holds.
        links.sort_by_key(|link| link.stage);
        well.then(|| links.into())
    }

    /// Whether the policies are there without which others make no sense.
    fn has_what_it_needs(
        &self,
        needy: &[&Layered<'_>],
        present: &[&str],
        route: &Route,
        told: &mut Vec<Diagnostic>,
    ) -> bool {
        let mut well = true;
        for layered in needy {
            let Some(kind) = self.kinds.get(layered.kind) else { continue };
            let Some(needed) = kind.needs.filter(|needed| !present.contains(needed)) else { continue };
            well = false;
            let mistake = Diagnostic::error(format!(
                "`{}` on route `{}` makes no sense without `{needed}`",
                kind.name, route.name
            ));
            told.push(
                mistake
                    .at(&layered.entry.key_span)
                    .hint(format!("add `{needed}`, or write `{}: none` on the route", kind.name)),
            );
        }
        well
    }

    /// Builds one key's policies; whether that went well.
    fn links(&self, layered: &Layered<'_>, route: &Route, links: &mut Vec<Link>, told: &mut Vec<Diagnostic>) -> bool {
        let Some(kind) = self.kinds.get(layered.kind).filter(|_| !layered.is_broken.get()) else { return false };
        let mut cx = DecodeCx::default();
        let built = (kind.build)(
            &layered.entry.value,
            &mut cx,
            &BuildCx { route, sources: self.sources, place: layered.place },
        );
        // A build that reports an error and yet gives something counts as failed.
        let well = built.is_some() && cx.diagnostics.iter().all(|found| found.severity == Severity::Warning);
        told.append(&mut cx.diagnostics);
        layered.is_broken.set(!well);
        for (stage, policy) in built.unwrap_or_default() {
            let (name, knows_callers, hooks) = (kind.name, kind.knows_callers, policy.hooks());
            links.push(Link { name, stage, knows_callers, hooks, policy });
        }
        well
    }
}
