//! Names and passwords.

use tollgate_core::node::Spanned;
use tollgate_core::section;
use tollgate_core::units::{Bounded, Period};

use crate::model::defaults::v1;
use crate::model::tls::FilePath;

section! {
    /// A source of identity: names and passwords (RFC 7617).
    pub struct Basic {
        /// The file with names and hashes, as `htpasswd -B` writes it: bcrypt or Argon2 only.
        basic: Spanned<FilePath>,
        /// For how long it is remembered that a password was right.
        cache: Period = v1::BASIC_CACHE,
        /// For how long it is remembered that one was wrong.
        negative: Period = v1::INTROSPECTION_NEGATIVE,
        /// Most passwords that are checked at a time: each takes a core for its time. What comes beyond that is answered 503.
        at_once: Bounded<1, 1000> = v1::BASIC_AT_ONCE,
        /// About how many names with passwords are remembered.
        remember: Bounded<0, 10_000_000> = v1::AUTH_REMEMBER,
    }
}
