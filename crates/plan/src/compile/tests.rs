//! What a config becomes, and what is told of a wrong one.

use tollgate_config::model::Config;
use tollgate_core::clock::Clock;
use tollgate_core::policy::Stage;

use super::*;
use crate::table::Action;
use crate::testing::{KINDS, compiled, loaded, mistakes};

fn route<'c>(compiled: &'c Compiled, name: &str) -> &'c RoutePlan {
    compiled.plan.routes.iter().find(|route| *route.meta.name == *name).unwrap()
}

/// What runs on a route, in order.
fn chain(compiled: &Compiled, name: &str) -> Vec<String> {
    route(compiled, name).chain.iter().map(|link| link.policy.describe()).collect()
}

const LAYERS: &str = "
defaults:
  tag: { says: file }
  guard: { says: file ROUTE }
apis:
  shop:
    defaults:
      guard: { says: api }
      login: { says: who }
    routes:
      /plain: { to: 10.0.0.1:80 }
      /own: { to: 10.0.0.1:80, tag: { says: own }, guard: { says: own } }
      /bare: { to: 10.0.0.1:80, tag: none, guard: none, login: none }
      /again: { to: 10.0.0.1:80, guard: none, login: { says: again } }
routes:
  /top: { to: 10.0.0.1:80, guard: { says: top } }
";

#[test]
fn layers_of_policies_add_up_or_replace_and_none_removes() {
    let compiled = compiled(LAYERS);
    assert_eq!(chain(&compiled, "shop: /plain"), ["file shop: /plain", "api", "who", "file"]);
    assert_eq!(chain(&compiled, "shop: /own"), ["file shop: /own", "api", "own", "who", "own"]);
    assert!(chain(&compiled, "shop: /bare").is_empty());
    assert_eq!(chain(&compiled, "shop: /again"), ["again", "file"]);
    assert_eq!(chain(&compiled, "/top"), ["file /top", "top", "file"]);
}

#[test]
fn policies_run_by_stage_and_hooks_are_those_of_all() {
    let compiled = compiled(LAYERS);
    let own = route(&compiled, "shop: /own");
    let stages: Vec<Stage> = own.chain.iter().map(|link| link.stage).collect();
    assert_eq!(stages, [Stage::Edge, Stage::Edge, Stage::Edge, Stage::Authenticate, Stage::Transform]);
    assert_eq!(own.hooks, Hooks::BOTH);
    assert_eq!(route(&compiled, "shop: /bare").hooks, Hooks::default());
}

