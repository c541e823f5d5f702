//! Lets clients in by their addresses, or keeps them out.
//!
//! # When to use
//! For what only an office or a partner may reach, and against addresses that are known to be bad. The client is whom a trusted proxy names, where
//! there is one (`trust`), and nobody else's word counts.
//!
//! `allow` and `deny` take networks (`192.0.2.0/24`, `2001:db8::1`), names of `lists` at the top of the file, countries (`country DE`) if the file
//! has a database of them (`geo`), and `unix` for whoever comes by a Unix socket. A country is larger than any network, and an address whose country
//! is not known is in none. The smallest network that has the address decides, wherever it stands, so that a part of what is allowed can be denied
//! and the other way round; in doubt it is denied. Who is in none of them is let in unless there is an `allow`.
//!
//! # Example
//! ```yaml
//! ip:
//!   allow: [10.0.0.0/8, "2001:db8::/32"]
//!   deny: [10.6.6.0/24]
//! ```
//!
//! # Faults
//! - `ip/denied` (403): the client's address is not let in here.

use std::sync::Arc;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde_json::json;
use tollgate_config::model::Network;
use tollgate_core::country::Country;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::exchange::Exchange;
use tollgate_core::facts::ClientAddress;
use tollgate_core::node::{Node, Spanned};
use tollgate_core::policy::{BuildCx, Built, Flow, Hooks, Merge, Policy, PolicyConfig, PolicyKind, Stage, Step};
use tollgate_core::principal::Sources;
use tollgate_core::problem::Fault;
use tollgate_core::section;
use tollgate_core::text::FromText;
use tollgate_lists::{Access, Side};

use crate::kit::forms::{ShortForm, list_under, unknown_name, with_short};
use crate::kit::key::nobody_knows_countries;

section! {
    /// Lets clients in by their addresses, or keeps them out.
    pub struct IpConfig {
        /// Networks, names of lists, countries (`country DE`), or `unix`: who is in none is not let in.
        allow: Option<Vec<Spanned<String>>>,
        /// Networks, names of lists, countries, or `unix`: who is in one is not let in, unless a smaller network of `allow` has them.
        deny: Option<Vec<Spanned<String>>>,
        /// Tells of those who would be refused, and refuses nobody.
        shadow: bool = false,
    }
}

impl PolicyConfig for IpConfig {
    const NAME: &'static str = "ip";
    const SUMMARY: &'static str = "Lets clients in by their addresses, or keeps them out.";
    const EXAMPLE: &'static str = "allow: [10.0.0.0/8, \"2001:db8::/32\"]\ndeny: [10.6.6.0/24]";
    const FAULTS: &'static [&'static Fault] = &[&DENIED];
    const MERGE: Merge = Merge::Add;

    /// `[10.0.0.0/8]` → `{ allow: [10.0.0.0/8] }`.
    fn desugar(node: Node) -> Node {
        list_under(node, "allow")
    }

    fn build(self, cx: &BuildCx<'_>) -> Result<Built, Diagnostic> {
        if self.allow.is_none() && self.deny.is_none() {
            return Err(Diagnostic::error("nobody is let in or kept out")
                .hint("`ip: 10.0.0.0/8`, or `ip: { deny: [10.6.6.0/24] }`"));
        }
        let access = access(self.allow.as_deref(), self.deny.as_deref(), cx.sources)?;
        Ok(vec![(Stage::Edge, Arc::new(Ip { access, is_shadow: self.shadow }))])
    }
}

/// This policy in the list.
pub static KIND: PolicyKind = PolicyKind {
    schema: |generator| with_short(IpConfig::json_schema(generator), SHORT_FORMS),
    ..PolicyKind::of::<IpConfig>()
};

pub(crate) const SHORT_FORMS: &[ShortForm] = &[
    ShortForm { short: "10.0.0.0/8", long: "{ allow: [10.0.0.0/8] }", schema: || json!({ "type": "string" }) },
    ShortForm {
        short: "[10.0.0.0/8, \"2001:db8::/32\"]",
        long: "{ allow: [10.0.0.0/8, \"2001:db8::/32\"] }",
        schema: || json!({ "type": "array", "minItems": 1, "items": { "type": "string" } }),
    },
];

