use super::*;

fn told(before: Value, after: Value) -> String {
    diff(&before, &after).to_string()
}

#[test]
fn order_means_nothing_and_secrets_are_not_shown() {
    let one = json!({ "listen": { "80": { "kind": "http" } }, "routes": { "/a": { "to": "a" }, "/b": { "to": "b" } } });
    let other =
        json!({ "routes": { "/b": { "to": "b" }, "/a": { "to": "a" } }, "listen": { "80": { "kind": "http" } } });
    assert_eq!(told(one.clone(), other), "nothing changes\n");
    assert!(diff(&one, &one).is_empty());
    let with = |body: Value| json!({ "routes": { "/a": { "reply": { "body": body } } } });
    let [old, new] = ["hunter2", "swordfish"].map(|word| with(secret(json!(word))));
    assert_eq!(told(old.clone(), new.clone()), "routes\n  ~ /a\n      reply.body: another secret\n");
    assert_eq!(told(with(json!(MASK)), new.clone()), "nothing changes\n", "of a masked one nothing is known");
    assert!(!diff(&old, &with(json!("plain"))).to_json().to_string().contains("hunter2"));
    assert_eq!(told(old, with(json!("plain"))), "routes\n  ~ /a\n      reply.body: *** -> plain\n");
}

#[test]
fn routes_come_go_and_change() {
    let before = json!({
        "routes": { "/a": { "to": "a", "timeout": "30s" }, "/old/**": { "to": "a" }, "/v": [{ "to": "a" }, { "to": "b" }] },
        "apis": { "shop": { "hosts": ["a.example"], "routes": { "/x": { "to": "a" } } } },
    });
    let after = json!({
        "drain": { "time": "10s" },
        "routes": { "/a": { "to": "a", "timeout": "5s", "headers": { "request": { "set": { "X": "1" } } } }, "/new": { "to": "a" },
            "/v": [{ "to": "a" }, { "to": "c" }] },
        "apis": { "shop": { "hosts": ["a.example", "b.example"], "routes": { "/y": { "to": "a" } } } },
    });
    assert_eq!(
        told(before, after),
        "routes\n  ~ /a\n      timeout: 30s -> 5s\n      headers.request.set.X: with 1\n  - /old/**\n      (what is on its way \
         there has 10s to end)\n  ~ /v #2\n      to: b -> c\n  + /new  { to: a }\n  - shop: /x\n      (what is on its way there \
         has 10s to end)\n  + shop: /y  { to: a }\napis\n  ~ shop\n      hosts: with b.example\nsettings\n  ~ drain\n      time: \
         with 10s\n"
    );
}

#[test]
fn what_is_disturbed_is_told() {
    let service = |says: Value| json!({ "services": { "s": says } });
    let base = json!({ "to": [{ "address": "a:80" }], "connections": 10 });
    let changed = |key: &str, value: Value| {
        let mut new = base.clone();
        new[key] = value;
        told(service(base.clone()), service(new))
    };
    for (key, value) in [
        ("to", json!([{ "address": "a:80" }, { "address": "b:80" }])),
        ("try_timeout", json!("1s")),
        ("retry", json!({ "retries": 3 })),
        ("host", json!("x")),
    ] {
        assert!(changed(key, value).contains(KEPT), "{key}");
    }
    for (key, value) in
        [("connections", json!(20)), ("tls", json!({})), ("retry", json!({ "budget": "10%" })), ("health", json!({}))]
    {
        let told = changed(key, value);
        assert!(told.contains(AFRESH), "{told}");
    }
    let limits = |head: &str| json!({ "limits": { "head": head }, "services": {} });
    assert!(told(limits("32KiB"), limits("16KiB")).contains(ALL_AFRESH));
    let listen = |kind: &str| json!({ "listen": { "80": { "kind": kind } } });
    assert!(told(listen("http"), listen("redirect")).contains("holds for new connections"));
    assert!(told(listen("http"), json!({ "listen": {} })).contains("takes no more"));
    assert!(told(json!({}), json!({ "workers": 4 })).contains("~ workers\n      with 4\n"));
    let defaults = |timeout: &str| json!({ "defaults": { "timeout": timeout } });
    assert!(told(defaults("1s"), defaults("2s")).starts_with("defaults\n  ~ (all)\n      timeout: 1s -> 2s\n"));
}

#[test]
fn machines_are_told_the_same() {
    let json = diff(&json!({ "workers": 2 }), &json!({ "workers": 4 })).to_json();
    let expected = json!({ "changes": [{ "section": "settings", "name": "workers", "change": "changed",
        "details": [{ "path": "", "before": "2", "after": "4" }],
        "effect": "sockets go over to the workers that stay; what the others carry comes to its own end" }] });
    assert_eq!(json, expected);
}