#[test]
fn a_mistake_in_defaults_is_told_once_whoever_takes_it_over() {
    let told = mistakes(
        "
defaults: { guard: { says: wrong }, tag: { say: x }, to: x, gaurd: y }
routes:
  /a: { to: 10.0.0.1:80 }
  /b: { to: 10.0.0.1:80 }
  /c: { to: 10.0.0.1:80, guard: none, tag: none }
",
    );
    let expected = [
        "2:20 `guard` says the wrong thing",
        "2:42 `says` is missing here",
        "2:44 unknown key `say` (did you mean `says`?)",
        "2:54 `to` cannot stand in `defaults` (each route says it for itself)",
        "2:61 unknown key `gaurd` (did you mean `guard`?)",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_mistake_in_defaults_is_told_though_no_route_takes_it_over() {
    let told = mistakes(
        "
defaults: { guard: { says: wrong } }
routes: { /a: { to: 10.0.0.1:80, guard: none } }
",
    );
    assert_eq!(told, ["2:20 `guard` says the wrong thing"]);
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_their_places() {
    let told = mistakes(
        r#"
routes:
  GET /a/{id:
    to: 10.0.0.1:80
    gurd: { says: x }
  /b/{id}:
    to: 10.0.0.1:80
    when: ['ip == 3', 'header("X") = "1"']
    rewrite: /b/{di}
  /c/{x}: { to: 10.0.0.1:80 }
  /c/{y}: { to: 10.0.0.1:80, guard: { says: wrong } }
  "~/d/(": { to: 10.0.0.1:80 }
"#,
    );
    let starts = [
        "3:10 a parameter takes a whole segment",
        "5:5 unknown key `gurd` (did you mean `guard`?)",
        "8:",
        "8:",
        "9:17 the route's path has no `{di}` (did you mean `{id}`?)",
        "11:3 `/c/{y}` and `/c/{x}` can match the same request, and neither is more specific [10: the other route]",
        "11:37 `guard` says the wrong thing",
        "12:5 not a regular expression: unclosed group",
    ];
    assert_eq!(told.len(), starts.len(), "{told:#?}");
    for (told, start) in told.iter().zip(starts) {
        assert!(told.starts_with(start), "{told}\n{start}");
    }
}

#[test]
fn a_mistake_in_a_condition_is_told_at_its_character() {
    let told = mistakes(
        "
routes:
  /a:
    to: 10.0.0.1:80
    when: 'request.method == \"GET\" && request.pth == \"/\"'
",
    );
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("5:") && told[0].contains("pth"), "{told:?}");
    let column: usize = told[0][2..].split(' ').next().unwrap().parse().unwrap();
    assert!((39..=47).contains(&column), "{told:?}");
}

#[test]
fn contradicting_routes_name_each_other() {
    let told = mistakes(
        "
routes:
  /a:
    - { to: 10.0.0.1:80, priority: 1 }
    - { to: 10.0.0.2:80 }
",
    );
    assert_eq!(
        told,
        ["5:7 `/a #2` can never match: `/a` takes all its requests [4: the other route] \
          (remove it, or give it a condition or a higher `priority`)"]
    );
}

#[test]
fn names_that_state_is_kept_by_are_unique() {
    let told = mistakes(
        "
services: { orders: 10.0.0.1:80 }
routes:
  /a: { to: orders }
  /b: { to: 10.0.0.1:80, name: orders }
  /c: { to: orders, name: 'shop: /x' }
apis:
  shop: { routes: { /x: { to: orders } } }
",
    );
    assert_eq!(
        told,
        [
            "5:32 the service of this route would be called `orders`, too [2: the service of this name] \
             (give the route another `name`, or send it to that service)",
            "8:21 two routes are called `shop: /x` [6: the other one] (give one of them another `name`)",
        ]
    );
}

#[test]
fn services_have_the_slots_that_routes_point_at() {
    let compiled = compiled(
        "
services: { unused: 10.0.0.9:80, orders: 10.0.0.1:80, stock: 10.0.0.2:80 }
routes:
  /a: { to: [10.0.0.3:80, 10.0.0.4:80] }
  /b: { to: { stock: 95%, orders: 5% } }
  /c: orders
",
    );
    let names: Vec<&str> = compiled.services.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["unused", "orders", "stock", "/a"]);
    let targets = |name: &str| match &route(&compiled, name).action {
        Action::Proxy(proxy) => proxy.targets.iter().map(|(to, sum)| (to.slot, &*to.name, *sum)).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(targets("/a"), [(3, "/a", 1)]);
    assert_eq!(targets("/b"), [(2, "stock", 9500), (1, "orders", 10_000)]);
    assert_eq!(targets("/c"), [(1, "orders", 1)]);
}

#[test]
fn settings_become_bounds_and_a_reply_is_ready_to_send() {
    let compiled = compiled(
        "
defaults: { timeout: 3s, body: unlimited }
routes:
  /a: { to: 10.0.0.1:80, total: 9s, body: 1MB, retry: 2, host: x.example }
  /b: { reply: 200 hello }
  /c: { reply: { status: 204, headers: { X-A: b } } }
",
    );
    let seconds = Duration::from_secs;
    let (timeout, idle, tunnel_idle) = (seconds(3), seconds(60), seconds(300));
    let a = route(&compiled, "/a");
    assert_eq!(a.bounds, Bounds { timeout, idle, total: Some(seconds(9)), body: 1_000_000, tunnel_idle });
    assert_eq!(route(&compiled, "/b").bounds, Bounds { timeout, idle, total: None, body: u64::MAX, tunnel_idle });
    let Action::Proxy(proxy) = &a.action else { panic!("{a:?}") };
    assert_eq!((proxy.retries, proxy.host.as_deref()), (Some(2), Some(&b"x.example"[..])));
    let fixed = |name: &str| match &route(&compiled, name).action {
        Action::Fixed(fixed) => (fixed.status, fixed.fields.len(), fixed.body.len()),
        other => panic!("{other:?}"),
    };
    assert_eq!((fixed("/b"), fixed("/c")), ((200, 1, 5), (204, 1, 0)));
}

/// A config with many routes, some of which share a prefix, and policies in `defaults`.
fn large(routes: usize) -> Config {
    let mut text = String::from("services: { s: 10.0.0.1:80 }\ndefaults: { guard: { says: x } }\nroutes:\n");
    for n in 0..routes {
        text.push_str(&format!("  GET /a{}/b{}/c{n}/{{id}}: s\n", n % 7, n % 101));
    }
    loaded(&text).config
}

#[test]
fn the_time_to_compile_grows_no_faster_than_the_routes() {
    let metrics = Metrics::new(1);
    let took = |routes| {
        let config = large(routes);
        let begun = Clock::real().now();
        let compiled = compile(&config, KINDS, &tollgate_core::principal::Sources::default(), &metrics, 1).unwrap();
        assert_eq!(compiled.plan.routes.len(), routes);
        Clock::real().now() - begun
    };
    let (small, large) = (took(1000), took(10_000));
    // Generous: other tests run at the same time.
    assert!(large < small * 60 + Duration::from_millis(500), "{small:?} for 1,000 routes, {large:?} for 10,000");
}

#[test]
fn files_are_served_below_a_path_that_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let route = |path: &str, dir: &str| format!("routes: {{ \"{path}\": {{ files: {dir} }} }}");
    let here = dir.path().display().to_string();
    let compiled = compiled(&route("/u/{id}/**", &here));
    let Action::Serve(handler) = &compiled.plan.routes[0].action else { panic!("no handler") };
    assert_eq!(handler.describe(), format!("files of {here}"));
    for path in ["/files", "~/files/.*"] {
        assert!(mistakes(&route(path, &here))[0].contains("ends in `/**`"), "{path}");
    }
    assert!(mistakes(&route("/**", "./nowhere"))[0].contains("there is no directory `nowhere`"));
}
