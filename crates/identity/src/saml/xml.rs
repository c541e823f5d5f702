//! XML of strangers: a small part of it, within bounds, so that nothing is fetched, expanded or read in two ways.
//!
//! There is no document type, hence no entities beyond the five that XML has itself, and no processing instruction.

use std::collections::HashSet;
use std::time::SystemTime;

use data_encoding::BASE64;
use jiff::Timestamp;
use roxmltree::ParsingOptions;

use crate::checks::{Check, on};

/// Assertions (SAML 2.0 Core §1.1).
pub(super) const SAML: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
/// The protocol.
pub(super) const SAMLP: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
/// Metadata.
pub(super) const METADATA: &str = "urn:oasis:names:tc:SAML:2.0:metadata";
/// Signatures.
pub(super) const DSIG: &str = "http://www.w3.org/2000/09/xmldsig#";
/// Encryption.
pub(super) const XENC: &str = "http://www.w3.org/2001/04/xmlenc#";
/// What encryption got later.
pub(super) const XENC11: &str = "http://www.w3.org/2009/xmlenc11#";

/// A document.
pub(super) type Document<'t> = roxmltree::Document<'t>;
/// A place in it.
pub(super) type Node<'t> = roxmltree::Node<'t, 't>;

/// The deepest element that is read. Assertions within a response go down to about 10.
const DEEPEST: usize = 40;
/// Most attributes and declarations of one element: what is looked for twice is looked for among all others.
const MOST_OF_ONE: usize = 128;

/// How much is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Of text.
    bytes: usize,
    /// Elements, texts and comments.
    nodes: u32,
    /// Namespaces, however often each is declared anew.
    declarations: usize,
    /// Different prefixes: each element knows all that are declared around it, and looks its own up among them.
    prefixes: usize,
}

/// The longest message.
pub(super) const LARGEST: usize = 256 * 1024;
/// Messages come from anybody.
pub(super) const MESSAGE: Bounds = Bounds { bytes: LARGEST, nodes: 20_000, declarations: 4096, prefixes: 64 };
/// Metadata comes from the operator, or from whom they trust.
pub(super) const DESCRIPTION: Bounds =
    Bounds { bytes: 4 * 1024 * 1024, nodes: 200_000, declarations: 65_536, prefixes: 256 };

/// The text of a message, with line ends as XML has them (§2.11): the reader leaves some as they are.
///
/// # Errors
/// It is no UTF-8.
pub(super) fn decode(bytes: Vec<u8>) -> Result<String, String> {
    let text = String::from_utf8(bytes).map_err(|_| "no UTF-8".to_owned())?;
    Ok(if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n") } else { text })
}

/// Reads a document.
///
/// # Errors
/// It is none, or one that is not taken here; in words for our log, without the stranger's.
pub(super) fn read(text: &str, bounds: Bounds) -> Result<Document<'_>, String> {
    if text.len() > bounds.bytes {
        return Err(format!("more than {} bytes", bounds.bytes));
    }
    // The reader takes one without content. Where the words stand in a text, little is lost.
    if on(Check::XmlDocumentType) && (text.contains("<!DOCTYPE") || text.contains("<!ENTITY")) {
        return Err("a document type".to_owned());
    }
    if text.matches("xmlns").count() > bounds.declarations || prefixes(text) > bounds.prefixes {
        return Err("too many namespaces".to_owned());
    }
    // Between two of these lie all attributes of an element.
    if text.split('<').any(|part| part.bytes().filter(|byte| *byte == b'=').count() > MOST_OF_ONE) {
        return Err(format!("more than {MOST_OF_ONE} attributes"));
    }
    let options =
        ParsingOptions { allow_dtd: !on(Check::XmlDocumentType), nodes_limit: bounds.nodes, entity_resolver: None };
    let document = Document::parse_with_options(text, options)
        .map_err(|error| format!("not well-formed, or too much, at {}", error.pos()))?;
    look_through(document.root())?;
    Ok(document)
}

/// How many different prefixes are declared, at most: what looks like it in a text is counted, too.
fn prefixes(text: &str) -> usize {
    let named = text.split("xmlns:").skip(1);
    named.map(|rest| rest.split(['=', ' ', '\t', '\r', '\n']).next()).collect::<HashSet<_>>().len()
}

fn look_through(root: Node<'_>) -> Result<(), String> {
    let mut open = vec![(root, 0)];
    while let Some((node, depth)) = open.pop() {
        if node.is_pi() {
            return Err("a processing instruction".to_owned());
        }
        if depth > DEEPEST {
            return Err(format!("deeper than {DEEPEST} levels"));
        }
        // Namespaces in XML 1.0 §5: only the default one can be taken back.
        if node.is_element() && prefix(node).is_some() && node.tag_name().namespace().is_none_or(str::is_empty) {
            return Err("a prefix without a namespace".to_owned());
        }
        open.extend(node.children().map(|child| (child, depth + 1)));
    }
    Ok(())
}

