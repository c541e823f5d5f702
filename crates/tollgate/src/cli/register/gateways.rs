//! Gateways that are asked: one after the other, from the last one on that answered.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tollgate_core::head::Method;
use tollgate_net::tls::{Client, ClientSettings, Pair, Roots, Verify};

use super::RegisterArgs;
use crate::cli::failure;
use crate::cli::output::Failure;
use crate::http::{self, Answer, Duplex};

/// How long connecting to a gateway may take, and each read and write.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most bytes of a file with a token.
const MOST_TOKEN: u64 = 4096;

/// Gateways, and as whom they are asked.
pub(super) struct Gateways {
    all: Vec<Gateway>,
    tls: Option<Arc<ClientConfig>>,
    token: Token,
    /// The one that answered last.
    last: AtomicUsize,
    /// One question at a time: what is asked later is not answered before.
    turn: Mutex<()>,
}

/// Where one is.
struct Gateway {
    url: String,
    is_tls: bool,
    /// As it is named in `Host`.
    authority: String,
    host: String,
    port: u16,
}

enum Token {
    None,
    Text(String),
    /// Read whenever it is needed, so that it may be changed while the service runs.
    File(PathBuf),
}

/// One answer, from whom, and as which address it was asked.
pub(super) struct Answered {
    pub(super) answer: Answer,
    pub(super) url: String,
    pub(super) from: IpAddr,
}

impl Gateways {
    /// # Errors
    /// URLs that are none, files that do not read.
    pub(super) fn new(args: &RegisterArgs) -> Result<Self, Failure> {
        let all: Vec<_> = args.gateways.iter().map(|url| Gateway::read(url)).collect::<Result<_, _>>()?;
        let tls = all.iter().any(|gateway| gateway.is_tls).then(|| tls(args)).transpose()?;
        let token = match (&args.token_file, std::env::var("TOLLGATE_TOKEN")) {
            (Some(file), _) => Token::File(file.clone()),
            (None, Ok(text)) if !text.trim().is_empty() => Token::Text(text.trim().to_owned()),
            (None, _) => Token::None,
        };
        // That it does not read is told before anything is started.
        token.text().map_err(failure)?;
        Ok(Self { all, tls, token, last: AtomicUsize::default(), turn: Mutex::default() })
    }

    /// Asks the first one that answers. Blocks.
    ///
    /// # Errors
    /// Why none does.
    pub(super) fn ask(&self, method: &'static str, path: &str, body: &str) -> Result<Answered, String> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let token = self.token.text()?;
        let first = self.last.load(Ordering::Relaxed);
        let mut why = Vec::new();
        for at in (0..self.all.len()).map(|step| (first + step) % self.all.len()) {
            let Some(gateway) = self.all.get(at) else { continue };
            match gateway.ask(self.tls.as_ref(), token.as_deref(), method, path, body) {
                // It cannot, or there is a proxy that does not reach it: another one may.
                Ok(answered) if answered.answer.status >= 500 => {
                    why.push(format!("{} answers {}", gateway.url, answered.answer.status));
                }
                Ok(answered) => {
                    self.last.store(at, Ordering::Relaxed);
                    return Ok(answered);
                }
                Err(error) => why.push(format!("{}: {error}", gateway.url)),
            }
        }
        Err(why.join("; "))
    }
}

impl Token {
    fn text(&self) -> Result<Option<String>, String> {
        match self {
            Self::None => Ok(None),
            Self::Text(text) => Ok(Some(text.clone())),
            Self::File(path) => {
                let mut text = String::new();
                let read = File::open(path).and_then(|file| file.take(MOST_TOKEN).read_to_string(&mut text));
                read.map_err(|e| format!("the token in {} does not read: {e}", path.display()))?;
                let text = text.trim();
                // RFC 9110 §5.5: it must not become another line of the head.
                if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err(format!("{} has no token", path.display()));
                }
                Ok(Some(text.to_owned()))
            }
        }
    }
}

