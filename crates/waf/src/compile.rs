//! From directives to rules that can be run: first all is read, then what is asked for is made ready, and nothing else.

mod link;

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::mistake::Mistake;
use crate::parse::{ByWhat, Meaning, Targets, Test, Words, meaning};
use crate::pipeline::Pipelines;
use crate::read::{self, Directive, Seen};
use crate::rule::{Named, Place, Rule, Skip, Then};

/// Most links of a chain.
const LONGEST_CHAIN: usize = 50;
/// The rules that come with the engine.
const BASE: &str = include_str!("base.conf");

/// What is met while rules are made ready: names of variables of the transaction, by their numbers, of which the first ten are those of what
/// was matched; and files of phrases.
#[derive(Debug)]
pub(crate) struct Names {
    numbers: HashMap<String, usize>,
    pub(crate) all: Vec<String>,
    pub(crate) seen: Seen,
}

impl Default for Names {
    fn default() -> Self {
        let mut names = Self { numbers: HashMap::new(), all: Vec::new(), seen: Seen::default() };
        (0..10).for_each(|digit| {
            names.number(&digit.to_string());
        });
        names
    }
}

impl Names {
    /// The number of this name.
    pub(crate) fn number(&mut self, name: &str) -> usize {
        let name = name.to_ascii_lowercase();
        let next = self.all.len();
        let number = *self.numbers.entry(name.clone()).or_insert(next);
        if number == next {
            self.all.push(name);
        }
        number
    }

    /// The number of this name, if it has one.
    pub(crate) fn known(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }
}

/// A rule as it is written.
#[derive(Debug)]
struct Draft {
    called: Called,
    phase: Phase,
    links: Vec<DraftLink>,
    /// Where the defaults stand that hold for it.
    defaults: Option<usize>,
}

#[derive(Debug)]
struct DraftLink {
    directive: Directive,
    looks: Option<(Targets, Test)>,
    words: Words,
}

/// When a rule is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// With a request: 1 or 2.
    Request(usize),
    /// With an answer, or later.
    Later,
}

/// A rule that is not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotRun {
    pub(crate) called: Called,
    pub(crate) place: String,
    /// What it would need.
    pub(crate) needs: &'static str,
}

/// What becomes of files.
#[derive(Debug, Default)]
pub(crate) struct Compiled {
    pub(crate) phases: [Vec<Rule>; 2],
    pub(crate) names: Names,
    pub(crate) pipelines: Pipelines,
    pub(crate) not_run: Vec<NotRun>,
    /// Rules that cannot be run: whoever does without them may have the others.
    pub(crate) broken: Vec<(Called, Mistake)>,
    /// The rules of higher levels of paranoia, which would never be run.
    pub(crate) above: Vec<Called>,
    /// Rules that the files themselves leave out.
    pub(crate) out: Vec<Called>,
}

/// What a rule is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Called {
    pub(crate) id: u64,
    pub(crate) tags: Vec<String>,
}

/// Files on their way to rules.
#[derive(Debug, Default)]
struct Compiler {
    drafts: Vec<Draft>,
    /// Whether the last one goes on.
    is_open: bool,
    markers: Vec<(String, usize)>,
    defaults: Vec<(usize, Words)>,
    without: Vec<Named>,
    targets: Vec<(Named, Targets)>,
}

/// The rules of these directives. `level`: the level of paranoia that holds whatever they say.
pub(crate) fn compile(directives: Vec<Directive>, level: Option<u64>) -> Result<Compiled, Mistake> {
    let mut own = Compiler::default();
    directives.into_iter().try_for_each(|directive| own.directive(directive))?;
    own.ended()?;
    let mut base = Compiler::default();
    read::text(Path::new("base.conf"), BASE)?.into_iter().try_for_each(|directive| base.directive(directive))?;
    own.behind(base)?;
    own.finish(level)
}

impl Compiler {
    fn directive(&mut self, directive: Directive) -> Result<(), Mistake> {
        let meaning = meaning(&directive)?;
        if self.is_open && !matches!(meaning, Meaning::Rule(..)) {
            return Err(directive.mistake("the rule before this one is chained to no other"));
        }
        match meaning {
            Meaning::Rule(looks, words) => self.link(directive, looks, words)?,
            Meaning::Marker(name) => self.markers.push((name, self.drafts.len())),
            Meaning::Defaults(words) => {
                let Phase::Request(phase) = phase(&directive, &words)? else { return Ok(()) };
                self.defaults.push((phase, words));
            }
            Meaning::Without(by, all) => {
                for text in all.iter().flat_map(|text| text.split_ascii_whitespace()) {
                    self.without.push(named(&directive, by, text)?);
                }
            }
            Meaning::Targets(by, which, targets) => self.targets.push((named(&directive, by, &which)?, targets)),
            Meaning::Nothing => {}
        }
        Ok(())
    }

