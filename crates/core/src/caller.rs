//! HTTP calls that the gateway itself makes, to identity providers and the like: a port. They are made on a runtime of their own,
//! whoever asks for them; on a connection that was kept and turns out to be dead, a second time.

use std::fmt;
use std::time::Duration;

use crate::policy::BoxFuture;

/// Makes calls.
pub trait Caller: fmt::Debug + Send + Sync + 'static {
    /// Makes one, to its end: redirects are not followed.
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Answer, CallError>>;

    /// Makes one whose answer is read as it comes, on a connection of its own: the call's `timeout` bounds the time to the head of the
    /// answer, `most` what one chunk may hold. It ends when what is returned is dropped.
    fn open(&self, call: Call) -> BoxFuture<'static, Result<Opened, CallError>> {
        let whole = self.call(call);
        Box::pin(async move {
            let Answer { status, fields, body } = whole.await?;
            Ok(Opened { status, fields, chunks: Box::new(Whole(Some(body))) })
        })
    }
}

/// An answer that has begun.
#[derive(Debug)]
pub struct Opened {
    /// Its status.
    pub status: u16,
    /// Its fields, names in lower case; those that are no text are left out.
    pub fields: Vec<(String, String)>,
    /// Its body.
    pub chunks: Box<dyn Chunks>,
}

/// A body that comes bit by bit.
pub trait Chunks: fmt::Debug + Send + 'static {
    /// What came next; `None`: it is complete. May be dropped before it is done, and called again.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Vec<u8>>, CallError>>;
}

/// A body that is there already.
#[derive(Debug)]
struct Whole(Option<Vec<u8>>);

impl Chunks for Whole {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Vec<u8>>, CallError>> {
        let all = self.0.take().filter(|all| !all.is_empty());
        Box::pin(async move { Ok(all) })
    }
}

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method.
    pub method: &'static str,
    /// An absolute URL, `http` or `https`.
    pub url: String,
    /// Header fields, beside `Host` and what frames the body.
    pub fields: Vec<(&'static str, String)>,
    /// The body; empty: none.
    pub body: Vec<u8>,
    /// Most bytes of an answer; a longer one is an error.
    pub most: usize,
    /// How long it may take in all.
    pub timeout: Duration,
    /// Whether it may be asked again if nobody can tell whether it was received: it changes nothing there (RFC 9110 §9.2.2).
    pub repeats: bool,
}

impl Call {
    /// Asks for what is at a URL.
    #[must_use]
    pub fn get(url: impl Into<String>, most: usize, timeout: Duration) -> Self {
        Self { method: "GET", url: url.into(), fields: Vec::new(), body: Vec::new(), most, timeout, repeats: true }
    }
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its fields, names in lower case; those that are no text are left out.
    pub fields: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// Why there is no answer, in words for our log: they may tell of the inside of the house.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError(pub String);

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CallError {}
