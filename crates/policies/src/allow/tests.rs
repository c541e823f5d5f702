use tollgate_testkit::bench::{Bench, Outcome};

use super::*;
use crate::auth::AuthConfig;

fn bench(allow: &str) -> Bench {
    Bench::of::<AuthConfig>("idp").and::<AllowConfig>(allow)
}

fn alice(bench: &Bench, scopes: &str) -> Outcome {
    bench.request("GET", "/?user=alice", &[("Authorization", &format!("Bearer idp.alice{scopes}"))])
}

#[test]
fn all_scopes_are_needed_and_those_that_are_missing_are_told() {
    let bench = bench("[read, write]");
    alice(&bench, ".read.write.more").passes();
    let refused = alice(&bench, ".read").refused_with("allow/scope").replies(403);
    assert_eq!(refused.problem()["missing"], json!(["write"]));
    assert_eq!(
        refused.header("www-authenticate").as_deref(),
        Some("Bearer realm=\"idp\", error=\"insufficient_scope\", scope=\"read write\"")
    );
    bench.get("/").refused_with("auth/missing").replies(401);
}

#[test]
fn a_condition_asks_about_the_caller_and_the_request() {
    for holds in [
        "principal == \"alice\" && consumer == \"shop\"",
        "\"user\" in claims.roles",
        "claims.org.unit == \"sales\" && claims[\"org\"].unit.startsWith(\"sa\")",
        "claims.level >= 3 && claims.sub == query(\"user\")",
        "\"read\" in scopes",
        "has(claims.org) && !has(claims.email)",
        "claims.email == \"x\" || claims.sub == \"alice\"",
    ] {
        alice(&bench(&format!("'{holds}'")), ".read").passes();
    }
    for denied in [
        "principal == \"bob\"",
        "\"admin\" in claims.roles",
        "claims.email == \"x\"",
        "\"x\" in claims.nothing",
        "!(\"x\" in claims.nothing)",
        "claims.level > 3",
        "claims.sub.unit == \"x\"",
        // Of a claim that is not there nothing holds, not even that it is another one.
        "claims.email != \"x\"",
        "!(claims.email == \"x\")",
        "!(claims.plan in [\"free\"])",
        "claims.email == claims.phone",
        "claims.org.nothing != 1",
    ] {
        alice(&bench(&format!("'{denied}'")), ".read").refused_with("allow/denied").replies(403);
    }
}

#[test]
fn one_of_the_roles_is_enough() {
    // `alice` has the role `user`.
    alice(&bench("{ roles: [admin, user] }"), "").passes();
    alice(&bench("{ roles: user }"), "").passes();
    let refused = alice(&bench("{ roles: [admin, clerk] }"), "").refused_with("allow/role").replies(403);
    assert_eq!(refused.problem()["roles"], json!(["admin", "clerk"]));
    alice(&bench("{ roles: [user], scopes: [read] }"), ".write").refused_with("allow/scope");
    assert_eq!(bench("{ scopes: [read], roles: [a, b] }").describe()[1], "the scopes read; one of the roles a, b");
    assert!(Bench::mistakes::<AllowConfig>("{ roles: [] }")[0].contains("no role is named"));
    let nobody = Principal {
        source: "idp".into(),
        subject: "a".into(),
        consumer: None,
        scopes: Vec::new(),
        claims: serde_json::Map::new(),
        expires: None,
        session: None,
    };
    assert!(!has_role(&nobody, "user"));
    let one = Principal { claims: [("roles".to_owned(), json!("user"))].into_iter().collect(), ..nobody };
    assert!(has_role(&one, "user") && !has_role(&one, "use"));
}

#[test]
fn somebody_else_is_asked_once_all_else_holds() {
    let asks = bench("{ scopes: [read], when: 'principal == \"alice\"', ask: opa }");
    assert_eq!(asks.describe()[1], "the scopes read; if principal == \"alice\"; if opa says so");
    alice(&asks, ".read").passes();
    alice(&asks, ".write").refused_with("allow/scope");
    let ask = |bench: &Bench, method: &str, target: &str| {
        bench.request(method, target, &[("Authorization", "Bearer idp.alice.read")])
    };
    ask(&asks, "GET", "/later").passes();
    ask(&asks, "DELETE", "/later").refused_with("decision/denied").replies(403);
    ask(&bench("{ ask: opa }"), "DELETE", "/").refused_with("decision/denied");
    assert_eq!(Bench::mistakes::<AllowConfig>("{ ask: opal }"), ["nobody called `opal` decides (did you mean `opa`?)"]);
    assert!(Bench::mistakes::<AllowConfig>("{ ask: somebody }")[0].contains("under `decisions`"));
}

#[test]
fn mistakes_say_what_to_write() {
    let told = |yaml| Bench::mistakes::<AllowConfig>(yaml).join("; ");
    assert!(told("{}").contains("nothing is asked"), "{}", told("{}"));
    assert!(told("['a b']").contains("one word each"));
    assert!(told("'claims == 1'").contains("name one"));
    assert!(told("'claim.x == 1'").contains("did you mean `claims`"), "{}", told("'claim.x == 1'"));
    assert!(told("'header(\"X\")'").contains("true or false"));
}
