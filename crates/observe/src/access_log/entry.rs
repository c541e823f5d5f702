//! What a line says.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;

use tollgate_core::facts::{Address, ClientAddress};

use super::{Queries, json};

/// One request as the log tells it. What is `None`, and a status or a number of attempts that is 0, is left out.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// When the request's head was read, in microseconds of Unix time.
    pub time: u64,
    /// The correlation id.
    pub id: &'a str,
    /// The trace's id.
    pub trace: Option<u128>,
    /// The client, as far as `trust` believes it.
    pub client: ClientAddress,
    /// The protocol between client and gateway: `HTTP/1.1`.
    pub protocol: &'a str,
    /// The version of TLS, if it is spoken with the client: `TLSv1.3`.
    pub tls: Option<&'a str>,
    /// The subject of the client's certificate, if it showed one.
    pub certificate: Option<&'a str>,
    /// The source of identity that vouches for the caller.
    pub auth: Option<&'a str>,
    /// Who calls.
    pub subject: Option<&'a str>,
    /// The application by which they call.
    pub consumer: Option<&'a str>,
    /// The method; `None` as for host and path if the head could not be read.
    pub method: Option<&'a [u8]>,
    /// The host asked for.
    pub host: Option<&'a [u8]>,
    /// The path, normalised, without the query.
    pub path: Option<&'a [u8]>,
    /// The query, without the question mark.
    pub query: Option<&'a [u8]>,
    /// The status sent; 0 if the client left before there was one.
    pub status: u16,
    /// Bytes received from the client, head included.
    pub bytes_in: u64,
    /// Bytes sent to the client, head included.
    pub bytes_out: u64,
    /// From the head being read to the last byte sent, in microseconds.
    pub duration_us: u64,
    /// The API that the route belongs to.
    pub api: Option<&'a str>,
    /// The route.
    pub route: Option<&'a str>,
    /// The service asked.
    pub service: Option<&'a str>,
    /// The instance that was tried last.
    pub instance: Option<&'a Address>,
    /// How many attempts were made.
    pub attempts: u32,
    /// From the last attempt's beginning to the end of its answer's head, in microseconds.
    pub upstream_us: Option<u64>,
    /// The slug of the problem that the gateway answered with.
    pub problem: Option<&'a str>,
    /// The slug of the problem that something which only looks on would have had answered.
    pub shadow: Option<&'a str>,
    /// What really happened, which the client was not told.
    pub cause: Option<&'a str>,
    /// The field `User-Agent`.
    pub user_agent: Option<&'a [u8]>,
    /// The field `Referer`.
    pub referer: Option<&'a [u8]>,
}

impl Entry<'_> {
    /// Appends the line with its line feed, of queries as much as is to be shown; `moment` is [`Entry::time`] in RFC 3339.
    pub(super) fn write(&self, to: &mut Vec<u8>, moment: &[u8], queries: Queries) {
        to.extend_from_slice(b"{\"time\":\"");
        to.extend_from_slice(moment);
        to.push(b'"');
        text(to, "id", Some(self.id.as_bytes()));
        if let Some(trace) = self.trace {
            key(to, "trace");
            json::hex(to, trace);
        }
        quoted(to, "client", Some(self.client));
        text(to, "protocol", Some(self.protocol.as_bytes()));
        text(to, "tls", self.tls.map(str::as_bytes));
        text(to, "certificate", self.certificate.map(str::as_bytes));
        text(to, "auth", self.auth.map(str::as_bytes));
        text(to, "subject", self.subject.map(str::as_bytes));
        text(to, "consumer", self.consumer.map(str::as_bytes));
        text(to, "method", self.method);
        text(to, "host", self.host);
        text(to, "path", self.path);
        text(to, "query", self.query.and_then(|query| queries.query(query)).as_deref());
        number(to, "status", Some(self.status.into()).filter(|status| *status > 0));
        number(to, "bytes_in", Some(self.bytes_in));
        number(to, "bytes_out", Some(self.bytes_out));
        number(to, "duration_us", Some(self.duration_us));
        text(to, "api", self.api.map(str::as_bytes));
        text(to, "route", self.route.map(str::as_bytes));
        text(to, "service", self.service.map(str::as_bytes));
        match self.instance {
            // A path may hold anything.
            Some(Address::Unix(path)) => text(to, "instance", Some(&[b"unix:", path.as_os_str().as_bytes()].concat())),
            Some(Address::Socket(address)) => quoted(to, "instance", Some(address)),
            None => {}
        }
        number(to, "attempts", Some(self.attempts.into()).filter(|attempts| *attempts > 0));
        number(to, "upstream_us", self.upstream_us);
        text(to, "problem", self.problem.map(str::as_bytes));
        text(to, "shadow", self.shadow.map(str::as_bytes));
        text(to, "cause", self.cause.map(str::as_bytes));
        text(to, "user_agent", self.user_agent);
        text(to, "referer", self.referer.map(|url| queries.url(url)).as_deref());
        to.extend_from_slice(b"}\n");
    }
}

fn key(to: &mut Vec<u8>, key: &str) {
    to.extend_from_slice(b",\"");
    to.extend_from_slice(key.as_bytes());
    to.extend_from_slice(b"\":");
}

fn text(to: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    if let Some(value) = value {
        key(to, name);
        json::string(to, value);
    }
}

fn number(to: &mut Vec<u8>, name: &str, value: Option<u64>) {
    if let Some(value) = value {
        key(to, name);
        json::number(to, value);
    }
}

/// An address: its text needs no escapes.
fn quoted(to: &mut Vec<u8>, name: &str, value: Option<impl std::fmt::Display>) {
    if let Some(value) = value {
        key(to, name);
        // Writing to a Vec cannot fail.
        let _ = write!(to, "\"{value}\"");
    }
}