/// What `allow` and `deny` mean together.
///
/// # Errors
/// What is no network and no list.
pub fn access(
    allow: Option<&[Spanned<String>]>,
    deny: Option<&[Spanned<String>]>,
    sources: &Sources,
) -> Result<Access, Diagnostic> {
    let allow = allow.map(|texts| side(texts, sources)).transpose()?;
    let deny = deny.map(|texts| side(texts, sources)).transpose()?.unwrap_or_default();
    let names_some = |side: &Side| !side.countries.is_empty();
    let countries =
        if allow.as_ref().is_some_and(names_some) || names_some(&deny) { sources.countries.clone() } else { None };
    Ok(Access { allow, deny, countries })
}

fn side(texts: &[Spanned<String>], sources: &Sources) -> Result<Side, Diagnostic> {
    let (mut side, mut written, known) = (Side::default(), Vec::<IpNet>::new(), &sources.lists);
    if texts.is_empty() {
        return Err(Diagnostic::error("no network stands here").hint("`10.0.0.0/8`, or the name of a list"));
    }
    for text in texts {
        let word = text.value.trim();
        if word == ClientAddress::UNIX {
            side.has_unix = true;
        } else if let Some(letters) = word.strip_prefix("country ") {
            side.countries.push(country(letters.trim(), sources).map_err(|mistake| mistake.at(&text.span))?);
        } else if let Some(list) = known.iter().find(|list| list.name() == word) {
            side.lists.push(Arc::clone(list));
        } else if word.contains(['.', ':', '/']) {
            written.push(Network::from_text(word).map_err(|mistake| mistake.at(&text.span))?.0);
        } else {
            let names = known.iter().map(|list| list.name());
            let hint = "a network (`10.0.0.0/8`), or a list under `lists` at the top of the file: `lists: { office: [192.0.2.0/24] }`";
            return Err(unknown_name(format!("there is no list `{word}`"), text, names, hint));
        }
        side.texts.push(word.to_owned());
    }
    side.written = written.into_iter().collect();
    Ok(side)
}

fn country(letters: &str, sources: &Sources) -> Result<Country, Diagnostic> {
    if sources.countries.is_none() {
        return Err(nobody_knows_countries());
    }
    Country::read(letters).ok_or_else(|| {
        Diagnostic::error(format!("`{letters}` is no country")).hint("two letters (ISO 3166-1): `country DE`")
    })
}

#[derive(Debug)]
struct Ip {
    access: Access,
    is_shadow: bool,
}

impl Policy for Ip {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }

    fn on_request<'a>(&'a self, x: &'a mut Exchange) -> Step<'a> {
        if self.access.lets_in_sender(x) {
            return Step::next();
        }
        if self.is_shadow {
            x.trail.shadow = Some(&DENIED);
            return Step::Now(Ok(Flow::Next));
        }
        Step::refuse(DENIED.problem().cause(x.client))
    }

    fn describe(&self) -> String {
        let shadow = if self.is_shadow { " (shadow: refuses nobody)" } else { "" };
        format!("{}{shadow}", self.access.describe())
    }
}

static DENIED: Fault = Fault::client(
    "ip/denied",
    403,
    "Not from this address",
    "Whoever runs this API decides from where it can be reached. For the operator: the log tells which address was seen; behind a proxy, `trust` \
     says whom to believe about it.",
);

#[cfg(test)]
mod tests {
    use tollgate_testkit::bench::Bench;

    use super::*;

    fn lets_in(yaml: &str, client: &str) -> bool {
        let client = client.parse().unwrap();
        let bench = Bench::of::<IpConfig>(yaml);
        !bench.request_from(client, "GET", "/", &[]).is_refused()
    }

