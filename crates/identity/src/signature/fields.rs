//! Structured fields (RFC 8941) as far as signatures and digests have them: dictionaries of items and inner lists.
//!
//! Stricter than it has to be: what is there twice is refused, since another reader may take the other one, and nothing is
//! longer than anybody needs.

use data_encoding::BASE64;

/// Most members of a dictionary, most items of an inner list, and most parameters of each of them.
const MOST: usize = 64;

/// A value (RFC 8941 §3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Integer(i64),
    /// In thousandths.
    Decimal(i64),
    String(String),
    Token(String),
    Bytes(Vec<u8>),
    Boolean(bool),
}

/// What is said beside a value, in order (§3.1.2).
pub(crate) type Parameters = Vec<(String, Item)>;

/// An inner list (§3.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InnerList {
    pub(crate) items: Vec<(Item, Parameters)>,
    pub(crate) parameters: Parameters,
}

/// What a name of a dictionary stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    Item(Item, Parameters),
    List(InnerList),
}

/// Reads a dictionary (§4.2.2) from the lines of a field, in order of its members.
///
/// # Errors
/// It is none, in words for whoever sent it.
pub(crate) fn dictionary<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Result<Vec<(String, Member)>, &'static str> {
    let text = lines.collect::<Vec<_>>().join(&b", "[..]);
    let mut parser = Parser { rest: &text };
    let mut members = Vec::new();
    parser.skip(b" ");
    while !parser.rest.is_empty() {
        let name = parser.key()?;
        let member =
            if parser.takes(b'=') { parser.member()? } else { Member::Item(Item::Boolean(true), parser.parameters()?) };
        add(&mut members, name, member)?;
        parser.skip(b" \t");
        if parser.rest.is_empty() {
            break;
        }
        if !parser.takes(b',') {
            return Err("members without a comma between them");
        }
        parser.skip(b" \t");
        if parser.rest.is_empty() {
            return Err("a comma at the end");
        }
    }
    Ok(members)
}

/// Adds what must be there once.
fn add<T>(all: &mut Vec<(String, T)>, name: String, value: T) -> Result<(), &'static str> {
    if all.iter().any(|(have, _)| *have == name) {
        return Err("a name that is there twice");
    }
    if all.len() >= MOST {
        return Err("too many members or parameters");
    }
    all.push((name, value));
    Ok(())
}

struct Parser<'a> {
    rest: &'a [u8],
}

impl<'a> Parser<'a> {
    fn takes(&mut self, byte: u8) -> bool {
        let rest = self.rest.strip_prefix(&[byte]);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn skip(&mut self, bytes: &[u8]) {
        self.take_while(|byte| bytes.contains(&byte));
    }

    fn take_while(&mut self, which: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| !which(*byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// §4.2.3.3.
    fn key(&mut self) -> Result<String, &'static str> {
        if !self.rest.first().is_some_and(|byte| byte.is_ascii_lowercase() || *byte == b'*') {
            return Err("a name that does not begin with a lower-case letter");
        }
        let is_in_key = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte);
        Ok(text(self.take_while(is_in_key)))
    }

    /// §4.2.1.1.
    fn member(&mut self) -> Result<Member, &'static str> {
        if !self.takes(b'(') {
            let item = self.item()?;
            return Ok(Member::Item(item, self.parameters()?));
        }
        let mut items = Vec::new();
        loop {
            self.skip(b" ");
            if self.takes(b')') {
                return Ok(Member::List(InnerList { items, parameters: self.parameters()? }));
            }
            if items.len() >= MOST {
                return Err("an inner list that is too long");
            }
            let item = self.item()?;
            items.push((item, self.parameters()?));
            if !matches!(self.rest.first(), Some(b' ' | b')')) {
                return Err("an inner list that does not end");
            }
        }
    }

