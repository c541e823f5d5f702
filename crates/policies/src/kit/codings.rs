//! Lists of content codings, as they are written.

use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::{Diagnostic, nearest};
use tollgate_core::node::Node;
use tollgate_transform::coding::Coding;

use super::forms::{decode_text, joined};

/// Reads one or more codings out of `known`, none of them twice.
pub(crate) fn decode(node: &Node, cx: &mut DecodeCx, known: &[Coding]) -> Option<Vec<Coding>> {
    let whole = std::slice::from_ref(node);
    let items = match &node.value {
        tollgate_core::node::Value::List(items) => items.as_slice(),
        _ => whole,
    };
    let mut read: Vec<Coding> = Vec::new();
    let mut well = true;
    for item in items {
        match decode_text(item, cx, "a content coding", |text| find(text, known)) {
            Some(coding) if read.contains(&coding) => {
                cx.report(Diagnostic::error(format!("`{}` stands here twice", coding.name())).at(&item.span));
                well = false;
            }
            Some(coding) => read.push(coding),
            None => well = false,
        }
    }
    if items.is_empty() {
        return cx.expected(node, "at least one content coding");
    }
    well.then_some(read)
}

fn find(text: &str, known: &[Coding]) -> Result<Coding, Diagnostic> {
    let names = || known.iter().map(|coding| coding.name());
    known.iter().copied().find(|coding| coding.name() == text).ok_or_else(|| {
        let mistake = Diagnostic::error(format!("`{text}` is no content coding that can stand here"));
        match nearest(text, names()) {
            Some(meant) => mistake.hint(format!("did you mean `{meant}`?")),
            None => mistake.hint(format!("one of: {}", joined(names()))),
        }
    })
}
