//! What the directives of a file say.

mod actions;
mod targets;

pub(crate) use actions::{ActionWord, Words};
pub(crate) use targets::{Targets, selector};

use crate::mistake::Mistake;
use crate::read::{Directive, Word};

/// Directives that change nothing about how requests are looked at here: logs, answers, limits that the gateway has of its own.
const WITHOUT_EFFECT: &[&str] = &[
    "SecArgumentSeparator",
    "SecArgumentsLimit",
    "SecAuditEngine",
    "SecAuditLog",
    "SecAuditLog2",
    "SecAuditLogDirMode",
    "SecAuditLogFileMode",
    "SecAuditLogFormat",
    "SecAuditLogParts",
    "SecAuditLogRelevantStatus",
    "SecAuditLogStorageDir",
    "SecAuditLogType",
    "SecCollectionTimeout",
    "SecComponentSignature",
    "SecCookieFormat",
    "SecDataDir",
    "SecDebugLog",
    "SecDebugLogLevel",
    "SecGeoLookupDb",
    "SecPcreMatchLimit",
    "SecPcreMatchLimitRecursion",
    "SecRequestBodyInMemoryLimit",
    "SecRequestBodyJsonDepthLimit",
    "SecRequestBodyLimit",
    "SecRequestBodyLimitAction",
    "SecRequestBodyNoFilesLimit",
    "SecResponseBodyAccess",
    "SecResponseBodyLimit",
    "SecResponseBodyLimitAction",
    "SecResponseBodyMimeType",
    "SecServerSignature",
    "SecStatusEngine",
    "SecTmpDir",
    "SecTmpSaveUploadedFiles",
    "SecUnicodeMapFile",
    "SecUploadDir",
    "SecUploadFileLimit",
    "SecUploadFileMode",
    "SecUploadKeepFiles",
];

/// What a directive is.
#[derive(Debug)]
pub(crate) enum Meaning {
    /// A rule, or a link of one.
    Rule(Option<(Targets, Test)>, Words),
    Marker(String),
    Defaults(Words),
    /// Rules that are not run, by these words.
    Without(ByWhat, Vec<String>),
    /// Targets of rules change.
    Targets(ByWhat, String, Targets),
    Nothing,
}

/// How rules are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByWhat {
    Id,
    Tag,
}

/// What a rule looks for. It is made ready only if the rule is run.
#[derive(Debug)]
pub(crate) struct Test {
    /// The name of the operator.
    pub(crate) name: String,
    pub(crate) parameter: String,
    pub(crate) is_negated: bool,
    /// Where it stands in its line.
    pub(crate) at: usize,
}

/// What the directive says.
pub(crate) fn meaning(directive: &Directive) -> Result<Meaning, Mistake> {
    let name = directive.name.text.as_str();
    let is = |own: &str| name.eq_ignore_ascii_case(own);
    let words = &directive.words[..];
    match name.to_ascii_lowercase().as_str() {
        "secrule" => rule(directive),
        "secaction" => match words {
            [actions] => Ok(Meaning::Rule(None, Words::read(directive, Some(actions))?)),
            _ => Err(directive.mistake("`SecAction` has a list of actions, and nothing else")),
        },
        "secmarker" => Ok(Meaning::Marker(one(directive)?.text.clone())),
        "secdefaultaction" => Ok(Meaning::Defaults(Words::read(directive, Some(one(directive)?))?)),
        "secruleremovebyid" | "secruleremovebytag" if !words.is_empty() => {
            let by = if is("SecRuleRemoveById") { ByWhat::Id } else { ByWhat::Tag };
            Ok(Meaning::Without(by, words.iter().map(|word| word.text.clone()).collect()))
        }
        "secruleupdatetargetbyid" | "secruleupdatetargetbytag" => {
            let by = if is("SecRuleUpdateTargetById") { ByWhat::Id } else { ByWhat::Tag };
            let [which, targets] = words else {
                return Err(directive.mistake(format!("`{name}` has a rule and targets, and nothing else")));
            };
            Ok(Meaning::Targets(by, which.text.clone(), Targets::read(directive, targets)?))
        }
        "secruleengine" | "secrequestbodyaccess" => {
            let word = one(directive)?;
            if word.text.eq_ignore_ascii_case("On") {
                return Ok(Meaning::Nothing);
            }
            let mistake = directive.line.mistake(word.at, format!("`{name} {}` is not taken here", word.text));
            Err(mistake.hint("in the gateway's config, `shadow: true` refuses nobody, and `waf: none` asks nothing"))
        }
        _ if WITHOUT_EFFECT.iter().any(|own| is(own)) => Ok(Meaning::Nothing),
        _ => Err(directive.mistake(format!("there is no directive `{name}` here"))),
    }
}

