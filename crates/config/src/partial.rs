//! What of a wrong config can still be compiled.
//!
//! Patterns, conditions, placeholders, policies and ties are understood by `plan` alone, and only of a [`Config`]. So
//! that one wrong unit does not hide all of its mistakes, what does not read is taken out of the tree, piece by piece,
//! until the rest decodes. Nothing may be taken out that would make `plan` find a mistake which is none: a route
//! without its `when` might tie with another, so it goes as a whole; a service that does not read is stood in for.

use std::collections::{BTreeSet, HashSet};

use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Severity;
use tollgate_core::node::{Entry, Node, Value, each_value, in_key};

use crate::check::{entries, named, named_beside, owners_of_settings, routes_of};
use crate::model::named::is_name;
use crate::model::route::{ACTIONS, RouteKeys, Routes};
use crate::model::settings::SettingsLayer;
use crate::model::tls::FilePath;
use crate::model::{self, AddressList, AuthSource, Config, Decision, HostPattern, Issuer, Service, Signer};

/// The part of a wrong config that reads well.
#[derive(Clone, Debug, PartialEq)]
pub struct Partial {
    /// Services, what is named of identity, defaults and routes, for the compiler to look at: not to be run. Everything else is as if not
    /// written.
    pub config: Config,
    /// The whole tree, for [`redact`](crate::redact).
    pub tree: Node,
}

/// The places of references that lead nowhere.
type Lost = BTreeSet<(String, usize)>;

/// What can be compiled of the desugared `tree` of a file; `None`: nothing.
pub(crate) fn partial(tree: Node, lost: &Lost) -> Option<Partial> {
    let mut rest = tree.clone();
    keep_entries(&mut rest, |entry| KEPT.contains(&entry.key.as_str()));
    in_key(&mut rest, "auth", |auth| all_named::<AuthSource>(auth, &[("basic", "x")]));
    in_key(&mut rest, "issuer", |issuer| all_read::<Issuer>(issuer, &[("url", "https://issuer.invalid")]));
    let signer = [("sigv4", "x"), ("secret", "x"), ("region", "x"), ("service", "x")];
    in_key(&mut rest, "decisions", |all| all_named::<Decision>(all, &[("url", "https://decisions.invalid")]));
    in_key(&mut rest, "lists", |all| all_named::<AddressList>(all, &[("networks", "192.0.2.0/24")]));
    in_key(&mut rest, "geo", |geo| {
        if !reads::<FilePath>(geo) {
            geo.value = "./geo.mmdb".into();
        }
    });
    in_key(&mut rest, "signers", |signers| all_named::<Signer>(signers, &signer));
    in_key(&mut rest, "defaults", |defaults| keep_entries(defaults, |entry| setting_reads(entry, lost)));
    in_key(&mut rest, "routes", |routes| prune_routes(routes, lost));
    in_key(&mut rest, "apis", |apis| prune_apis(apis, lost));
    let mut services = Node::synthetic(Value::Null);
    in_key(&mut rest, "services", |written| services = written.clone());
    keep_entries(&mut services, |entry| is_name(&entry.key));
    each_value(&mut services, stand_in);
    add_missing(&rest, &mut services);
    keep_entries(&mut rest, |entry| entry.key != "services");
    let Value::Map(sections) = &mut rest.value else { return None };
    sections.push(Entry::at("services", services));
    sections.push(Entry::at("listen", map(vec![Entry::at("1", map(Vec::new()))])));
    let config = model::decode(&rest, &mut DecodeCx::default())?;
    Some(Partial { config, tree })
}

/// The sections that are looked at.
const KEPT: [&str; 10] =
    ["services", "auth", "issuer", "signers", "decisions", "lists", "geo", "defaults", "routes", "apis"];

/// What does not read is still there: others may name it. These words stand in for it.
fn all_read<T: Decode>(node: &mut Node, words: &[(&str, &str)]) {
    if !reads::<T>(node) {
        let entry = |(key, word): &(&str, &str)| Entry::at(key, Node::synthetic((*word).into()));
        node.value = Value::Map(words.iter().map(entry).collect());
    }
}

/// The same for all things of a section, by their names.
fn all_named<T: Decode>(section: &mut Node, words: &[(&str, &str)]) {
    keep_entries(section, |entry| is_name(&entry.key));
    each_value(section, |written| all_read::<T>(written, words));
}

fn map(entries: Vec<Entry>) -> Node {
    Node::synthetic(Value::Map(entries))
}

/// Whether `T` reads this without a mistake.
fn reads<T: Decode>(node: &Node) -> bool {
    let mut cx = DecodeCx::default();
    T::decode(node, &mut cx).is_some() && cx.diagnostics.iter().all(|found| found.severity == Severity::Warning)
}

