//! Redis, and its Sentinels, as processes: killed, paused, started again.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use crate::deadline::wait_until;
use crate::port::free_port;
use crate::process::process;

/// A server on a free port of the loopback address; dropped, it is killed.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    port: u16,
    file: PathBuf,
    sentinel: Option<&'static str>,
    _folder: TempDir,
}

impl Redis {
    /// A server that writes all to disk at once, so that it knows everything again when it is started after having been killed.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::with("appendonly yes\nappendfsync always\n")
    }

    /// A server that forgets everything with its end. `config`: further lines of its file.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn with(config: &str) -> Self {
        Self::new(config, None)
    }

    /// A copy of this one.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn replica(&self) -> Self {
        Self::with(&format!("replicaof 127.0.0.1 {}\nrepl-diskless-sync-delay 0\n", self.port))
    }

    /// A Sentinel that watches this one by the name `shop`, and needs so many to agree that it is down.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn sentinel(&self, quorum: u32) -> Self {
        let config = format!(
            "sentinel monitor shop 127.0.0.1 {} {quorum}\nsentinel down-after-milliseconds shop 1000\n\
             sentinel failover-timeout shop 4000\nsentinel parallel-syncs shop 1\n",
            self.port
        );
        Self::new(&config, Some("--sentinel"))
    }

    fn new(config: &str, sentinel: Option<&'static str>) -> Self {
        let folder = tempfile::tempdir().expect("a folder for Redis");
        let (port, file) = (free_port(), folder.path().join("redis.conf"));
        let text = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsave \"\"\nprotected-mode no\nloglevel warning\n{config}",
            folder.path().display()
        );
        let text = if sentinel.is_some() { text.replace("save \"\"\n", "") } else { text };
        fs::write(&file, text).expect("its file is written");
        let mut redis = Self { child: spawn(&file, sentinel), port, file, sentinel, _folder: folder };
        redis.await_ready();
        redis
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it, as the loss of power would.
    ///
    /// # Panics
    /// When it cannot be ended.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it has ended");
    }

    /// Starts it again, after [`Redis::kill`].
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self) {
        self.child = spawn(&self.file, self.sentinel);
        self.await_ready();
    }

    /// Stops it, without ending it: its connections stay, and nobody answers.
    ///
    /// # Panics
    /// When it has ended.
    pub fn pause(&self) {
        kill_process(process(self.child.id()), Signal::STOP).expect("it is there");
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When it has ended.
    pub fn resume(&self) {
        kill_process(process(self.child.id()), Signal::CONT).expect("it is there");
    }

    /// All of its answer to this command.
    ///
    /// # Panics
    /// When it cannot be asked.
    #[must_use]
    pub fn tell(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it is there");
        stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).expect("it is asked");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("it answers");
        text
    }

    /// The first line of its answer to this command; `None`: it cannot be asked.
    #[must_use]
    pub fn ask(&self, command: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok()?;
        Some(line.trim_end().to_owned())
    }

    fn await_ready(&mut self) {
        wait_until("Redis answers", || {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("redis-server ended: {status}");
            }
            self.ask("PING").as_deref() == Some("+PONG")
        });
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(file: &PathBuf, sentinel: Option<&str>) -> Child {
    let mut command = Command::new("redis-server");
    command.arg(file).args(sentinel).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().expect("redis-server is installed")
}
