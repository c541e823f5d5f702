//! The list of policies, one file each.
//!
//! A new policy is one file in this folder and one line below. The file reads top down: the page (`//!`: what it does,
//! when to use it, an example, its faults), the section of the config, `KIND` and `SHORT_FORMS`, what runs, the faults,
//! the tests. Everything else comes from the list: schema, reference page, error catalogue, `explain`, generic tests.
//! A policy that outgrows its file keeps the page in `x.rs` and puts the rest into a folder `x`.

#![forbid(unsafe_code)]

mod kit;

pub use kit::reference::reference_markdown;
pub use kit::schemas;

use tollgate_core::policy::PolicyKind;

/// The modules, and the list in the order written.
macro_rules! policies {
    ($($name:ident),* $(,)?) => {
        $(pub mod $name;)*

        /// Every policy of this build, in the order of execution within a stage.
        pub static ALL: &[&PolicyKind] = &[$(&$name::KIND),*];

        /// The same, with what docs and tests need.
        static ENTRIES: &[kit::Entry] = &[$(kit::Entry {
            file: stringify!($name),
            kind: &$name::KIND,
            short_forms: $name::SHORT_FORMS,
            page: {
                const SOURCE: &str = include_str!(concat!(stringify!($name), ".rs"));
                static PAGE: [u8; kit::page::len(SOURCE)] = kit::page::copy(SOURCE);
                &PAGE
            },
        }),*];
    };
}

// The order here is the order of execution inside a stage; answers pass it in reverse.
policies! {
    compress,   // Edge: first, so that it sees each answer as every other policy left it
    cors,       // Edge: before all that refuse, so that calls refused by them still carry CORS fields
    ip,         // Edge: a look, and nothing else of those who are kept out is looked at
    deny,       // Edge: one pass over what the head says
    require,    // Edge: costs nothing, so before anything that does
    criticality, // Edge, or Quota if it has to know who calls
    in_flight,  // Edge, or Quota as `limit`: before that, so that what is refused here is not counted there
    limit,      // Edge, or Quota if it has to know who calls: behind what costs nothing
    auth,       // Authenticate
    allow,      // Authorize
    decompress, // Validate: first, so that whatever reads a body reads its content
    payload,    // Validate: behind `decompress`, so that it looks at what the service gets
    waf,        // Validate: costs most of all that may refuse
    smooth,     // Smooth: the last wait, behind all that may refuse or answer
    backend_token, // Transform: before `headers`, so that what is set there holds
    headers,    // Transform
    sign,       // Sign
}

/// The policy of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static PolicyKind> {
    ALL.iter().copied().find(|kind| kind.name == name)
}
