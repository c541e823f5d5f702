//! What a condition may ask about a request.

use std::borrow::Cow;

use tollgate_core::exchange::Exchange;
use tollgate_core::facts::ClientAddress;
use tollgate_core::host;
use tollgate_core::principal::Principal;

/// A request as conditions see it. Nothing is asked for twice without need, so answers may be looked up each time.
pub trait Facts {
    /// The method as it was sent.
    fn method(&self) -> &str;

    /// The path in its normal form, without the query.
    fn path(&self) -> &str;

    /// The host without its port, in any case.
    fn host(&self) -> &str;

    /// `http` or `https`, as the client sees it.
    fn scheme(&self) -> &str;

    /// The client's address. As a text, a client without one is `unix`; no network has it.
    fn ip(&self) -> ClientAddress;

    /// The value of the first field with this name, which is in lower case. `None` if it is not there or no text.
    fn header(&self, name: &str) -> Option<&str>;

    /// Whether there is a field with this name, whatever its value.
    fn has_header(&self, name: &str) -> bool {
        self.header(name).is_some()
    }

    /// The first value of a parameter of the query, decoded: see [`tollgate_core::head::query_value`].
    fn query(&self, name: &str) -> Option<Cow<'_, str>>;

    /// The value of a cookie: see [`tollgate_core::head::cookie_value`].
    fn cookie(&self, name: &str) -> Option<&str>;

    /// Who calls, if that is known.
    fn caller(&self) -> Option<&Principal> {
        None
    }
}

impl Facts for Exchange {
    fn method(&self) -> &str {
        self.head.method_text()
    }

    fn path(&self) -> &str {
        self.head.path()
    }

    fn host(&self) -> &str {
        host::name(self.head.host())
    }

    fn scheme(&self) -> &str {
        self.scheme
    }

    fn ip(&self) -> ClientAddress {
        self.client
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.fields.text(name)
    }

    fn has_header(&self, name: &str) -> bool {
        self.head.fields.has(name)
    }

    fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        self.head.query_value(name)
    }

    fn cookie(&self, name: &str) -> Option<&str> {
        self.head.cookie(name)
    }

    fn caller(&self) -> Option<&Principal> {
        self.principal.as_deref()
    }
}
