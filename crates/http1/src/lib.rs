//! HTTP/1.1 grammar after RFC 9112: heads, framing, chunks; no I/O.
