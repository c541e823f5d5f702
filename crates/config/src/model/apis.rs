//! `apis`: what clients see, by name; and the unnamed api of the top-level `routes`.

use std::collections::HashMap;

use tollgate_core::node::{Entry, Spanned};
use tollgate_core::section;

use crate::model::http::HostPattern;
use crate::model::named::Named;
use crate::model::route::{RawRoute, Route, Routes};
use crate::model::settings::{Defaults, SettingsLayer};

section! {
    /// A group of routes under the same hosts.
    pub(crate) struct ApiSection {
        /// The hosts it answers for: names, or `*.example.com` for all below. Without it, every host.
        hosts: Option<Vec<Spanned<HostPattern>>>,
        /// Its routes.
        routes: Option<Routes>,
        /// What holds for each of its routes that does not say otherwise.
        defaults: Option<Defaults>,
    }
}

/// A group of routes under the same hosts.
#[derive(Clone, Debug, PartialEq)]
pub struct Api {
    /// Its name; `None`: the top-level `routes`.
    pub name: Option<Spanned<String>>,
    /// The hosts it answers for; empty: every host.
    pub hosts: Vec<Spanned<HostPattern>>,
    /// Policies of its `defaults`, undecoded: for each of its routes, over the file's, below the route's own.
    pub policies: Vec<Entry>,
    /// Its routes, variants of the same key one after the other.
    pub routes: Vec<Route>,
}

/// Settles every layer of settings and gives every route its label.
pub(crate) fn resolve_apis(
    routes: Option<Routes>,
    apis: Option<Named<ApiSection>>,
    defaults: &SettingsLayer,
) -> Vec<Api> {
    let unnamed = routes.map(|routes| Api {
        name: None,
        hosts: Vec::new(),
        policies: Vec::new(),
        routes: resolve_routes(routes, None, defaults),
    });
    let named = apis.map(|apis| apis.0).unwrap_or_default().into_iter().map(|(name, section)| {
        let own = section.defaults.unwrap_or_default();
        let settings = own.settings.over(defaults);
        let routes = resolve_routes(section.routes.unwrap_or_default(), Some(&name), &settings);
        Api { hosts: section.hosts.unwrap_or_default(), policies: own.policies, routes, name: Some(name) }
    });
    unnamed.into_iter().chain(named).collect()
}

fn resolve_routes(routes: Routes, api: Option<&Spanned<String>>, defaults: &SettingsLayer) -> Vec<Route> {
    let mut variants: HashMap<String, usize> = HashMap::new();
    let mut label = |route: &RawRoute| {
        let text = route.own.name.as_ref().map_or(&route.key.value, |name| &name.value);
        let text = api.map_or_else(|| text.clone(), |api| format!("{}: {text}", api.value));
        let count = variants.entry(text.clone()).or_default();
        *count += 1;
        // The second variant of a key without a name of its own; two equal names are refused by `check`.
        if *count > 1 { format!("{text} #{count}") } else { text }
    };
    let resolve = |route: RawRoute| Route {
        label: label(&route),
        name: route.own.name,
        key: route.key,
        methods: route.methods,
        path: route.path,
        when: route.own.when.unwrap_or_default(),
        priority: route.own.priority,
        action: route.action,
        settings: route.settings.over(defaults).settle(),
        policies: route.policies,
    };
    routes.0.into_iter().map(resolve).collect()
}
