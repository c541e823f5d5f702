//! The actions of a rule: `id:1,phase:2,block,t:none,setvar:'tx.x=1'`.

use crate::mistake::Mistake;
use crate::read::{Directive, Word};

/// The actions of a rule, word by word.
#[derive(Debug, Default)]
pub(crate) struct Words {
    pub(crate) all: Vec<ActionWord>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct ActionWord {
    /// In lower case.
    pub(crate) name: String,
    pub(crate) value: String,
    /// Where it stands in its line.
    pub(crate) at: usize,
}

impl Words {
    pub(crate) fn read(directive: &Directive, word: Option<&Word>) -> Result<Self, Mistake> {
        let Some(word) = word else { return Ok(Self::default()) };
        let mut all = Vec::new();
        let (mut from, mut is_quoted, mut before) = (0, false, ' ');
        let text = &word.text;
        for (at, c) in text.char_indices().chain([(text.len(), ',')]) {
            match c {
                '\'' if before != '\\' => is_quoted = !is_quoted,
                ',' if !is_quoted || at == text.len() => {
                    if is_quoted {
                        return Err(directive.line.mistake(word.at + from, "this action has a quote without its end"));
                    }
                    let part = &text[from..at];
                    let offset = from + part.len() - part.trim_start().len();
                    all.extend(ActionWord::read(part.trim(), word.at + offset));
                    from = at + 1;
                }
                _ => {}
            }
            before = c;
        }
        Ok(Self { all })
    }

    /// The last one of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&ActionWord> {
        self.all.iter().rev().find(|word| word.name == name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

impl ActionWord {
    /// `None`: nothing stands there.
    fn read(part: &str, at: usize) -> Option<Self> {
        let (name, value) = part.split_once(':').unwrap_or((part, ""));
        let value = value.trim();
        let value = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap_or(value);
        (!part.is_empty()).then(|| Self {
            name: name.trim().to_ascii_lowercase(),
            value: value.replace("\\'", "'"),
            at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read;

    fn words(text: &str) -> Result<Vec<(String, String)>, String> {
        let directive = read::text(std::path::Path::new("x"), &format!("SecAction \"{text}\"")).unwrap().remove(0);
        let words = Words::read(&directive, Some(&directive.words[0])).map_err(|mistake| mistake.to_string())?;
        Ok(words.all.into_iter().map(|word| (word.name, word.value)).collect())
    }

    #[test]
    fn actions_are_words_with_values() {
        let read = words("id:1, Deny,msg:'a, b\\'c',setvar:'tx.x=a:b',ctl:ruleRemoveTargetById=1;ARGS:x,").unwrap();
        let expected = [
            ("id", "1"),
            ("deny", ""),
            ("msg", "a, b'c"),
            ("setvar", "tx.x=a:b"),
            ("ctl", "ruleRemoveTargetById=1;ARGS:x"),
        ];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(words("id:1,msg:'a").unwrap_err(), "x:1:17: this action has a quote without its end");
    }
}
