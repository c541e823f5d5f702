//! Gateways that are asked: one after the other, from the last one on that answered.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::Value;
use tokio::time::sleep;
use tollgate_core::head::Method;
use tollgate_net::tls::{Client, ClientSettings, Pair, Roots, Verify};

use super::RegisterArgs;
use super::instance::Instance;
use super::ready::Ready;
use crate::cli::failure;
use crate::cli::output::{Failure, Output};
use crate::http::{self, Answer, Duplex};

/// How long connecting to a gateway may take, and each read and write.
const PATIENCE: Duration = Duration::from_secs(3);
/// The pause after no gateway answered, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// How often an instance is renewed within its time.
const RENEWALS: u32 = 3;
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
    answer: Answer,
    url: String,
    from: IpAddr,
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
    fn ask(&self, method: &'static str, path: &str, body: &str) -> Result<Answered, String> {
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
            failure(format!(
                "`{url}` is no URL of an admin listener: `http://127.0.0.1:9901`, `https://gateway-1:9901`"
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

/// Keeps an instance registered.
pub(super) struct Asking<'o> {
    gateways: Arc<Gateways>,
    instance: Arc<Instance>,
    output: &'o Output,
    /// Some gateway may know it.
    has_asked: bool,
    /// What was said last of what does not work.
    told: Option<String>,
}

/// What came of asking.
enum Came {
    Done(Answered),
    /// It has to register again.
    NotThere,
    /// In words for a person, and what to do.
    Refused(String, Option<&'static str>),
    /// No gateway answers.
    Nobody(String),
}

impl<'o> Asking<'o> {
    pub(super) fn new(gateways: &Arc<Gateways>, instance: &Arc<Instance>, output: &'o Output) -> Self {
        let (gateways, instance) = (Arc::clone(gateways), Arc::clone(instance));
        Self { gateways, instance, output, has_asked: false, told: None }
    }

    /// Whether any gateway may know it.
    pub(super) fn may_be_known(&self) -> bool {
        self.has_asked
    }

    /// Whether it may register, as far as a gateway answers.
    ///
    /// # Errors
    /// It may not.
    pub(super) async fn allowed(&mut self) -> Result<(), Failure> {
        match self.look().await {
            Came::Refused(message, hint) => Err(Failure::Other { message, hint: hint.map(str::to_owned) }),
            Came::Nobody(why) => {
                self.tell(format!("no gateway answers, it is started all the same: {why}"));
                Ok(())
            }
            Came::Done(_) | Came::NotThere => Ok(()),
        }
    }

    /// Registers it once it is ready, and renews it for as long as this is polled.
    pub(super) async fn live(&mut self, ready: &Ready) -> Infallible {
        ready.wait().await;
        let mut pause = PAUSES.0;
        loop {
            match self.register().await {
                Came::Done(answered) => {
                    pause = PAUSES.0;
                    let (service, place) = (self.instance.service(), self.instance.shown().unwrap_or_default());
                    self.tell(format!("`{service}` at {place} is registered with {}", answered.url));
                    self.renew().await;
                    continue;
                }
                Came::NotThere => self.tell("that is no admin listener of a gateway with a registry".to_owned()),
                Came::Refused(message, _) => self.tell(format!("{message}; it goes on trying")),
                Came::Nobody(why) => self.tell(format!("no gateway answers, it goes on trying: {why}")),
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Renews it until it has to register again.
    async fn renew(&mut self) {
        let every = self.instance.ttl / RENEWALS;
        let mut next = every;
        loop {
            sleep(next).await;
            next = every;
            let path = format!("{}/renew", self.instance.path().unwrap_or_default());
            match self.ask("POST", path, String::new()).await {
                Came::Done(_) => {
                    if self.told.take_if(|told| told.starts_with("not renewed")).is_some() {
                        self.output.note("tollgate register: renewed again");
                    }
                }
                Came::NotThere => {
                    return self.tell("the gateway does not know it any more: it registers again".to_owned());
                }
                Came::Refused(why, _) | Came::Nobody(why) => {
                    self.tell(format!("not renewed, it goes on trying: {why}"));
                    next = PAUSES.0.max(every / RENEWALS).min(every);
                }
            }
        }
    }

    /// Takes it away, if any gateway may know it; tries until one has answered.
    pub(super) async fn leave(&mut self) {
        let Some(path) = self.instance.path().filter(|_| self.has_asked) else { return };
        loop {
            match self.ask("DELETE", path.clone(), String::new()).await {
                Came::Done(_) | Came::NotThere => {
                    self.has_asked = false;
                    return self.tell("deregistered".to_owned());
                }
                Came::Refused(why, _) | Came::Nobody(why) => self.tell(format!("not deregistered: {why}")),
            }
            sleep(PAUSES.0).await;
        }
    }

    /// Asks for the service's instances: whoever may register them may see them.
    async fn look(&mut self) -> Came {
        let came = self.ask("GET", self.instance.list(), String::new()).await;
        if let Came::Done(answered) = &came {
            self.instance.asks_from(answered.from);
        }
        came
    }

    async fn register(&mut self) -> Came {
        if self.instance.path().is_none() {
            match self.look().await {
                Came::Done(_) => {}
                other => return other,
            }
        }
        let path = self.instance.path().unwrap_or_default();
        self.has_asked = true;
        self.ask("PUT", path, self.instance.said()).await
    }

    async fn ask(&self, method: &'static str, path: String, body: String) -> Came {
        let gateways = Arc::clone(&self.gateways);
        // Goes on if nobody waits for it any more; what is asked later waits for its turn.
        let asked = tokio::task::spawn_blocking(move || gateways.ask(method, &path, &body)).await;
        match asked {
            Ok(Ok(answered)) => came(answered),
            Ok(Err(why)) => Came::Nobody(why),
            Err(error) => Came::Nobody(error.to_string()),
        }
    }

    /// Says something, once.
    fn tell(&mut self, what: String) {
        if self.told.as_deref() != Some(what.as_str()) {
            self.output.note(&format!("tollgate register: {what}"));
            self.told = Some(what);
        }
    }
}

fn came(answered: Answered) -> Came {
    let Answered { answer, url, .. } = &answered;
    let said = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
    let detail = ["detail", "title"].into_iter().find_map(|name| said[name].as_str());
    let detail = detail.unwrap_or("that is no answer of an admin listener");
    let refused = |what: String, hint| Came::Refused(what, hint);
    match answer.status {
        200..=204 => Came::Done(answered),
        404 if said["type"].as_str().is_some_and(|kind| kind.ends_with("registry/not-found")) => Came::NotThere,
        401 => refused(
            format!("{url} does not know whoever asks: the token is missing or wrong"),
            Some(
                "`--token-file`, or TOLLGATE_TOKEN: a token that stands under `registry: register` of the gateway's config",
            ),
        ),
        403 => refused(
            format!("{url}: {detail}"),
            Some("`registry: register` of the gateway's config says who may register which services"),
        ),
        421 => refused(
            format!("{url} does not go by that name"),
            Some("ask by an address, or put the name under `hosts` of the admin listener"),
        ),
        status => refused(format!("{url} answered {status}: {detail}"), None),
    }
}
