//! Short forms: each is sugar for one long form, and is rewritten to it here, place by place. What has neither form
//! is left as it is, for the decoder to refuse. Places are kept.

mod provider;
mod tests;

use tollgate_core::node::{Entry, Node, Value, each_value, in_key};

use crate::model::smooth_in_full;

/// How a policy's short forms are written in full, by the policy's name; `config` does not know the policies.
pub type ShortForms<'s> = &'s [(&'s str, fn(Node) -> Node)];

/// Rewrites all short forms of a whole file.
pub(crate) fn desugar(tree: &mut Node, policies: ShortForms<'_>) {
    in_key(tree, "listen", listen);
    in_key(tree, "trust", |trust| in_key(trust, "proxies", list));
    in_key(tree, "drain", drain);
    in_key(tree, "tests", |tests| in_key(tests, "expect", tests::each));
    in_key(tree, "lists", |lists| each_value(lists, networks));
    in_key(tree, "dns", |dns| in_key(dns, "servers", list));
    in_key(tree, "log", log);
    in_key(tree, "state", state);
    in_key(tree, "cluster", |cluster| {
        in_key(cluster, "etcd", list);
        in_key(cluster, "tls", service_tls);
    });
    in_key(tree, "consul", |consul| {
        if is_scalar(consul) {
            under(consul, "url");
        }
    });
    in_key(tree, "registry", |registry| {
        in_key(registry, "register", |all| each_value(all, registrar));
        in_key(registry, "read", registrar);
    });
    in_key(tree, "auth", |auth| each_value(auth, source));
    in_key(tree, "services", |services| each_value(services, service));
    in_key(tree, "defaults", |defaults| settings(defaults, policies));
    in_key(tree, "routes", |routes| each_value(routes, |node| route(node, policies)));
    in_key(tree, "apis", |apis| each_value(apis, |node| api(node, policies)));
}

/// `audience: a` → `audience: [a]`, and so on.
fn source(node: &mut Node) {
    provider::provider(node);
    ["audience", "scopes", "origins", "tenants", "hosted_domain"].into_iter().for_each(|key| in_key(node, key, list));
    in_key(node, "session", |session| in_key(session, "key", list));
}

fn is_scalar(node: &Node) -> bool {
    !matches!(node.value, Value::List(_) | Value::Map(_) | Value::Null)
}

/// A mapping in place of `node`, as secret as it was.
fn instead(node: &mut Node, entries: Vec<Entry>) {
    node.value = Value::Map(entries);
    node.secret = false;
}

/// `x` → `{ key: x }`.
fn under(node: &mut Node, key: &str) {
    let inner = node.clone();
    instead(node, vec![Entry::at(key, inner)]);
}

/// A part of a text, at its own place, as secret as the whole.
fn part(node: &Node, text: &str) -> Node {
    Node { value: text.into(), span: node.span.narrow(text), secret: node.secret }
}

/// Like [`part`], and a number if it is one.
fn number_part(node: &Node, text: &str) -> Node {
    let value = text.parse::<i64>().map_or_else(|_| text.into(), Value::Int);
    Node { value, ..part(node, text) }
}

/// `x` → `[x]`.
fn list(node: &mut Node) {
    if is_scalar(node) {
        let item = node.clone();
        node.value = Value::List(vec![item]);
        node.secret = false;
    }
}

/// `8080` → `{ "8080": { kind: http } }`; `{ "9900": health }` → `{ "9900": { kind: health } }`; `redirect to https` →
/// `{ kind: redirect }`.
fn listen(node: &mut Node) {
    let entry = |address: &Node| Entry {
        key: address.written(),
        key_span: address.span.clone(),
        value: Node::new(Value::Null, address.span.clone()),
    };
    let listed = match &node.value {
        Value::List(items) if items.iter().all(is_scalar) => Some(items.iter().map(entry).collect()),
        _ if is_scalar(node) => Some(vec![entry(node)]),
        _ => None,
    };
    if let Some(entries) = listed {
        instead(node, entries);
    }
    each_value(node, |options| {
        if options.value == Value::Null {
            options.value = "http".into();
        }
        if options.text() == Some("redirect to https") {
            options.value = "redirect".into();
        }
        if is_scalar(options) {
            under(options, "kind");
        }
        in_key(options, "tls", listener_tls);
    });
}

/// `{ cert: a, key: b }` → `{ certificates: [{ cert: a, key: b }] }`; `client: ca` → `{ ca: ca }`.
fn listener_tls(node: &mut Node) {
    in_key(node, "client", |client| {
        if is_scalar(client) {
            under(client, "ca");
        }
    });
    let is_long = node.get("certificates").is_some();
    let span = node.span.clone();
    let Value::Map(entries) = &mut node.value else { return };
    let (pair, mut rest): (Vec<Entry>, Vec<Entry>) =
        std::mem::take(entries).into_iter().partition(|entry| !is_long && matches!(entry.key.as_str(), "cert" | "key"));
    if !pair.is_empty() {
        let one = Node::new(Value::Map(pair), span.clone());
        rest.insert(0, Entry::at("certificates", Node::new(Value::List(vec![one]), span)));
    }
    *entries = rest;
}

/// `drain: 30s` → `{ time: 30s }`.
fn drain(node: &mut Node) {
    if is_scalar(node) {
        under(node, "time");
    }
}

/// `redis://redis:6379` → `{ redis: { url: redis://redis:6379 } }`.
fn state(node: &mut Node) {
    if is_scalar(node) {
        under(node, "redis");
    }
    in_key(node, "redis", |redis| {
        if is_scalar(redis) {
            under(redis, "url");
        }
    });
}

/// `log: debug` → `{ level: debug }`; `access: off` → `{ to: off }`.
fn log(node: &mut Node) {
    if is_scalar(node) {
        under(node, "level");
    }
    in_key(node, "access", |access| {
        if is_scalar(access) {
            under(access, "to");
        }
    });
}

/// `10.0.0.1:8080` or `[…]` → `{ to: … }`, and what is inside.
fn service(node: &mut Node) {
    if is_scalar(node) || matches!(node.value, Value::List(_)) {
        under(node, "to");
    }
    in_key(node, "to", targets);
    in_key(node, "registry", |registry| {
        if is_scalar(registry) {
            under(registry, "service");
        }
        in_key(registry, "tags", list);
    });
    for source in ["consul", "kubernetes"] {
        in_key(node, source, |from| {
            if is_scalar(from) {
                under(from, "service");
            }
            in_key(from, "tags", list);
        });
    }
    in_key(node, "balance", balance);
    in_key(node, "queue", |queue| {
        if is_scalar(queue) {
            under(queue, "size");
        }
    });
    in_key(node, "smooth", smooth_in_full);
    in_key(node, "adaptive_concurrency", on);
    in_key(node, "retry", retry);
    in_key(node, "tls", service_tls);
    in_key(node, "fallback", fallback);
    watch(node);
}

/// `${env:TOKEN}` → `{ token: [${env:TOKEN}] }`; `certificate: a` → `[a]`.
fn registrar(node: &mut Node) {
    if is_scalar(node) {
        under(node, "token");
    }
    ["token", "certificate"].into_iter().for_each(|key| in_key(node, key, list));
}

/// What finds out which instances are well.
fn watch(node: &mut Node) {
    in_key(node, "health", health);
    in_key(node, "outlier", outlier);
    in_key(node, "breaker", breaker);
}

/// `GET /healthz every 5s` → `{ method: GET, path: /healthz, interval: 5s }`; `/healthz` → `{ path: /healthz }`;
/// `tcp every 5s` → `{ check: tcp, interval: 5s }`.
fn health(node: &mut Node) {
    if let Some(text) = node.text() {
        let (what, interval) = match text.split_once(" every ") {
            Some((what, interval)) => (what.trim(), Some(interval.trim())),
            None => (text.trim(), None),
        };
        let mut entries = match what.split_once(' ') {
            Some((method, path)) => {
                vec![Entry::at("method", part(node, method)), Entry::at("path", part(node, path.trim()))]
            }
            None if what.starts_with('/') => vec![Entry::at("path", part(node, what))],
            None => vec![Entry::at("check", part(node, what))],
        };
        entries.extend(interval.map(|interval| Entry::at("interval", part(node, interval))));
        instead(node, entries);
    }
    in_key(node, "status", list);
}

/// `on` → `{}`; `latency: 3x` → `{ factor: 3 }`.
fn outlier(node: &mut Node) {
    if node.text() == Some("on") {
        instead(node, Vec::new());
    }
    in_key(node, "status", list);
    in_key(node, "errors", error_share);
    in_key(node, "success_rate", on);
    in_key(node, "latency", |latency| {
        on(latency);
        if let Some(factor) = latency.text().and_then(|text| text.strip_suffix('x')) {
            let factor = Entry::at("factor", number_part(latency, factor.trim()));
            instead(latency, vec![factor]);
        }
    });
}

/// `50% of 20 within 10s`, or `in` for `within` → `{ share: 50%, of: 20, within: 10s }`.
fn error_share(node: &mut Node) {
    let parts = node.text().and_then(|text| text.split_once(" of "));
    let within = |rest: &str| if rest.contains(" within ") { " within " } else { " in " };
    let Some((share, (of, within))) = parts.and_then(|(share, rest)| Some((share, rest.split_once(within(rest))?)))
    else {
        return;
    };
    let entries = vec![
        Entry::at("share", part(node, share.trim())),
        Entry::at("of", number_part(node, of.trim())),
        Entry::at("within", part(node, within.trim())),
    ];
    instead(node, entries);
}

/// `50% of 20 in 10s, open 5s` → `{ failures: { share: 50%, of: 20, within: 10s }, open: 5s }`; `5 in a row, open 5s` →
/// `{ consecutive: 5, open: 5s }`.
fn breaker(node: &mut Node) {
    if let Some(text) = node.text() {
        let (when, open) = match text.split_once(',') {
            Some((when, rest)) => (when.trim(), Some(rest.trim())),
            None => (text.trim(), None),
        };
        let mut entries = vec![match when.strip_suffix("in a row") {
            Some(number) => Entry::at("consecutive", number_part(node, number.trim())),
            None if when.contains(" of ") => Entry::at("failures", part(node, when)),
            None => return,
        }];
        entries.extend(open.map(|open| {
            let time = open.strip_prefix("open ").unwrap_or(open);
            Entry::at("open", part(node, time.trim()))
        }));
        instead(node, entries);
    }
    in_key(node, "failures", error_share);
    in_key(node, "status", list);
}

/// `stock` → `{ to: stock }`; `200 some text` and `{ status: 200, body: some text }` →
/// `{ reply: { status: 200, body: some text } }`, whatever it says with `on`, which stays where it is.
fn fallback(node: &mut Node) {
    let starts_with_status = |text: &str| {
        let status = text.split(' ').next().unwrap_or_default();
        status.len() == 3 && status.bytes().all(|b| b.is_ascii_digit())
    };
    match &node.value {
        // `none` takes away what `defaults` set.
        Value::String(text) if text == "none" => return,
        Value::String(text) if !starts_with_status(text) => under(node, "to"),
        Value::String(_) | Value::Int(_) => under(node, "reply"),
        Value::Map(entries) if entries.iter().any(|e| matches!(e.key.as_str(), "status" | "body")) => {
            let on = taken(node, "on");
            under(node, "reply");
            if let Value::Map(entries) = &mut node.value {
                entries.extend(on);
            }
        }
        _ => {}
    }
    in_key(node, "reply", reply);
    in_key(node, "on", list);
}

/// The entry of this key, which is there no more.
fn taken(node: &mut Node, key: &str) -> Option<Entry> {
    let Value::Map(entries) = &mut node.value else { return None };
    let at = entries.iter().position(|entry| entry.key == key)?;
    Some(entries.remove(at))
}

/// `shadow` → `{ to: shadow }`; `without: X-Own` → `[X-Own]`.
fn mirror(node: &mut Node) {
    under_unless_none(node, "to");
    in_key(node, "without", list);
}

/// `on` → `{}`.
fn on(node: &mut Node) {
    if node.text() == Some("on") {
        instead(node, Vec::new());
    }
}

/// `on` → `{}`.
fn service_tls(node: &mut Node) {
    on(node);
    in_key(node, "pin", list);
}

/// `a` → `[{ address: a }]`; `[a, b]` → `[{ address: a }, { address: b }]`.
fn targets(node: &mut Node) {
    list(node);
    if let Value::List(items) = &mut node.value {
        items.iter_mut().for_each(target);
    }
}

/// `10.0.0.1:8080 weight 3` → `{ address: 10.0.0.1:8080, weight: 3 }`.
fn target(node: &mut Node) {
    if !is_scalar(node) {
        return;
    }
    match node.text().and_then(|text| text.split_once(" weight ")) {
        Some((address, weight)) => {
            let address = Entry::at("address", part(node, address.trim()));
            let weight = Entry::at("weight", number_part(node, weight.trim()));
            instead(node, vec![address, weight]);
        }
        None => under(node, "address"),
    }
}

/// `hash header X-User` → `{ hash: header X-User }`; `sticky instance` → `{ sticky: { cookie: instance } }`; `load cpu` →
/// `{ load: { of: cpu } }`.
fn balance(node: &mut Node) {
    for way in ["hash", "sticky", "load"] {
        let said = node.text().and_then(|text| text.strip_prefix(way)?.strip_prefix(' '));
        if let Some(said) = said {
            let entry = Entry::at(way, part(node, said.trim()));
            instead(node, vec![entry]);
            break;
        }
    }
    for (way, key) in [("sticky", "cookie"), ("load", "of")] {
        in_key(node, way, |said| {
            if is_scalar(said) {
                under(said, key);
            }
        });
    }
    in_key(node, "sticky", |sticky| in_key(sticky, "key", list));
}

/// `retry: 2` → `{ retries: 2 }`; `retry: none` → `{ retries: 0 }`.
fn retry(node: &mut Node) {
    if node.text() == Some("none") {
        node.value = Value::Int(0);
    }
    if is_scalar(node) {
        under(node, "retries");
    }
    in_key(node, "on", list);
}

/// `50ms` → `{ after: 50ms }`; `X-Request-Timeout` → `{ header: X-Request-Timeout }`.
fn under_unless_none(node: &mut Node, key: &str) {
    // `none` takes away what `defaults` set.
    if is_scalar(node) && node.text() != Some("none") {
        under(node, key);
    }
}

/// `websocket` → `{ protocols: [websocket] }`; `[a, b]` → `{ protocols: [a, b] }`.
fn upgrade(node: &mut Node) {
    if node.text() == Some("none") {
        return;
    }
    list(node);
    if matches!(node.value, Value::List(_)) {
        under(node, "protocols");
    }
}

/// The settings and policies of a route or of `defaults`.
fn settings(node: &mut Node, policies: ShortForms<'_>) {
    in_key(node, "retry", retry);
    in_key(node, "upgrade", upgrade);
    in_key(node, "fallback", fallback);
    in_key(node, "hedge", |hedge| under_unless_none(hedge, "after"));
    in_key(node, "deadline", |deadline| under_unless_none(deadline, "header"));
    in_key(node, "mirror", mirror);
    let Value::Map(entries) = &mut node.value else { return };
    for entry in entries {
        // `none` takes a policy away; it is no form of the policy itself.
        let Some((_, rewrite)) = policies.iter().find(|(name, _)| *name == entry.key) else { continue };
        if entry.value.text() != Some("none") {
            let value = std::mem::replace(&mut entry.value, Node::synthetic(Value::Null));
            entry.value = rewrite(value);
        }
    }
}

/// `orders` → `{ to: orders }`; a list of addresses → `{ to: […] }`; a list of mappings: variants, each by itself.
fn route(node: &mut Node, policies: ShortForms<'_>) {
    let is_variant = |item: &Node| matches!(item.value, Value::Map(_)) && item.get("address").is_none();
    match &mut node.value {
        Value::List(items) if items.iter().any(is_variant) => {
            items.iter_mut().for_each(|item| route(item, policies));
            return;
        }
        Value::List(_) | Value::String(_) => under(node, "to"),
        _ => {}
    }
    in_key(node, "to", destination);
    in_key(node, "when", list);
    in_key(node, "redirect", redirect);
    in_key(node, "reply", reply);
    in_key(node, "files", files);
    watch(node);
    settings(node, policies);
}

/// A service's name stays; an address is a list of one. What has a `:` or `/` is an address.
fn destination(node: &mut Node) {
    let is_address = node.text().is_some_and(|text| text.contains([':', '/']));
    if is_address || matches!(node.value, Value::List(_)) {
        targets(node);
    }
}

/// `/new` → `{ to: /new }`; `301 /new` → `{ to: /new, status: 301 }`.
fn redirect(node: &mut Node) {
    if !is_scalar(node) {
        return;
    }
    match node.text().and_then(|text| text.split_once(' ')) {
        Some((status, to)) => {
            let to = Entry::at("to", part(node, to.trim()));
            let status = Entry::at("status", number_part(node, status));
            instead(node, vec![to, status]);
        }
        None => under(node, "to"),
    }
}

/// `204` → `{ status: 204 }`; `200 some text` → `{ status: 200, body: some text }`.
fn reply(node: &mut Node) {
    if !is_scalar(node) {
        return;
    }
    match node.text().and_then(|text| text.split_once(' ')) {
        Some((status, body)) if status.len() == 3 && status.bytes().all(|b| b.is_ascii_digit()) => {
            let status = Entry::at("status", number_part(node, status));
            let body = Entry::at("body", part(node, body));
            instead(node, vec![status, body]);
        }
        _ => under(node, "status"),
    }
}

/// `./public` → `{ dir: ./public }`; `precompressed: br` → `[br]`.
fn files(node: &mut Node) {
    if is_scalar(node) {
        under(node, "dir");
    }
    in_key(node, "precompressed", list);
}

fn api(node: &mut Node, policies: ShortForms<'_>) {
    in_key(node, "hosts", list);
    in_key(node, "defaults", |defaults| settings(defaults, policies));
    in_key(node, "routes", |routes| each_value(routes, |node| route(node, policies)));
}

/// `[10.0.0.0/8]` → `{ networks: [10.0.0.0/8] }`; `./bad.txt` → `{ file: ./bad.txt }`.
fn networks(node: &mut Node) {
    let is_file = node.text().is_some_and(|text| text.starts_with(['/', '.']));
    match &node.value {
        Value::Map(_) | Value::Null => {}
        _ if is_file => instead(node, vec![Entry::at("file", node.clone())]),
        _ => instead(node, vec![Entry::at("networks", node.clone())]),
    }
}
