//! One rule of a chain: its targets, operator, transformations and actions.

use tollgate_core::diagnostic::nearest;

use crate::body::Processor;
use crate::compile::{Compiled, DraftLink, Names, folder};
use crate::mistake::Mistake;
use crate::operator::{Operator, Refused};
use crate::parse::{ActionWord, Words, selector};
use crate::rule::{Action, Assignment, Change, Link, Name, Named};
use crate::template::Template;
use crate::transform;
use crate::value::{Collection, Key, Target};

/// Actions that say something about a rule, write to logs, keep something for later requests, or are read elsewhere.
const WITHOUT_EFFECT: &[&str] = &[
    "accuracy",
    "allow",
    "auditlog",
    "block",
    "capture",
    "chain",
    "deny",
    "deprecatevar",
    "drop",
    "expirevar",
    "id",
    "initcol",
    "log",
    "logdata",
    "maturity",
    "msg",
    "multimatch",
    "noauditlog",
    "nolog",
    "pass",
    "phase",
    "rev",
    "sanitisearg",
    "sanitisematched",
    "sanitisematchedbytes",
    "sanitiserequestheader",
    "setenv",
    "setrsc",
    "setsid",
    "setuid",
    "severity",
    "skipafter",
    "status",
    "tag",
    "ver",
    "xmlns",
];

/// What `ctl` may change that means nothing here.
const CTL_WITHOUT_EFFECT: &[&str] = &[
    "auditengine",
    "auditlogparts",
    "debugloglevel",
    "forcerequestbodyvariable",
    "responsebodyaccess",
    "responsebodylimit",
];

impl DraftLink {
    /// The link, or what it would need that is not here.
    pub(super) fn build(
        &self,
        compiled: &mut Compiled,
        defaults: Option<&Words>,
    ) -> Result<Result<Link, &'static str>, Mistake> {
        let (mut targets, mut except, mut operator, mut is_negated) = (Vec::new(), Vec::new(), None, false);
        if let Some((looks, test)) = &self.looks {
            if let Some(needs) = looks.needs {
                return Ok(Err(needs));
            }
            (targets, except, is_negated) = (looks.targets.clone(), looks.except.clone(), test.is_negated);
            targets.iter_mut().for_each(|target| numbered(target, &mut compiled.names));
            let read = Operator::read(&test.name, &test.parameter, folder(&self.directive), &mut compiled.names);
            match read {
                Ok(read) => operator = Some(read),
                Err(Refused::NotHere(needs)) => return Ok(Err(needs)),
                Err(Refused::Wrong(why)) => {
                    let mistake = self.directive.line.mistake(test.at, why);
                    return Err(
                        mistake.hint("a rule is left out by its number: `exclude: [NUMBER]`, or `SecRuleRemoveById`")
                    );
                }
            }
        }
        let pipeline = self.pipeline(compiled, defaults)?;
        let mut actions = Vec::new();
        for word in &self.words.all {
            let action = action(word, compiled).map_err(|why| self.directive.line.mistake(word.at, why))?;
            actions.extend(action);
        }
        let (is_multi, captures) = (self.words.has("multimatch"), self.words.has("capture"));
        Ok(Ok(Link { targets, except, operator, is_negated, pipeline, is_multi, captures, actions }))
    }

    fn pipeline(&self, compiled: &mut Compiled, defaults: Option<&Words>) -> Result<usize, Mistake> {
        let mut at = 0;
        for word in defaults.iter().flat_map(|words| &words.all).chain(&self.words.all).filter(|word| word.name == "t")
        {
            if word.value.eq_ignore_ascii_case("none") {
                at = 0;
                continue;
            }
            at = compiled.pipelines.then(at, &word.value).ok_or_else(|| {
                let near = nearest(&word.value.to_ascii_lowercase(), transform::names());
                let near = near.map_or(String::new(), |near| format!(": did you mean `{near}`?"));
                self.directive
                    .line
                    .mistake(word.at, format!("there is no transformation `t:{}` here{near}", word.value))
            })?;
        }
        Ok(at)
    }
}