    #[test]
    fn the_smallest_network_decides_and_in_doubt_it_is_no() {
        let both = "{ allow: [10.0.0.0/8, 10.1.2.3], deny: [10.1.0.0/16, 10.9.0.0/16, '2001:db8::/32'] }";
        for (yaml, client, is) in [
            (both, "10.2.0.1", true),
            (both, "10.1.0.1", false),
            (both, "10.1.2.3", true),
            (both, "::ffff:10.1.2.3", true),
            (both, "192.0.2.1", false),
            (both, "2001:db8::1", false),
            ("{ deny: [10.0.0.0/8] }", "10.0.0.1", false),
            ("{ deny: [10.0.0.0/8] }", "192.0.2.1", true),
            ("{ deny: [10.0.0.0/8] }", "unix", true),
            ("{ allow: [10.0.0.0/8], deny: [10.0.0.0/8] }", "10.0.0.1", false),
            ("10.0.0.0/8", "unix", false),
            ("[10.0.0.0/8, unix]", "unix", true),
            ("{ deny: [unix] }", "unix", false),
            ("{ deny: [unix] }", "10.0.0.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("'::/0'", "2001:db8::1", true),
            ("{ allow: [office] }", "198.51.100.7", true),
            ("{ allow: [office] }", "198.51.100.8", false),
            ("{ allow: ['198.51.100.0/24'], deny: [office] }", "198.51.100.7", false),
        ] {
            assert_eq!(lets_in(yaml, client), is, "{yaml} {client}");
        }
    }

    #[test]
    fn a_country_is_larger_than_any_network_and_in_doubt_it_is_no() {
        for (yaml, client, is) in [
            ("country AT", "203.0.113.1", true),
            ("country at", "203.0.113.1", true),
            ("country DE", "203.0.113.1", false),
            ("[country DE, country AT]", "203.0.113.1", true),
            ("country AT", "192.0.2.1", false),
            ("country AT", "unix", false),
            ("{ deny: [country AT] }", "203.0.113.1", false),
            ("{ deny: [country AT] }", "192.0.2.1", true),
            ("{ deny: [country AT] }", "unix", true),
            ("{ allow: [203.0.113.0/28], deny: [country AT] }", "203.0.113.1", true),
            ("{ allow: [country AT], deny: [203.0.113.0/28] }", "203.0.113.1", false),
            ("{ allow: [country AT], deny: [203.0.113.0/28] }", "203.0.113.16", true),
            ("{ allow: [country AT], deny: [country AT] }", "203.0.113.1", false),
        ] {
            assert_eq!(lets_in(yaml, client), is, "{yaml} {client}");
        }
    }

    #[test]
    fn who_is_refused_is_told_no_more_than_that() {
        let refused = Bench::of::<IpConfig>("10.0.0.0/8").get("/").refused_with("ip/denied").replies(403);
        assert!(!refused.problem().to_string().contains("10."), "{}", refused.problem());
        let shadow = Bench::of::<IpConfig>("{ allow: [10.0.0.0/8], shadow: true }").get("/").passes();
        assert_eq!(shadow.exchange().trail.shadow.map(|fault| fault.slug), Some("ip/denied"));
    }

    #[test]
    fn mistakes_say_what_to_write() {
        let told = |yaml| Bench::mistakes::<IpConfig>(yaml).join("; ");
        assert!(told("{}").contains("`ip: 10.0.0.0/8`"));
        assert!(told("offices").contains("did you mean `office`?"));
        assert!(told("somewhere").contains("under `lists`"));
        assert!(told("10.0.0.1/8").contains("did you mean `10.0.0.0/8`?"));
        assert!(told("10.0.0/8").contains("no network"));
        assert!(told("{ allow: [] }").contains("no network"));
        assert!(told("country Austria").contains("two letters"));
        assert!(told("country").contains("country"));
        assert_eq!(
            Bench::of::<IpConfig>("{ allow: [office], deny: [10.6.6.6] }").describe()[0],
            "lets in office; keeps out 10.6.6.6"
        );
    }
}
