//! Tags, and the beginnings of all other markup.

use super::{
    ATTRIBUTES, COMMENTS, DEPTH, ELEMENTS, INSTRUCTIONS, Machine, NAME, NAMESPACES, Reference, State, TEXT, VALUE,
    Wrong, count, is_space,
};

impl Machine {
    /// Whether white space may stand there and means nothing.
    pub(super) fn takes_spaces(&self) -> bool {
        matches!(self.state, State::Attributes | State::Equals | State::Quote | State::End)
    }

    /// A byte of markup that stands for itself.
    pub(super) fn mark(&mut self, byte: u8) -> Result<(), Wrong> {
        self.state = match (self.state, byte) {
            (State::Open, _) => self.open(byte)?,
            (State::Bang, b'-') => State::Dash,
            (State::Bang, b'[') if !self.open.is_empty() => State::Cdata(b"CDATA["),
            (State::Bang, b'D') => return Err(Wrong::Refused("a document type declaration (`<!DOCTYPE`)")),
            (State::Bang, _) => return Err(Wrong::Malformed("`<!` that begins neither a comment nor a CDATA section")),
            (State::Dash, b'-') => {
                count(&mut self.comments, self.limits.comments, COMMENTS)?;
                self.length = 0;
                State::Comment(0)
            }
            (State::Cdata([wanted, rest @ ..]), _) if *wanted == byte => match rest {
                [] => State::Section(0),
                rest => State::Cdata(rest),
            },
            (State::TargetEnd, b'>') | (State::End, b'>') => State::Content,
            (State::Declaration, _) => match self.declaration.take(byte)? {
                true => State::Content,
                false => State::Declaration,
            },
            (State::Apart, _) if is_space(byte) => State::Attributes,
            (State::Apart | State::Attributes, b'/') => State::Empty,
            (State::Apart | State::Attributes, b'>') => State::Content,
            (State::Attributes, _) if begins_name(byte) => self.begin_attribute(byte)?,
            (State::Empty, b'>') => {
                self.open.end();
                State::Content
            }
            (State::Equals, b'=') => State::Quote,
            (State::Quote, b'"' | b'\'') => {
                self.length = 0;
                State::Value(byte)
            }
            (State::Reference(reference, quote), _) => self.refer(reference, quote, byte)?,
            _ => return Err(Wrong::Malformed("markup that is none")),
        };
        Ok(())
    }

    /// What stands behind `<`.
    fn open(&mut self, byte: u8) -> Result<State, Wrong> {
        match byte {
            b'!' => Ok(State::Bang),
            b'?' => {
                (self.length, self.start) = (0, [0; 6]);
                Ok(State::Target)
            }
            b'/' if !self.open.is_empty() => {
                self.text = 0;
                Ok(State::EndName(0))
            }
            b'/' => Err(Wrong::Malformed("an end tag without its start tag")),
            _ if begins_name(byte) => self.begin_element(byte),
            _ => Err(Wrong::Malformed("`<` that begins no markup")),
        }
    }

    fn begin_element(&mut self, byte: u8) -> Result<State, Wrong> {
        if self.open.is_empty() && self.has_root {
            return Err(Wrong::Malformed("more than one root element"));
        }
        count(&mut self.elements, self.limits.elements, ELEMENTS)?;
        if self.open.len() as u64 >= self.limits.depth {
            return Err(Wrong::Exceeded(DEPTH, self.limits.depth));
        }
        self.has_root = true;
        (self.text, self.attributes, self.namespaces, self.length) = (0, 0, 0, 1);
        self.open.begin();
        self.open.add(&[byte]);
        Ok(State::Name)
    }

    /// The name of an element (XML 1.0 §3.1).
    pub(super) fn name(&mut self, byte: u8, bytes: &[u8]) -> Result<usize, Wrong> {
        let part = self.name_part(bytes)?;
        self.open.add(part);
        match (part.len(), byte) {
            (0, b'/' | b'>') => self.state = State::Attributes,
            (0, _) if is_space(byte) => self.state = State::Attributes,
            (0, _) => return Err(Wrong::Malformed("a name with a character that may not stand there")),
            (_, _) => {}
        }
        Ok(part.len())
    }

    fn begin_attribute(&mut self, byte: u8) -> Result<State, Wrong> {
        count(&mut self.attributes, self.limits.attributes, ATTRIBUTES)?;
        (self.length, self.start) = (1, [byte, 0, 0, 0, 0, 0]);
        Ok(State::Attribute)
    }

