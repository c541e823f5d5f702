//! `overload`: what the gateway itself may use, before it refuses requests.

use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Node, Spanned};
use tollgate_core::section;
use tollgate_core::units::{BoundedSize, Percent, Period};

/// Less than that it needs to begin with.
const LEAST_MEMORY: u64 = 1 << 20;
/// More than any machine has.
const MOST_MEMORY: u64 = 1 << 44;

section! {
    /// What the gateway itself may use. From 85 % of any of it on, requests are refused, those that matter least first (`criticality`); at 100 %, all.
    pub struct Overload: fit {
        /// Memory in RAM; without it, any amount.
        memory: Option<BoundedSize<LEAST_MEMORY, MOST_MEMORY>>,
        /// How late a worker may come to what it should do; without it, as late as may be.
        lag: Option<Period>,
        /// Open file descriptors, as a share of those that the system allows the process; without it, all.
        files: Option<Spanned<Percent>>,
    }
}

/// Whether there is something to look at; `None`: there is not, and it is told.
pub(super) fn check(overload: Option<&Overload>, file: &Node, cx: &mut DecodeCx) -> Option<()> {
    match (overload, file.get("overload")) {
        (Some(Overload { memory: None, lag: None, files: None }), Some(entry)) => {
            let mistake = Diagnostic::error("nothing is looked at here").at(&entry.key_span);
            cx.report(mistake.hint("for example `overload: { memory: 2GiB, lag: 500ms, files: 90% }`"));
            None
        }
        _ => Some(()),
    }
}

/// Whether something is allowed at all.
fn fit(overload: &Overload, cx: &mut DecodeCx) -> bool {
    if let Some(files) = overload.files.as_ref().filter(|files| files.hundredths() == 0) {
        cx.report(
            Diagnostic::error("without file descriptors nothing can be served")
                .at(&files.span)
                .hint("for example `90%`"),
        );
        return false;
    }
    true
}
