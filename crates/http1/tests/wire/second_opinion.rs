//! The same bytes for us and for hyper's server.
//!
//! Where we accept, hyper saw the same. Where hyper accepts and we refuse, the reason is on [`STRICTER`], with the
//! clause that asks for it or lets us, and an example that proves the entry is needed.
