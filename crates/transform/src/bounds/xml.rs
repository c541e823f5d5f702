//! XML (XML 1.0, fifth edition) without a document type declaration, and so without entities but the five predefined ones.
//!
//! Whatever a parser would see as markup is seen: tags, attributes, comments, CDATA, processing instructions, wherever they may stand, and
//! refused where they may not. What needs more memory than the limits bound, or harms nobody, is left to whoever reads the document:
//! attributes that stand twice, prefixes that are not declared, letters beyond ASCII that may not stand in names.

mod declaration;
mod markup;
mod names;
mod reference;

use memchr::{memchr, memchr_iter, memchr3};

use self::declaration::Declaration;
use self::names::Names;
use self::reference::Reference;
use super::{Checker, Limit, Violation, Wrong, count};

/// How much a document may have of what.
#[derive(Clone, Copy, Debug)]
pub struct XmlLimits {
    /// Levels of elements.
    pub depth: u64,
    /// Elements in all.
    pub elements: u64,
    /// Attributes of an element, declarations of namespaces among them.
    pub attributes: u64,
    /// Declarations of namespaces of an element.
    pub namespaces: u64,
    /// Bytes of a name.
    pub name: u64,
    /// Bytes of an attribute's value, as it is written.
    pub value: u64,
    /// Bytes of text between two tags, as it is written, and of a comment or processing instruction.
    pub text: u64,
    /// Comments in all.
    pub comments: u64,
    /// Processing instructions in all.
    pub instructions: u64,
}

const DEPTH: Limit = Limit { name: "depth", counts: "levels of elements" };
const ELEMENTS: Limit = Limit { name: "elements", counts: "elements" };
const ATTRIBUTES: Limit = Limit { name: "attributes", counts: "attributes of one element" };
const NAMESPACES: Limit = Limit { name: "namespaces", counts: "declarations of namespaces of one element" };
const NAME: Limit = Limit { name: "name", counts: "bytes in a name" };
const VALUE: Limit = Limit { name: "value", counts: "bytes in an attribute's value" };
const TEXT: Limit = Limit { name: "text", counts: "bytes of text between two tags" };
const ASIDE: Limit = Limit { name: "text", counts: "bytes in a comment or processing instruction" };
const COMMENTS: Limit = Limit { name: "comments", counts: "comments" };
const INSTRUCTIONS: Limit = Limit { name: "instructions", counts: "processing instructions" };

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Text, or markup.
    Content,
    /// What stands behind `<`.
    Open,
    /// The rest of `<!--` or `<![CDATA[`, of which the first is behind `<!`.
    Bang,
    Dash,
    Cdata(&'static [u8]),
    /// The rest of a comment, behind so many dashes.
    Comment(u8),
    /// The rest of a CDATA section, behind so many brackets.
    Section(u8),
    /// The rest of the name of a processing instruction.
    Target,
    /// The end of one that has nothing but a name.
    TargetEnd,
    /// The rest of a processing instruction; whether it is behind a `?`.
    Instruction(bool),
    /// The rest of the XML declaration.
    Declaration,
    /// The rest of the name of an element.
    Name,
    /// A space, `/` or `>`, behind the value of an attribute.
    Apart,
    /// An attribute, `/` or `>`, behind a space.
    Attributes,
    /// The `>` behind `/`.
    Empty,
    /// The rest of the name of an attribute.
    Attribute,
    /// The `=` behind it.
    Equals,
    /// The quote behind that.
    Quote,
    /// The rest of a value, up to this quote.
    Value(u8),
    /// The rest of a reference in a value in such quotes, or in text.
    Reference(Reference, Option<u8>),
    /// The rest of the name in an end tag, of which so much came.
    EndName(usize),
    /// Spaces, and `>`.
    End,
}

/// The grammar.
#[derive(Debug)]
pub struct Machine {
    limits: XmlLimits,
    state: State,
    /// The names of the elements that were begun: as many as `depth` allows, as long as `name` does.
    open: Names,
    has_root: bool,
    declaration: Declaration,
    elements: u64,
    comments: u64,
    instructions: u64,
    /// Of the element that is being begun.
    attributes: u64,
    namespaces: u64,
    /// Bytes of text since the last tag.
    text: u64,
    /// Bytes of the name, value, comment or instruction so far.
    length: u64,
    /// How that name begins.
    start: [u8; 6],
    /// Closing brackets that the text ends in: two at most are counted.
    brackets: u8,
    taken: u64,
}

