//! A check by an HTTP request: by its status, and by a text in its body.

use std::future::pending;
use std::ops::RangeInclusive;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tollgate_core::facts::Address;
use tollgate_net::Stream;

use super::authority;

/// Most bytes of an answer's head, and of the body that is searched.
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
    /// Asks over this connection, in HTTP/1.1. `name`: that by which the instance was found.
    ///
    /// # Errors
    /// Why the instance is not well.
    pub(super) async fn ask(&self, stream: Stream, name: Option<&str>, at: &Address) -> Result<(), String> {
        let request = self.request("").header("Host", authority(self.host.as_deref(), name, at));
        let request =
            request.header("Connection", "close").body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MOST);
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|e| broken(&e))?;
            self.judge(response).await
        };
        while_driven(exchange, connection).await
    }

    /// The same in HTTP/2.
    ///
    /// # Errors
    /// Why the instance is not well.
    pub(super) async fn ask_http2(&self, stream: Stream, name: Option<&str>, at: &Address) -> Result<(), String> {
        let origin = format!("http://{}", authority(self.host.as_deref(), name, at));
        let request = self.request(&origin).body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|e| broken(&e))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|e| broken(&e))?;
            self.judge(response).await
        };
        while_driven(exchange, connection).await
    }

    fn request(&self, origin: &str) -> http::request::Builder {
        Request::builder()
            .method(self.method.as_str())
            .uri(format!("{origin}{}", self.path))
            .header("User-Agent", concat!("tollgate/", env!("CARGO_PKG_VERSION"), " (health check)"))
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

/// Carries an exchange to its end, and its connection meanwhile.
async fn while_driven(
    exchange: impl Future<Output = Result<(), String>>,
    connection: impl Future,
) -> Result<(), String> {
    // The end of the connection is not the end of the answer: what came before is still to be read.
    let driven = async {
        let _ = connection.await;
        pending::<()>().await;
    };
    tokio::select! {
        result = exchange => result,
        () = driven => Err("the connection ended".to_owned()),
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

/// What went wrong, down to its root, where it is said in words.
pub(super) fn broken(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
