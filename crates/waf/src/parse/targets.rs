//! The targets of a rule: `ARGS|!ARGS:token|&REQUEST_HEADERS:Host|REQUEST_COOKIES:/^id_/`.

use regex::bytes::Regex;

use crate::mistake::Mistake;
use crate::operator::pattern;
use crate::read::{Directive, Word};
use crate::value::{Collection, Key, NOT_HERE, Selector, Target};

/// Most of one rule.
const MOST: usize = 200;

/// What a rule looks at, and what it leaves out.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    pub(crate) targets: Vec<Target>,
    pub(crate) except: Vec<Selector>,
    /// What a target would need that is not here.
    pub(crate) needs: Option<&'static str>,
}

impl Targets {
    pub(crate) fn read(directive: &Directive, word: &Word) -> Result<Self, Mistake> {
        let mut all = Self::default();
        for (offset, part) in parts(&word.text) {
            all.target(part).map_err(|why| directive.line.mistake(word.at + offset, why))?;
            if all.targets.len() + all.except.len() > MOST {
                return Err(directive.line.mistake(word.at, format!("a rule has more than {MOST} targets")));
            }
        }
        if all.targets.is_empty() && all.except.is_empty() && all.needs.is_none() {
            return Err(directive.line.mistake(word.at, "there is no target"));
        }
        Ok(all)
    }

    fn target(&mut self, written: &str) -> Result<(), String> {
        let (is_except, rest) = written.strip_prefix('!').map_or((false, written), |rest| (true, rest));
        let (counts, rest) = rest.strip_prefix('&').map_or((false, rest), |rest| (true, rest));
        let (name, key) = rest.split_once(':').map_or((rest, None), |(name, key)| (name, Some(key)));
        if let Some((_, need)) = NOT_HERE.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)) {
            self.needs = Some(need);
            return Ok(());
        }
        let selector = selector(name, key)?;
        match (is_except, counts) {
            (true, _) => self.except.push(selector),
            (false, true) => self.targets.push(Target::Count(selector)),
            (false, false) => self.targets.push(Target::Values(selector)),
        }
        Ok(())
    }
}

/// The values that are meant by a name and a key.
pub(crate) fn selector(name: &str, key: Option<&str>) -> Result<Selector, String> {
    let collection = Collection::named(name).ok_or_else(|| unknown(name))?;
    if collection == Collection::Xml {
        return match key {
            Some("/*") => Ok(Selector { collection, key: Key::All }),
            Some("//@*") => Ok(Selector { collection: Collection::XmlAttributes, key: Key::All }),
            _ => Err("of `XML`, there are `XML:/*` and `XML://@*` here".to_owned()),
        };
    }
    let Some(key) = key else { return Ok(Selector { collection, key: Key::All }) };
    if !collection.has_keys() {
        return Err(format!("`{name}` is a single value"));
    }
    let key = unquoted(key);
    let key = match key.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) {
        Some(text) if key.len() > 1 => Key::Like(like(text)?),
        _ => Key::Named(key.as_bytes().to_vec()),
    };
    Ok(Selector { collection, key })
}

/// A pattern of names; their case does not matter.
fn like(text: &str) -> Result<Regex, String> {
    pattern::compile(&format!("(?i){text}"))
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap_or(text)
}

fn unknown(name: &str) -> String {
    let own = name.to_ascii_uppercase();
    let near = Collection::names().find(|known| !own.is_empty() && (known.starts_with(&own) || own.starts_with(known)));
    let near = near.map_or(String::new(), |near| format!(" (`{near}`?)"));
    format!("there is no variable `{name}` here{near}")
}

/// What stands between `|`, but for those in patterns and quotes, with its offset.
fn parts(text: &str) -> Vec<(usize, &str)> {
    let mut all = Vec::new();
    let mut start = 0;
    let mut inside: Option<char> = None;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match inside {
            Some(quote) if c == quote && before != '\\' => inside = None,
            Some(_) => {}
            None if c == '\'' && before == ':' => inside = Some('\''),
            // `XML:/*` is no pattern.
            None if c == '/' && before == ':' && !text[start..at].ends_with("XML:") => inside = Some('/'),
            None if matches!(c, '|' | ',') => {
                all.push((start, &text[start..at]));
                start = at + 1;
            }
            None => {}
        }
        before = c;
    }
    all.push((start, &text[start..]));
    let trimmed = all.into_iter().map(|(at, part)| (at + part.len() - part.trim_start().len(), part.trim()));
    trimmed.filter(|(_, part)| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::read;

    fn targets(text: &str) -> Result<Targets, String> {
        let directive = read::text(std::path::Path::new("x"), &format!("SecRule {text} x")).unwrap().remove(0);
        Targets::read(&directive, &directive.words[0]).map_err(|mistake| mistake.to_string())
    }

    #[test]
    fn targets_are_taken_apart() {
        let read = targets("REQUEST_COOKIES|!REQUEST_COOKIES:/a|b/|&TX:'/x_*/'|XML:/*|XML://@*|ARGS:a[0][b]").unwrap();
        let [
            Target::Values(cookies),
            Target::Count(tx),
            Target::Values(xml),
            Target::Values(attributes),
            Target::Values(argument),
        ] = &read.targets[..]
        else {
            panic!("{read:?}")
        };
        assert!(matches!(cookies.key, Key::All) && cookies.collection == Collection::Cookies);
        assert!(
            tx.key.is(b"X_1")
                && xml.collection == Collection::Xml
                && attributes.collection == Collection::XmlAttributes
        );
        assert!(argument.key.is(b"A[0][b]") && !argument.key.is(b"a"));
        assert!(read.except[0].key.is(b"xbx") && !read.except[0].key.is(b"c"));
        assert_eq!(targets("IP:X|ARGS").unwrap().needs, Some("a memory from one request to the next"));
    }

    #[test]
    fn what_is_not_known_is_named_with_its_place() {
        assert_eq!(targets("ARGS|ARG").unwrap_err(), "x:1:14: there is no variable `ARG` here (`ARGS`?)");
        assert_eq!(targets("REQUEST_METHOD:x").unwrap_err(), "x:1:9: `REQUEST_METHOD` is a single value");
        assert_eq!(targets("XML:/a/b").unwrap_err(), "x:1:9: of `XML`, there are `XML:/*` and `XML://@*` here");
        assert_eq!(targets("||").unwrap_err(), "x:1:9: there is no target");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[A-Z_:/'|!&,*@\\[ü-]{1,40}") {
            prop_assume!(!text.starts_with('\''));
            let _ = targets(&text);
        }
    }
}
