//! Clients that take their time, by the thousand: what slowhttptest does, and the same over HTTP/2.
//!
//! [`SlowClients`] connect one after the other, and each does as little as its [`Manner`] has it until the server ends it. How long
//! that took is what a test asks for.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::deadline::now;
use crate::http2::frame::{Code, HEADER, PREFACE, flag};
use crate::http2::{Frame, Kind, hpack};
use crate::load::runner::Runner;

/// How a client is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It sends a head that does not end, a field now and then (Slowloris).
    Head,
    /// It sends a body, a byte now and then (R-U-Dead-Yet).
    Body,
    /// It asks for much, and reads a few bytes now and then.
    Reader,
    /// It asks once, and for nothing more.
    Idle,
    /// Over HTTP/2, it sends a head of many CONTINUATION frames, one now and then.
    Fields,
    /// Over HTTP/2, it asks for much, and gives no room for it: its windows are shut.
    Windows,
    /// Over HTTP/2, it asks for much, gives all the room there is, and does not read.
    Unread,
}

/// All manners.
pub const MANNERS: [Manner; 7] = {
    use Manner::{Body, Fields, Head, Idle, Reader, Unread, Windows};
    [Head, Body, Reader, Idle, Fields, Windows, Unread]
};

/// How often each does a little.
const EVERY: Duration = Duration::from_secs(1);
/// How much room for what comes those have who do not read it; and a segment as on the net, since the system keeps ready for some.
const ROOM: usize = 4096;
const SEGMENT: u32 = 1460;

/// What became of one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// It has not begun.
    Waits,
    /// It is slow since then.
    Lives(Instant),
    /// It was ended after so long.
    Gone(Duration),
}

/// Some of one manner. Dropped, they end.
#[derive(Debug)]
pub struct SlowClients {
    fates: Fates,
    _runner: Runner,
}

type Fates = Arc<Mutex<Vec<Fate>>>;

impl SlowClients {
    /// So many begin within this time. `path`: where much is to be had.
    #[must_use]
    pub fn start(manner: Manner, count: u32, within: Duration, address: SocketAddr, path: &str) -> Self {
        let runner = Runner::start("slow clients");
        let fates = Arc::new(Mutex::new(vec![Fate::Waits; count as usize]));
        for number in 0..count {
            let (fates, path, wait) = (Arc::clone(&fates), path.to_owned(), within / count * number);
            runner.spawn(async move {
                sleep(wait).await;
                let begun = || lock(&fates)[number as usize] = Fate::Lives(now());
                // However it ends, it is over.
                let _ = live(manner, address, &path, begun).await;
                let mut fates = lock(&fates);
                let fate = &mut fates[number as usize];
                if let Fate::Lives(since) = *fate {
                    *fate = Fate::Gone(now() - since);
                }
            });
        }
        Self { fates, _runner: runner }
    }

    /// Those that are slow now.
    #[must_use]
    pub fn alive(&self) -> usize {
        lock(&self.fates).iter().filter(|fate| matches!(fate, Fate::Lives(_))).count()
    }

    /// Those that never came so far as to be slow.
    #[must_use]
    pub fn unborn(&self) -> usize {
        lock(&self.fates).iter().filter(|fate| **fate == Fate::Waits).count()
    }

    /// How long those were borne that were ended.
    #[must_use]
    pub fn lives(&self) -> Vec<Duration> {
        let gone = |fate: &Fate| if let Fate::Gone(after) = fate { Some(*after) } else { None };
        lock(&self.fates).iter().filter_map(gone).collect()
    }
}

fn lock(fates: &Mutex<Vec<Fate>>) -> MutexGuard<'_, Vec<Fate>> {
    fates.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets this process, and those that it starts, open so many files.
///
/// # Panics
/// When the system does not allow for so many.
pub fn allow_open_files(count: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < count) {
        let raised = Rlimit { current: Some(count), maximum };
        setrlimit(Resource::Nofile, raised)
            .unwrap_or_else(|error| panic!("{count} files are to be open, and {maximum:?} may be: {error}"));
    }
}