impl Checker<Machine> {
    /// Looks at one document.
    #[must_use]
    pub fn xml(limits: XmlLimits) -> Self {
        Self::of(Machine {
            limits,
            state: State::Content,
            open: Names::default(),
            has_root: false,
            declaration: Declaration::default(),
            elements: 0,
            comments: 0,
            instructions: 0,
            attributes: 0,
            namespaces: 0,
            text: 0,
            length: 0,
            start: [0; 6],
            brackets: 0,
            taken: 0,
        })
    }
}

impl super::Machine for Machine {
    fn take(&mut self, text: &str) -> Result<(), Violation> {
        let forbidden = find_forbidden(text);
        let mut bytes = &text.as_bytes()[..forbidden.unwrap_or(text.len())];
        // A byte order mark may stand first, and is no part of the document (XML 1.0 §4.3.3).
        if let (0, Some(behind)) = (self.taken, bytes.strip_prefix("\u{FEFF}".as_bytes())) {
            self.taken = 3;
            self.declaration.may_stand_at(3);
            bytes = behind;
        }
        while let Some(byte) = bytes.first() {
            let done = self.step(*byte, bytes).map_err(|what| Violation { what, at: self.taken })?;
            self.taken += done as u64;
            bytes = &bytes[done..];
        }
        match forbidden {
            None => Ok(()),
            Some(_) => Err(Violation { what: Wrong::Malformed("a character that XML does not know"), at: self.taken }),
        }
    }

    fn end(&mut self) -> Result<(), Violation> {
        match self.state {
            State::Content if self.has_root && self.open.is_empty() => Ok(()),
            _ => Err(Violation { what: Wrong::Malformed("it ends too early"), at: self.taken }),
        }
    }

    fn taken(&self) -> u64 {
        self.taken
    }
}

impl Machine {
    /// Takes some bytes, the first of which is `byte`; how many.
    fn step(&mut self, byte: u8, bytes: &[u8]) -> Result<usize, Wrong> {
        match self.state {
            State::Content if self.open.is_empty() => self.outside(byte, bytes),
            State::Content => self.content(byte, bytes),
            State::Comment(dashes) => self.comment(dashes, byte, bytes),
            State::Section(brackets) => self.section(brackets, byte, bytes),
            State::Instruction(is_behind) => self.instruction(is_behind, byte, bytes),
            State::Name => self.name(byte, bytes),
            State::Attribute => self.attribute(byte, bytes),
            State::Target => self.target(byte, bytes),
            State::Value(quote) => self.value(quote, byte, bytes),
            State::EndName(came) => self.end_name(came, byte, bytes),
            _ if is_space(byte) && self.takes_spaces() => Ok(spaces(bytes)),
            _ => self.mark(byte).map(|()| 1),
        }
    }

    /// Before the root element, and behind it.
    fn outside(&mut self, byte: u8, bytes: &[u8]) -> Result<usize, Wrong> {
        match byte {
            b'<' => {
                self.state = State::Open;
                Ok(1)
            }
            _ if is_space(byte) => Ok(spaces(bytes)),
            _ => Err(Wrong::Malformed("text outside of the root element")),
        }
    }

    /// Text (XML 1.0 §2.4).
    fn content(&mut self, byte: u8, bytes: &[u8]) -> Result<usize, Wrong> {
        if byte == b'<' {
            (self.state, self.brackets) = (State::Open, 0);
            return Ok(1);
        }
        let most = self.limits.text;
        match byte {
            b'&' => {
                (self.state, self.brackets) = (State::Reference(Reference::Begun, None), 0);
                count(&mut self.text, most, TEXT).map(|()| 1)
            }
            b'>' if self.brackets == 2 => Err(Wrong::Malformed("`]]>` in text")),
            b']' => {
                self.brackets = (self.brackets + 1).min(2);
                count(&mut self.text, most, TEXT).map(|()| 1)
            }
            _ => {
                self.brackets = 0;
                let end = memchr3(b'<', b'&', b']', bytes).unwrap_or(bytes.len());
                pass(&mut self.taken, &mut self.text, end, most, TEXT)
            }
        }
    }