fn tls(args: &RegisterArgs) -> Result<Arc<ClientConfig>, Failure> {
    let pair = args.cert.as_ref().zip(args.key.as_ref());
    let settings = ClientSettings {
        roots: args.ca.clone().map_or(Roots::System, Roots::File),
        verify: Verify::Chain,
        pins: Vec::new(),
        name: None,
        certificate: pair.map(|(cert, key)| Pair { cert: cert.clone(), key: key.clone() }),
        alpn: vec![b"http/1.1".to_vec()],
    };
    let built = Client::build(settings);
    let told = |mistakes: Vec<_>| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    built.map(|client| client.config()).map_err(|mistakes: Vec<tollgate_net::tls::FileError>| failure(told(mistakes)))
}

impl Gateway {
    fn read(url: &str) -> Result<Self, Failure> {
        let wrong = || {
            Failure::Refused(format!(
                "error: `{url}` is no URL of an admin listener: `http://127.0.0.1:9901`, `https://gateway-1:9901`"
            ))
        };
        let (is_tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(wrong()),
        };
        let authority = rest.trim_end_matches('/');
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte);
        if authority.is_empty() || !authority.bytes().all(fits) {
            return Err(wrong());
        }
        let is_bare_v6 = authority.ends_with(']');
        let (host, port) = match authority.rsplit_once(':').filter(|_| !is_bare_v6) {
            Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
            None => (authority, if is_tls { 443 } else { 80 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { url: url.to_owned(), is_tls, authority: authority.to_owned(), host, port })
    }

    fn ask(
        &self,
        tls: Option<&Arc<ClientConfig>>,
        token: Option<&str>,
        method: &'static str,
        path: &str,
        body: &str,
    ) -> io::Result<Answered> {
        let socket = self.connect()?;
        let from = socket.local_addr()?.ip();
        let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{authorization}Content-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            self.authority,
            body.len()
        );
        let mut stream: Box<dyn Duplex> = match tls.filter(|_| self.is_tls) {
            Some(config) => {
                let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
                let connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
                Box::new(StreamOwned::new(connection, socket))
            }
            None => Box::new(socket),
        };
        let answer = http::over(&mut *stream, Method::of(method.as_bytes()), &head, body.as_bytes())?;
        Ok(Answered { answer, url: self.url.clone(), from })
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
        #[expect(clippy::disallowed_methods, reason = "a command line may wait for a look-up")]
        let found = (self.host.as_str(), self.port).to_socket_addrs()?;
        for address in found {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(socket) => {
                    socket.set_read_timeout(Some(PATIENCE))?;
                    socket.set_write_timeout(Some(PATIENCE))?;
                    return Ok(socket);
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_are_named_as_urls_name_hosts() {
        let read = |url: &str| Gateway::read(url).map(|read| (read.is_tls, read.host, read.port, read.authority));
        for (url, is_tls, host, port) in [
            ("http://127.0.0.1:9901", false, "127.0.0.1", 9901),
            ("https://gateway-1.internal/", true, "gateway-1.internal", 443),
            ("http://[::1]:9901", false, "::1", 9901),
            ("http://[2001:db8::1]", false, "2001:db8::1", 80),
        ] {
            let (have_tls, have_host, have_port, authority) = read(url).unwrap();
            assert_eq!((have_tls, have_host.as_str(), have_port), (is_tls, host, port), "{url}");
            assert_eq!(url.split("//").nth(1).unwrap().trim_end_matches('/'), authority);
        }
        for wrong in [
            "",
            "127.0.0.1:9901",
            "ftp://x",
            "http://",
            "http://a b",
            "http://a/b",
            "http://a:99999",
            "http://a\r\nX: y",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_with_a_token_has_one_line_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            Token::File(file.clone()).text()
        };
        assert_eq!(read("abc\n"), Ok(Some("abc".to_owned())));
        for wrong in ["", " \n", "a b", "a\r\nX: y", "ä"] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