/// Keeps these entries of a mapping; what is no mapping becomes an empty one.
fn keep_entries(node: &mut Node, keep: impl FnMut(&Entry) -> bool) {
    match &mut node.value {
        Value::Map(entries) => entries.retain(keep),
        _ => node.value = Value::Map(Vec::new()),
    }
}

/// Whether a reference that leads nowhere stands here or inside.
fn is_lost(node: &Node, lost: &Lost) -> bool {
    match &node.value {
        Value::List(items) => items.iter().any(|item| is_lost(item, lost)),
        Value::Map(entries) => entries.iter().any(|entry| is_lost(&entry.value, lost)),
        _ => !lost.is_empty() && lost.contains(&(node.span.source.name.clone(), node.span.start)),
    }
}

/// Whether a setting reads. Policies are for others to read.
fn setting_reads(entry: &Entry, lost: &Lost) -> bool {
    let is_policy = !SettingsLayer::KEYS.contains(&entry.key.as_str());
    !is_lost(&entry.value, lost) && (is_policy || reads::<SettingsLayer>(&map(vec![entry.clone()])))
}

fn prune_apis(apis: &mut Node, lost: &Lost) {
    keep_entries(apis, |entry| is_name(&entry.key) && matches!(entry.value.value, Value::Map(_)));
    let mut number = 0;
    each_value(apis, |api| {
        number += 1;
        keep_entries(api, |entry| matches!(entry.key.as_str(), "hosts" | "defaults" | "routes"));
        in_key(api, "hosts", |hosts| prune_hosts(hosts, number));
        in_key(api, "defaults", |defaults| keep_entries(defaults, |entry| setting_reads(entry, lost)));
        in_key(api, "routes", |routes| prune_routes(routes, lost));
    });
}

/// Without any host, an api would answer for all of them and get in the way of others: it is given one of its own.
fn prune_hosts(hosts: &mut Node, number: usize) {
    if reads::<Option<Vec<HostPattern>>>(hosts) {
        return;
    }
    let mut left = match &mut hosts.value {
        Value::List(items) => std::mem::take(items),
        _ => Vec::new(),
    };
    left.retain(reads::<HostPattern>);
    if left.is_empty() {
        left.push(Node::synthetic(Value::String(format!("api-{number}.invalid"))));
    }
    hosts.value = Value::List(left);
}

fn prune_routes(routes: &mut Node, lost: &Lost) {
    let Value::Map(entries) = &mut routes.value else {
        routes.value = Value::Null;
        return;
    };
    entries.retain_mut(|entry| {
        let mut route = Entry { value: Node::synthetic(Value::Null), ..entry.clone() };
        let mut keeps = |node: &mut Node| {
            std::mem::swap(&mut route.value, node);
            let keeps = prune_route(&mut route, lost);
            std::mem::swap(&mut route.value, node);
            keeps
        };
        match &mut entry.value.value {
            Value::List(variants) => {
                variants.retain_mut(keeps);
                !variants.is_empty()
            }
            _ => keeps(&mut entry.value),
        }
    });
}

/// Takes out of a route, or one variant of it, what the others can do without; whether the rest reads.
fn prune_route(route: &mut Entry, lost: &Lost) -> bool {
    if !matches!(route.value.value, Value::Map(_)) {
        return false;
    }
    keep_entries(&mut route.value, |entry| match entry.key.as_str() {
        "name" => !is_lost(&entry.value, lost) && reads::<RouteKeys>(&map(vec![entry.clone()])),
        "strip" | "rewrite" => !is_lost(&entry.value, lost),
        key if RouteKeys::KEYS.contains(&key) => true,
        _ => setting_reads(entry, lost),
    });
    if is_lost(&route.value, lost) {
        return false;
    }
    let reads_now = |route: &Entry| reads::<Routes>(&map(vec![route.clone()]));
    if reads_now(route) {
        return true;
    }
    keep_entries(&mut route.value, |entry| !matches!(entry.key.as_str(), "strip" | "rewrite"));
    reads_now(route) || {
        do_nothing(&mut route.value);
        reads_now(route)
    }
}

/// Puts an address in the place of what a route does: what that should be is told already, or cannot be known.
fn do_nothing(route: &mut Node) {
    keep_entries(route, |entry| {
        !ACTIONS.contains(&entry.key.as_str()) && !matches!(entry.key.as_str(), "health" | "outlier")
    });
    if let Value::Map(entries) = &mut route.value {
        let nowhere = map(vec![Entry::at("address", Node::synthetic("127.0.0.1:1".into()))]);
        entries.push(Entry::at("to", Node::synthetic(Value::List(vec![nowhere]))));
    }
}

