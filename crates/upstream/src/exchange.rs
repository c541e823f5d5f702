//! One question of the gateway's own and its answer, over a connection of their own: in HTTP/1.1 or HTTP/2.

use std::error::Error;
use std::future::pending;

use hyper::body::{Body, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tollgate_net::Stream;

/// Most bytes of an answer's head.
pub(crate) const MOST_HEAD: usize = 64 * 1024;

/// What it is asked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Sends a request, and has the answer judged while it comes.
///
/// # Errors
/// What went wrong, or what is wrong with the answer.
pub(crate) async fn exchange<B, J, T>(
    stream: Stream,
    speaks: Speaks,
    request: Request<B>,
    judge: impl FnOnce(Response<Incoming>) -> J,
) -> Result<T, String>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    J: Future<Output = Result<T, String>>,
{
    let stream = TokioIo::new(stream);
    match speaks {
        Speaks::Http1 => {
            let mut builder = http1::Builder::new();
            builder.max_buf_size(MOST_HEAD);
            let (mut sender, connection) = builder.handshake(stream).await.map_err(|e| broken(&e))?;
            let asked = async { judge(sender.send_request(request).await.map_err(|e| broken(&e))?).await };
            driven(connection, asked).await
        }
        Speaks::Http2 => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.max_header_list_size(MOST_HEAD as u32);
            let (mut sender, connection) = builder.handshake(stream).await.map_err(|e| broken(&e))?;
            let asked = async { judge(sender.send_request(request).await.map_err(|e| broken(&e))?).await };
            driven(connection, asked).await
        }
    }
}

/// Keeps a connection going for as long as something is asked on it.
async fn driven<T>(connection: impl Future, asked: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    // The end of the connection is not the end of the answer: what came before is still to be read.
    let driving = async {
        connection.await;
        pending::<()>().await;
    };
    tokio::select! {
        result = asked => result,
        () = driving => Err("the connection ended".to_owned()),
    }
}

/// What went wrong, down to its root, where it is said in words.
pub(crate) fn broken(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