    /// The name of an attribute.
    pub(super) fn attribute(&mut self, byte: u8, bytes: &[u8]) -> Result<usize, Wrong> {
        let before = self.length;
        let part = self.name_part(bytes)?;
        self.keep_start(before, part);
        if part.is_empty() {
            if byte != b'=' && !is_space(byte) {
                return Err(Wrong::Malformed("an attribute without a value"));
            }
            // Namespaces in XML 1.0 §3.
            if &self.start == b"xmlns:" || &self.start == b"xmlns\0" {
                count(&mut self.namespaces, self.limits.namespaces, NAMESPACES)?;
            }
            self.state = State::Equals;
        }
        Ok(part.len())
    }

    /// The name of a processing instruction, or of the XML declaration.
    pub(super) fn target(&mut self, byte: u8, bytes: &[u8]) -> Result<usize, Wrong> {
        let before = self.length;
        if before == 0 && !begins_name(byte) {
            return Err(Wrong::Malformed("a processing instruction without a name"));
        }
        let part = self.name_part(bytes)?;
        self.keep_start(before, part);
        if !part.is_empty() {
            return Ok(part.len());
        }
        let is_reserved = self.length == 3 && self.start[..3].eq_ignore_ascii_case(b"xml");
        self.state = match byte {
            _ if is_reserved && self.declares() && is_space(byte) => {
                // Its first space is judged with it.
                self.state = State::Declaration;
                return Ok(0);
            }
            _ if is_reserved => return Err(Wrong::Malformed("an XML declaration that does not stand first")),
            b'?' => State::TargetEnd,
            _ if is_space(byte) => State::Instruction(false),
            _ => return Err(Wrong::Malformed("a name with a character that may not stand there")),
        };
        count(&mut self.instructions, self.limits.instructions, INSTRUCTIONS)?;
        self.length = 0;
        Ok(1)
    }

    /// Whether what was read is `<?xml` at the very start.
    fn declares(&self) -> bool {
        &self.start[..3] == b"xml" && self.declaration.stands_at(self.taken - 5)
    }

    /// The name in an end tag, which has to be that of the element (§3, constraint "Element Type Match").
    pub(super) fn end_name(&mut self, came: usize, byte: u8, bytes: &[u8]) -> Result<usize, Wrong> {
        let wanted = self.open.last().get(came..).unwrap_or_default();
        let same = bytes.iter().zip(wanted).take_while(|(byte, wanted)| byte == wanted).count();
        if same > 0 {
            self.state = State::EndName(came + same);
            return Ok(same);
        }
        if !wanted.is_empty() || !(byte == b'>' || is_space(byte)) {
            return Err(Wrong::Malformed("an end tag with another name than its start tag"));
        }
        self.open.end();
        self.state = State::End;
        Ok(0)
    }

    /// A byte of a reference.
    fn refer(&mut self, reference: Reference, quote: Option<u8>, byte: u8) -> Result<State, Wrong> {
        let next = reference.next(byte)?;
        match quote {
            None => count(&mut self.text, self.limits.text, TEXT)?,
            Some(_) => count(&mut self.length, self.limits.value, VALUE)?,
        }
        Ok(match (next, quote) {
            (Some(next), _) => State::Reference(next, quote),
            (None, None) => State::Content,
            (None, Some(quote)) => State::Value(quote),
        })
    }

    /// As much of a name as stands there.
    fn name_part<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Wrong> {
        let end = bytes.iter().position(|byte| !continues_name(*byte)).unwrap_or(bytes.len());
        super::pass(&mut self.taken, &mut self.length, end, self.limits.name, NAME)?;
        Ok(&bytes[..end])
    }

    /// Keeps the first bytes of a name of which so many came before.
    fn keep_start(&mut self, before: u64, part: &[u8]) {
        let free = self.start.iter_mut().skip(usize::try_from(before).unwrap_or(usize::MAX));
        free.zip(part).for_each(|(kept, byte)| *kept = *byte);
    }
}

/// Whether a name may begin so (§2.3). Beyond ASCII whatever comes is taken: it is no markup.
fn begins_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, b'_' | b':' | 0x80..)
}

/// Whether a name may go on so.
fn continues_name(byte: u8) -> bool {
    CONTINUES[usize::from(byte)]
}

static CONTINUES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let letter = byte as u8;
        table[byte] = letter.is_ascii_alphanumeric() || matches!(letter, b'_' | b':' | b'-' | b'.' | 0x80..);
        byte += 1;
    }
    table
};
