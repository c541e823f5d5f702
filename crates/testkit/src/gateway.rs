//! The gateway as users run it: the binary, a config file, signals.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::deadline::{Deadline, PATIENCE, pause, wait_until};
use crate::port::free_port;
use crate::process::{end, process, started_with};
use crate::raw_client::RawClient;
use crate::strict::Response;

/// A running gateway. Dropped, it is asked to end, then made to; if the test is failing, its log is shown.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    /// The process that has taken its place.
    successor: Option<u32>,
    http: SocketAddr,
    health: SocketAddr,
    output: Log,
    messages: Log,
    folder: TempDir,
    environment: Vec<(String, String)>,
}

type Log = Arc<Mutex<Vec<u8>>>;

impl Gateway {
    /// Starts `binary run -c FILE` and waits until it is ready.
    ///
    /// In `config`, `{{http}}` and `{{health}}` stand for two addresses chosen here, and every other `{{name}}` for
    /// what `values` says. The config must have a health listener at `{{health}}`.
    ///
    /// # Panics
    /// When it ends or is not ready in time; the message has its log.
    #[must_use]
    pub fn start(binary: &str, config: &str, values: &[(&str, String)]) -> Self {
        Self::start_with(binary, config, values, &[])
    }

    /// The same, with these in its environment.
    ///
    /// # Panics
    /// When it ends or is not ready in time; the message has its log.
    #[must_use]
    pub fn start_with(binary: &str, config: &str, values: &[(&str, String)], environment: &[(&str, &str)]) -> Self {
        let [http, health] = [free_port(), free_port()].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let text = filled(config, http, health, values);
        let folder = tempfile::tempdir().expect("a folder for the config");
        let file = folder.path().join("tollgate.yaml");
        fs::write(&file, text).expect("the config is written");
        let (output, messages) = (Log::default(), Log::default());
        let environment: Vec<_> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let child = spawn(binary, &folder, &environment, &output, &messages);
        let mut gateway = Self { child, successor: None, http, health, output, messages, folder, environment };
        gateway.await_ready();
        gateway
    }

    /// Stops it, and starts it again with what its config is now, and the same environment.
    ///
    /// # Panics
    /// When it does not end, or is not ready again, in time.
    pub fn restart(&mut self, binary: &str) {
        self.terminate();
        self.ended();
        self.start_again(binary);
    }

    /// Starts it again after it has ended.
    ///
    /// # Panics
    /// When it is not ready again in time.
    pub fn start_again(&mut self, binary: &str) {
        self.child = spawn(binary, &self.folder, &self.environment, &self.output, &self.messages);
        self.await_ready();
    }

