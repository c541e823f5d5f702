//! What must hold between sections. On the tree, not on the types, so that it is told along with all other mistakes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tollgate_core::diagnostic::{Diagnostic, nearest};
use tollgate_core::node::{Entry, Node, Span, Spanned, Value};

use crate::model::named::is_name;
use crate::model::route::ACTIONS;
use crate::model::{
    Action, AuthSource, Config, Destination, Endpoint, HedgeAfter, Listener, ListenerKind, Method, OrNone, Route,
    Service,
};

/// Looks at the desugared tree of a whole file.
pub(crate) fn check(tree: &Node) -> Vec<Diagnostic> {
    let mut mistakes = Vec::new();
    let apis = entries(tree, "apis");
    let groups: Vec<Vec<&Node>> =
        std::iter::once(tree).chain(apis.iter().map(|api| &api.value)).map(routes_of).collect();
    let routes: Vec<&Node> = groups.iter().flatten().copied().collect();
    services(tree, &routes, &mut mistakes);
    beside_itself(tree, &routes, &mut mistakes);
    groups.iter().for_each(|group| names(group, &mut mistakes));
    apis.iter().for_each(|api| hosts(&api.value, &mut mistakes));
    if routes.is_empty() && matches!(tree.value, Value::Map(_)) {
        let mistake = Diagnostic::warning("there are no routes: every request is answered with 404").at(&tree.span);
        mistakes.push(mistake.hint("for example `routes: { /orders/**: 10.0.0.1:8080 }`"));
    }
    mistakes
}

/// Services and routes that would lead clients to the admin API. On the types, since it takes addresses that read.
pub(crate) fn ways_to_admin(config: &Config) -> Vec<Diagnostic> {
    let admin: Vec<_> = config.listen.iter().filter(|listener| listener.kind == ListenerKind::Admin).collect();
    let leading = |service: &Service| {
        let found = service.to.0.iter().filter_map(|target| {
            let listener = admin.iter().find(|listener| listener.address.is_reached_at(&target.address.value))?;
            let mistake = Diagnostic::error("a route may not lead to an admin listener").at(&target.address.span);
            Some(mistake.related(&listener.span, "the admin API is here"))
        });
        found.collect::<Vec<_>>()
    };
    let inline = config.routes().filter_map(|(_, route)| match &route.action {
        Action::Forward { to: Destination::Inline(service), .. } => Some(&**service),
        _ => None,
    });
    config.services.iter().map(|(_, service)| service).chain(inline).flat_map(leading).collect()
}

/// Sources at which people sign in, without a route by which they could.
pub(crate) fn signing_in(config: &Config) -> Vec<Diagnostic> {
    let served: Vec<&str> = config
        .routes()
        .filter(|(_, route)| matches!(&route.action, Action::Serve(word) if word.value == Endpoint::Login))
        .map(|(_, route)| route.path.value.as_str())
        .collect();
    let is_served = |at: &str| {
        served.iter().any(|path| {
            path.strip_suffix("/**").is_some_and(|above| at == above || at.starts_with(&format!("{above}/")))
        })
    };
    let sources = config.auth.iter().filter_map(|(name, source)| match source {
        AuthSource::Login(login) => Some((name, &login.at.value.0)),
        AuthSource::Saml(saml) => Some((name, &saml.at.value.0)),
        _ => None,
    });
    let missing = sources.filter(|(_, at)| !is_served(at));
    let mistake = |(name, at): (&Spanned<String>, &String)| {
        let mistake = Diagnostic::error(format!("nobody can sign in at `{}`: no route serves its pages", name.value));
        mistake.at(&name.span).hint(format!("add the route `{at}/**: {{ serve: login }}`"))
    };
    missing.map(mistake).collect()
}

