//! A request over HTTP/2.

use bytes::{Bytes, BytesMut};
use h2::client::{self, SendRequest};
use h2::{Reason, RecvStream};
use http::Request;

use super::lane::{Ask, Lane, Trouble};

impl Lane {
    pub(super) async fn http2(&self, ask: &Ask) -> Result<(), Trouble> {
        let scheme = if self.target.tls.is_some() { "https" } else { "http" };
        let uri = format!("{scheme}://{}{}", self.target.host, ask.path);
        let request = Request::builder().method(ask.method()).uri(uri).body(()).expect("a request");
        let mut sender = self.sender(ask).await?;
        let (answer, mut body) = sender.send_request(request, ask.body.is_empty()).map_err(trouble)?;
        if !ask.body.is_empty() {
            body.send_data(Bytes::copy_from_slice(&ask.body), true).map_err(trouble)?;
        }
        let answer = answer.await.map_err(trouble)?;
        let status = answer.status().as_u16().to_string();
        let whole = whole(answer.into_body()).await;
        ask.judge(&status, &whole.map_err(|error| Trouble::Lost(format!("cut in its body: {error}")))?)
    }

    /// A connection that takes requests, a new one if need be.
    async fn sender(&self, ask: &Ask) -> Result<SendRequest<Bytes>, Trouble> {
        let turn = usize::try_from(ask.id).unwrap_or_default() % self.senders.len();
        let mut kept = self.senders[turn].lock().await;
        if let Some(sender) = kept.take()
            && let Ok(sender) = sender.ready().await
        {
            *kept = Some(sender.clone());
            return Ok(sender);
        }
        let refused = |error: &dyn std::error::Error| Trouble::Refused(error.to_string());
        let stream = self.target.connect().await.map_err(|error| refused(&error))?;
        let (sender, connection) = client::handshake(stream).await.map_err(|error| refused(&error))?;
        tokio::spawn(async move {
            // How it ends is seen by each request.
            let _ = connection.await;
        });
        let sender = sender.ready().await.map_err(|error| refused(&error))?;
        *kept = Some(sender.clone());
        Ok(sender)
    }
}

pub(super) async fn whole(mut body: RecvStream) -> Result<BytesMut, h2::Error> {
    let mut whole = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        whole.extend_from_slice(&data);
    }
    Ok(whole)
}

fn trouble(error: h2::Error) -> Trouble {
    // RFC 9113 §8.7: streams behind the last one that GOAWAY names, and those refused.
    let is_left_out = error.is_remote() && error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
    match error.reason() {
        Some(Reason::REFUSED_STREAM) => Trouble::NotBegun(error.to_string()),
        _ if is_left_out => Trouble::NotBegun(error.to_string()),
        _ if error.is_io() => Trouble::Unheard(error.to_string()),
        _ => Trouble::Lost(error.to_string()),
    }
}