/// Variables of the transaction are found by their numbers.
fn numbered(target: &mut Target, names: &mut Names) {
    let (Target::Values(selector) | Target::Count(selector)) = target;
    let number = match &selector.key {
        Key::Named(name) if selector.collection == Collection::Tx => {
            str::from_utf8(name).ok().map(|name| names.number(name))
        }
        _ => None,
    };
    if let Some(number) = number {
        selector.key = Key::Tx(number);
    }
}

/// What an action does; `None`: nothing while a rule is run.
fn action(word: &ActionWord, compiled: &mut Compiled) -> Result<Option<Action>, String> {
    match word.name.as_str() {
        "setvar" => assignment(&word.value, compiled).map(|set| set.map(Action::Set)),
        "ctl" => control(&word.value),
        "t" => Ok(None),
        "allow" if !matches!(word.value.as_str(), "" | "request" | "phase") => {
            Err(format!("there is no `allow:{}`", word.value))
        }
        name if WITHOUT_EFFECT.contains(&name) => Ok(None),
        name => Err(format!("the action `{name}` is not run here")),
    }
}

/// `tx.name=value`, `tx.name=+1`, `!tx.name`, `tx.name`. Variables of other collections are for later requests.
fn assignment(text: &str, compiled: &mut Compiled) -> Result<Option<Assignment>, String> {
    let (is_unset, rest) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
    let (written, value) = rest.split_once('=').map_or((rest, "1"), |(name, value)| (name.trim(), value));
    let Some((collection, name)) = written.split_once(['.', ':']) else {
        return Err(format!("`{written}` is no variable that can be set: `tx.name`"));
    };
    if !collection.eq_ignore_ascii_case("tx") {
        return Ok(None);
    }
    let (change, value) = match value.as_bytes().first() {
        _ if is_unset => (Change::Unset, ""),
        Some(b'+') => (Change::Add, &value[1..]),
        Some(b'-') => (Change::Subtract, &value[1..]),
        _ => (Change::Set, value),
    };
    let name = if name.contains("%{") {
        Name::Varying(Template::read(name, &mut compiled.names)?)
    } else {
        Name::Known(compiled.names.number(name))
    };
    Ok(Some(Assignment { name, change, value: Template::read(value, &mut compiled.names)? }))
}

fn control(text: &str) -> Result<Option<Action>, String> {
    let (name, value) = text.split_once('=').ok_or("`ctl` has a name and a value")?;
    let value = value.trim();
    let ids =
        |text: &str| Named::ids(text).ok_or_else(|| format!("`{text}` is no number of a rule, and no range of them"));
    let target = |of: fn(&str) -> Result<Named, String>| {
        let (rules, target) = value.split_once(';').ok_or("a rule and a target stand there, with `;` between")?;
        let (collection, key) = target.split_once(':').map_or((target, None), |(name, key)| (name, Some(key)));
        Ok::<_, String>(Action::WithoutTarget(of(rules)?, selector(collection, key)?))
    };
    match name.trim().to_ascii_lowercase().as_str() {
        "ruleengine" if value.eq_ignore_ascii_case("off") => Ok(Some(Action::Off)),
        "ruleengine" if value.eq_ignore_ascii_case("detectiononly") => Ok(Some(Action::DetectOnly)),
        "ruleengine" if value.eq_ignore_ascii_case("on") => Ok(None),
        "ruleremovebyid" => Ok(Some(Action::Without(ids(value)?))),
        "ruleremovebytag" => Ok(Some(Action::Without(Named::Tag(value.to_owned())))),
        "ruleremovetargetbyid" => {
            target(|text| Named::ids(text).ok_or_else(|| format!("`{text}` is no number of a rule"))).map(Some)
        }
        "ruleremovetargetbytag" => target(|text| Ok(Named::Tag(text.to_owned()))).map(Some),
        "requestbodyprocessor" => {
            let processor = Processor::named(value).ok_or_else(|| format!("bodies are not read as `{value}` here"))?;
            Ok(Some(Action::Read(processor)))
        }
        name if CTL_WITHOUT_EFFECT.contains(&name) => Ok(None),
        name => Err(format!("`ctl:{name}={value}` is not run here")),
    }
}