/// The IDs of a document, none of which may stand twice: a reference to it might be followed to the other one.
///
/// # Errors
/// One stands twice.
pub(super) fn has_unique_ids(document: &Document<'_>) -> Result<(), String> {
    let mut seen = HashSet::new();
    for attribute in document.descendants().flat_map(|node| node.attributes()) {
        // Whatever any reader takes for an ID: SAML's `ID`, `Id` of signatures and encryption, `xml:id`.
        if on(Check::XmlTwice) && attribute.name().eq_ignore_ascii_case("id") && !seen.insert(attribute.value()) {
            return Err("an ID stands twice".to_owned());
        }
    }
    Ok(())
}

/// The name of an element as it is written, with its prefix.
pub(super) fn written<'t>(node: Node<'t>) -> &'t str {
    name_at(node.document(), node.range().start + 1)
}

/// The same of an attribute.
pub(super) fn written_attribute<'t>(node: Node<'t>, attribute: &roxmltree::Attribute<'t, 't>) -> &'t str {
    name_at(node.document(), attribute.range().start)
}

fn name_at<'t>(document: &'t Document<'t>, start: usize) -> &'t str {
    let rest = document.input_text().get(start..).unwrap_or_default();
    let end = rest.find([' ', '\t', '\r', '\n', '=', '/', '>']).unwrap_or(rest.len());
    &rest[..end]
}

/// The prefix of an element.
pub(super) fn prefix<'t>(node: Node<'t>) -> Option<&'t str> {
    written(node).split_once(':').map(|(prefix, _)| prefix)
}

/// Whether it is the element of this name.
pub(super) fn is(node: Node<'_>, namespace: &str, name: &str) -> bool {
    node.is_element() && node.tag_name().name() == name && node.tag_name().namespace() == Some(namespace)
}

/// The elements of this name that stand directly in it.
pub(super) fn children<'t>(node: Node<'t>, namespace: &str, name: &str) -> impl Iterator<Item = Node<'t>> {
    node.children().filter(move |child| is(*child, namespace, name))
}

/// The one of this name that stands directly in it, if there is one.
///
/// # Errors
/// There are several.
pub(super) fn at_most_one<'t>(node: Node<'t>, namespace: &str, name: &str) -> Result<Option<Node<'t>>, String> {
    let mut all = children(node, namespace, name);
    match (all.next(), all.next()) {
        (first, None) => Ok(first),
        _ => Err(format!("more than one `{name}`")),
    }
}

/// The one of this name that stands directly in it.
///
/// # Errors
/// There is none, or there are several.
pub(super) fn one<'t>(node: Node<'t>, namespace: &str, name: &str) -> Result<Node<'t>, String> {
    at_most_one(node, namespace, name)?.ok_or_else(|| format!("no `{name}`"))
}

/// The attribute of this name, which has no namespace.
///
/// # Errors
/// There is none, or it is empty.
pub(super) fn attribute<'t>(node: Node<'t>, name: &str) -> Result<&'t str, String> {
    node.attribute(name).filter(|value| !value.is_empty()).ok_or_else(|| format!("no `{name}`"))
}

/// The text of an element: all of it, whatever comments stand in between.
///
/// # Errors
/// There is an element in it.
pub(super) fn text(node: Node<'_>) -> Result<String, String> {
    if node.children().any(|child| child.is_element()) {
        return Err(format!("an element where the text of `{}` belongs", node.tag_name().name()));
    }
    Ok(node.children().filter(Node::is_text).filter_map(|child| child.text()).collect())
}

/// The bytes of a text in base64, with line breaks perhaps.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    let packed: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    BASE64.decode(&packed).ok()
}

/// The time in this attribute (XML Schema, `dateTime`), if it is there.
///
/// # Errors
/// It is no time, or one without a time zone: SAML 2.0 Core §1.3.3 wants UTC.
pub(super) fn time(node: Node<'_>, name: &str) -> Result<Option<SystemTime>, String> {
    let Some(value) = node.attribute(name) else { return Ok(None) };
    let read = || {
        let time: Timestamp = (value.len() < 48 && value.contains('T')).then(|| value.parse().ok())??;
        // Times beyond this are mistakes, or made to overflow somebody.
        (0..=253_402_300_799).contains(&time.as_second()).then(|| SystemTime::try_from(time).ok())?
    };
    read().map(Some).ok_or_else(|| format!("`{name}` is no time"))
}

