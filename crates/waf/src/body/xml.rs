//! XML: its texts and the values of its attributes, each for itself. Entities of its own are not taken, and so nothing grows.

use super::{Broken, DEEPEST, Parts};

pub(super) fn read(body: &[u8], parts: &mut Parts) -> Result<(), Broken> {
    let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") || text.contains(&0) {
        return Err("the XML is in a coding that is not read".to_owned());
    }
    let mut xml = Xml { rest: text, parts, open: Vec::new(), elements: 0 };
    while !xml.rest.is_empty() {
        xml.step()?;
    }
    if let Some(name) = xml.open.last() {
        return Err(format!("the XML has no end of `{}`", String::from_utf8_lossy(&name[..name.len().min(40)])));
    }
    if xml.elements == 0 { Err("the XML has no element".to_owned()) } else { Ok(()) }
}

struct Xml<'b, 'p> {
    rest: &'b [u8],
    parts: &'p mut Parts,
    /// The elements that are open.
    open: Vec<&'b [u8]>,
    elements: usize,
}

impl<'b> Xml<'b, '_> {
    fn step(&mut self) -> Result<(), Broken> {
        let rest = self.rest;
        if rest.starts_with(b"<!--") {
            self.until(4, b"-->")?;
        } else if rest.starts_with(b"<![CDATA[") {
            let text = self.until(9, b"]]>")?;
            self.text(text.to_vec())?;
        } else if rest.starts_with(b"<?") {
            let inside = self.until(2, b"?>")?;
            coding(inside)?;
        } else if rest.starts_with(b"<!") {
            return Err("the XML has a DTD".to_owned());
        } else if rest.starts_with(b"</") {
            let name = self.until(2, b">")?.trim_ascii_end();
            if self.open.pop() != Some(name) {
                return Err("the XML has an end without its start".to_owned());
            }
        } else if rest.starts_with(b"<") {
            self.element()?;
        } else {
            let length = memchr::memchr(b'<', rest).unwrap_or(rest.len());
            self.rest = &rest[length..];
            self.text(decoded(&rest[..length]))?;
        }
        Ok(())
    }

    /// What stands up to `end`, which is passed.
    fn until(&mut self, from: usize, end: &[u8]) -> Result<&'b [u8], Broken> {
        let inside = &self.rest[from..];
        let at = memchr::memmem::find(inside, end).ok_or("the XML ends within a tag")?;
        self.rest = &inside[at + end.len()..];
        Ok(&inside[..at])
    }

    fn text(&mut self, text: Vec<u8>) -> Result<(), Broken> {
        if text.trim_ascii().is_empty() {
            return Ok(());
        }
        if self.open.is_empty() {
            return Err("the XML has a text outside of its element".to_owned());
        }
        self.parts.take_room(text.len())?;
        self.parts.texts.push(text);
        Ok(())
    }

    fn element(&mut self) -> Result<(), Broken> {
        self.rest = &self.rest[1..];
        let name = self.name()?;
        self.elements += 1;
        loop {
            self.rest = self.rest.trim_ascii_start();
            if let Some(rest) = self.rest.strip_prefix(b"/>") {
                self.rest = rest;
                return Ok(());
            }
            if let Some(rest) = self.rest.strip_prefix(b">") {
                self.rest = rest;
                self.open.push(name);
                return if self.open.len() > DEEPEST { Err("the XML is too deep".to_owned()) } else { Ok(()) };
            }
            self.attribute()?;
        }
    }

    fn name(&mut self) -> Result<&'b [u8], Broken> {
        let is_end = |byte: &u8| byte.is_ascii_whitespace() || b"<>/=\"'&".contains(byte);
        let length = self.rest.iter().position(is_end).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(length);
        self.rest = rest;
        if name.is_empty() { Err("the XML has a tag without a name".to_owned()) } else { Ok(name) }
    }

    fn attribute(&mut self) -> Result<(), Broken> {
        self.name()?;
        let rest = self.rest.trim_ascii_start().strip_prefix(b"=").map(<[u8]>::trim_ascii_start);
        let quoted = rest.filter(|rest| matches!(rest.first(), Some(b'"' | b'\'')));
        self.rest = quoted.ok_or("the XML has an attribute without a value")?;
        let quote = [self.rest[0]];
        let value = self.until(1, &quote)?;
        self.parts.take_room(value.len())?;
        self.parts.attributes.push(decoded(value));
        Ok(())
    }
}

