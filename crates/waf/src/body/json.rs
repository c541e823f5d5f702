//! JSON (RFC 8259): each text in it is an argument, named by the way to it, `json.items.0.name`.
//!
//! Keys that stand twice count twice: who reads the body may take either. Numbers, `true`, `false` and `null` in lists are passed over; there is
//! nothing in them, and there may be many.

use super::{Broken, DEEPEST, Parts};

pub(super) fn read(body: &[u8], parts: &mut Parts) -> Result<(), Broken> {
    let mut json =
        Json { text: body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body), at: 0, parts, path: b"json".to_vec() };
    json.blank();
    json.value(0, Place::Member)?;
    json.blank();
    if json.at < json.text.len() { Err(json.broken("the JSON goes on behind its end")) } else { Ok(()) }
}

/// Where a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Member,
    List,
}

struct Json<'b, 'p> {
    text: &'b [u8],
    at: usize,
    parts: &'p mut Parts,
    /// The way to what is read.
    path: Vec<u8>,
}

impl Json<'_, '_> {
    fn broken(&self, why: &str) -> Broken {
        format!("{why} (byte {})", self.at)
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn takes(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        self.at += usize::from(is);
        is
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Calls itself for what is inside, no deeper than [`DEEPEST`].
    fn value(&mut self, depth: usize, place: Place) -> Result<(), Broken> {
        if depth > DEEPEST {
            return Err(self.broken("the JSON is too deep"));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => {
                let value = self.string()?;
                self.parts.argument(self.path.clone(), value)
            }
            _ => self.scalar(place),
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), Broken> {
        self.at += 1;
        self.blank();
        if self.takes(b'}') {
            return Ok(());
        }
        loop {
            self.blank();
            if self.peek() != Some(b'"') {
                return Err(self.broken("the JSON has no key here"));
            }
            let key = self.string()?;
            self.blank();
            if !self.takes(b':') {
                return Err(self.broken("the JSON has no `:` here"));
            }
            let before = self.path.len();
            self.path.push(b'.');
            self.path.extend(&key);
            self.blank();
            self.value(depth + 1, Place::Member)?;
            self.path.truncate(before);
            self.blank();
            match () {
                () if self.takes(b',') => {}
                () if self.takes(b'}') => return Ok(()),
                () => return Err(self.broken("the JSON has an object without its end")),
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<(), Broken> {
        self.at += 1;
        self.blank();
        if self.takes(b']') {
            return Ok(());
        }
        for number in 0usize.. {
            let before = self.path.len();
            self.path.push(b'.');
            self.path.extend(number.to_string().bytes());
            self.blank();
            self.value(depth + 1, Place::List)?;
            self.path.truncate(before);
            self.blank();
            match () {
                () if self.takes(b',') => {}
                () if self.takes(b']') => return Ok(()),
                () => break,
            }
        }
        Err(self.broken("the JSON has a list without its end"))
    }

    fn scalar(&mut self, place: Place) -> Result<(), Broken> {
        let rest = &self.text[self.at..];
        let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)).count();
        let word = &rest[..length];
        if !matches!(word, b"true" | b"false" | b"null") && !is_number(word) {
            return Err(self.broken("the JSON has no value here"));
        }
        self.at += length;
        match place {
            // Its name may say something.
            Place::Member => self.parts.argument(self.path.clone(), word.to_vec()),
            Place::List => Ok(()),
        }
    }

    fn string(&mut self) -> Result<Vec<u8>, Broken> {
        self.at += 1;
        let mut text = Vec::new();
        loop {
            let Some(byte) = self.peek() else { return Err(self.broken("the JSON has a text without its end")) };
            self.at += 1;
            match byte {
                b'"' => return Ok(text),
                b'\\' => self.escape(&mut text)?,
                0..0x20 => return Err(self.broken("the JSON has a control character in a text")),
                byte => text.push(byte),
            }
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Result<(), Broken> {
        let Some(letter) = self.peek() else { return Err(self.broken("the JSON ends in an escape")) };
        self.at += 1;
        text.push(match letter {
            b'"' | b'\\' | b'/' => letter,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let first = self.unit()?;
                let c = char::decode_utf16(self.pair(first)).next().and_then(Result::ok);
                text.extend(c.unwrap_or(char::REPLACEMENT_CHARACTER).encode_utf8(&mut [0; 4]).bytes());
                return Ok(());
            }
            _ => return Err(self.broken("the JSON has an escape that there is not")),
        });
        Ok(())
    }

    fn unit(&mut self) -> Result<u16, Broken> {
        let digits = self.text.get(self.at..self.at + 4).and_then(|digits| str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        self.at += 4;
        unit.ok_or_else(|| self.broken("the JSON has an escape that there is not"))
    }

    /// A character may be two units.
    fn pair(&mut self, first: u16) -> Vec<u16> {
        let mut units = vec![first];
        if (0xd800..0xdc00).contains(&first) && self.text[self.at.min(self.text.len())..].starts_with(b"\\u") {
            let from = self.at;
            self.at += 2;
            match self.unit() {
                Ok(second) if (0xdc00..0xe000).contains(&second) => units.push(second),
                _ => self.at = from,
            }
        }
        units
    }
}

/// RFC 8259 §6.
fn is_number(word: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let word = word.strip_prefix(b"-").unwrap_or(word);
    let whole = digits(word);
    let mut rest = &word[whole..];
    if whole == 0 || (whole > 1 && word[0] == b'0') {
        return false;
    }
    if let Some(fraction) = rest.strip_prefix(b".") {
        let count = digits(fraction);
        if count == 0 {
            return false;
        }
        rest = &fraction[count..];
    }
    if let Some(exponent) = rest.strip_prefix(b"e").or_else(|| rest.strip_prefix(b"E")) {
        let exponent = exponent.strip_prefix(b"-").or_else(|| exponent.strip_prefix(b"+")).unwrap_or(exponent);
        let count = digits(exponent);
        return count > 0 && count == exponent.len();
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Processor;
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, String> {
        let parts = Parts::read(Processor::Json, b"", text.as_bytes(), 100);
        let lossy = |text: Vec<u8>| String::from_utf8_lossy(&text).into_owned();
        let all = parts.arguments.into_iter().map(|(name, value)| (lossy(name), lossy(value)));
        parts.error.map_or(Ok(all.collect()), Err)
    }

    #[test]
    fn texts_are_arguments_by_the_way_to_them() {
        let text = r#" {"a": {"b": ["x", 1, {"c": "\u003c\ud83d\ude00\n"}]}, "n": -1.5e3, "a": null, "": true} "#;
        let expected = [
            ("json.a.b.0", "x"),
            ("json.a.b.2.c", "<😀\n"),
            ("json.n", "-1.5e3"),
            ("json.a", "null"),
            ("json.", "true"),
        ];
        let read_all = read(text).unwrap();
        let read_all: Vec<(&str, &str)> = read_all.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(read_all, expected);
        assert_eq!(read("\"x\"").unwrap(), [("json".to_owned(), "x".to_owned())]);
    }

    #[test]
    fn what_is_no_json_is_told() {
        for text in [
            "{",
            "{]",
            "[1,]",
            "{\"a\"}",
            "{\"a\":}",
            "[1 2]",
            "\"a",
            "\"\\x\"",
            "\"\\u12\"",
            "01",
            "1.",
            "nul",
            "1 1",
            "{'a':1}",
            "\"a\nb\"",
            "-",
            "",
            "  ",
        ] {
            assert_eq!(read(text).is_err(), !text.is_empty(), "{text}");
        }
        assert!(read(&"[".repeat(100_000)).unwrap_err().contains("too deep"));
    }

    proptest! {
        /// As another reader has it.
        #[test]
        fn it_takes_what_is_json_and_nothing_else(text in "[\\[\\]{}\":,a10\\\\ue. tn-]{0,12}|\\PC{0,8}") {
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            // A half of a pair, and numbers that are too large, are refused there.
            prop_assume!(!text.contains("\\u") && !text.contains('e') && !text.is_empty());
            prop_assert_eq!(read(&text).is_ok(), theirs.is_ok(), "{}", text);
        }
    }
}
