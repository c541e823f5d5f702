//! Rules, compiled: for each part of a request all its patterns in one pass.

use std::ops::Range;

use regex::bytes::{RegexSet, RegexSetBuilder};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::exchange::Exchange;
use tollgate_core::host;
use tollgate_core::node::Spanned;
use tollgate_core::policy::{Flow, Hooks, Policy, Step};

use super::pattern::{EMPTY, regex_of};
use super::{MATCHED, Rule, Set, sets};

/// Most memory that the patterns of one part may take once compiled.
const LARGEST: usize = 10 << 20;

/// A part of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Path,
    Method,
    Host,
    Query,
    /// The name in lower case.
    Header(String),
}

impl Part {
    fn minds_case(&self) -> bool {
        matches!(self, Self::Path | Self::Method)
    }
}

/// Rules on their way.
#[derive(Debug, Default)]
pub(super) struct Compiling {
    parts: Vec<(Part, Vec<String>)>,
    pub(super) rules: Vec<Compiled>,
}

/// A rule: of each of these parts, one of these patterns has to fit.
#[derive(Debug)]
pub(super) struct Compiled {
    name: String,
    needs: Vec<(usize, Range<usize>)>,
}

/// All patterns of a part.
#[derive(Debug)]
struct Patterns {
    part: Part,
    set: RegexSet,
    /// Those of an empty text.
    empty: Vec<usize>,
}

/// Rules, ready for requests.
#[derive(Debug)]
pub(super) struct Deny {
    parts: Vec<Patterns>,
    rules: Vec<Compiled>,
    is_shadow: bool,
    what: String,
}

impl Compiling {
    /// One more rule.
    pub(super) fn rule(&mut self, rule: &Rule, number: usize) -> Result<(), Diagnostic> {
        let mut needs = Vec::new();
        let of = |part, texts: &Option<Vec<Spanned<String>>>| texts.clone().map(|texts| (part, texts));
        let header = |name: &str| Part::Header(name.to_ascii_lowercase());
        let named = [
            of(Part::Path, &rule.path),
            of(Part::Method, &rule.method),
            of(Part::Host, &rule.host),
            of(Part::Query, &rule.query),
            of(header("user-agent"), &rule.user_agent),
            of(header("referer"), &rule.referer),
        ];
        let others = rule.headers.iter().flat_map(|all| &all.0);
        let others = others.map(|(name, texts)| (header(name.value.as_str()), texts.clone()));
        for (part, texts) in named.into_iter().flatten().chain(others) {
            let patterns: Vec<String> = texts
                .iter()
                .map(|text| regex_of(&text.value, &part).map_err(|mistake| mistake.at(&text.span)))
                .collect::<Result<_, _>>()?;
            if patterns.is_empty() {
                return Err(Diagnostic::error("a list of nothing fits nothing").hint("leave it out, or name a text"));
            }
            needs.push(self.need(part, patterns));
        }
        if needs.is_empty() {
            return Err(
                Diagnostic::error("a rule that asks for nothing fits every request").hint("`{ path: /admin/** }`")
            );
        }
        let name = rule.name.clone().unwrap_or_else(|| format!("rule {number}"));
        self.rules.push(Compiled { name, needs });
        Ok(())
    }

    /// The rules of a set.
    pub(super) fn set(&mut self, set: Set) {
        for (part, name, patterns) in sets::rules(set) {
            let need = self.need(part, patterns.iter().map(|pattern| (*pattern).to_owned()).collect());
            self.rules.push(Compiled { name: format!("{} ({name})", set.as_str()), needs: vec![need] });
        }
    }

    fn need(&mut self, part: Part, patterns: Vec<String>) -> (usize, Range<usize>) {
        let at = self.parts.iter().position(|(own, _)| *own == part).unwrap_or_else(|| {
            self.parts.push((part, Vec::new()));
            self.parts.len() - 1
        });
        let known = &mut self.parts[at].1;
        let first = known.len();
        known.extend(patterns);
        (at, first..known.len())
    }

    pub(super) fn finish(self, is_shadow: bool) -> Result<Deny, Diagnostic> {
        let names: Vec<&str> = self.rules.iter().map(|rule| rule.name.as_str()).collect();
        let shadow = if is_shadow { " (shadow: refuses nobody)" } else { "" };
        let what = if names.len() > 6 { format!("{} rules", names.len()) } else { names.join(", ") };
        let what = format!("{what}{shadow}");
        let compile = |(part, patterns): (Part, Vec<String>)| {
            let is_empty = |(number, pattern): (usize, &String)| (*pattern == EMPTY).then_some(number);
            let empty = patterns.iter().enumerate().filter_map(is_empty).collect();
            let mut builder = RegexSetBuilder::new(patterns);
            let set = builder.case_insensitive(!part.minds_case()).size_limit(LARGEST).build();
            set.map(|set| Patterns { part, set, empty }).map_err(|error| {
                Diagnostic::error(format!("these patterns cannot be compiled: {error}")).hint("fewer, or simpler ones")
            })
        };
        let parts = self.parts.into_iter().map(compile).collect::<Result<_, _>>()?;
        Ok(Deny { parts, rules: self.rules, is_shadow, what })
    }
}

impl Patterns {
    /// Whether one of these fits; `None`: any.
    fn fit(&self, x: &Exchange, which: Option<&Range<usize>>) -> bool {
        let is_asked = |number| which.is_none_or(|which| which.contains(&number));
        let holds = |text: &[u8]| match which {
            None => self.set.is_match(text),
            Some(_) => self.set.matches(text).iter().any(is_asked),
        };
        match &self.part {
            Part::Path => holds(x.head.path().as_bytes()),
            Part::Method => holds(x.head.method_text().as_bytes()),
            Part::Host => holds(host::name(x.head.host()).as_bytes()),
            Part::Query => {
                let written = x.head.query().unwrap_or_default();
                // Decoded, it may be something else.
                holds(written.as_bytes()) || (written.contains(['%', '+']) && holds(decoded(written).as_bytes()))
            }
            Part::Header(name) => {
                let mut lines = x.head.fields.all(name).peekable();
                // What is not there is fit by an empty text, and by nothing else.
                if lines.peek().is_none() { self.empty.iter().copied().any(is_asked) } else { lines.any(holds) }
            }
        }
    }
}

fn decoded(query: &str) -> String {
    let parts: Vec<String> =
        form_urlencoded::parse(query.as_bytes()).map(|(name, value)| format!("{name}={value}")).collect();
    parts.join("&")
}

impl Deny {
    /// The first rule that fits.
    fn fitting(&self, x: &Exchange) -> Option<&str> {
        // Of nearly all requests no pattern fits anything: then nothing more is asked.
        if !self.parts.iter().any(|patterns| patterns.fit(x, None)) {
            return None;
        }
        let has = |(part, which): &(usize, Range<usize>)| {
            self.parts.get(*part).is_some_and(|patterns| patterns.fit(x, Some(which)))
        };
        self.rules.iter().find(|rule| rule.needs.iter().all(has)).map(|rule| rule.name.as_str())
    }
}

impl Policy for Deny {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }

    fn on_request<'a>(&'a self, x: &'a mut Exchange) -> Step<'a> {
        match self.fitting(x) {
            None => Step::next(),
            Some(_) if self.is_shadow => {
                x.trail.shadow = Some(&MATCHED);
                Step::Now(Ok(Flow::Next))
            }
            Some(rule) => Step::refuse(MATCHED.problem().cause(rule)),
        }
    }

    fn describe(&self) -> String {
        self.what.clone()
    }
}
