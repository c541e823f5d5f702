//! Calls of the gateway's own, to identity providers and the like: the [`Caller`] port, on the slow runtime.
//!
//! Each has a connection of its own. Not the way of requests to services: no instances, no pools, no retries.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::runtime::Handle;
use tollgate_core::caller::{Answer, Call, CallError, Caller};
use tollgate_core::facts::Address;
use tollgate_core::policy::BoxFuture;
use tollgate_net::Stream;
use tollgate_net::tls::Client;
use tollgate_registry::dns::Dns;

use crate::connect::socket;
use crate::exchange::{Speaks, broken, exchange};

/// Makes calls, with this TLS where it is spoken.
#[derive(Clone, Debug)]
pub struct Outbound {
    tls: Arc<Client>,
    dns: Arc<Dns>,
    slow: Handle,
}

impl Outbound {
    /// Calls that are made on this runtime, to names that are looked up so.
    #[must_use]
    pub fn new(tls: Arc<Client>, dns: Arc<Dns>, slow: Handle) -> Self {
        Self { tls, dns, slow }
    }

    async fn made(self, call: Call) -> Result<Answer, String> {
        let uri: Uri = call.url.parse().map_err(|error| format!("no URL: {error}"))?;
        let (Some(authority), Some(host)) = (uri.authority(), uri.host()) else {
            return Err("no host in the URL".to_owned());
        };
        let is_tls = uri.scheme_str() == Some("https");
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let stream = self.connected(host, port, is_tls).await?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder()
            .method(call.method)
            .uri(path)
            .header("Host", authority.as_str())
            .header("User-Agent", concat!("tollgate/", env!("CARGO_PKG_VERSION")))
            .header("Connection", "close");
        for (name, value) in call.fields {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(call.body))).map_err(|error| error.to_string())?;
        exchange(stream, Speaks::Http1, request, |response| read(response, call.most)).await
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
        // Whoever asks may do so from a worker, and may leave.
        let made = self.slow.spawn(async move { tokio::time::timeout(most, own.made(call)).await });
        Box::pin(async move {
            match made.await {
                Ok(Ok(made)) => made.map_err(CallError),
                Ok(Err(_)) => Err(CallError(format!("no answer within {} ms", most.as_millis()))),
                Err(error) => Err(CallError(error.to_string())),
            }
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "it is wrapped in `Limited`")]
async fn read(response: Response<Incoming>, most: usize) -> Result<Answer, String> {
    let (head, body) = response.into_parts();
    let text = |value: &http::HeaderValue| value.to_str().ok().map(str::to_owned);
    let fields =
        head.headers.iter().filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?))).collect();
    let body =
        Limited::new(body, most).collect().await.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => format!("the answer is larger than {most} bytes"),
            None => error.downcast_ref::<hyper::Error>().map_or_else(|| error.to_string(), broken),
        })?;
    Ok(Answer { status: head.status.as_u16(), fields, body: body.to_bytes().to_vec() })
}