    /// §4.2.3.2.
    fn parameters(&mut self) -> Result<Parameters, &'static str> {
        let mut parameters = Vec::new();
        while self.takes(b';') {
            self.skip(b" ");
            let name = self.key()?;
            let value = if self.takes(b'=') { self.item()? } else { Item::Boolean(true) };
            add(&mut parameters, name, value)?;
        }
        Ok(parameters)
    }

    /// §4.2.3.1.
    fn item(&mut self) -> Result<Item, &'static str> {
        match self.rest.first() {
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'"') => self.string(),
            Some(b':') => self.bytes(),
            Some(b'?') => self.boolean(),
            Some(byte) if byte.is_ascii_alphabetic() || *byte == b'*' => {
                let is_in_token = |byte: u8| tollgate_core::field::is_token(&[byte]) || b":/".contains(&byte);
                Ok(Item::Token(text(self.take_while(is_in_token))))
            }
            _ => Err("a value of no kind that is known"),
        }
    }

    /// §4.2.4.
    fn number(&mut self) -> Result<Item, &'static str> {
        const NONE: &str = "a number that is none";
        let sign = if self.takes(b'-') { -1 } else { 1 };
        let whole = self.take_while(|byte| byte.is_ascii_digit());
        let digits = |digits: &[u8]| text(digits).parse::<i64>().map_err(|_| NONE);
        if !self.takes(b'.') {
            return if whole.len() <= 15 { Ok(Item::Integer(sign * digits(whole)?)) } else { Err(NONE) };
        }
        let part = self.take_while(|byte| byte.is_ascii_digit());
        if whole.len() > 12 || !(1..=3).contains(&part.len()) {
            return Err(NONE);
        }
        let thousandths = part.iter().chain(b"000").take(3).copied().collect::<Vec<u8>>();
        Ok(Item::Decimal(sign * (digits(whole)? * 1000 + digits(&thousandths)?)))
    }

    /// §4.2.5.
    fn string(&mut self) -> Result<Item, &'static str> {
        self.takes(b'"');
        let mut out = String::new();
        loop {
            out.push_str(&text(self.take_while(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\')));
            if self.takes(b'"') {
                return Ok(Item::String(out));
            }
            if !self.takes(b'\\') {
                return Err("a string that does not end, or has more than visible ASCII");
            }
            if self.takes(b'"') {
                out.push('"');
            } else if self.takes(b'\\') {
                out.push('\\');
            } else {
                return Err("a string with a `\\` before something else than `\"` or `\\`");
            }
        }
    }

    /// §4.2.7.
    fn bytes(&mut self) -> Result<Item, &'static str> {
        self.takes(b':');
        let encoded = self.take_while(|byte| byte != b':');
        if !self.takes(b':') {
            return Err("a byte sequence that does not end");
        }
        BASE64.decode(encoded).map(Item::Bytes).map_err(|_| "a byte sequence that is not in base64")
    }

    /// §4.2.8.
    fn boolean(&mut self) -> Result<Item, &'static str> {
        self.takes(b'?');
        if self.takes(b'1') {
            Ok(Item::Boolean(true))
        } else if self.takes(b'0') {
            Ok(Item::Boolean(false))
        } else {
            Err("a boolean that is neither `?0` nor `?1`")
        }
    }
}

/// What was taken byte by byte is ASCII.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Writes a value (§4.1.3.1). A string must be of visible ASCII and blanks: whoever makes one sees to that.
pub(crate) fn write_item(item: &Item, out: &mut String) {
    match item {
        Item::Integer(number) => out.push_str(&number.to_string()),
        Item::Decimal(thousandths) => {
            let (sign, whole) = (if *thousandths < 0 { "-" } else { "" }, thousandths.unsigned_abs());
            let part = format!("{:03}", whole % 1000);
            let part = part.trim_end_matches('0');
            let part = if part.is_empty() { "0" } else { part };
            out.push_str(&format!("{sign}{}.{part}", whole / 1000));
        }
        Item::String(text) => {
            out.push('"');
            for char in text.chars() {
                if matches!(char, '"' | '\\') {
                    out.push('\\');
                }
                out.push(char);
            }
            out.push('"');
        }
        Item::Token(text) => out.push_str(text),
        Item::Bytes(bytes) => {
            out.push(':');
            BASE64.encode_append(bytes, out);
            out.push(':');
        }
        Item::Boolean(is_true) => out.push_str(if *is_true { "?1" } else { "?0" }),
    }
}