    /// The inside of a comment, in which two dashes are its end or a mistake (§2.5). Dashes count once it is known that they are not
    /// the end.
    fn comment(&mut self, dashes: u8, byte: u8, bytes: &[u8]) -> Result<usize, Wrong> {
        self.state = match (dashes, byte) {
            (2, b'>') => State::Content,
            (2, _) => return Err(Wrong::Malformed("`--` in a comment")),
            (_, b'-') => State::Comment(dashes + 1),
            (_, _) => {
                self.aside(dashes)?;
                self.state = State::Comment(0);
                let end = memchr(b'-', bytes).unwrap_or(bytes.len());
                return pass(&mut self.taken, &mut self.length, end, self.limits.text, ASIDE);
            }
        };
        Ok(1)
    }

    /// The inside of a CDATA section, which is text (§2.7). Brackets count once it is known that they are not the end.
    fn section(&mut self, brackets: u8, byte: u8, bytes: &[u8]) -> Result<usize, Wrong> {
        self.state = match (brackets, byte) {
            (2, b'>') => State::Content,
            (2, b']') => {
                count(&mut self.text, self.limits.text, TEXT)?;
                State::Section(2)
            }
            (_, b']') => State::Section(brackets + 1),
            (_, _) => {
                (0..brackets).try_for_each(|_| count(&mut self.text, self.limits.text, TEXT))?;
                self.state = State::Section(0);
                let end = memchr(b']', bytes).unwrap_or(bytes.len());
                return pass(&mut self.taken, &mut self.text, end, self.limits.text, TEXT);
            }
        };
        Ok(1)
    }

    /// The inside of a processing instruction (§2.6). A question mark counts once it is known that it is not the end.
    fn instruction(&mut self, is_behind: bool, byte: u8, bytes: &[u8]) -> Result<usize, Wrong> {
        if is_behind && byte == b'>' {
            self.state = State::Content;
            return Ok(1);
        }
        self.aside(u8::from(is_behind))?;
        self.state = State::Instruction(byte == b'?');
        if byte == b'?' {
            return Ok(1);
        }
        let end = memchr(b'?', bytes).unwrap_or(bytes.len());
        pass(&mut self.taken, &mut self.length, end, self.limits.text, ASIDE)
    }

    /// So many bytes more of a comment or processing instruction.
    fn aside(&mut self, bytes: u8) -> Result<(), Wrong> {
        (0..bytes).try_for_each(|_| count(&mut self.length, self.limits.text, ASIDE))
    }

    /// The value of an attribute (§2.3, §3.1).
    fn value(&mut self, quote: u8, byte: u8, bytes: &[u8]) -> Result<usize, Wrong> {
        match byte {
            b'<' => return Err(Wrong::Malformed("`<` in the value of an attribute")),
            b'&' => {
                self.state = State::Reference(Reference::Begun, Some(quote));
                return count(&mut self.length, self.limits.value, VALUE).map(|()| 1);
            }
            _ if byte == quote => {
                self.state = State::Apart;
                return Ok(1);
            }
            _ => {}
        }
        let end = memchr3(quote, b'<', b'&', bytes).unwrap_or(bytes.len());
        pass(&mut self.taken, &mut self.length, end, self.limits.value, VALUE)
    }
}

/// Counts so many bytes, or finds the first that is one too many.
fn pass(taken: &mut u64, counted: &mut u64, bytes: usize, most: u64, limit: Limit) -> Result<usize, Wrong> {
    let room = most - *counted;
    if bytes as u64 > room {
        *taken += room;
        return Err(Wrong::Exceeded(limit, most));
    }
    *counted += bytes as u64;
    Ok(bytes)
}

/// White space (§2.3).
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn spaces(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| is_space(**byte)).count()
}

/// The first character that may stand nowhere (§2.2).
fn find_forbidden(text: &str) -> Option<usize> {
    let is_control = |byte: &u8| *byte < 0x20 && !is_space(*byte);
    // Of nearly all texts there is none, which is found out many bytes at a time.
    let any = text.as_bytes().iter().fold(false, |any, byte| any | is_control(byte));
    let control = if any { text.bytes().position(|byte| is_control(&byte)) } else { None };
    let bytes = text.as_bytes();
    // U+FFFE and U+FFFF.
    let is_none = |at: &usize| matches!(bytes.get(at + 1..at + 3), Some([0xBF, 0xBE | 0xBF]));
    let none = memchr_iter(0xEF, bytes).find(is_none);
    match (control, none) {
        (Some(control), Some(none)) => Some(control.min(none)),
        (control, none) => control.or(none),
    }
}
