//! Which route a request finds, and what it is refused with.

use std::future::ready;

use tollgate_core::policy::BoxFuture;
use tollgate_core::reply::Reply;

use super::*;
use crate::testing::{compiled, exchange};

const SHOP: &str = "
services: { s: 10.0.0.1:80 }
apis:
  shop:
    hosts: [shop.example.com]
    routes:
      GET /orders/{id}: s
      PUT,DELETE /orders/{id}: s
      /v/{x}/{y}: { to: s, rewrite: '/{x}{y}' }
      /beta:
        - { to: s, name: beta, when: ['header(\"X-Beta\") == \"1\"', 'query(\"p q\") == \"a b\"', 'cookie(\"c\") == \"d\"'] }
        - { to: s, name: stable }
      /host: { to: s, when: 'request.host == \"shop.example.com\" && request.scheme == \"http\" && ip_in(\"127.0.0.0/8\")' }
";

/// The name of the route, or the status and slug of the refusal.
fn found(plan: &Plan, lines: &[&str]) -> String {
    let x = exchange(lines);
    let found = plan.find(&x);
    match found.refused {
        Some(problem) => format!("{} {}", problem.fault.status, problem.fault.slug),
        None => found.route.meta.name.to_string(),
    }
}

const HOST: &str = "Host: Shop.Example.com.:8080";

#[test]
fn a_request_finds_its_route_and_what_the_path_brought() {
    let plan = compiled(SHOP).plan;
    let x = exchange(&["HEAD //orders/%37?x", HOST]);
    let found = plan.find(&x);
    assert!(found.refused.is_none());
    assert_eq!((&*found.route.meta.name, &*found.route.meta.api), ("shop: GET /orders/{id}", "shop"));
    assert_eq!(&x.head.path()[found.captures.get(0).unwrap()], "7");
}

#[test]
fn conditions_see_the_request() {
    let plan = compiled(SHOP).plan;
    let all = ["GET /beta?p+q=a%20b", HOST, "x-beta: 1", "Cookie: a=b; c=d"];
    assert_eq!(found(&plan, &all), "shop: beta");
    for missing in 2..all.len() {
        let mut lines = all.to_vec();
        lines.remove(missing);
        assert_eq!(found(&plan, &lines), "shop: stable", "{lines:?}");
    }
    assert_eq!(found(&plan, &["GET /beta?p=1", HOST, "x-beta: 1", "Cookie: c=d"]), "shop: stable");
    assert_eq!(found(&plan, &["GET /host", HOST]), "shop: /host");
}

#[test]
fn what_no_route_takes_is_answered_by_the_plan() {
    let plan = compiled(SHOP).plan;
    assert_eq!(found(&plan, &["GET /nothing", HOST]), "404 route/not-found");
    assert_eq!(found(&plan, &["GET /orders/1", "Host: other"]), "404 route/not-found");
    assert_eq!(found(&plan, &["GET /orders/1"]), "404 route/not-found", "HTTP/1.0 without a host");
    let x = exchange(&["POST /orders/1", HOST]);
    let found = plan.find(&x);
    assert!(Arc::ptr_eq(&found.route.meta, &plan.unrouted.meta));
    assert_eq!(found.route.metrics.route(), &found.route.meta);
    let problem = found.refused.unwrap();
    assert_eq!(problem.fault.slug, "route/method-not-allowed");
    assert_eq!(problem.headers, [("Allow", "DELETE, GET, HEAD, PUT".into())]);
}

#[test]
fn a_head_that_was_never_read_finds_nothing() {
    let plan = compiled(SHOP).plan;
    let mut x = exchange(&["GET /", HOST]);
    x.head.clear();
    assert_eq!(plan.find(&x).refused.unwrap().fault.slug, "route/not-found");
}

#[test]
fn a_preflight_is_matched_by_the_method_it_asks_for() {
    let plan = compiled(SHOP).plan;
    let asks = ["OPTIONS /orders/1", HOST, "Origin: https://a.example", "Access-Control-Request-Method: PUT"];
    assert_eq!(found(&plan, &asks), "shop: PUT,DELETE /orders/{id}");
    assert_eq!(found(&plan, &asks[..3]), "405 route/method-not-allowed");
    assert_eq!(found(&plan, &[asks[0], asks[1], asks[3]]), "405 route/method-not-allowed", "without an origin");
}

#[test]
fn a_question_about_the_server_needs_no_route() {
    let plan = compiled(SHOP).plan;
    let x = exchange(&["OPTIONS *", HOST]);
    let found = plan.find(&x);
    assert!(found.refused.is_none());
    assert!(matches!(&found.route.action, Action::Fixed(Fixed { status: 204, body, .. }) if body.is_empty()));
}

#[test]
fn a_path_that_cannot_be_rewritten_is_refused() {
    let plan = compiled(SHOP).plan;
    assert_eq!(found(&plan, &["GET /v/a/b", HOST]), "shop: /v/{x}/{y}");
    assert_eq!(found(&plan, &["GET /v/%25/2e", HOST]), "400 route/rewrite");
}

#[derive(Debug)]
struct Alive;

impl Handler for Alive {
    fn call<'a>(&'a self, _: &'a mut Exchange) -> BoxFuture<'a, Result<Reply, Problem>> {
        Box::pin(ready(Ok(Reply::empty(200))))
    }
}

#[test]
fn parts_of_the_gateway_are_routes_like_others() {
    let handlers = |path| vec![("GET", "/live", Arc::new(Alive) as Arc<dyn Handler>), ("", path, Arc::new(Alive))];
    let plan = Plan::of_handlers(handlers("/x/**"), &Metrics::new(1)).unwrap();
    assert_eq!(found(&plan, &["HEAD /live", "Host: any"]), "/live");
    assert_eq!(found(&plan, &["POST /live", "Host: any"]), "405 route/method-not-allowed");
    assert_eq!(found(&plan, &["POST /x/y", "Host: any"]), "/x/**");
    let x = exchange(&["GET /live", "Host: any"]);
    assert_eq!(**plan.find(&x).route.metrics.route(), Route::new("tollgate", "/live"));
    assert!(Plan::of_handlers(handlers("x"), &Metrics::new(1)).is_err());
    let twice = vec![("GET", "/a", Arc::new(Alive) as Arc<dyn Handler>), ("GET", "/a", Arc::new(Alive))];
    assert_eq!(Plan::of_handlers(twice, &Metrics::new(1)).unwrap_err().len(), 1);
}

#[test]
fn faults_are_named_after_this_part() {
    for fault in crate::faults::ALL {
        assert!(fault.slug.starts_with("route/") && !fault.help.is_empty(), "{fault:?}");
    }
}
