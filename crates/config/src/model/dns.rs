//! `dns`: how names of services are looked up.

use std::net::SocketAddr;

use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_core::section;
use tollgate_core::units::Period;

use crate::model::address::socket_or;
use crate::model::defaults::v1;
use tollgate_core::text::{FromText, decode_from_text, text_schema};

section! {
    /// How names of services are looked up. They are looked up again when their time to live is over.
    pub struct Dns: fit {
        /// The name servers to ask; without it, those of the system.
        servers: Option<Vec<NameServer>>,
        /// How long one look-up may take.
        timeout: Period = v1::DNS_TIMEOUT,
        /// An answer holds at least this long, whatever its time to live.
        min_ttl: Spanned<Period> = v1::DNS_MIN_TTL,
        /// An answer holds at most this long, whatever its time to live.
        max_ttl: Spanned<Period> = v1::DNS_MAX_TTL,
    }
}

/// Whether the bounds fit each other.
fn fit(dns: &Dns, cx: &mut DecodeCx) -> bool {
    let well = dns.min_ttl.0 <= dns.max_ttl.0;
    if !well {
        let mistake = Diagnostic::error("`min_ttl` is longer than `max_ttl`");
        cx.report(mistake.at(&dns.min_ttl.span).at(&dns.max_ttl.span));
    }
    well
}

/// A name server: an IP address, with port 53 unless another is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameServer(pub SocketAddr);

impl FromText for NameServer {
    const WHAT: &'static str = "a name server's address";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        socket_or(text, 53).map(Self).ok_or_else(|| {
            Diagnostic::error(format!("`{text}` is no name server"))
                .hint("an IP address, with or without a port: `10.0.0.2`, `10.0.0.2:5353`")
        })
    }
}

decode_from_text!(NameServer);
text_schema!(NameServer, "NameServer", "description": "An IP address; port 53 if none is written.",  "examples": ["10.0.0.2", "10.0.0.2:5353"]);