/// What is said of the registry and has no effect as the rest of the file is.
pub(crate) fn registering(config: &Config) -> Vec<Diagnostic> {
    let mut mistakes = Vec::new();
    let is_admin = |listener: &&Listener| listener.kind == ListenerKind::Admin;
    let from = config.services.iter().find_map(|(_, service)| service.registry.as_ref());
    // What is in etcd, others may write as well.
    if let Some(from) = from.filter(|_| config.cluster.is_none() && !config.listen.iter().any(|l| is_admin(&l))) {
        let mistake = Diagnostic::warning("no instance can register: there is no admin listener").at(&from.span);
        mistakes.push(mistake.hint("`listen: { …, \"127.0.0.1:9901\": admin }`"));
    }
    let Some(registry) = &config.registry else { return mistakes };
    let asks = |listener: &Listener| listener.tls.as_ref().is_some_and(|tls| tls.client.is_some());
    let everybody = registry.register.0.iter().chain(&registry.read.0);
    let shown = everybody.filter_map(|(_, registrar)| registrar.certificate.as_ref()?.first());
    for name in shown.take(1).filter(|_| !config.listen.iter().filter(is_admin).any(asks)) {
        let mistake = Diagnostic::warning("no admin listener asks for certificates").at(&name.span);
        mistakes.push(mistake.hint("`\"10.0.0.5:9901\": { kind: admin, tls: { …, client: ./clients-ca.pem } }`"));
    }
    mistakes
}

/// Second attempts that no route can ever make, though it is told to.
pub(crate) fn hedging(config: &Config) -> Vec<Diagnostic> {
    // By where it stands: what `defaults` say is for those of their routes that it fits.
    let mut told: BTreeMap<(&str, usize), Option<Diagnostic>> = BTreeMap::new();
    for (_, route) in config.routes().filter(|(_, route)| matches!(route.action, Action::Forward { .. })) {
        let Some(hedge) = &route.settings.hedge else { continue };
        let (never, here) = (never_hedged(config, route, &hedge.after), &hedge.after.span);
        let known = told.entry((here.source.name.as_str(), here.start)).or_insert_with(|| never.clone());
        if never.is_none() {
            *known = None;
        }
    }
    told.into_values().flatten().collect()
}

/// Why there is never a second attempt on this route; `None`: there may be.
fn never_hedged(config: &Config, route: &Route, after: &Spanned<HedgeAfter>) -> Option<Diagnostic> {
    let is_read = |method: &Method| ["GET", "HEAD", "OPTIONS"].contains(&method.as_str());
    if !route.methods.is_empty() && !route.methods.iter().any(is_read) {
        let mistake = Diagnostic::error("no request of this route is ever sent twice").at(&after.span);
        return Some(mistake.hint("`hedge` is for `GET`, `HEAD` and `OPTIONS`, which change nothing"));
    }
    let HedgeAfter::Time(time) = after.value else { return None };
    let settings = &route.settings;
    let bounds =
        [("timeout", Some(settings.timeout)), ("total", settings.total), ("try_timeout", longest_try(config, route))];
    let known = bounds.into_iter().filter_map(|(name, bound)| Some((name, bound?)));
    let (name, bound) = known.min_by_key(|(_, bound)| *bound).filter(|(_, bound)| time >= *bound)?;
    let mistake = Diagnostic::error(format!("a second attempt after {time:?} comes too late")).at(&after.span);
    Some(mistake.hint(format!("the first one is over after {bound:?} (`{name}`): write a shorter time")))
}

/// How long a try of this route may take at most, if that is bounded by itself: its own `try_timeout`, or that of its services.
fn longest_try(config: &Config, route: &Route) -> Option<Duration> {
    if let Some(own) = &route.settings.try_timeout {
        return match own {
            OrNone::None => None,
            OrNone::Some(most) => Some(most.0),
        };
    }
    let Action::Forward { to, .. } = &route.action else { return None };
    let named = |name: &Spanned<String>| config.services.iter().find(|(known, _)| known.value == name.value);
    let services: Vec<&Service> = match to {
        Destination::Inline(service) => vec![service],
        named_ones => named_ones.names().filter_map(|name| Some(&named(name)?.1)).collect(),
    };
    services
        .into_iter()
        .map(|service| service.try_timeout.map(|most| most.0))
        .collect::<Option<Vec<_>>>()?
        .into_iter()
        .max()
}

