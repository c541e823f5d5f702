//! Paths that a service may read otherwise than the gateway did: kept, refused, or refused where the other reading would
//! have met another route, so that `/admin;x/secret` walks around no rule for `/admin/**`.

use tollgate_config::model::{Paths, Unusual};
use tollgate_core::exchange::Exchange;
use tollgate_core::path::{Reading, readings};
use tollgate_core::problem::Problem;

use crate::conditions::Conditions;
use crate::faults::PATH_READINGS;
use crate::matcher::{Lookup, Matcher, Outcome};
use crate::plan::{Seen, lookup};

/// What is done about which liberty.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    refused: Vec<Reading>,
    checked: Vec<Reading>,
}

impl Readings {
    pub(crate) fn new(paths: &Paths) -> Self {
        let all = [(Reading::WithoutParameters, paths.parameters), (Reading::SlashesDecoded, paths.encoded_slashes)];
        let of = |what| all.into_iter().filter(move |(_, done)| *done == what).map(|(reading, _)| reading).collect();
        Self { refused: of(Unusual::Refuse), checked: of(Unusual::Check) }
    }

    /// Why this request, which `route` would serve, is refused.
    pub(crate) fn refusal(&self, x: &Exchange, route: usize, matcher: &Matcher<Conditions>) -> Option<Problem> {
        let path = x.head.path().as_bytes();
        // Nearly all paths end here.
        if !path.iter().any(|b| matches!(b, b';' | b'%')) {
            return None;
        }
        if let Some(found) = self.refused.iter().find(|reading| reading.concerns(path)) {
            return Some(PATH_READINGS.problem().detail(match found {
                Reading::WithoutParameters => "the path has a parameter (`;`)",
                Reading::SlashesDecoded => "the path has an encoded slash (`%2F`)",
            }));
        }
        let other = readings(path, &self.checked).into_iter().find(|other| !is_served_by(route, other, x, matcher))?;
        let other = String::from_utf8_lossy(&other).into_owned();
        Some(PATH_READINGS.problem().detail(format!("the path may be read as {other}, which other rules are for")))
    }
}

/// Whether a request for that path would meet the same route, or no rule at all.
fn is_served_by(route: usize, path: &[u8], x: &Exchange, matcher: &Matcher<Conditions>) -> bool {
    let request = Lookup { path, ..lookup(x) };
    let seen = Seen { x, path: std::str::from_utf8(path).unwrap_or_default() };
    match matcher.find(&request, |conditions| conditions.hold(&seen)) {
        Outcome::Found(found) => found.route == route,
        // A rule that says no is a rule.
        Outcome::MethodNotAllowed(_) => false,
        Outcome::NotFound => !matcher.has_rule_for(&request),
    }
}

#[cfg(test)]
mod tests {
    use tollgate_observe::metrics::Metrics;

    use crate::compile::compile;
    use crate::testing::{KINDS, exchange, loaded};

    /// What a `GET` of this path is refused with.
    fn refused(paths: &str, path: &str) -> Option<String> {
        let config = format!(
            r#"
{paths}
routes:
  /files/{{name}}: 10.0.0.1:80
  /files/secret/**: {{ to: "10.0.0.1:80", when: 'header("X-Key") == "1"' }}
  POST /files/new/all: 10.0.0.1:80
"#
        );
        let loaded = loaded(&config);
        let compiled =
            compile(&loaded.config, KINDS, &tollgate_core::principal::Sources::default(), &Metrics::new(1), 1).unwrap();
        let found = compiled.plan.find(&exchange(&[&format!("GET {path}"), "Host: h"])).refused;
        found.map(|problem| problem.fault.slug.to_owned())
    }

    #[test]
    fn a_rule_that_does_not_take_the_request_is_a_rule() {
        let refusal = Some("route/path-readings".to_owned());
        assert_eq!(refused("", "/files/secret%2Fkey"), refusal, "the condition does not hold");
        assert_eq!(refused("", "/files/new%2Fall"), refusal, "another method");
        assert_eq!(refused("", "/files/new%2Fsome"), None, "nobody's rule");
        assert_eq!(refused("", "/files/a;b"), None, "the same route");
        assert_eq!(refused("paths: { encoded_slashes: keep }", "/files/secret%2Fkey"), None);
    }

    #[test]
    fn refused_is_refused_whatever_the_routes() {
        for (path, problem) in [("/files/a;b", true), ("/files/a%2Fb", true), ("/files/a%20b", false)] {
            let told = refused("paths: { parameters: refuse, encoded_slashes: refuse }", path);
            assert_eq!(told.is_some(), problem, "{path}");
        }
    }
}
