//! `lists`: networks by a name.

use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_core::section;

use crate::model::tls::FilePath;
use crate::model::trust::Network;

section! {
    /// Networks by a name, for the policy `ip`: those that are written, and those of a file, which is followed.
    pub struct AddressList: fits {
        /// Networks, or single addresses.
        networks: Option<Vec<Network>>,
        /// A file with one of them per line; what is behind `#` or `;` is a comment. It is read again when it changes.
        file: Option<Spanned<FilePath>>,
    }
}

fn fits(list: &AddressList, cx: &mut DecodeCx) -> bool {
    let has = list.networks.is_some() || list.file.is_some();
    if !has {
        cx.report(Diagnostic::error("a list of nothing").hint("`[192.0.2.0/24]`, or a file: `./blocked.txt`"));
    }
    has
}