    /// Writes another config in the place of its own, as an editor does: beside it, then renamed over it. What stands in braces
    /// means the same as at the start.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write_config(&self, config: &str, values: &[(&str, String)]) {
        let (file, new) = (self.folder.path().join("tollgate.yaml"), self.folder.path().join("new"));
        fs::write(&new, filled(config, self.http, self.health, values)).expect("the config is written");
        fs::rename(new, file).expect("the config is renamed");
    }

    /// Gives it another config, and waits until that is in force.
    ///
    /// # Panics
    /// When it is not in time.
    pub fn reload(&self, config: &str, values: &[(&str, String)]) {
        // It is ready a moment before it tells which config it has.
        wait_until("a config is in force", || self.revision() > 0);
        let before = self.revision();
        self.write_config(config, values);
        self.signal(Signal::HUP);
        wait_until("the new config is in force", || self.revision() > before);
    }

    /// The number of the config in force.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.status().pointer("/config/revision").and_then(Value::as_u64).unwrap_or_default()
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.http
    }

    /// Where health, metrics and status are.
    #[must_use]
    pub fn health_address(&self) -> SocketAddr {
        self.health
    }

    /// A connection to it.
    #[must_use]
    pub fn client(&self) -> RawClient {
        RawClient::connect(self.http)
    }

    /// What the health listener answers to this path.
    #[must_use]
    pub fn health(&self, path: &str) -> Response {
        let host = self.health;
        RawClient::connect(host).call(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    }

    /// What it has written so far: its messages, then its output.
    #[must_use]
    pub fn log(&self) -> String {
        text(&self.messages) + &text(&self.output)
    }

    /// What it has written to its standard output so far, line by line as JSON: its access log, if that goes there.
    ///
    /// # Panics
    /// When a whole line is no JSON.
    #[must_use]
    pub fn access_log(&self) -> Vec<Value> {
        json_lines(&text(&self.output))
    }

    /// Waits for the line of the access log that satisfies `condition`.
    ///
    /// # Panics
    /// When it does not come in time.
    #[must_use]
    pub fn access_line(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let mut found = None;
        wait_until(&format!("a line of the access log: {what}"), || {
            found = self.access_log().into_iter().find(&condition);
            found.is_some()
        });
        found.expect("it was found")
    }

    /// What it says of itself: `GET /status`.
    ///
    /// # Panics
    /// When that is no JSON.
    #[must_use]
    pub fn status(&self) -> Value {
        self.health("/status").json()
    }

    /// The value of one sample of `/metrics`, by its name and labels as they are written there; 0 if it is not there,
    /// as nothing happened yet.
    ///
    /// # Panics
    /// When its value is no number.
    #[must_use]
    pub fn metric(&self, sample: &str) -> f64 {
        let page = self.health("/metrics").text();
        let value = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap_or_else(|_| panic!("{sample} {value}")))
    }

    /// Where its config is, and where it runs.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// The id of its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.successor.unwrap_or_else(|| self.child.id())
    }

    /// Has it replaced by what its binary is now (SIGUSR2), and waits until that serves. From then on, that is meant; the one
    /// before ends by itself, see [`Gateway::ended`].
    ///
    /// # Panics
    /// When that does not serve in time.
    pub fn upgrade(&mut self) {
        self.signal(Signal::USR2);
        self.upgraded();
    }

    /// Waits until another process has taken its place.
    ///
    /// # Panics
    /// When none has in time.
    pub fn upgraded(&mut self) {
        let before = self.pid();
        wait_until("another process serves", || {
            let pid = self.status()["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
            self.successor = pid.filter(|pid| *pid != before);
            self.successor.is_some()
        });
    }

    /// The memory it holds, in KiB (`VmRSS`).
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most memory it ever held, in KiB (`VmHWM`).
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn peak_kib(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// The CPU time that all of its threads have used (`schedstat`).
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it runs");
        let used = tasks.flatten().filter_map(|task| {
            let stat = fs::read_to_string(task.path().join("schedstat")).ok()?;
            stat.split(' ').next()?.parse().ok().map(Duration::from_nanos)
        });
        used.sum()
    }

    fn memory(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of this name");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Waits until a sample of `/metrics` (see [`Gateway::metric`]) satisfies `condition`: what happened is counted only
    /// once its answer is out.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn await_metric(&self, sample: &str, condition: impl Fn(f64) -> bool) {
        wait_until(sample, || condition(self.metric(sample)));
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn signal(&self, signal: Signal) {
        kill_process(process(self.pid()), signal).expect("the signal is sent");
    }

    /// Asks it to end (SIGTERM).
    ///
    /// # Panics
    /// When it has ended already.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Stops it where it is (SIGSTOP), so that what is sent meanwhile waits for it; see [`Gateway::thaw`].
    ///
    /// # Panics
    /// When it has ended already.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        let stat = format!("/proc/{}/stat", self.pid());
        wait_until("it stands still", || fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T ")));
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits for it to end by itself; of two, the one that was first.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn ended(&mut self) -> ExitStatus {
        let deadline = Deadline::patient();
        loop {
            if let Some(status) = self.child.try_wait().expect("its state") {
                return status;
            }
            assert!(deadline.left().is_some(), "it does not end; its log:\n{}", self.log());
            pause();
        }
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn stop(mut self) -> ExitStatus {
        self.terminate();
        self.ended()
    }

    fn await_ready(&mut self) {
        let deadline = Deadline::patient();
        loop {
            if let Some(status) = self.child.try_wait().expect("its state") {
                // The last lines are read by other threads, which end when the pipes do.
                pause();
                panic!("the gateway ended at once, {status}; its log:\n{}", self.log());
            }
            // Connecting first, since `health` takes an unwilling peer for a failure.
            if RawClient::is_accepted(self.health) && self.health("/health/ready").status == 200 {
                return;
            }
            assert!(deadline.left().is_some(), "not ready within {PATIENCE:?}; its log:\n{}", self.log());
            pause();
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.terminate();
            let deadline = Deadline::after(Duration::from_secs(5));
            while matches!(self.child.try_wait(), Ok(None)) {
                if deadline.left().is_none() {
                    let _ = self.child.kill();
                }
                pause();
            }
        }
        // Whoever took its place, also if the test never came to know of it.
        started_with(self.folder()).into_iter().for_each(end);
        if thread::panicking() {
            show(&self.log());
        }
        if let Ok(Some(status)) = self.child.try_wait()
            && status.core_dumped()
            && !thread::panicking()
        {
            panic!("the gateway crashed: {status}");
        }
    }
}

/// How many of the last lines of the log are shown.
const SHOWN: usize = 40;

#[expect(clippy::print_stderr, reason = "the test runner shows it with the failed test")]
fn show(log: &str) {
    let lines: Vec<&str> = log.lines().collect();
    let last = lines.len().saturating_sub(SHOWN);
    eprintln!(
        "--- log of the gateway, {last} lines left out ---\n{}\n--- end of the log ---",
        lines[last..].join("\n")
    );
}

fn text(log: &Log) -> String {
    String::from_utf8_lossy(&log.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}

/// The whole lines of a text as JSON.
///
/// # Panics
/// When one is none.
#[must_use]
pub fn json_lines(text: &str) -> Vec<Value> {
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn filled(config: &str, http: SocketAddr, health: SocketAddr, values: &[(&str, String)]) -> String {
    let text = config.replace("{{http}}", &http.to_string()).replace("{{health}}", &health.to_string());
    values.iter().fold(text, |text, (name, value)| text.replace(&format!("{{{{{name}}}}}"), value))
}

fn spawn(binary: &str, folder: &TempDir, environment: &[(String, String)], output: &Log, messages: &Log) -> Child {
    let mut command = Command::new(binary);
    command.arg("run").arg("-c").arg(folder.path().join("tollgate.yaml")).current_dir(folder.path());
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{binary}: {error}"));
    gather(child.stdout.take().expect("its output"), output);
    gather(child.stderr.take().expect("its messages"), messages);
    child
}

fn gather(mut pipe: impl Read + Send + 'static, log: &Log) {
    let log = Arc::clone(log);
    thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            log.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..count]);
        }
    });
}