/// A service that does not read is still there: routes may name it.
fn stand_in(service: &mut Node) {
    if !reads::<Service>(service) {
        let address = Entry::at("address", Node::synthetic("127.0.0.1:1".into()));
        service.value = Value::Map(vec![Entry::at("to", Node::synthetic(Value::List(vec![map(vec![address])])))]);
    }
}

/// Services that routes name and nobody wrote: that is told already, or cannot be known.
fn add_missing(tree: &Node, services: &mut Node) {
    let Value::Map(written) = &mut services.value else { return };
    let mut known: HashSet<String> = written.iter().map(|service| service.key.clone()).collect();
    let apis = entries(tree, "apis").iter().map(|api| &api.value);
    let stand_ins: Vec<String> =
        written.iter().flat_map(|service| named_beside(&service.value)).map(|(name, _)| name.to_owned()).collect();
    let defaults = owners_of_settings(tree).into_iter().flat_map(named_beside);
    let in_routes = std::iter::once(tree).chain(apis).flat_map(routes_of).flat_map(named);
    for name in in_routes.chain(defaults).map(|(name, _)| name).chain(stand_ins.iter().map(String::as_str)) {
        if is_name(name) && known.insert(name.to_owned()) {
            let mut service = Node::synthetic(Value::Null);
            stand_in(&mut service);
            written.push(Entry::at(name, service));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::load_text;

    /// The labels of the routes that are left, and the services' names.
    fn left(text: &str) -> (Vec<String>, Vec<String>) {
        let partial = load_text("x.yaml", text, &|_| None, &[]).unwrap_err().partial.unwrap();
        let routes = partial.config.routes().map(|(_, route)| route.label.clone()).collect();
        (routes, partial.config.services.iter().map(|(name, _)| name.value.clone()).collect())
    }

    #[test]
    fn a_route_goes_without_what_it_can_do_without() {
        let text = "routes:\n  /a: { reply: 204, timeout: 5 }\n  /b/{x}: { to: s, strip: /c, name: [] }\n  \
                    /c: [{ reply: 204, when: {} }, { reply: 205, host: a b }]\n  /d: { reply: \"${env:X}\" }\n  /e: 5\n";
        assert_eq!(left(text).0, ["/a", "/b/{x}", "/c"]);
    }

    #[test]
    fn whatever_a_route_does_its_policies_are_looked_at() {
        assert_eq!(
            left("routes: { /a: { too: b, timeout: 3s }, /b: { to: c, reply: 5 }, /c: { name: x } }").0,
            ["/a", "/b", "x"]
        );
    }

    #[test]
    fn what_is_named_of_identity_is_known_whatever_is_wrong_with_it() {
        let text = "auth: { a: { issuer: 5 }, b: { basic: ./b }, c: [] }\nsigners: { s: { sigv4: [] } }\nissuer: 5\nroutes: { /a: 5 }";
        let config = load_text("x.yaml", text, &|_| None, &[]).unwrap_err().partial.unwrap().config;
        let names: Vec<&str> = config.auth.iter().map(|(name, _)| name.value.as_str()).collect();
        assert_eq!((names, config.signers.len(), config.issuer.is_some()), (vec!["a", "b", "c"], 1, true));
        let config =
            load_text("x.yaml", "auth: 5\nroutes: { /a: 5 }", &|_| None, &[]).unwrap_err().partial.unwrap().config;
        assert!(config.auth.is_empty() && config.issuer.is_none());
    }

    #[test]
    fn services_are_known_by_name_whatever_is_wrong_with_them() {
        let text =
            "services: { s: { to: 5 }, t: 10.0.0.1:80, \"a b\": x }\nroutes: { /a: u, /b: { to: { v: 1, s: 1 } } }";
        assert_eq!(left(text).1, ["s", "t", "u", "v"]);
        assert_eq!(left("services: []\nroutes: { /a: u }").1, ["u"]);
    }

    #[test]
    fn an_api_whose_hosts_do_not_read_answers_for_no_other() {
        let text = "apis: { a: { hosts: [a b], routes: { /: { reply: 204 } } }, b: { hosts: {}, routes: {} }, c: 5 }";
        let partial = load_text("x.yaml", text, &|_| None, &[]).unwrap_err().partial.unwrap();
        let hosts: Vec<_> = partial.config.apis.iter().map(|api| api.hosts[0].value.to_string()).collect();
        assert_eq!(hosts, ["api-1.invalid", "api-2.invalid"]);
    }
}
