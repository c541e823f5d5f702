//! Requests that are signed with AWS Signature Version 4.

use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_core::section;
use tollgate_core::units::{BoundedSize, Period};

use crate::model::auth::secret::Secret;
use crate::model::defaults::v1;
use crate::model::named::Named;
use tollgate_core::text::words;

section! {
    /// A source of identity: requests that are signed as AWS has it (Signature Version 4).
    pub struct Aws: names_some {
        /// The access keys, by their ids.
        sigv4: Spanned<Named<AwsKey>>,
        /// The regions that requests may be signed for; without it, whichever.
        regions: Option<Spanned<Vec<String>>>,
        /// The services that requests may be signed for, as AWS calls them (`execute-api`, `s3`); without it, whichever.
        services: Option<Spanned<Vec<String>>>,
        /// By how much clocks may differ, and for how long a signature in the `Authorization` field is good.
        skew: Period = v1::SIGV4_SKEW,
        /// What becomes of requests whose body is not signed (`UNSIGNED-PAYLOAD`).
        unsigned: UnsignedBody = v1::SIGV4_UNSIGNED,
        /// The largest body of a request that does not tell its hash: it is read before any of it is passed on, since only then can
        /// the signature be judged.
        largest: BoundedSize<0, 1_073_741_824> = v1::SIGV4_LARGEST,
    }
}

section! {
    /// An access key.
    pub struct AwsKey {
        /// What it signs with.
        secret: Secret,
        /// The application that it is for: what conditions know as `consumer`. Without it, the key's id.
        name: Option<String>,
        /// What it is good for.
        scopes: Option<Vec<String>>,
    }
}

words! {
    /// What becomes of requests whose body is not signed.
    pub enum UnsignedBody {
        /// They are refused.
        Refused = "refused",
        /// They are taken, whatever the body is.
        Taken = "taken",
    }
}

/// A list of nothing would be taken for all.
fn names_some(source: &Aws, cx: &mut DecodeCx) -> bool {
    let empty = [&source.regions, &source.services].into_iter().flatten().find(|list| list.value.is_empty());
    if let Some(list) = empty {
        let mistake = Diagnostic::error("a list of nothing").at(&list.span);
        cx.report(mistake.hint("leave it out to take whichever, or name some: `[eu-central-1]`"));
    }
    empty.is_none()
}