/// Services that tests name and that are none.
pub(crate) fn tested(config: &Config) -> Vec<Diagnostic> {
    let inline =
        config.routes().filter(|(_, route)| matches!(route.action, Action::Forward { to: Destination::Inline(_), .. }));
    let known: Vec<&str> = config
        .services
        .iter()
        .map(|(name, _)| name.value.as_str())
        .chain(inline.flat_map(|(api, route)| {
            let own = api.name.as_ref().and_then(|api| route.label.strip_prefix(&*format!("{}: ", api.value)));
            [Some(route.label.as_str()), own].into_iter().flatten()
        }))
        .collect();
    let named = config.tests.expect.iter().flatten().filter_map(|test| test.value.0.expect.from.as_ref());
    let unknown = named.filter(|name| !known.contains(&name.value.as_str()));
    let mistake = |name: &Spanned<String>| {
        let mistake = Diagnostic::error(format!("there is no service `{}`", name.value)).at(&name.span);
        match nearest(&name.value, known.iter().copied()) {
            Some(word) => mistake.hint(format!("did you mean `{word}`?")),
            None => mistake.hint("a name under `services`, or the name of a route with addresses of its own"),
        }
    };
    unknown.map(mistake).collect()
}

/// People who call in tests and are not known.
pub(crate) fn calling(config: &Config) -> Vec<Diagnostic> {
    let people = config.tests.people.as_ref();
    let known: Vec<&str> = people.iter().flat_map(|people| &people.0).map(|(name, _)| name.value.as_str()).collect();
    let named = config.tests.expect.iter().flatten().filter_map(|test| test.value.0.request.person.as_ref());
    let mistake = |name: &Spanned<String>| {
        let mistake = Diagnostic::error(format!("nobody is called `{}`", name.value)).at(&name.span);
        match nearest(&name.value, known.iter().copied()) {
            Some(word) => mistake.hint(format!("did you mean `{word}`?")),
            None => {
                mistake.hint("say under `people` who that is: `people: { alice: { sub: alice, scope: orders.read } }`")
            }
        }
    };
    named.filter(|name| !known.contains(&name.value.as_str())).map(mistake).collect()
}

/// The entries under `key`, if it is a mapping.
pub(crate) fn entries<'n>(node: &'n Node, key: &str) -> &'n [Entry] {
    match node.get(key).map(|entry| &entry.value.value) {
        Some(Value::Map(entries)) => entries,
        _ => &[],
    }
}

/// The routes of the file or of an api, every variant by itself.
pub(crate) fn routes_of(owner: &Node) -> Vec<&Node> {
    let mut routes = Vec::new();
    for entry in entries(owner, "routes") {
        match &entry.value.value {
            Value::List(variants) => routes.extend(variants),
            _ => routes.push(&entry.value),
        }
    }
    routes
}

/// Names that lead nowhere, and services that nobody uses.
fn services(tree: &Node, routes: &[&Node], mistakes: &mut Vec<Diagnostic>) {
    let services = entries(tree, "services");
    let known: HashSet<&str> = services.iter().map(|service| service.key.as_str()).collect();
    let mut used: HashSet<&str> = HashSet::new();
    // Of services that cannot be read at all, none is known to be missing.
    if tree.get("services").is_some_and(|all| !matches!(all.value.value, Value::Map(_) | Value::Null)) {
        return;
    }
    let before = mistakes.len();
    let others = owners_of_settings(tree).into_iter().flat_map(named_beside);
    for (name, span) in routes.iter().flat_map(|route| named(route)).chain(others) {
        used.insert(name);
        if known.contains(name) || !is_name(name) {
            continue;
        }
        let mistake = Diagnostic::error(format!("there is no service `{name}`")).at(span);
        mistakes.push(match nearest(name, services.iter().map(|service| service.key.as_str())) {
            Some(word) => mistake.hint(format!("did you mean `{word}`?")),
            None if known.is_empty() => {
                mistake.hint(format!("`services: {{ {name}: 10.0.0.1:8080 }}`, or an address here"))
            }
            None => mistake.hint("name it under `services`, or write an address: `host:port`"),
        });
    }
    // A route whose destination is misspelt or missing may have meant any of them.
    let says_what = |route: &&Node| ACTIONS.iter().any(|action| route.get(action).is_some());
    if routes.is_empty() || mistakes.len() > before || !routes.iter().all(says_what) {
        return;
    }
    for service in services.iter().filter(|service| !used.contains(service.key.as_str())) {
        let mistake = Diagnostic::warning(format!("no route uses the service `{}`", service.key));
        mistakes.push(mistake.at(&service.key_span));
    }
}