/// A declaration may say in which coding it is.
fn coding(inside: &[u8]) -> Result<(), Broken> {
    let Some(declared) = inside.strip_prefix(b"xml").and_then(|rest| {
        let at = memchr::memmem::find(rest, b"encoding")?;
        let rest = rest[at + 8..].trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
        let name = rest.get(1..)?;
        Some(name.split(|byte| b"\"'".contains(byte)).next().unwrap_or_default())
    }) else {
        return Ok(());
    };
    let known: [&[u8]; 5] = [b"utf-8", b"us-ascii", b"iso-8859-1", b"iso-8859-15", b"windows-1252"];
    if known.iter().any(|name| declared.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    Err("the XML is in a coding that is not read".to_owned())
}

/// References undone: the five names that there always are, and numbers. What is none stays.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut to = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'&', rest) {
        to.extend(&rest[..at]);
        rest = &rest[at..];
        let end = rest.iter().take(12).position(|byte| *byte == b';');
        match end.and_then(|end| Some((reference(&rest[1..end])?, end))) {
            Some((c, end)) => {
                to.extend(c.encode_utf8(&mut [0; 4]).bytes());
                rest = &rest[end + 1..];
            }
            None => {
                to.push(b'&');
                rest = &rest[1..];
            }
        }
    }
    to.extend(rest);
    to
}

fn reference(name: &[u8]) -> Option<char> {
    let name = str::from_utf8(name).ok()?;
    if let Some(number) = name.strip_prefix('#') {
        let value = number.strip_prefix('x').map_or_else(|| number.parse(), |digits| u32::from_str_radix(digits, 16));
        return char::from_u32(value.ok()?);
    }
    Some(match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        "apos" => '\'',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Processor;
    use super::*;

    fn read(text: &str) -> Parts {
        Parts::read(Processor::Xml, b"", text.as_bytes(), 100)
    }

    #[test]
    fn texts_and_attributes_are_values() {
        let parts = read(
            "<?xml version='1.0' encoding=\"UTF-8\"?>\n<!-- <x> --><a b='1&lt;2' c = \"x\">t&#x3c;&#60;&amp;&foo;<b/> <c><![CDATA[<y>]]></c></a>\n",
        );
        let lossy =
            |all: &[Vec<u8>]| all.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect::<Vec<_>>();
        assert_eq!(parts.error, None);
        assert_eq!(lossy(&parts.texts), ["t<<&&foo;", "<y>"]);
        assert_eq!(lossy(&parts.attributes), ["1<2", "x"]);
    }

    #[test]
    fn what_is_no_xml_is_told() {
        for (text, why) in [
            ("<!DOCTYPE a [<!ENTITY x 'y'>]><a/>", "a DTD"),
            ("<a>", "no end of `a`"),
            ("<a></b>", "an end without its start"),
            ("<a b>", "without a value"),
            ("<a b=1>", "without a value"),
            ("<a b='1>", "within a tag"),
            ("< a/>", "without a name"),
            ("x", "outside of its element"),
            (" ", "no element"),
            ("<?xml version='1.0' encoding='UTF-7'?><a/>", "coding"),
            ("<\0a/>", "coding"),
        ] {
            let told = read(text).error.unwrap_or_default();
            assert!(told.contains(why), "{text}: {told}");
        }
        assert!(read(&"<a>".repeat(1000)).error.unwrap().contains("too deep"));
    }
}