/// A time as it is written in messages.
pub(super) fn written_time(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or_default();
    Timestamp::from_second(time.as_second()).unwrap_or_default().to_string()
}

/// A text so that it stands for itself in XML and in HTML, between tags and in attributes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn why(text: &str) -> String {
        read(text, MESSAGE).map(|_| String::new()).unwrap_or_else(|why| why)
    }

    #[test]
    fn what_fetches_or_expands_is_not_read() {
        assert_eq!(why("<?xml version=\"1.0\" encoding=\"UTF-8\"?><a>&amp;&#65;<![CDATA[<]]></a>"), "");
        for (text, reason) in [
            ("<!DOCTYPE a><a/>", "a document type"),
            ("<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>", "a document type"),
            ("<a>&x;</a>", "not well-formed, or too much, at 1:4"),
            ("<a><?php x?></a>", "a processing instruction"),
            ("<?xml-stylesheet href='x'?><a/>", "a processing instruction"),
            ("<a xmlns:b=''><b:c/></a>", "a prefix without a namespace"),
        ] {
            assert_eq!(why(text), reason, "{text}");
        }
        for text in
            ["", "x", "<a", "<a></b>", "<a/><b/>", "<a b='1' b='2'/>", "<b:a/>", "<a b='<'/>", "\0", "<a>\u{1}</a>"]
        {
            assert!(why(text).starts_with("not well-formed"), "{text}");
        }
    }

    #[test]
    fn size_depth_and_number_are_bounded() {
        let nested = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
        assert_eq!(why(&nested(DEEPEST)), "");
        assert!(why(&nested(DEEPEST + 1)).contains("deeper"));
        assert!(why(&nested(19_000)).contains("deeper"));
        assert!(why(&format!("<a>{}</a>", "<b/>".repeat(20_000))).contains("too much"));
        assert!(why(&format!("<a>{}</a>", "x".repeat(256 * 1024))).contains("bytes"));
        let many = |most: usize| (0..most).map(|n| format!(" a{n}=''")).collect::<String>();
        assert_eq!(why(&format!("<a{}/>", many(MOST_OF_ONE))), "");
        assert!(why(&format!("<a{}/>", many(MOST_OF_ONE + 1))).contains("attributes"));
        assert_eq!(why(&format!("<a>{}</a>", "<b xmlns:c='u'/>".repeat(4096))), "");
        assert!(why(&format!("<a>{}</a>", "<b xmlns='u'/>".repeat(4097))).contains("namespaces"));
        let prefixes = |most: usize| (0..most).map(|n| format!(" xmlns:a{n} = 'u'")).collect::<String>();
        assert_eq!(why(&format!("<a{}/>", prefixes(64))), "");
        assert!(why(&format!("<a{}/>", prefixes(65))).contains("namespaces"));
    }

    #[test]
    fn comments_do_not_cut_a_text_short() {
        let document = read("<a>admin<!-- -->@evil<![CDATA[.example]]></a>", MESSAGE).unwrap();
        assert_eq!(text(document.root_element()).unwrap(), "admin@evil.example");
        let document = read("<a>x<b/>y</a>", MESSAGE).unwrap();
        assert!(text(document.root_element()).is_err());
    }

    #[test]
    fn an_id_that_stands_twice_is_found() {
        let unique = |text: &str| has_unique_ids(&read(text, MESSAGE).unwrap()).is_ok();
        assert!(unique("<a ID='1'><b Id='2'/><c id='3'/></a>"));
        assert!(!unique("<a ID='1'><b Id='1'/></a>"));
        assert!(!unique("<a ID='1'><b xml:id='1'/></a>"));
    }

    #[test]
    fn times_are_those_of_utc() {
        let document = read("<a b='2026-01-01T00:00:00Z' c='2026-01-01T00:00:00.5Z' d='2026-01-01T00:00:00' e='x' f='2026-01-01T02:00:00+02:00' g='9999-12-31T23:59:59.5-12:00'/>", MESSAGE).unwrap();
        let at = |name: &str| time(document.root_element(), name);
        let first = at("b").unwrap().unwrap();
        assert_eq!(written_time(first), "2026-01-01T00:00:00Z");
        assert_eq!(at("c").unwrap().unwrap().duration_since(first).unwrap().as_millis(), 500);
        assert_eq!(at("f").unwrap(), Some(first));
        assert_eq!(at("none"), Ok(None));
        for bad in ["d", "e", "g"] {
            assert!(at(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[<>/a:b='\"&;#! \\[\\]x0-9-]{0,80}") {
            if let Ok(document) = read(&text, MESSAGE) {
                let _ = has_unique_ids(&document);
            }
        }
    }
}
