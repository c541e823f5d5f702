//! Helpers of this crate's tests: exchanges from text, configs from text, a few small policies.

use std::net::SocketAddr;
use std::sync::Arc;

use tollgate_config::{Loaded, load_text};
use tollgate_core::buffer::Buffer;
use tollgate_core::clock::Clock;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::exchange::Exchange;
use tollgate_core::facts::{Conn, Route};
use tollgate_core::policy::{BuildCx, Built, Hooks, Merge, Policy, PolicyConfig, PolicyKind, Stage};
use tollgate_core::problem::Fault;
use tollgate_core::section;
use tollgate_http1::{HeadLimits, Parsed, request};
use tollgate_observe::metrics::Metrics;

use crate::compile::{Compiled, compile};

/// The exchange for a request: its first line without the version, then its fields.
pub(crate) fn exchange(lines: &[&str]) -> Exchange {
    let (start, fields) = lines.split_first().unwrap();
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let version = if fields.to_lowercase().contains("host:") { "HTTP/1.1" } else { "HTTP/1.0" };
    let address = SocketAddr::from(([127, 0, 0, 1], 80));
    let conn = Arc::new(Conn::new(address, address, 0));
    let mut x = Exchange::new(conn, Arc::new(Route::default()), Clock::real().now());
    x.head.fields.buffer = Buffer::holding(format!("{start} {version}\r\n{fields}\r\n").as_bytes());
    let limits = HeadLimits { target: 8192, head: 32_768, fields: 100 };
    assert_eq!(request::Reader::default().read(&mut x.head, &limits).unwrap(), Parsed::Complete, "{lines:?}");
    x.length = request::judge(&mut x.head).unwrap().length;
    x
}

/// Loads a config whose policies are [`KINDS`].
pub(crate) fn loaded(text: &str) -> Loaded {
    let text = format!("listen: 8080\n{text}");
    load_text("t.yaml", &text, &|_| None, &[]).unwrap_or_else(|report| panic!("{report}"))
}

pub(crate) fn compiled(text: &str) -> Compiled {
    compile(&loaded(text).config, KINDS, &tollgate_core::principal::Sources::default(), &Metrics::new(1), 1)
        .unwrap_or_else(|told| panic!("{told:#?}"))
}

/// What is wrong with a config, as `line:column message (hint)`, the line counted without that of `listen`.
pub(crate) fn mistakes(text: &str) -> Vec<String> {
    let told = compile(&loaded(text).config, KINDS, &tollgate_core::principal::Sources::default(), &Metrics::new(1), 1)
        .unwrap_err();
    told.iter().map(shown).collect()
}

pub(crate) fn shown(told: &Diagnostic) -> String {
    let place = told.span.as_ref().map_or_else(|| "?".into(), |span| format!("{}:{}", span.line - 1, span.column));
    let related: String = told.related.iter().map(|(span, why)| format!(" [{}: {why}]", span.line - 1)).collect();
    let hint = told.hint.as_ref().map_or_else(String::new, |hint| format!(" ({hint})"));
    format!("{place} {}{related}{hint}", told.message)
}

/// `guard` adds up, `tag` and `login` replace; by their stages `guard` runs first and `tag` last.
pub(crate) static KINDS: &[&PolicyKind] =
    &[&PolicyKind::of::<TagConfig>(), &PolicyKind::of::<GuardConfig>(), &PolicyKind::of::<AuthConfig>()];

#[derive(Debug)]
struct Sample {
    says: String,
    hooks: Hooks,
}

impl Policy for Sample {
    fn hooks(&self) -> Hooks {
        self.hooks
    }

    fn describe(&self) -> String {
        self.says.clone()
    }
}

macro_rules! sample {
    ($name:ident, $key:literal, $stage:expr, $merge:expr, $hooks:expr) => {
        section! {
            /// A sample.
            pub(crate) struct $name {
                /// What it says.
                says: String,
            }
        }

        impl PolicyConfig for $name {
            const NAME: &'static str = $key;
            const SUMMARY: &'static str = "A sample.";
            const EXAMPLE: &'static str = "{ says: hello }";
            const FAULTS: &'static [&'static Fault] = &[];
            const MERGE: Merge = $merge;

            fn build(self, cx: &BuildCx<'_>) -> Result<Built, Diagnostic> {
                if self.says == "wrong" {
                    return Err(Diagnostic::error(concat!("`", $key, "` says the wrong thing")));
                }
                let says = self.says.replace("ROUTE", &cx.route.name);
                Ok(vec![($stage, Arc::new(Sample { says, hooks: $hooks }))])
            }
        }
    };
}

sample!(TagConfig, "tag", Stage::Transform, Merge::Replace, Hooks::RESPONSE);
sample!(GuardConfig, "guard", Stage::Edge, Merge::Add, Hooks::REQUEST);
sample!(AuthConfig, "login", Stage::Authenticate, Merge::Replace, Hooks::REQUEST);