/// Writes parameters (§4.1.1.2).
pub(crate) fn write_parameters(parameters: &Parameters, out: &mut String) {
    for (name, value) in parameters {
        out.push(';');
        out.push_str(name);
        if *value != Item::Boolean(true) {
            out.push('=');
            write_item(value, out);
        }
    }
}

/// Writes an inner list (§4.1.1.1).
pub(crate) fn write_list(list: &InnerList, out: &mut String) {
    out.push('(');
    for (at, (item, parameters)) in list.items.iter().enumerate() {
        if at > 0 {
            out.push(' ');
        }
        write_item(item, out);
        write_parameters(parameters, out);
    }
    out.push(')');
    write_parameters(&list.parameters, out);
}

/// Whether this can be the name of a member or a parameter.
pub(crate) fn is_key(name: &str) -> bool {
    let mut parser = Parser { rest: name.as_bytes() };
    parser.key().is_ok() && parser.rest.is_empty()
}

/// Whether this can be written as a string.
pub(crate) fn is_string(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Vec<(String, Member)>, &'static str> {
        dictionary([text.as_bytes()].into_iter())
    }

    /// As it is written again.
    fn again(members: &[(String, Member)]) -> String {
        let written = members.iter().map(|(name, member)| {
            let mut out = format!("{name}=");
            match member {
                Member::Item(item, parameters) => {
                    write_item(item, &mut out);
                    write_parameters(parameters, &mut out);
                }
                Member::List(list) => write_list(list, &mut out),
            }
            out
        });
        written.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_dictionary_is_written_in_its_one_form() {
        for (text, form) in [
            ("", ""),
            ("a", "a=?1"),
            ("  a=1 ,\t b=-0.50;x;y=?0", "a=1, b=-0.5;x;y=?0"),
            ("a=(  \"x\"   \"y\\\\\\\"\";p=tok/en:*  );q=:aGk=:", "a=(\"x\" \"y\\\\\\\"\";p=tok/en:*);q=:aGk=:"),
            ("*a.b-c_1=999999999999999, d=123456789012.125", "*a.b-c_1=999999999999999, d=123456789012.125"),
            ("a=(), b=1.0;  c=*", "a=(), b=1.0;c=*"),
        ] {
            assert_eq!(read(text).map(|members| again(&members)).as_deref(), Ok(form), "{text}");
        }
        let lines = [&b"a=1"[..], b"b=2"];
        assert_eq!(dictionary(lines.into_iter()).map(|members| members.len()), Ok(2));
    }

    #[test]
    fn what_is_no_dictionary_is_refused() {
        for text in [
            "A=1",
            "=1",
            "a=",
            "a=1,",
            "a=1 b=2",
            "a=1,,b",
            "a=1, a=2",
            "a;x;x",
            "a=(\"x\"",
            "a=(\"x\"\"y\")",
            "a=\"x",
            "a=\"\\x\"",
            "a=\"\u{e9}\"",
            "a=\"\t\"",
            "a=:aGk:",
            "a=:a=:",
            "a=:aGk=",
            "a=?2",
            "a=1000000000000000",
            "a=1.",
            "a=1.0000",
            "a=1234567890123.1",
            "a=-",
            "a=@1",
            "a=%\"x\"",
            "a;=1",
            "a;X",
            "\ta=1",
            "a=((1))",
            "a=--1",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        let long = |n: usize| (0..n).map(|n| format!("k{n}")).collect::<Vec<_>>().join(",");
        assert!(read(&long(MOST)).is_ok() && read(&long(MOST + 1)).is_err());
        assert!(read(&format!("a=({})", "1 ".repeat(MOST + 1))).is_err());
    }

    proptest! {
        #[test]
        fn no_input_panics_and_the_form_is_stable(text in "[a-z*=(), \t;:\"\\\\?0-9.A-Z/+-]{0,40}|.*") {
            if let Ok(members) = read(&text) {
                let form = again(&members);
                prop_assert_eq!(read(&form), Ok(members), "{}", form);
            }
        }
    }
}
