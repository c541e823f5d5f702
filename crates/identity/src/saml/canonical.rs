//! Exclusive XML canonicalisation without comments (W3C, xml-exc-c14n), which is what signatures are made over.
//!
//! Not the inclusive one: what it makes of an element depends on where the element stands.

use roxmltree::NodeId;

use super::xml::{Node, written, written_attribute};

/// What the method is called.
pub(super) const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
/// Most prefixes that are listed as inclusive.
const MOST_LISTED: usize = 32;

/// How an element is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Canonical {
    /// The prefixes that are declared wherever they are known, used or not; empty text: the default namespace.
    inclusive: Vec<String>,
}

impl Canonical {
    /// As the element with this name of an algorithm says (`CanonicalizationMethod`, `Transform`).
    ///
    /// # Errors
    /// Another algorithm, or parameters that are not known.
    pub(super) fn of(method: Node<'_>) -> Result<Self, String> {
        if method.attribute("Algorithm") != Some(EXCLUSIVE) {
            return Err("a canonicalisation that is not taken".to_owned());
        }
        let mut inclusive = Vec::new();
        for (at, child) in method.children().filter(Node::is_element).enumerate() {
            if at > 0 || !super::xml::is(child, EXCLUSIVE, "InclusiveNamespaces") {
                return Err("parameters of the canonicalisation that are not known".to_owned());
            }
            let listed = child.attribute("PrefixList").unwrap_or_default().split_ascii_whitespace();
            inclusive.extend(listed.map(|prefix| if prefix == "#default" { String::new() } else { prefix.to_owned() }));
        }
        if inclusive.len() > MOST_LISTED {
            return Err("too many inclusive prefixes".to_owned());
        }
        Ok(Self { inclusive })
    }

    /// An element with all in it, but for the one that is left out.
    pub(super) fn write(&self, element: Node<'_>, without: Option<NodeId>) -> String {
        let mut writer = Writer { how: self, without, declared: Vec::new(), out: String::new() };
        writer.element(element);
        writer.out
    }
}

struct Writer<'c, 't> {
    how: &'c Canonical,
    without: Option<NodeId>,
    /// What the elements around have declared in what is written.
    declared: Vec<(&'t str, &'t str)>,
    out: String,
}

impl<'t> Writer<'_, 't> {
    /// Calls itself as deep as documents are read.
    fn element(&mut self, node: Node<'t>) {
        let around = self.declared.len();
        let name = written(node);
        self.out.push('<');
        self.out.push_str(name);
        self.declarations(node);
        self.attributes(node);
        self.out.push('>');
        let without = self.without;
        for child in node.children().filter(|child| Some(child.id()) != without) {
            if child.is_element() {
                self.element(child);
            } else if child.is_text() {
                self.text(child.text().unwrap_or_default());
            }
        }
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
        self.declared.truncate(around);
    }

    /// §3, steps 3 and 4: the namespaces that the element itself and its attributes use, unless the same is declared already.
    fn declarations(&mut self, node: Node<'t>) {
        let mut used: Vec<(&str, &str)> = Vec::new();
        let own = written(node).split_once(':').map_or("", |(prefix, _)| prefix);
        used.push((own, node.tag_name().namespace().unwrap_or_default()));
        for attribute in node.attributes() {
            if let Some((prefix, _)) = written_attribute(node, &attribute).split_once(':') {
                used.push((prefix, attribute.namespace().unwrap_or_default()));
            }
        }
        for space in node.namespaces() {
            let prefix = space.name().unwrap_or_default();
            if self.how.inclusive.iter().any(|listed| listed == prefix) {
                used.push((prefix, node.lookup_namespace_uri(space.name()).unwrap_or_default()));
            }
        }
        used.sort_unstable();
        used.dedup();
        for (prefix, namespace) in used {
            let around = self.declared.iter().rev().find(|(declared, _)| *declared == prefix).map(|(_, space)| *space);
            // Nothing is declared outside, and `xml` never has to be.
            if prefix == "xml" || around.unwrap_or_default() == namespace {
                continue;
            }
            self.out.push_str(if prefix.is_empty() { " xmlns" } else { " xmlns:" });
            self.out.push_str(prefix);
            self.value(namespace);
            self.declared.push((prefix, namespace));
        }
    }

    /// Canonical XML 1.0 §2.2: by namespace, then by name; those without a namespace come first.
    fn attributes(&mut self, node: Node<'t>) {
        let mut all: Vec<_> = node.attributes().collect();
        all.sort_unstable_by_key(|attribute| (attribute.namespace().unwrap_or_default(), attribute.name()));
        for attribute in all {
            self.out.push(' ');
            self.out.push_str(written_attribute(node, &attribute));
            self.value(attribute.value());
        }
    }

    /// §2.3 of the same: how the value of an attribute is written.
    fn value(&mut self, value: &str) {
        self.out.push_str("=\"");
        for letter in value.chars() {
            match letter {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '"' => self.out.push_str("&quot;"),
                '\t' => self.out.push_str("&#x9;"),
                '\n' => self.out.push_str("&#xA;"),
                '\r' => self.out.push_str("&#xD;"),
                other => self.out.push(other),
            }
        }
        self.out.push('"');
    }

    fn text(&mut self, text: &str) {
        for letter in text.chars() {
            match letter {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '\r' => self.out.push_str("&#xD;"),
                other => self.out.push(other),
            }
        }
    }
}
