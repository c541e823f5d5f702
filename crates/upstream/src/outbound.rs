//! Calls of the gateway's own, to identity providers and the like: the [`Caller`] port, on a runtime of its own.
//!
//! Connections are kept for a while, since a provider that is asked about every token is asked often. Not the way of requests to
//! services: no instances, no retries but for a kept connection that turns out to be dead.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tollgate_core::caller::{Answer, Call, CallError, Caller, Chunks, Opened};
use tollgate_core::clock::Clock;
use tollgate_core::facts::Address;
use tollgate_core::policy::BoxFuture;
use tollgate_net::Stream;
use tollgate_net::tls::Client;
use tollgate_registry::dns::Dns;

use crate::connect::socket;
use crate::exchange::{MOST_HEAD, broken};

/// Most connections that rest.
const MOST_KEPT: usize = 16;
/// How long a connection may rest: less than most servers keep one.
const REST: Duration = Duration::from_secs(4);

/// How many chunks of an answer that comes bit by bit may wait to be read.
const CHUNKS: usize = 16;

type Sender = SendRequest<Full<Bytes>>;

/// Makes calls, with this TLS where it is spoken. Copies share the connections that they keep.
#[derive(Clone, Debug)]
pub struct Outbound {
    tls: Arc<Client>,
    dns: Arc<Dns>,
    runtime: Handle,
    clock: Clock,
    kept: Arc<Mutex<Vec<Kept>>>,
}

/// A connection that rests.
#[derive(Debug)]
struct Kept {
    to: Origin,
    sender: Sender,
    since: Instant,
}

/// Whom a connection leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    host: String,
    port: u16,
    is_tls: bool,
}

impl Outbound {
    /// Calls that are made on this runtime, to names that are looked up so.
    #[must_use]
    pub fn new(tls: Arc<Client>, dns: Arc<Dns>, runtime: Handle, clock: Clock) -> Self {
        Self { tls, dns, runtime, clock, kept: Arc::default() }
    }

    async fn made(self, call: Call) -> Result<Answer, String> {
        let (uri, to) = destination(&call.url)?;
        while let Some(mut sender) = self.kept(&to) {
            let asked = sender.try_send_request(request(&uri, &call)?).await;
            match asked {
                Ok(response) => return self.answered(to, sender, response, call.most).await,
                // It was closed while it rested, and nothing was sent.
                Err(error) if error.message().is_some() => {}
                Err(error) if call.repeats && !error.error().is_parse() => {}
                Err(error) => return Err(broken(error.error())),
            }
        }
        let mut sender = self.opened(&to).await?;
        let asked = sender.send_request(request(&uri, &call)?).await;
        self.answered(to, sender, asked.map_err(|error| broken(&error))?, call.most).await
    }

    /// Reads the answer; its connection may be used again afterwards.
    async fn answered(
        &self,
        to: Origin,
        sender: Sender,
        response: Response<Incoming>,
        most: usize,
    ) -> Result<Answer, String> {
        let answer = read(response, most).await?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if !sender.is_closed() && kept.len() < MOST_KEPT {
            kept.push(Kept { to, sender, since: self.clock.now() });
        }
        Ok(answer)
    }

    /// A connection that rests, the youngest first; those that have rested for too long are dropped.
    fn kept(&self, to: &Origin) -> Option<Sender> {
        let now = self.clock.now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|kept| !kept.sender.is_closed() && now.saturating_duration_since(kept.since) < REST);
        let at = kept.iter().rposition(|kept| kept.to == *to && kept.sender.is_ready())?;
        Some(kept.remove(at).sender)
    }

    async fn opened(&self, to: &Origin) -> Result<Sender, String> {
        let stream = self.connected(&to.host, to.port, to.is_tls).await?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MOST_HEAD);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
        // Ends with its sender, or when the other side closes it; what went wrong is told where the answer is awaited.
        drop(self.runtime.spawn(async move { drop(connection.await) }));
        Ok(sender)
    }

    /// To the first address that takes a connection.
    async fn connected(&self, host: &str, port: u16, is_tls: bool) -> Result<Stream, String> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let (addresses, name) = match bare.parse::<IpAddr>() {
            Ok(address) => (vec![address], None),
            Err(_) => (self.dns.look_up(host).await.map_err(|error| error.to_string())?, Some(host)),
        };
        let mut troubles = Vec::new();
        for address in addresses {
            let address = Address::Socket(SocketAddr::new(address, port));
            match socket(&address, None).await {
                Ok(socket) if !is_tls => return Ok(Stream::Plain(socket)),
                // Another address would have the same certificate.
                Ok(socket) => {
                    return self.tls.connect(socket, name, address.ip()).await.map_err(|error| error.to_string());
                }
                Err(error) => troubles.push(format!("{address}: {error}")),
            }
        }
        Err(troubles.join("; "))
    }
}