    fn link(&mut self, directive: Directive, looks: Option<(Targets, Test)>, words: Words) -> Result<(), Mistake> {
        let goes_on = words.has("chain");
        if self.is_open {
            let Some(draft) = self.drafts.last_mut() else { return Ok(()) };
            if draft.links.len() >= LONGEST_CHAIN {
                return Err(directive.mistake(format!("a chain has more than {LONGEST_CHAIN} rules")));
            }
            draft.links.push(DraftLink { directive, looks, words });
        } else {
            let id = words.get("id").ok_or_else(|| directive.mistake("a rule has no `id`"))?;
            let number = id.value.parse::<u64>();
            let number =
                number.map_err(|_| directive.line.mistake(id.at, format!("`{}` is no number of a rule", id.value)))?;
            let phase = phase(&directive, &words)?;
            let tags = words.all.iter().filter(|word| word.name == "tag").map(|word| word.value.clone()).collect();
            let defaults = match phase {
                Phase::Request(number) => self.defaults.iter().rposition(|(of, _)| *of == number),
                Phase::Later => None,
            };
            let links = vec![DraftLink { directive, looks, words }];
            self.drafts.push(Draft { called: Called { id: number, tags }, phase, links, defaults });
        }
        self.is_open = goes_on;
        Ok(())
    }

    /// No chain is left open, and no number stands twice.
    fn ended(&self) -> Result<(), Mistake> {
        if let Some(last) = self.drafts.last().and_then(|draft| draft.links.last()).filter(|_| self.is_open) {
            return Err(last.directive.mistake("this rule is chained to no other"));
        }
        let mut known: HashMap<u64, &Draft> = HashMap::new();
        for draft in &self.drafts {
            if let Some(twin) = known.insert(draft.called.id, draft) {
                let mistake = draft.links[0].directive.mistake(format!("rule {} stands here twice", draft.called.id));
                return Err(mistake.hint(format!("the other one: {}", twin.links[0].place())));
            }
        }
        Ok(())
    }

    /// Puts the base in front, but for what stands here.
    fn behind(&mut self, base: Self) -> Result<(), Mistake> {
        let own: HashSet<u64> = self.drafts.iter().map(|draft| draft.called.id).collect();
        let mut all: Vec<Draft> = base.drafts.into_iter().filter(|draft| !own.contains(&draft.called.id)).collect();
        let count = all.len();
        all.append(&mut self.drafts);
        self.drafts = all;
        self.markers.iter_mut().for_each(|(_, at)| *at += count);
        Ok(())
    }

    /// The highest level of paranoia that the files may set: rules above it are never run.
    fn level(&self) -> u64 {
        let words = self.drafts.iter().flat_map(|draft| &draft.links).flat_map(|link| &link.words.all);
        let set = words.filter(|word| word.name == "setvar").filter_map(|word| {
            let (name, value) = word.value.split_once('=')?;
            let is_level = ["tx.paranoia_level", "tx.executing_paranoia_level"]
                .contains(&name.trim().to_ascii_lowercase().as_str());
            let is_same = value.eq_ignore_ascii_case("%{tx.paranoia_level}");
            (is_level && !is_same).then(|| value.trim().parse::<u64>().unwrap_or(u64::MAX))
        });
        set.max().unwrap_or(u64::MAX)
    }

    fn finish(mut self, level: Option<u64>) -> Result<Compiled, Mistake> {
        let level = level.unwrap_or_else(|| self.level());
        let mut compiled = Compiled::default();
        // Where each rule that is run stood.
        let mut from: [Vec<usize>; 2] = Default::default();
        for (at, draft) in std::mem::take(&mut self.drafts).into_iter().enumerate() {
            let called = draft.called.clone();
            if self.without.iter().any(|own| own.has(&called)) {
                compiled.out.push(called);
                continue;
            }
            if called.level().is_some_and(|own| own > level) {
                compiled.above.push(called);
                continue;
            }
            let place = draft.links[0].place().to_string();
            match self.rule(draft, &mut compiled) {
                Ok(Ok(rule)) => {
                    from[rule.phase - 1].push(at);
                    compiled.phases[rule.phase - 1].push(rule);
                }
                Ok(Err(needs)) => compiled.not_run.push(NotRun { called, place, needs }),
                Err(mistake) => compiled.broken.push((called, mistake)),
            }
        }
        for (rules, from) in compiled.phases.iter_mut().zip(&from) {
            for (rule, at) in rules.iter_mut().zip(from) {
                self.resolve(rule, *at, from)?;
            }
        }
        Ok(compiled)
    }

