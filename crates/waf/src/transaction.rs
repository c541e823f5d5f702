//! One request, held against the rules: phase by phase, rule by rule, for so much work and no more.

mod find;

use std::borrow::Cow;

use crate::body::{Processor, essence};
use crate::guard::Guard;
use crate::request::Request;
use crate::rule::{Action, Change, Name, Named, Rule, Then};
use crate::template::{Piece, Template, number};
use crate::texts::{Text, Texts};
use crate::tx::Tx;
use crate::value::{Collection, Selector};
use crate::values::{Side, Values};

/// Most bytes that rules look at for one request, over all of them: half a second or so. A request that takes more is refused.
const MOST_WORK: usize = 200_000_000;
/// Most findings that are told.
const MOST_FINDINGS: usize = 20;
/// Longest name of a value that is told.
const LONGEST_NAME: usize = 60;

/// What the rules say of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why it is refused; `None`: it is not.
    pub refused: Option<Refusal>,
    /// What the score is, if the rules have one.
    pub score: Option<i64>,
    /// What it must not reach.
    pub threshold: Option<i64>,
    /// What was found, as far as rules tell of it: the first twenty.
    pub findings: Vec<Finding>,
    /// How many there are beyond these.
    pub more: usize,
    /// How much work it was, in bytes that were looked at.
    pub work: usize,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// By this rule.
    Rule(u64),
    /// It would take more work than is done for one.
    Work,
}

/// What a rule found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: u64,
    /// What it says.
    pub message: String,
    /// Where: `ARGS:q`.
    pub place: String,
}

/// What comes of a rule, a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Rule,
    Skip(usize),
    Phase,
    End,
}

/// There is no work left.
#[derive(Debug)]
struct Exhausted;

/// A request that is looked at.
#[derive(Debug)]
pub(crate) struct Transaction<'r> {
    guard: &'r Guard,
    request: &'r Request,
    texts: Texts<'r>,
    values: Values,
    tx: Tx<'r>,
    /// What the link before this one found, and what this one finds.
    before: Vec<Matched>,
    matched: Vec<Matched>,
    processor: Option<Processor>,
    without: Vec<&'r Named>,
    without_targets: Vec<(&'r Named, &'r Selector)>,
    refuses: bool,
    is_off: bool,
    verdict: Verdict,
}

/// A value that a link found.
#[derive(Debug, Clone)]
struct Matched {
    collection: Collection,
    name: Value,
    value: Value,
}

/// A text of the request, or one of the rules'.
#[derive(Debug, Clone)]
enum Value {
    Text(Text),
    Own(Vec<u8>),
}

impl<'r> Transaction<'r> {
    pub(crate) fn new(guard: &'r Guard, request: &'r Request) -> Self {
        let mut texts = Texts::new(&guard.rules.0.pipelines);
        let values = Values::of_head(request, &mut texts);
        let mut own = Self {
            guard,
            request,
            texts,
            values,
            tx: Tx::new(&guard.rules.0.names),
            before: Vec::new(),
            matched: Vec::new(),
            processor: None,
            without: Vec::new(),
            without_targets: Vec::new(),
            refuses: true,
            is_off: false,
            verdict: Verdict::default(),
        };
        own.begin();
        own
    }

    fn begin(&mut self) {
        for (number, value) in &self.guard.initial {
            self.tx.set(*number, Change::Set, value);
        }
        let content_type = self.request.header("content-type").unwrap_or_default();
        self.processor = Processor::of(content_type);
        self.values.processor(self.processor, &mut self.texts);
        // Types of which the engine reads the bodies are as good as those that they end in.
        let allowed = self.guard.rules.0.names.known("allowed_request_content_type");
        if let (Some(Processor::Json | Processor::Xml), Some(allowed)) = (self.processor, allowed)
            && let Some(before) = self.tx.get(allowed)
        {
            let more = [before, b" |", &essence(content_type), b"|"].concat();
            self.tx.set(allowed, Change::Set, &more);
        }
        for exclusion in self.guard.by_path.iter().filter(|own| own.is_at(&self.request.path)) {
            if exclusion.targets.is_empty() {
                self.without.push(&exclusion.rules);
            }
            self.without_targets.extend(exclusion.targets.iter().map(|target| (&exclusion.rules, target)));
        }
    }

    pub(crate) fn run(mut self) -> Verdict {
        if self.phases().is_err() {
            self.verdict.refused = Some(Refusal::Work);
        }
        let read = |name: &str| {
            let number_of = self.guard.rules.0.names.known(name)?;
            self.tx.get(number_of).map(number)
        };
        self.verdict.score = read("anomaly_score");
        self.verdict.threshold = read("inbound_anomaly_score_threshold");
        self.verdict
    }

    fn phases(&mut self) -> Result<(), Exhausted> {
        let [head, body] = &self.guard.rules.0.phases;
        if self.phase(head, &self.guard.is_out[0])? == Next::End {
            return Ok(());
        }
        let processor = self.processor;
        self.values.body(self.request, processor, &mut self.texts);
        self.phase(body, &self.guard.is_out[1]).map(|_| ())
    }

