use tollgate_testkit::bench::Bench;

use super::*;

fn with(bench: &Bench, token: &str) -> tollgate_testkit::bench::Outcome {
    bench.request("GET", "/", &[("Authorization", &format!("Bearer {token}"))])
}

#[test]
fn who_is_known_passes_and_is_remembered_in_the_exchange() {
    let bench = Bench::of::<AuthConfig>("idp");
    for token in ["idp.alice", "idp.later"] {
        let outcome = with(&bench, token).passes();
        let principal = outcome.exchange().principal.clone().unwrap();
        assert_eq!((&*principal.source, format!("idp.{}", principal.subject).as_str()), ("idp", token));
    }
}

#[test]
fn without_a_credential_every_way_is_named_and_nothing_is_said_to_be_wrong() {
    let refused = Bench::of::<AuthConfig>("idp or keys").get("/").refused_with("auth/missing").replies(401);
    assert_eq!(refused.header("www-authenticate").as_deref(), Some("Bearer realm=\"idp\", Bearer realm=\"keys\""));
    assert_eq!(refused.problem()["detail"], "this API takes idp, keys");
}

#[test]
fn a_credential_that_is_wrong_is_refused_by_whom_it_is_from() {
    let bench = Bench::of::<AuthConfig>("idp or keys");
    for token in ["idp.bad", "keys.bad"] {
        let refused = with(&bench, token).refused_with("jwt/expired").replies(401);
        let (realm, _) = token.split_once('.').unwrap();
        let expected =
            format!("Bearer realm=\"{realm}\", error=\"invalid_token\", error_description=\"The token has expired\"");
        assert_eq!(refused.header("www-authenticate"), Some(expected));
        assert!(refused.exchange().principal.is_none());
    }
    with(&bench, "keys.bob").passes();
    with(&bench, "other.bob").refused_with("jwt/issuer").replies(401);
}

#[test]
fn mistakes_say_what_to_write() {
    let told = |yaml| Bench::mistakes::<AuthConfig>(yaml).join("; ");
    assert_eq!(told("ipd"), "there is no source of identity `ipd` (did you mean `idp`?)");
    assert!(told("nobody").contains("name it under `auth`"));
    assert!(told("[]").contains("auth: none"));
    assert!(told("idp or idp").contains("stands twice"));
    assert!(told("asked or idp").contains("`idp` is never asked"), "{}", told("asked or idp"));
    assert_eq!(told("idp or asked"), "");
    assert!(told("{ a: b }").contains("unknown key `a`"));
}
