//! A small HTTP server for those that stand in for servers which cannot be run in tests.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::deadline::wait_until;

/// A question that was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its path, as it was sent.
    pub path: String,
    /// Its query, decoded; of a name that is there more than once, all values.
    pub query: BTreeMap<String, Vec<String>>,
    /// Its fields, names in lower case.
    pub fields: BTreeMap<String, String>,
}

impl Asked {
    /// The first value of a parameter of the query.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name)?.first().map(String::as_str)
    }
}

/// What answers: it is told what was asked, where to write, and when it must end.
pub type Answers = Arc<dyn Fn(&Asked, &mut TcpStream, &AtomicBool) + Send + Sync>;

/// A server that runs, or stands still; dropped, it ends. Each connection has one question.
pub struct StandIn {
    address: SocketAddr,
    answers: Answers,
    run: Option<Run>,
}

struct Run {
    is_over: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl std::fmt::Debug for StandIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StandIn").field("address", &self.address).finish_non_exhaustive()
    }
}

impl StandIn {
    /// Starts it on a free port of the loopback address.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let mut own = Self { address: listener.local_addr().expect("its address"), answers, run: None };
        own.serve(listener);
        own
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it, and all its connections; its address stays.
    pub fn stop(&mut self) {
        let Some(run) = self.run.take() else { return };
        run.is_over.store(true, Ordering::SeqCst);
        // Wakes whoever waits for the next connection.
        drop(TcpStream::connect(self.address));
        for stream in run.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Starts it again, after [`StandIn::stop`].
    ///
    /// # Panics
    /// When its port was taken meanwhile.
    pub fn resume(&mut self) {
        let mut listener = None;
        wait_until("its port is free", || {
            listener = TcpListener::bind(self.address).ok();
            listener.is_some()
        });
        self.serve(listener.expect("its port"));
    }

    fn serve(&mut self, listener: TcpListener) {
        let (is_over, open) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        self.run = Some(Run { is_over: Arc::clone(&is_over), open: Arc::clone(&open) });
        let answers = Arc::clone(&self.answers);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                open.lock().unwrap().extend(stream.try_clone());
                let (answers, is_over) = (Arc::clone(&answers), Arc::clone(&is_over));
                thread::spawn(move || {
                    if let Some(asked) = read(&stream) {
                        answers(&asked, &mut stream, &is_over);
                    }
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An answer with these fields, after which the connection ends.
pub fn answer(stream: &mut TcpStream, status: u16, fields: &[(&str, String)], body: &str) {
    let mut head =
        format!("HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("Connection: close\r\n\r\n");
    // Whoever asked may have left.
    let _ = stream.write_all((head + body).as_bytes());
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut lines = BufReader::new(stream.take(64 * 1024)).lines();
    let first = lines.next()?.ok()?;
    let target = first.split(' ').nth(1)?;
    let mut fields = BTreeMap::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        fields.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let (path, parameters) = target.split_once('?').unwrap_or((target, ""));
    let mut query = BTreeMap::<String, Vec<String>>::new();
    for pair in parameters.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        query.entry(decoded(name)).or_default().push(decoded(value));
    }
    Some(Asked { path: path.to_owned(), query, fields })
}

fn decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        let mut digit = || char::from(bytes.next().unwrap_or(b'0')).to_digit(16).expect("a hexadecimal digit") as u8;
        plain.push(if byte == b'%' { digit() * 16 + digit() } else { byte });
    }
    String::from_utf8(plain).expect("UTF-8")
}
