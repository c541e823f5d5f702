//! A proxy that does one thing badly, on purpose: shows that the load client would notice.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::{TcpListener, TcpStream};

use super::runner::Runner;
use super::wire::{Head, Wire};

/// What it does badly, one time in 500.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Badness {
    /// Nothing.
    Good,
    /// Closes a connection in the middle of an answer.
    Cuts,
    /// Closes a kept connection when a request has come, and answers nothing.
    Closes,
    /// Passes a request on twice.
    Doubles,
    /// Takes a request and does nothing about it.
    Drops,
    /// Answers by itself that something is wrong.
    Fails,
    /// Answers as if the request had been passed on.
    Invents,
    /// Leaves out a byte of an answer's body.
    Spoils,
}

/// It speaks HTTP/1.1 only. Dropped, it ends.
#[derive(Debug)]
pub struct BadProxy {
    address: SocketAddr,
    _runner: Runner,
}

/// One time in so many.
const SELDOM: u64 = 500;

#[derive(Debug)]
struct Manner {
    badness: Badness,
    to: SocketAddr,
    requests: AtomicU64,
}

impl BadProxy {
    /// In front of this server.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn start(to: SocketAddr, badness: Badness) -> Self {
        let runner = Runner::start("bad proxy");
        let _context = runner.handle().enter();
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("its mode");
        let address = listener.local_addr().expect("its address");
        let listener = TcpListener::from_std(listener).expect("a listener");
        let manner = Arc::new(Manner { badness, to, requests: AtomicU64::new(0) });
        runner.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let manner = Arc::clone(&manner);
                tokio::spawn(async move {
                    // Its client sees how it ends.
                    let _ = serve(stream, &manner).await;
                });
            }
        });
        Self { address, _runner: runner }
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(stream: TcpStream, manner: &Manner) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut client = Wire::new(stream);
    let mut service = Wire::new(TcpStream::connect(manner.to).await?);
    while let Ok(head) = client.head().await {
        let body = client.body(&head).await?;
        let is_time = manner.requests.fetch_add(1, Ordering::Relaxed) % SELDOM == SELDOM - 1;
        let bad = if is_time { manner.badness } else { Badness::Good };
        match bad {
            Badness::Closes => return Ok(()),
            Badness::Drops => std::future::pending().await,
            Badness::Fails => {
                client.send(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n").await?;
                continue;
            }
            Badness::Invents => {
                let id = head.word(1).rsplit('/').next().unwrap_or_default();
                let body = [id.as_bytes(), b" ", &body].concat();
                client.send(&written("HTTP/1.1 200 OK", &body)).await?;
                continue;
            }
            Badness::Doubles => {
                pass_on(&mut service, &head, &body).await?;
            }
            _ => {}
        }
        let (answer, mut body) = pass_on(&mut service, &head, &body).await?;
        if bad == Badness::Spoils {
            body.pop();
        }
        let answer = written(answer.text.lines().next().unwrap_or_default(), &body);
        if bad == Badness::Cuts {
            return client.send(&answer[..answer.len() - 1]).await;
        }
        client.send(&answer).await?;
        if head.is_last() {
            return Ok(());
        }
    }
    Ok(())
}

async fn pass_on(service: &mut Wire<TcpStream>, head: &Head, body: &[u8]) -> std::io::Result<(Head, Vec<u8>)> {
    // Its own connections stay, whatever the client wants.
    let text = head.text.replace("Connection: close\r\n", "");
    service.send(&[text.as_bytes(), body].concat()).await?;
    let answer = service.head().await.map_err(|ended| std::io::Error::other(format!("{ended:?}")))?;
    let body = service.body(&answer).await?;
    Ok((answer, body))
}

fn written(line: &str, body: &[u8]) -> Vec<u8> {
    [format!("{line}\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}
