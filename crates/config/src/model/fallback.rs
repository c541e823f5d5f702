//! `fallback` of a service or route: what takes the place of an answer that cannot be had.

use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_core::section;

use crate::model::named::is_name;
use crate::model::reply::Reply;

section! {
    /// What takes the place of an answer that cannot be had: no instance, no connection, no answer in time. Never of an
    /// answer that a service gave, whatever its status.
    pub struct Fallback: fit {
        /// Another service, by its name, that is asked instead.
        to: Option<Spanned<String>>,
        /// What is answered instead.
        reply: Option<Reply>,
    }
}

/// It is one of the two.
fn fit(fallback: &Fallback, cx: &mut DecodeCx) -> bool {
    let mistake = match (&fallback.to, &fallback.reply) {
        (Some(name), None) if is_name(name) => return true,
        (Some(name), None) => Diagnostic::error(format!("`{}` is no service", name.value))
            .at(&name.span)
            .hint("a fallback goes to a service by name: give the address a name under `services`"),
        (Some(name), Some(_)) => {
            Diagnostic::error("a fallback is another service or an answer, not both").at(&name.span)
        }
        (None, Some(_)) => return true,
        // Without a place: the whole section is told of.
        (None, None) => Diagnostic::error("a fallback is another service (`to`) or an answer (`reply`)"),
    };
    cx.report(mistake);
    false
}