fn one(directive: &Directive) -> Result<&Word, Mistake> {
    match &directive.words[..] {
        [word] => Ok(word),
        _ => Err(directive.mistake(format!("`{}` has one value", directive.name.text))),
    }
}

fn rule(directive: &Directive) -> Result<Meaning, Mistake> {
    let (targets, test, actions) = match &directive.words[..] {
        [targets, test] => (targets, test, None),
        [targets, test, actions] => (targets, test, Some(actions)),
        _ => {
            return Err(
                directive.mistake("`SecRule` has targets, an operator and, if it is no link of a chain, actions")
            );
        }
    };
    let targets = Targets::read(directive, targets)?;
    let test = Test::read(test);
    Ok(Meaning::Rule(Some((targets, test)), Words::read(directive, actions)?))
}

impl Test {
    /// `@eq 0`, `!@rx x`; without an `@`, a pattern.
    fn read(word: &Word) -> Self {
        let written = word.text.trim_start();
        let (is_negated, rest) = written.strip_prefix('!').map_or((false, written), |rest| (true, rest.trim_start()));
        let (name, parameter) = match rest.strip_prefix('@') {
            Some(named) => named.split_once(char::is_whitespace).unwrap_or((named, "")),
            None => ("rx", rest),
        };
        let (name, parameter) = (name.to_owned(), parameter.trim_start().to_owned());
        Self { name, parameter, is_negated, at: word.at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read;

    fn told(text: &str) -> String {
        meaning(&read::text(std::path::Path::new("x"), text).unwrap().remove(0))
            .map_or_else(|mistake| mistake.to_string(), |m| format!("{m:?}"))
    }

    #[test]
    fn what_is_not_known_is_named() {
        assert_eq!(told("SecRules A"), "x:1:1: there is no directive `SecRules` here");
        assert_eq!(told("SecRuleEngine DetectionOnly"), "x:1:15: `SecRuleEngine DetectionOnly` is not taken here");
        assert_eq!(
            told("SecRule A"),
            "x:1:1: `SecRule` has targets, an operator and, if it is no link of a chain, actions"
        );
        assert_eq!(told("SecMarker"), "x:1:1: `SecMarker` has one value");
        assert_eq!(told("SecAction a b"), "x:1:1: `SecAction` has a list of actions, and nothing else");
    }

    #[test]
    fn what_has_no_effect_on_requests_is_taken() {
        for text in ["SecRuleEngine On", "SecComponentSignature x", "secauditlogparts ABC", "SecResponseBodyAccess Off"]
        {
            assert_eq!(told(text), "Nothing", "{text}");
        }
    }

    #[test]
    fn an_operator_may_be_negated_and_is_a_pattern_without_a_name() {
        for (text, expected) in [
            ("@eq 0", ("eq", "0", false)),
            ("!@rx ^a b$", ("rx", "^a b$", true)),
            ("^a$", ("rx", "^a$", false)),
            ("!^a$", ("rx", "^a$", true)),
            ("@detectSQLi", ("detectSQLi", "", false)),
        ] {
            let test = Test::read(&Word { text: text.to_owned(), at: 0 });
            assert_eq!((test.name.as_str(), test.parameter.as_str(), test.is_negated), expected, "{text}");
        }
    }
}
