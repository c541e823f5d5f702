//! `mirror` of a route: copies of its requests for another service, whose answers nobody sees.

use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_core::section;
use tollgate_core::units::{Bounded, ByteSize, Percent, Period};

use crate::model::defaults::v1;
use crate::model::fields::FieldName;
use crate::model::named::is_name;
use tollgate_core::text::words;

section! {
    /// Copies of requests for another service. Its answers are thrown away; whatever becomes of a copy, the request that
    /// it is a copy of is served as if there were none.
    pub struct Mirror: fit {
        /// The service that gets the copies, by its name.
        to: Spanned<String>,
        /// How many of the requests are copied, by chance.
        share: Percent = v1::MIRROR_SHARE,
        /// Largest body that is kept for a copy; a request with a larger one is not copied.
        body: ByteSize = v1::MIRROR_BODY,
        /// How long a copy may take, answer and all.
        timeout: Period = v1::MIRROR_TIMEOUT,
        /// Most copies at a time; while there are so many, requests are not copied.
        at_once: Bounded<1, 100_000> = v1::MIRROR_AT_ONCE,
        /// Whether what lets the client in is copied, too: `strip` leaves out `Authorization`, cookies, and fields and
        /// parameters of the query whose names tell of keys, tokens, passwords or signatures; `keep` copies them.
        credentials: Credentials = v1::MIRROR_CREDENTIALS,
        /// Further fields that are left out of copies.
        without: Option<Vec<FieldName>>,
    }
}

words! {
    /// What becomes of credentials in a copy.
    pub enum Credentials {
        /// They are left out.
        Strip = "strip",
        /// They are copied.
        Keep = "keep",
    }
}

/// It goes to a service with a name.
fn fit(mirror: &Mirror, cx: &mut DecodeCx) -> bool {
    if is_name(&mirror.to) {
        return true;
    }
    let mistake = Diagnostic::error(format!("`{}` is no service", mirror.to.value)).at(&mirror.to.span);
    cx.report(mistake.hint("copies go to a service by name: give the address a name under `services`"));
    false
}