/// The services that a route names, those beside its own included.
pub(crate) fn named(route: &Node) -> Vec<(&str, &Span)> {
    let mut named = match route.get("to").map(|to| &to.value) {
        Some(Node { value: Value::String(name), span, .. }) => vec![(name.as_str(), span)],
        Some(Node { value: Value::Map(parts), .. }) => parts.iter().map(|p| (p.key.as_str(), &p.key_span)).collect(),
        _ => Vec::new(),
    };
    named.extend(named_beside(route));
    named
}

/// Everything but routes that may name services beside: services, and all `defaults`.
pub(crate) fn owners_of_settings(tree: &Node) -> Vec<&Node> {
    let services = entries(tree, "services").iter().map(|service| &service.value);
    let apis = entries(tree, "apis").iter().map(|api| &api.value);
    let defaults = std::iter::once(tree).chain(apis).filter_map(|owner| Some(&owner.get("defaults")?.value));
    services.chain(defaults).collect()
}

/// The services that a service, a route or `defaults` name beside the one that is asked: the one that stands in, and the one
/// that gets copies.
pub(crate) fn named_beside(owner: &Node) -> impl Iterator<Item = (&str, &Span)> {
    ["fallback", "mirror"].into_iter().filter_map(|key| beside(owner, key))
}

fn beside<'n>(owner: &'n Node, key: &str) -> Option<(&'n str, &'n Span)> {
    let to = &owner.get(key)?.value.get("to")?.value;
    Some((to.text()?, &to.span))
}

/// Who stands in for itself does not help, and a copy for whom the request is for would be a second request.
fn beside_itself(tree: &Node, routes: &[&Node], mistakes: &mut Vec<Diagnostic>) {
    let services = entries(tree, "services").iter().map(|service| (service.key.as_str(), &service.value));
    let routes = routes.iter().filter_map(|route| Some((route.get("to")?.value.text()?, *route)));
    for (name, owner) in services.chain(routes) {
        let mut tell = |key, why: &str| {
            if let Some((_, span)) = beside(owner, key).filter(|(other, _)| *other == name) {
                mistakes.push(Diagnostic::error(format!("`{name}` cannot {why}")).at(span));
            }
        };
        tell("fallback", "stand in for itself");
        tell("mirror", "mirror itself");
    }
}

/// Two routes of one api by the same name would be one in metrics and logs.
fn names(routes: &[&Node], mistakes: &mut Vec<Diagnostic>) {
    let names = routes.iter().filter_map(|route| route.get("name").map(|name| &name.value));
    unique(names, "two routes are called", mistakes);
}

fn hosts(api: &Node, mistakes: &mut Vec<Diagnostic>) {
    if let Some(Value::List(hosts)) = api.get("hosts").map(|hosts| &hosts.value.value) {
        unique(hosts.iter(), "this api has the host twice:", mistakes);
    }
}

fn unique<'n>(texts: impl Iterator<Item = &'n Node>, message: &str, mistakes: &mut Vec<Diagnostic>) {
    let mut seen: HashMap<String, &Span> = HashMap::new();
    for node in texts {
        if let Some(text) = node.text()
            && let Some(first) = seen.insert(text.to_ascii_lowercase(), &node.span)
        {
            let mistake = Diagnostic::error(format!("{message} `{text}`")).at(&node.span);
            mistakes.push(mistake.related(first, "the other one"));
        }
    }
}