    /// Where a rule goes on.
    fn resolve(&self, rule: &mut Rule, at: usize, from: &[usize]) -> Result<(), Mistake> {
        let Some(skip) = &mut rule.skip else { return Ok(()) };
        // It goes forward only, and so comes to an end.
        let marker = self.markers.iter().find(|(name, place)| *name == skip.marker && *place > at);
        let Some((_, marker)) = marker else {
            let mistake = Mistake {
                file: rule.place.file.display().to_string(),
                line: rule.place.line,
                column: rule.place.column,
                what: format!("behind rule {} there is no marker `{}`", rule.called.id, skip.marker),
                hint: None,
            };
            return Err(mistake.hint("`SecMarker`, in one of the files behind it"));
        };
        skip.to = from.partition_point(|own| own < marker);
        Ok(())
    }

    /// A rule that is run, or what it would need.
    fn rule(&self, draft: Draft, compiled: &mut Compiled) -> Result<Result<Rule, &'static str>, Mistake> {
        let Phase::Request(phase) = draft.phase else { return Ok(Err("the answer, which is not looked at")) };
        let defaults = draft.defaults.and_then(|at| self.defaults.get(at)).map(|(_, words)| words);
        let updates = self.targets.iter().filter(|(rules, _)| rules.has(&draft.called)).map(|(_, targets)| targets);
        let mut links = Vec::new();
        for (number, link) in draft.links.iter().enumerate() {
            let mut built = match link.build(compiled, defaults.filter(|_| number == 0))? {
                Ok(built) => built,
                Err(needs) => return Ok(Err(needs)),
            };
            built.except.extend(updates.clone().flat_map(|targets| targets.except.clone()));
            if number == 0 {
                built.targets.extend(updates.clone().flat_map(|targets| targets.targets.clone()));
            }
            links.push(built);
        }
        let first = &draft.links[0];
        let word = |name: &str| first.words.get(name).map(|word| word.value.clone());
        let skip = word("skipafter").map(|marker| Skip { marker, to: usize::MAX });
        let is_told = !first.words.has("nolog") && first.words.has("msg");
        let (then, place) = (first.then(defaults), first.place());
        let message = word("msg").unwrap_or_default();
        Ok(Ok(Rule { called: draft.called, phase, links, message, is_told, then, skip, place }))
    }
}

impl Called {
    /// The level of paranoia.
    fn level(&self) -> Option<u64> {
        self.tags.iter().find_map(|tag| tag.strip_prefix("paranoia-level/")?.parse().ok())
    }
}

impl DraftLink {
    fn place(&self) -> Place {
        let (line, column) = self.directive.line.place(self.directive.name.at);
        Place { file: std::sync::Arc::clone(&self.directive.line.file), line, column }
    }

    /// What follows from a match.
    fn then(&self, defaults: Option<&Words>) -> Then {
        let of = |words: &Words| {
            words.all.iter().rev().find_map(|word| match (word.name.as_str(), word.value.as_str()) {
                ("deny" | "drop", _) => Some(Then::Deny),
                ("pass", _) => Some(Then::Pass),
                ("allow", "" | "request") => Some(Then::Allow),
                ("allow", "phase") => Some(Then::AllowPhase),
                _ => None,
            })
        };
        // `block` is what the defaults say; without a word, too.
        let by_default = defaults.and_then(of).unwrap_or(Then::Pass);
        if self.words.has("block") { by_default } else { of(&self.words).unwrap_or(by_default) }
    }
}

fn named(directive: &Directive, by: ByWhat, text: &str) -> Result<Named, Mistake> {
    match by {
        ByWhat::Tag => Ok(Named::Tag(text.to_owned())),
        ByWhat::Id => Named::ids(text)
            .ok_or_else(|| directive.mistake(format!("`{text}` is no number of a rule, and no range of them"))),
    }
}

/// When the rule is run: with the body, if it does not say.
fn phase(directive: &Directive, words: &Words) -> Result<Phase, Mistake> {
    let Some(word) = words.get("phase") else { return Ok(Phase::Request(2)) };
    match word.value.to_ascii_lowercase().as_str() {
        "1" => Ok(Phase::Request(1)),
        "2" | "request" => Ok(Phase::Request(2)),
        "3" | "4" | "5" | "response" | "logging" => Ok(Phase::Later),
        other => Err(directive.line.mistake(word.at, format!("there is no phase `{other}`"))),
    }
}

/// The folder of a directive's file.
fn folder(directive: &Directive) -> &Path {
    directive.line.file.parent().unwrap_or(Path::new(""))
}