impl Caller for Outbound {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Answer, CallError>> {
        let (own, most) = (self.clone(), call.timeout);
        self.within(most, own.made(call))
    }

    fn open(&self, call: Call) -> BoxFuture<'static, Result<Opened, CallError>> {
        let (own, most) = (self.clone(), call.timeout);
        self.within(most, own.begun(call))
    }
}

impl Outbound {
    /// What comes of it within its time. Whoever asks may do so from a worker, and may leave.
    fn within<T: Send + 'static>(
        &self,
        most: Duration,
        made: impl Future<Output = Result<T, String>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, CallError>> {
        let made = self.runtime.spawn(tokio::time::timeout(most, made));
        Box::pin(async move {
            match made.await {
                Ok(Ok(made)) => made.map_err(CallError),
                Ok(Err(_)) => Err(CallError(format!("no answer within {} ms", most.as_millis()))),
                Err(error) => Err(CallError(error.to_string())),
            }
        })
    }

    async fn begun(self, call: Call) -> Result<Opened, String> {
        let (uri, to) = destination(&call.url)?;
        let mut sender = self.opened(&to).await?;
        let asked = sender.send_request(request(&uri, &call)?).await.map_err(|error| broken(&error))?;
        let (head, mut body) = asked.into_parts();
        let (send, chunks) = mpsc::channel(CHUNKS);
        drop(self.runtime.spawn(async move {
            // The connection ends with its sender.
            let _sender = sender;
            loop {
                // Nothing may come for long: whoever read it may have left meanwhile.
                let frame = tokio::select! {
                    frame = body.frame() => frame,
                    () = send.closed() => break,
                };
                let chunk = match frame {
                    None => break,
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) if data.len() > call.most => Err(CallError(too_large(call.most))),
                        Ok(data) => Ok(data.to_vec()),
                        Err(_) => continue,
                    },
                    Some(Err(error)) => Err(CallError(broken(&error))),
                };
                let is_last = chunk.is_err();
                if send.send(chunk).await.is_err() || is_last {
                    break;
                }
            }
        }));
        Ok(Opened { status: head.status.as_u16(), fields: fields(&head.headers), chunks: Box::new(Arriving(chunks)) })
    }
}

/// A body that comes.
#[derive(Debug)]
struct Arriving(mpsc::Receiver<Result<Vec<u8>, CallError>>);

impl Chunks for Arriving {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Vec<u8>>, CallError>> {
        Box::pin(async { self.0.recv().await.transpose() })
    }
}

/// A URL in parts, and whom a connection for it leads to.
fn destination(url: &str) -> Result<(Uri, Origin), String> {
    let uri: Uri = url.parse().map_err(|error| format!("no URL: {error}"))?;
    let (Some(authority), Some(host)) = (uri.authority(), uri.host()) else {
        return Err("no host in the URL".to_owned());
    };
    let is_tls = uri.scheme_str() == Some("https");
    let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let to = Origin { host: host.to_owned(), port, is_tls };
    Ok((uri, to))
}

fn request(uri: &Uri, call: &Call) -> Result<Request<Full<Bytes>>, String> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder()
        .method(call.method)
        .uri(path)
        .header("Host", uri.authority().map_or("", |authority| authority.as_str()))
        .header("User-Agent", concat!("tollgate/", env!("CARGO_PKG_VERSION")));
    for (name, value) in &call.fields {
        request = request.header(*name, value);
    }
    request.body(Full::new(Bytes::from(call.body.clone()))).map_err(|error| error.to_string())
}

#[expect(clippy::disallowed_methods, reason = "it is wrapped in `Limited`")]
async fn read(response: Response<Incoming>, most: usize) -> Result<Answer, String> {
    let (head, body) = response.into_parts();
    let body =
        Limited::new(body, most).collect().await.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => too_large(most),
            None => error.downcast_ref::<hyper::Error>().map_or_else(|| error.to_string(), broken),
        })?;
    Ok(Answer { status: head.status.as_u16(), fields: fields(&head.headers), body: body.to_bytes().to_vec() })
}

/// Those that are text.
fn fields(headers: &http::HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| value.to_str().ok().map(str::to_owned);
    headers.iter().filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?))).collect()
}

fn too_large(most: usize) -> String {
    format!("the answer is larger than {most} bytes")
}
