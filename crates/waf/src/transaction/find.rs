//! A link of a rule: which values it looks at, and which of them it finds.

use super::{Exhausted, MOST_WORK, Matched, Transaction, Value};
use crate::operator::{GROUPS, Operator};
use crate::rule::{Link, Rule};
use crate::texts::Text;
use crate::value::{Collection, Selector, Target};
use crate::values::Side;

/// A value that is looked at.
#[derive(Debug)]
enum Candidate {
    /// One of the request, by the numbers of its texts.
    Text { collection: Collection, name: usize, text: usize },
    /// One of the rules'.
    Own { collection: Collection, name: Vec<u8>, value: Vec<u8> },
}

impl<'r> Transaction<'r> {
    /// Whether a link finds something; for each value that it finds, it acts.
    pub(super) fn link(&mut self, rule: &'r Rule, link: &'r Link) -> Result<bool, Exhausted> {
        self.matched.clear();
        let Some(operator) = &link.operator else {
            self.act(&link.actions);
            return Ok(true);
        };
        let parameter = operator.parameter().map_or(Vec::new(), |template| self.expand(template).into_owned());
        let mut finds = false;
        for target in &link.targets {
            for candidate in self.candidates(rule, link, target) {
                self.spend(8)?;
                if let Some(matched) = self.finds(link, operator, candidate, &parameter)? {
                    finds = true;
                    self.matched.push(matched);
                    self.act(&link.actions);
                }
                if self.is_off {
                    return Ok(true);
                }
            }
        }
        Ok(finds)
    }

    fn spend(&mut self, work: usize) -> Result<(), Exhausted> {
        self.verdict.work += work;
        if self.verdict.work > MOST_WORK { Err(Exhausted) } else { Ok(()) }
    }

    /// The values of a target, without those that are left out.
    fn candidates(&self, rule: &Rule, link: &Link, target: &Target) -> Vec<Candidate> {
        let (selector, counts) = match target {
            Target::Values(selector) => (selector, false),
            Target::Count(selector) => (selector, true),
        };
        let collection = selector.collection;
        let except = self.guard.except.get(&rule.called.id);
        let is_out = |name: &[u8]| {
            let has = |own: &Selector| own.has(collection, name);
            link.except.iter().any(has)
                || except.is_some_and(|all| all.iter().any(has))
                || self.without_targets.iter().any(|(rules, own)| rules.has(&rule.called) && has(own))
        };
        let all: Vec<Candidate> = match collection {
            Collection::Tx => {
                let all = self.tx.all(&selector.key).filter(|(name, _)| !is_out(name));
                all.map(|(name, value)| Candidate::Own { collection, name: name.to_vec(), value: value.to_vec() })
                    .collect()
            }
            Collection::MatchedVar => self.last().into_iter().map(|last| self.matched_value(last)).collect(),
            Collection::MatchedVarName => self.last().into_iter().map(|last| self.matched_name(last)).collect(),
            Collection::MatchedVars => self.before.iter().map(|matched| self.matched_value(matched)).collect(),
            Collection::MatchedVarsNames => self.before.iter().map(|matched| self.matched_name(matched)).collect(),
            _ => {
                let (entries, side) = self.values.of(collection);
                let name = |own: usize| self.texts.get(Text::Own(own));
                let meant =
                    entries.iter().filter(|entry| selector.key.is(name(entry.name)) && !is_out(name(entry.name)));
                let text = |name, text| if side == Side::Name { name } else { text };
                let found =
                    meant.map(|one| Candidate::Text { collection, name: one.name, text: text(one.name, one.text) });
                found.collect()
            }
        };
        if counts {
            let value = all.len().to_string().into_bytes();
            return vec![Candidate::Own { collection, name: Vec::new(), value }];
        }
        all
    }

    fn matched_value(&self, matched: &Matched) -> Candidate {
        let value = self.bytes(&matched.value).to_vec();
        Candidate::Own { collection: matched.collection, name: self.bytes(&matched.name).to_vec(), value }
    }

    fn matched_name(&self, matched: &Matched) -> Candidate {
        let value = self.name_of(matched);
        Candidate::Own { collection: matched.collection, name: self.bytes(&matched.name).to_vec(), value }
    }

    /// The value as it was found, if it is what the operator looks for.
    fn finds(
        &mut self,
        link: &Link,
        operator: &Operator,
        candidate: Candidate,
        parameter: &[u8],
    ) -> Result<Option<Matched>, Exhausted> {
        let stages = link.is_multi.then(|| self.guard.rules.0.pipelines.stages(link.pipeline));
        let stages = stages.as_deref().unwrap_or(std::slice::from_ref(&link.pipeline));
        match candidate {
            Candidate::Text { collection, name, text } => {
                let mut last = None;
                for stage in stages {
                    let text = self.texts.transformed(text, *stage, &mut self.verdict.work);
                    // What did not change was looked at already.
                    if last.replace(text) == Some(text) {
                        continue;
                    }
                    let value = Value::Text(text);
                    if self.holds(link, operator, &value, parameter)? {
                        return Ok(Some(Matched { collection, name: Value::Text(Text::Own(name)), value }));
                    }
                }
            }
            Candidate::Own { collection, name, value } => {
                for stage in stages {
                    self.spend(value.len())?;
                    let value = Value::Own(self.texts.transform(value.clone(), *stage));
                    if self.holds(link, operator, &value, parameter)? {
                        return Ok(Some(Matched { collection, name: Value::Own(name), value }));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Whether the operator finds what it looks for, or does not, if it is negated.
    fn holds(&mut self, link: &Link, operator: &Operator, value: &Value, parameter: &[u8]) -> Result<bool, Exhausted> {
        let cost = operator.cost(self.bytes(value).len());
        self.spend(cost)?;
        let mut groups = (link.captures && !link.is_negated).then(|| Vec::with_capacity(GROUPS));
        let is = operator.finds(self.bytes(value), parameter, groups.as_mut());
        if let Some(groups) = groups.as_mut().filter(|_| is) {
            self.tx.captured(groups);
        }
        Ok(is != link.is_negated)
    }
}
