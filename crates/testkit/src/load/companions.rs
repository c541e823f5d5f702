//! Connections that live on while something changes: WebSockets, streams as gRPC has them, downloads.

use std::fmt::Display;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Request;
use tokio::time::{sleep, timeout};

use super::runner::Runner;
use super::service::byte_at;
use super::wire::Wire;
use super::{Target, Way};
use crate::deadline::wait_until;

/// How often each says something.
const EVERY: Duration = Duration::from_millis(100);
/// How long an answer to that may take: longer than a busy machine needs, and shorter than a test waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// Some of one kind. Dropped, they end.
#[derive(Debug)]
pub struct Companions {
    state: Arc<State>,
    _runner: Runner,
}

#[derive(Debug)]
struct State {
    what: &'static str,
    /// How often each was answered.
    rounds: Vec<AtomicU64>,
    ended: Mutex<Vec<String>>,
}

type Life = Result<(), Box<dyn std::error::Error + Send + Sync>>;

impl Companions {
    /// WebSockets that send a frame every 100 ms and get it back.
    ///
    /// # Panics
    /// When they do not begin.
    #[must_use]
    pub fn websockets(count: usize, address: SocketAddr, path: &str) -> Self {
        Self::start("WebSocket", count, address, path, websocket)
    }

    /// HTTP/2 streams that send a message every 100 ms and get it back.
    ///
    /// # Panics
    /// When they do not begin.
    #[must_use]
    pub fn streams(count: usize, address: SocketAddr, path: &str) -> Self {
        Self::start("stream", count, address, path, stream)
    }

    /// Downloads of which 1 KiB comes every 50 ms.
    ///
    /// # Panics
    /// When they do not begin.
    #[must_use]
    pub fn downloads(count: usize, address: SocketAddr, path: &str) -> Self {
        Self::start("download", count, address, path, download)
    }

    /// What lives on in most tests: 20 WebSockets at `/ws`, 5 streams at `/stream` and a download at `/slow`.
    ///
    /// # Panics
    /// When they do not begin.
    #[must_use]
    pub fn usual(address: SocketAddr) -> [Self; 3] {
        [
            Self::websockets(20, address, "/ws"),
            Self::streams(5, address, "/stream"),
            Self::downloads(1, address, "/slow"),
        ]
    }

    fn start<F>(
        what: &'static str,
        count: usize,
        address: SocketAddr,
        path: &str,
        life: fn(Target, String, Round) -> F,
    ) -> Self
    where
        F: Future<Output = Life> + Send + 'static,
    {
        let rounds = (0..count).map(|_| AtomicU64::new(0)).collect();
        let state = Arc::new(State { what, rounds, ended: Mutex::default() });
        let runner = Runner::start(what);
        for number in 0..count {
            let round = Round { state: Arc::clone(&state), number };
            let life = life(Target::new(address, Way::Kept), path.to_owned(), round);
            let state = Arc::clone(&state);
            runner.spawn(async move {
                let why = life.await.err().map_or_else(|| "its end".to_owned(), |error| error.to_string());
                state.end(number, &why);
            });
        }
        let companions = Self { state, _runner: runner };
        companions.await_rounds(1);
        companions
    }

    /// Whether all of them live.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.ended().is_empty()
    }

    /// Those that ended, and why.
    #[must_use]
    pub fn ended(&self) -> Vec<String> {
        self.state.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often each was answered at least.
    #[must_use]
    pub fn rounds(&self) -> u64 {
        self.state.rounds.iter().map(|rounds| rounds.load(Ordering::Acquire)).min().unwrap_or_default()
    }

    /// Waits until each was answered so many times more: all of them live now, not only when they were looked at last.
    ///
    /// # Panics
    /// When one has ended, or they are not answered in time.
    #[track_caller]
    pub fn await_rounds(&self, more: u64) {
        let enough = self.rounds() + more;
        wait_until(&format!("{more} rounds of each {}", self.state.what), || {
            assert!(self.is_alive(), "ended: {:?}", self.ended());
            self.rounds() >= enough
        });
    }
}