async fn live(manner: Manner, address: SocketAddr, path: &str, begun: impl FnOnce()) -> io::Result<()> {
    let keeps = matches!(manner, Manner::Reader | Manner::Unread);
    let mut stream = if keeps { narrow(address).await? } else { TcpStream::connect(address).await? };
    stream.set_nodelay(true)?;
    let get = format!("GET {path} HTTP/1.1\r\nHost: slow\r\n\r\n");
    match manner {
        Manner::Head => {
            stream.write_all(&get.as_bytes()[..get.len() - 2]).await?;
            begun();
            dribble(stream, |n| format!("X-{n}: x\r\n").into_bytes()).await
        }
        Manner::Body => {
            let head = "POST /body HTTP/1.1\r\nHost: slow\r\nContent-Length: 4096\r\n\r\n";
            stream.write_all(head.as_bytes()).await?;
            begun();
            dribble(stream, |_| b"x".to_vec()).await
        }
        Manner::Reader => {
            stream.write_all(get.as_bytes()).await?;
            begun();
            sip(&mut stream, 5).await
        }
        Manner::Idle => {
            stream.write_all(b"HEAD /idle HTTP/1.1\r\nHost: slow\r\n\r\n").await?;
            // A small answer comes in one piece.
            if stream.read(&mut [0; 4096]).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            begun();
            until_closed(&mut stream).await
        }
        Manner::Fields => {
            let head = Frame::new(Kind::HEADERS, flag::END_STREAM, 1, hpack::request("GET", path));
            stream.write_all(&[PREFACE, &Frame::settings(&[]).bytes(), &head.bytes()].concat()).await?;
            begun();
            let more = |n| Frame::new(Kind::CONTINUATION, 0, 1, hpack::block(&[(&format!("x-{n}"), "x")])).bytes();
            dribble(stream, more).await
        }
        Manner::Windows => {
            ask(&mut stream, path, 0).await?;
            begun();
            until_reset(&mut stream).await
        }
        Manner::Unread => {
            ask(&mut stream, path, i32::MAX as u32).await?;
            begun();
            sip(&mut stream, 0).await
        }
    }
}

/// A connection with little room for what comes.
async fn narrow(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_recv_buffer_size(ROOM)?;
    socket.set_tcp_mss(SEGMENT)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.set_nonblocking(true)?;
    tokio::net::TcpSocket::from_std_stream(socket.into()).connect(address).await
}

/// Asks over HTTP/2, with windows of this size.
async fn ask(stream: &mut TcpStream, path: &str, window: u32) -> io::Result<()> {
    let settings = Frame::settings(&[(4, window)]);
    let get = Frame::headers(1, true, hpack::request("GET", path));
    let wide = Frame::new(Kind::WINDOW_UPDATE, 0, 0, 0x3FFF_0000_u32.to_be_bytes());
    stream.write_all(&[PREFACE, &settings.bytes(), &wide.bytes(), &get.bytes()].concat()).await
}

/// Sends a little now and then until the server has enough.
async fn dribble(mut stream: TcpStream, piece: impl Fn(u32) -> Vec<u8>) -> io::Result<()> {
    for number in 0.. {
        if timeout(EVERY, until_closed(&mut stream)).await.is_ok() {
            break;
        }
        stream.write_all(&piece(number)).await?;
    }
    Ok(())
}

async fn until_closed(stream: &mut TcpStream) -> io::Result<()> {
    let mut came = [0; 4096];
    while stream.read(&mut came).await? > 0 {}
    Ok(())
}

/// Reads so many bytes now and then, and looks whether the connection was reset meanwhile.
async fn sip(stream: &mut TcpStream, bytes: usize) -> io::Result<()> {
    const LOOKS: u32 = 10;
    loop {
        for _ in 0..LOOKS {
            sleep(EVERY / LOOKS).await;
            if let Some(error) = stream.take_error()? {
                return Err(error);
            }
        }
        let mut came = vec![0; bytes];
        if bytes > 0 && stream.read(&mut came).await? == 0 {
            return Ok(());
        }
    }
}

/// Reads frames until the stream is reset, or the connection closed, because this peer costs too much.
async fn until_reset(stream: &mut TcpStream) -> io::Result<()> {
    loop {
        let mut header = [0; HEADER];
        stream.read_exact(&mut header).await?;
        let (length, frame) = Frame::of_header(header);
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await?;
        if frame.kind == Kind::RST_STREAM {
            let code = payload.try_into().map(u32::from_be_bytes).unwrap_or_default();
            // Another code is no end that was asked for: it lives on, as a test will see.
            return if Code(code) == Code(11) { Ok(()) } else { std::future::pending().await };
        }
    }
}
