//! Connections to a target, with and without TLS.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Target, Way};
use crate::pki::Authority;

/// Bytes both ways.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

pub(super) type AnyStream = Box<dyn Stream>;

/// Trusts this authority and nobody else.
pub(super) fn trusting(authority: &Authority, way: Way) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("a certificate");
    roots.add(certificate).expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = versions.expect("versions").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![if way == Way::Http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    config
}

impl Target {
    pub(super) async fn connect(&self) -> io::Result<AnyStream> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let Some(config) = &self.tls else { return Ok(Box::new(tcp)) };
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let tls = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await?;
        Ok(Box::new(tls))
    }
}

/// Whether a connection that rested was closed meanwhile, as far as that can be known by now.
pub(super) async fn is_closed(stream: &mut AnyStream) -> bool {
    // So that the runtime looks at what the system knows before we do.
    tokio::task::yield_now().await;
    poll_fn(|cx| {
        let mut byte = [0];
        let polled = Pin::new(&mut *stream).poll_read(cx, &mut ReadBuf::new(&mut byte));
        // Also bytes that nobody asked for are an end.
        Poll::Ready(polled.is_ready())
    })
    .await
}