impl State {
    fn end(&self, number: usize, why: &str) {
        let rounds = self.rounds[number].load(Ordering::Acquire);
        let told = format!("{} {number} after {rounds} rounds: {why}", self.what);
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).push(told);
    }
}

/// The place where one of them counts.
struct Round {
    state: Arc<State>,
    number: usize,
}

impl Round {
    fn done(&self) {
        self.state.rounds[self.number].fetch_add(1, Ordering::AcqRel);
    }
}

/// What should come within the time.
async fn soon<T, E: Display>(work: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match timeout(PATIENCE, work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("nothing came for {PATIENCE:?}")),
    }
}

async fn websocket(target: Target, path: String, round: Round) -> Life {
    let mut wire = Wire::new(target.connect().await?);
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: gateway.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    wire.send(request.as_bytes()).await?;
    let head = timeout(PATIENCE, wire.head()).await?.map_err(|ended| format!("{ended:?}"))?;
    if head.word(1) != "101" {
        return Err(format!("not agreed to: {}", head.text).into());
    }
    for number in 0_u32.. {
        let text = format!("{number:08}");
        let mask = number.to_be_bytes();
        let masked = text.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect::<Vec<_>>();
        wire.send(&[&[0x81, 0x88], &mask[..], &masked].concat()).await?;
        let frame = soon(wire.take(10)).await?;
        if frame != [b"\x81\x08", text.as_bytes()].concat() {
            return Err(format!("other than was sent: {}", frame.escape_ascii()).into());
        }
        round.done();
        sleep(EVERY).await;
    }
    Ok(())
}

async fn stream(target: Target, path: String, round: Round) -> Life {
    let (sender, connection) = h2::client::handshake(target.connect().await?).await?;
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let request = Request::post(format!("http://gateway.test{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
    let (answer, mut to) = sender.ready().await?.send_request(request, false)?;
    let mut answer = Some(answer);
    let mut from: Option<h2::RecvStream> = None;
    let mut came = BytesMut::new();
    for number in 0_u32.. {
        // gRPC's frame: not compressed, four bytes.
        let message = [&[0, 0, 0, 0, 4], &number.to_be_bytes()[..]].concat();
        to.send_data(Bytes::from(message.clone()), false)?;
        if let Some(answer) = answer.take() {
            let answer = soon(answer).await?;
            if answer.status() != 200 {
                return Err(format!("answered {:?}", answer.status()).into());
            }
            from = Some(answer.into_body());
        }
        let from = from.as_mut().ok_or("no answer")?;
        while came.len() < message.len() {
            let data = soon(async { from.data().await.ok_or("its end")?.map_err(|error| error.to_string()) }).await?;
            from.flow_control().release_capacity(data.len())?;
            came.extend_from_slice(&data);
        }
        if came.split_to(message.len()) != message {
            return Err("other than was sent".into());
        }
        round.done();
        sleep(EVERY).await;
    }
    Ok(())
}

async fn download(target: Target, path: String, round: Round) -> Life {
    let mut wire = Wire::new(target.connect().await?);
    wire.send(format!("GET {path} HTTP/1.1\r\nHost: gateway.test\r\n\r\n").as_bytes()).await?;
    let head = timeout(PATIENCE, wire.head()).await?.map_err(|ended| format!("{ended:?}"))?;
    if head.word(1) != "200" {
        return Err(format!("answered: {}", head.text).into());
    }
    let mut place = 0;
    loop {
        let chunk = soon(wire.chunk()).await?;
        if chunk.is_empty() {
            return Ok(());
        }
        if let Some(at) = (0..chunk.len()).find(|at| chunk[*at] != byte_at(place + at)) {
            return Err(format!("a wrong byte at {}", place + at).into());
        }
        place += chunk.len();
        round.done();
    }
}