    fn phase(&mut self, rules: &'r [Rule], is_out: &[bool]) -> Result<Next, Exhausted> {
        let mut at = 0;
        while let (Some(rule), Some(is_out)) = (rules.get(at), is_out.get(at)) {
            at += 1;
            let is_out = *is_out || self.without.iter().any(|own| own.has(&rule.called));
            if is_out || !self.rule(rule)? {
                continue;
            }
            match self.then(rule) {
                Next::Rule => {}
                Next::Skip(to) => at = at.max(to),
                end => return Ok(end),
            }
            if self.is_off {
                return Ok(Next::End);
            }
        }
        Ok(Next::Phase)
    }

    /// Whether a rule matches, with all that it is chained to.
    fn rule(&mut self, rule: &'r Rule) -> Result<bool, Exhausted> {
        self.before.clear();
        for link in &rule.links {
            if !self.link(rule, link)? || self.is_off {
                return Ok(false);
            }
            std::mem::swap(&mut self.before, &mut self.matched);
            self.matched.clear();
        }
        Ok(true)
    }

    /// What follows from a rule that matched.
    fn then(&mut self, rule: &Rule) -> Next {
        if rule.is_told {
            self.tell(rule);
        }
        match rule.then {
            Then::Deny if self.refuses => {
                self.verdict.refused = Some(Refusal::Rule(rule.called.id));
                Next::End
            }
            Then::Allow => Next::End,
            Then::AllowPhase => Next::Phase,
            Then::Deny | Then::Pass => rule.skip.as_ref().map_or(Next::Rule, |skip| Next::Skip(skip.to)),
        }
    }

    fn tell(&mut self, rule: &Rule) {
        if self.verdict.findings.len() >= MOST_FINDINGS {
            self.verdict.more += 1;
            return;
        }
        let place = self.before.last().map_or(String::new(), |matched| {
            let name = self.name_of(matched);
            String::from_utf8_lossy(&name[..name.len().min(LONGEST_NAME)]).into_owned()
        });
        let message = match rule.called.id {
            200_002 | 200_003 => format!("{}: {}", rule.message, self.values.error()),
            _ => rule.message.clone(),
        };
        self.verdict.findings.push(Finding { rule: rule.called.id, message, place });
    }

    /// `ARGS:q`.
    fn name_of(&self, matched: &Matched) -> Vec<u8> {
        let key = self.bytes(&matched.name);
        let collection = matched.collection.name().as_bytes();
        if key.is_empty() { collection.to_vec() } else { [collection, b":", key].concat() }
    }

    fn bytes<'t>(&'t self, value: &'t Value) -> &'t [u8] {
        match value {
            Value::Text(text) => self.texts.get(*text),
            Value::Own(text) => text,
        }
    }

    /// What a text with variables stands for now.
    fn expand<'t>(&'t self, template: &'t Template) -> Cow<'t, [u8]> {
        if let Some(fixed) = template.fixed() {
            return Cow::Borrowed(fixed);
        }
        let mut text = Vec::new();
        for piece in &template.pieces {
            match piece {
                Piece::Text(own) => text.extend(own),
                Piece::Tx(number) => text.extend(self.tx.get(*number).unwrap_or_default()),
                Piece::Matched => text.extend(self.last().map_or(&b""[..], |matched| self.bytes(&matched.value))),
                Piece::MatchedName => text.extend(self.last().map_or(Vec::new(), |matched| self.name_of(matched))),
                Piece::Value(collection, key) => {
                    let (entries, side) = self.values.of(*collection);
                    let name = |own: usize| self.texts.get(Text::Own(own));
                    if let Some(entry) = entries.iter().find(|entry| key.is(name(entry.name))) {
                        text.extend(name(if side == Side::Name { entry.name } else { entry.text }));
                    }
                }
            }
        }
        Cow::Owned(text)
    }

    /// What was matched last.
    fn last(&self) -> Option<&Matched> {
        self.matched.last().or_else(|| self.before.last())
    }

    /// What a link does for a value that it found.
    fn act(&mut self, actions: &'r [Action]) {
        for action in actions {
            match action {
                Action::Set(set) => {
                    let value = self.expand(&set.value).into_owned();
                    self.verdict.work += value.len();
                    match &set.name {
                        Name::Known(number) if self.guard.pinned.contains(number) => {}
                        Name::Known(number) => self.tx.set(*number, set.change, &value),
                        Name::Varying(template) => {
                            let name = self.expand(template).into_owned();
                            self.tx.set_named(&name, set.change, &value);
                        }
                    }
                }
                Action::Without(rules) => self.without.push(rules),
                Action::WithoutTarget(rules, target) => self.without_targets.push((rules, target)),
                Action::Off => self.is_off = true,
                Action::DetectOnly => self.refuses = false,
                Action::Read(processor) => {
                    self.processor = Some(*processor);
                    self.values.processor(self.processor, &mut self.texts);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
