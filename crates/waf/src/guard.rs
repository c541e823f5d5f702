//! A set of rules as one route has it: with its thresholds, and without what is left out there.

use std::collections::HashMap;
use std::sync::Arc;

use crate::compile::Called;
use crate::mistake::Mistake;
use crate::parse::selector;
use crate::request::Request;
use crate::rule::Named;
use crate::ruleset::Ruleset;
use crate::transaction::{Transaction, Verdict};
use crate::value::Selector;

/// What holds beside the rules.
#[derive(Clone, Debug, Default)]
pub struct Tuning {
    /// Variables of the transaction before the first rule.
    pub initial: Vec<(&'static str, String)>,
    /// Variables that no rule changes.
    pub pinned: Vec<(&'static str, String)>,
    /// What is left out.
    pub exclude: Vec<Exclusion>,
}

/// What is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exclusion {
    /// A rule, or from one to another (`942100-942199`).
    pub rule: Option<String>,
    /// Rules with this tag.
    pub tag: Option<String>,
    /// On this path alone, or below it (`/search/**`).
    pub path: Option<String>,
    /// For these values alone; none: for all.
    pub targets: Vec<Target>,
}

/// Values of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `ARGS`, `REQUEST_HEADERS`.
    pub collection: &'static str,
    /// The name, with `*` for anything.
    pub name: String,
}

/// A rule that is not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotRun<'g> {
    /// Its number.
    pub id: u64,
    /// Where it stands.
    pub place: &'g str,
    /// What it would need.
    pub needs: &'static str,
}

/// Rules that requests are held against. Whoever has one may use it on any thread.
#[derive(Debug)]
pub struct Guard {
    pub(crate) rules: Arc<Ruleset>,
    pub(crate) initial: Vec<(usize, Vec<u8>)>,
    /// The numbers of variables that stay.
    pub(crate) pinned: Vec<usize>,
    /// By phase and number of a rule: whether it is left out.
    pub(crate) is_out: [Vec<bool>; 2],
    /// By the number that a rule is called by: which values it does not look at.
    pub(crate) except: HashMap<u64, Vec<Selector>>,
    pub(crate) by_path: Vec<ByPath>,
    unused: Vec<String>,
}

/// What is left out on a path.
#[derive(Debug)]
pub(crate) struct ByPath {
    path: String,
    /// Whether all below it is meant.
    is_below: bool,
    pub(crate) rules: Named,
    pub(crate) targets: Vec<Selector>,
}

impl ByPath {
    pub(crate) fn is_at(&self, path: &str) -> bool {
        match path.strip_prefix(self.path.as_str()) {
            Some("") => true,
            Some(rest) => self.is_below && rest.starts_with('/'),
            None => false,
        }
    }
}

impl Guard {
    /// These rules, for one route.
    ///
    /// # Errors
    /// A rule that cannot be run and is not left out, or an exclusion that says nothing.
    pub fn new(rules: Arc<Ruleset>, tuning: &Tuning) -> Result<Self, Mistake> {
        let number = |name: &str| rules.0.names.known(name);
        let all = tuning.initial.iter().chain(&tuning.pinned);
        let initial = all.filter_map(|(name, value)| Some((number(name)?, value.clone().into_bytes()))).collect();
        let pinned = tuning.pinned.iter().filter_map(|(name, _)| number(name)).collect();
        let is_out = [0, 1].map(|phase: usize| vec![false; rules.0.phases[phase].len()]);
        let (except, by_path, unused) = (HashMap::new(), Vec::new(), Vec::new());
        let mut own = Self { rules, initial, pinned, is_out, except, by_path, unused };
        let mut out = Vec::new();
        for exclusion in &tuning.exclude {
            own.exclude(exclusion, &mut out).map_err(|why| Mistake::of_file("exclude", why))?;
        }
        let broken = own.rules.0.broken.iter().find(|(called, _)| !out.iter().any(|out| out.has(called)));
        match broken {
            Some((_, mistake)) => Err(mistake.clone()),
            None => Ok(own),
        }
    }

    /// `out`: what is left out as a whole.
    fn exclude(&mut self, exclusion: &Exclusion, out: &mut Vec<Named>) -> Result<(), String> {
        let rules = match (&exclusion.rule, &exclusion.tag) {
            (Some(ids), None) => Named::ids(ids).ok_or_else(|| format!("`{ids}` is no number of a rule"))?,
            (None, Some(tag)) => Named::Tag(tag.clone()),
            _ => return Err("an exclusion names a rule, or a tag".to_owned()),
        };
        let targets = exclusion.targets.iter().map(Target::selector).collect::<Result<Vec<_>, _>>()?;
        if !self.rules.called().any(|called| rules.has(called)) {
            self.unused.push(rules.to_string());
        }
        if let Some(path) = &exclusion.path {
            let (path, is_below) = path.strip_suffix("/**").map_or((path.as_str(), false), |above| (above, true));
            self.by_path.push(ByPath { path: path.to_owned(), is_below, rules, targets });
            return Ok(());
        }
        for (phase, is_out) in self.rules.0.phases.iter().zip(&mut self.is_out) {
            for (rule, is_out) in phase.iter().zip(is_out).filter(|(rule, _)| rules.has(&rule.called)) {
                *is_out |= targets.is_empty();
                self.except.entry(rule.called.id).or_default().extend(targets.iter().cloned());
            }
        }
        if targets.is_empty() {
            out.push(rules);
        }
        Ok(())
    }

    /// What the rules say of a request. Takes long for large ones, and no longer than a bound.
    #[must_use]
    pub fn inspect(&self, request: &Request) -> Verdict {
        Transaction::new(self, request).run()
    }

    /// Whether a file that its rules were read from is another one now. Blocks.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.rules.is_stale()
    }

    /// How many rules are run.
    #[must_use]
    pub fn count(&self) -> usize {
        self.is_out.iter().flatten().filter(|is_out| !**is_out).count()
    }

    /// How many rules of higher levels of paranoia there are, which are never run.
    #[must_use]
    pub fn above(&self) -> usize {
        self.rules.0.above.len()
    }

    /// Rules that are not run because of what they would need.
    pub fn not_run(&self) -> impl Iterator<Item = NotRun<'_>> {
        let all = self.rules.0.not_run.iter();
        all.map(|own| NotRun { id: own.called.id, place: &own.place, needs: own.needs })
    }

    /// Exclusions that no rule of the files has.
    #[must_use]
    pub fn unused(&self) -> &[String] {
        &self.unused
    }
}

impl Ruleset {
    /// What all its rules are called, run or not.
    fn called(&self) -> impl Iterator<Item = &Called> {
        let run = self.0.phases.iter().flatten().map(|rule| &rule.called);
        let not_run = self.0.not_run.iter().map(|own| &own.called);
        let broken = self.0.broken.iter().map(|(called, _)| called);
        run.chain(not_run).chain(broken).chain(&self.0.above).chain(&self.0.out)
    }
}

impl Target {
    fn selector(&self) -> Result<Selector, String> {
        if !self.name.contains('*') {
            return selector(self.collection, Some(&self.name));
        }
        let parts: Vec<String> = self.name.split('*').map(regex::escape).collect();
        selector(self.collection, Some(&format!("/^{}$/", parts.join(".*"))))
    }
}
