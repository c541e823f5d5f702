//! A check by an HTTP request: by its status, and by a text in its body.

use std::ops::RangeInclusive;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::{Request, Response};
use tollgate_net::Stream;

use crate::exchange::{Speaks, broken, exchange};

/// Most bytes of the body that is searched.
const MOST: usize = 64 * 1024;

/// What is asked by HTTP.
#[derive(Clone, Debug)]
pub struct HttpCheck {
    /// The method.
    pub method: String,
    /// The path, with its query.
    pub path: String,
    /// What is sent as `Host`; `None`: the instance's name or address.
    pub host: Option<String>,
    /// Statuses that mean well.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// What must stand in the first 64 KiB of the body.
    pub body: Option<Bytes>,
}

impl HttpCheck {
    /// Asks over this connection. `authority`: what the instance is called if the file says nothing.
    ///
    /// # Errors
    /// Why the instance is not well.
    pub(super) async fn ask(
        &self,
        stream: Stream,
        speaks: Speaks,
        scheme: &str,
        authority: String,
    ) -> Result<(), String> {
        let request = self.request(speaks, scheme, authority).map_err(|error| error.to_string())?;
        exchange(stream, speaks, request, |response| self.judge(response)).await
    }

    fn request(&self, speaks: Speaks, scheme: &str, authority: String) -> http::Result<Request<Empty<Bytes>>> {
        let host = self.host.clone().unwrap_or(authority);
        let request = Request::builder()
            .method(self.method.as_str())
            .header("User-Agent", concat!("tollgate/", env!("CARGO_PKG_VERSION"), " (health check)"));
        let request = match speaks {
            Speaks::Http1 => request.uri(self.path.as_str()).header("Host", host).header("Connection", "close"),
            // RFC 9113 §8.3.1: what a Host says is said by `:authority`.
            Speaks::Http2 => request.uri(format!("{scheme}://{host}{}", self.path)),
        };
        request.body(Empty::new())
    }

    async fn judge(&self, response: Response<Incoming>) -> Result<(), String> {
        let status = response.status().as_u16();
        if !self.statuses.iter().any(|range| range.contains(&status)) {
            return Err(format!("answered with status {status}"));
        }
        match &self.body {
            None => Ok(()),
            Some(wanted) => find(wanted, response.into_body()).await,
        }
    }
}

/// Looks for a text in the beginning of a body.
async fn find(wanted: &[u8], mut body: Incoming) -> Result<(), String> {
    let mut read = Vec::new();
    while read.len() < MOST {
        let Some(frame) = body.frame().await else { break };
        if let Ok(data) = frame.map_err(|e| broken(&e))?.into_data() {
            read.extend_from_slice(&data[..data.len().min(MOST - read.len())]);
        }
        if contains(&read, wanted) {
            return Ok(());
        }
    }
    if contains(&read, wanted) {
        return Ok(());
    }
    Err("answered without the text of `body`".to_owned())
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || text.windows(wanted.len()).any(|window| window == wanted)
}
