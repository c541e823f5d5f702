//! What the body of a request says, by what its `Content-Type` says it is: values that rules look at, and whether it is what it says.
//!
//! All readers go over the body once, and hold no more than it and the names that they make.

mod form;
mod json;
mod multipart;
mod xml;

pub(crate) use form::pairs;

/// Most arguments of a request, of query and body together.
pub(crate) const MOST_ARGUMENTS: usize = 2000;
/// How deep JSON and XML may be.
const DEEPEST: usize = 64;

/// How a body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Processor {
    Form,
    Multipart,
    Json,
    Xml,
}

impl Processor {
    /// By its name in rules.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Form, Self::Multipart, Self::Json, Self::Xml]
            .into_iter()
            .find(|own| own.name().eq_ignore_ascii_case(name))
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Form => "URLENCODED",
            Self::Multipart => "MULTIPART",
            Self::Json => "JSON",
            Self::Xml => "XML",
        }
    }

    /// By the `Content-Type`, in any case; `None`: its values are not read one by one.
    pub(crate) fn of(content_type: &[u8]) -> Option<Self> {
        let essence = essence(content_type);
        match essence.as_slice() {
            b"application/x-www-form-urlencoded" => Some(Self::Form),
            b"multipart/form-data" => Some(Self::Multipart),
            b"application/json" | b"text/json" | b"application/csp-report" => Some(Self::Json),
            b"application/xml" | b"text/xml" => Some(Self::Xml),
            other if other.ends_with(b"+json") => Some(Self::Json),
            other if other.ends_with(b"+xml") => Some(Self::Xml),
            _ => None,
        }
    }
}

/// The type itself, in lower case and without its parameters (RFC 9110 §8.3.1).
pub(crate) fn essence(content_type: &[u8]) -> Vec<u8> {
    content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase()
}

/// What a body says.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// Names and values.
    pub(crate) arguments: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) files: Vec<File>,
    /// Header lines of parts, with the part's name.
    pub(crate) part_headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// Texts of XML, and values of its attributes.
    pub(crate) texts: Vec<Vec<u8>>,
    pub(crate) attributes: Vec<Vec<u8>>,
    /// Why it is not what it says.
    pub(crate) error: Option<String>,
    /// What readers of it may differ about.
    pub(crate) doubt: Option<String>,
    /// Most values that it may still have.
    room: usize,
    /// Most bytes that these may have with their names: what is deep in JSON has long ones.
    bytes: usize,
}

/// An uploaded file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct File {
    /// The name of the field.
    pub(crate) field: Vec<u8>,
    /// The name of the file.
    pub(crate) name: Vec<u8>,
    pub(crate) size: usize,
}

/// Why reading ended early.
type Broken = String;

impl Parts {
    /// What this body says, which may have `room` arguments.
    pub(crate) fn read(processor: Processor, content_type: &[u8], body: &[u8], room: usize) -> Self {
        let mut parts = Self { room, bytes: 4 * body.len() + 65_536, ..Self::default() };
        let read = match processor {
            _ if body.is_empty() => Ok(()),
            Processor::Form => parts.form(body),
            Processor::Json => json::read(body, &mut parts),
            Processor::Xml => xml::read(body, &mut parts),
            Processor::Multipart => multipart::read(content_type, body, &mut parts),
        };
        parts.error = read.err();
        parts
    }

    fn form(&mut self, body: &[u8]) -> Result<(), Broken> {
        pairs(body).try_for_each(|(name, value)| self.argument(name, value))
    }

    fn argument(&mut self, name: Vec<u8>, value: Vec<u8>) -> Result<(), Broken> {
        self.take_room(name.len() + value.len())?;
        self.arguments.push((name, value));
        Ok(())
    }

    /// One more value, of so many bytes.
    fn take_room(&mut self, bytes: usize) -> Result<(), Broken> {
        self.room =
            self.room.checked_sub(1).ok_or_else(|| format!("there are more than {MOST_ARGUMENTS} arguments"))?;
        self.bytes = self.bytes.checked_sub(bytes).ok_or("the names of its values are too long")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_content_type_says_how_it_is_read() {
        for (text, is) in [
            ("application/x-www-form-urlencoded; charset=utf-8", Some(Processor::Form)),
            ("Multipart/Form-Data; boundary=x", Some(Processor::Multipart)),
            ("application/vnd.example.v1+json", Some(Processor::Json)),
            ("text/XML", Some(Processor::Xml)),
            ("application/soap+xml", Some(Processor::Xml)),
            ("text/plain", None),
            ("", None),
        ] {
            assert_eq!(Processor::of(text.as_bytes()), is, "{text}");
        }
    }

    #[test]
    fn a_body_has_so_many_arguments_and_no_more() {
        let form = "a=1&".repeat(MOST_ARGUMENTS + 1);
        let parts = Parts::read(Processor::Form, b"", form.as_bytes(), MOST_ARGUMENTS);
        assert_eq!((parts.arguments.len(), parts.error.is_some()), (MOST_ARGUMENTS, true));
        let long = format!("{{\"{}\":[{}\"\"]}}", "k".repeat(50_000), "\"\",".repeat(1000));
        assert!(Parts::read(Processor::Json, b"", long.as_bytes(), MOST_ARGUMENTS).error.unwrap().contains("too long"));
    }

    proptest! {
        #[test]
        fn no_body_panics(
            body in proptest::collection::vec(any::<u8>(), 0..300),
            json in "[\\[\\]{}\":,a1\\\\u0-9dD. tnf-]{0,80}",
            xml in "[<>/a=\"'!\\[\\]CDATA?& ;#x-]{0,80}",
            multipart in "(--x|\r\n|Content-Disposition: form-data; |name=|filename=|\"|a|;|:|\\\\|--){0,40}",
        ) {
            for body in [&body[..], json.as_bytes(), xml.as_bytes(), multipart.as_bytes()] {
                for processor in [Processor::Form, Processor::Json, Processor::Xml, Processor::Multipart] {
                    for content_type in [&b"multipart/form-data; boundary=x"[..], b"multipart/form-data", body] {
                        let parts = Parts::read(processor, content_type, body, 100);
                        prop_assert!(parts.arguments.len() <= 100);
                    }
                }
            }
        }
    }
}
