//! A page's shell session, played and compared with what the page shows.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use tempfile::TempDir;
use tollgate_testkit::deadline::PATIENCE;
use tollgate_testkit::wait_until;

use crate::{Block, Page, TOLLGATE, root};

/// Ports that pages use; each becomes a free one of as many digits, so that columns stay where they are.
const PORTS: [&str; 9] = ["8080", "8081", "8443", "9900", "9901", "9001", "9002", "9003", "9004"];

/// A shell in a folder of its own.
pub(crate) struct Session {
    shell: Child,
    lines: Receiver<String>,
    folder: TempDir,
    ports: Vec<(&'static str, String)>,
}

/// Ends what a command printed.
const DONE: &str = "--- the command is done ---";

impl Session {
    pub(crate) fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        std::os::unix::fs::symlink(root().join("examples"), folder.path().join("examples")).expect("a link");
        let binaries = Path::new(TOLLGATE).parent().expect("its folder").display().to_string();
        let mut command = Command::new("bash");
        command.args(["--noprofile", "--norc"]).current_dir(folder.path()).env_remove("TOLLGATE_CONFIG");
        command.env("PATH", format!("{binaries}:{}", std::env::var("PATH").unwrap_or_default()));
        command.env("LC_ALL", "C.UTF-8").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = command.spawn().expect("bash runs");
        let output = BufReader::new(shell.stdout.take().expect("its output"));
        let (sender, lines) = sync_channel(10_000);
        thread::spawn(move || {
            output
                .split(b'\n')
                .map_while(Result::ok)
                .all(|line| sender.send(String::from_utf8_lossy(&line).into_owned()).is_ok())
        });
        let mut session = Self { shell, lines, folder, ports: free_ports() };
        // One stream, in the order printed; what is left in the background ends with the shell.
        session.write("exec 2>&1; trap 'kill $(jobs -p) 2>/dev/null' EXIT\n");
        session
    }

    fn write(&mut self, text: &str) {
        self.shell.stdin.as_mut().expect("its input").write_all(text.as_bytes()).expect("bash listens");
    }

    /// Plays all that a page shows; tells where what is printed differs.
    pub(crate) fn play(mut self, page: &Page) -> Vec<String> {
        let mut faults = Vec::new();
        for block in page.blocks() {
            match block.kind {
                "yaml" | "yaml fails" => self.save(block.file().unwrap_or("tollgate.yaml"), block.text),
                "yaml part" => block.file().into_iter().for_each(|file| self.save(file, block.text)),
                "console" => faults.extend(self.console(page, &block)),
                _ => {}
            }
        }
        faults
    }

    fn save(&self, file: &str, text: &str) {
        let path = self.folder.path().join(file);
        fs::create_dir_all(path.parent().expect("its folder")).expect("made");
        fs::write(path, self.with_ports(text)).expect("written");
    }

    /// Plays one block.
    fn console(&mut self, page: &Page, block: &Block<'_>) -> Option<String> {
        let mut steps: Vec<(String, Vec<String>)> = Vec::new();
        for line in block.text.lines() {
            let line = self.with_ports(line);
            match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push((command.to_owned(), Vec::new())),
                (None, Some((command, printed))) if printed.is_empty() && command.ends_with('\\') => {
                    command.push('\n');
                    command.push_str(&line);
                }
                (None, Some((_, printed))) => printed.push(line),
                (None, None) => return Some(format!("{}:{}: a line before the first `$ `", page.name, block.line)),
            }
        }
        steps.into_iter().find_map(|(command, expected)| {
            let printed = self.run(&command);
            let fault = || format!("{}: `{command}` printed\n{}", page.name, printed.join("\n"));
            (!matches(&expected, &printed)).then(fault)
        })
    }

    fn run(&mut self, command: &str) -> Vec<String> {
        // The command may leave its last line open.
        self.write(&format!("{command}\nprintf '\\n{DONE}\\n'\n"));
        let mut printed = Vec::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|e| panic!("`{command}`: {e}; {printed:?}"));
            if line == DONE {
                break;
            }
            printed.push(line);
        }
        while printed.last().is_some_and(String::is_empty) {
            printed.pop();
        }
        if command.ends_with('&') {
            self.await_ports(command);
        }
        printed
    }

    /// Until what was just put into the background listens: on the ports that it, or its config, names.
    fn await_ports(&self, command: &str) {
        let named = command.split(' ').find(|word| word.ends_with(".yaml")).unwrap_or("tollgate.yaml");
        let config = fs::read_to_string(self.folder.path().join(named)).unwrap_or_default();
        let listen = config.lines().skip_while(|line| !line.starts_with("listen:"));
        let listen: Vec<&str> =
            listen.enumerate().take_while(|(n, l)| *n == 0 || l.starts_with(' ')).map(|(_, l)| l).collect();
        let told = if command.contains("tollgate run") { listen.join("\n") } else { command.to_owned() };
        for (_, port) in self.ports.iter().filter(|(_, port)| told.contains(port.as_str())) {
            wait_until(&format!("`{command}` listens on {port}"), || is_listening(port));
        }
    }

    /// The text with other ports.
    fn with_ports(&self, text: &str) -> String {
        let mut changed = text.to_owned();
        for (shown, free) in &self.ports {
            changed = replace_word(&changed, shown, free);
        }
        changed
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The end of its input ends the shell, which takes its children with it.
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// Free ports of four digits, below those that the system hands out.
fn free_ports() -> Vec<(&'static str, String)> {
    let start = 2000 + std::process::id() % 5000;
    let mut free = (start..9999).filter(|port| !PORTS.contains(&port.to_string().as_str()));
    let mut next = || free.find(|port| TcpListener::bind(("127.0.0.1", u16::try_from(*port).expect("small"))).is_ok());
    PORTS.iter().map(|shown| (*shown, next().expect("a free port").to_string())).collect()
}

/// Whether some process of this machine listens on the port, seen without connecting.
fn is_listening(port: &str) -> bool {
    let end = format!(":{:04X} ", port.parse::<u16>().expect("a port"));
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().filter_map(|table| fs::read_to_string(table).ok()).any(|table| {
        table.lines().any(|line| {
            let mut columns = line.split_whitespace().skip(1);
            columns.next().is_some_and(|local| format!("{local} ").ends_with(&end)) && columns.nth(1) == Some("0A")
        })
    })
}

/// Replaces a number where it stands alone.
fn replace_word(text: &str, word: &str, by: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let (before, after) = (&rest[..at], &rest[at + word.len()..]);
        let alone = !before.ends_with(|c: char| c.is_ascii_alphanumeric())
            && !after.starts_with(|c: char| c.is_ascii_alphanumeric());
        out.push_str(before);
        out.push_str(if alone { by } else { word });
        rest = after;
    }
    out + rest
}

/// Whether what was printed is what the page shows.
fn matches(expected: &[String], printed: &[String]) -> bool {
    match expected.split_first() {
        None => printed.is_empty(),
        Some((line, rest)) if line == "…" => (0..=printed.len()).any(|skipped| matches(rest, &printed[skipped..])),
        Some((line, rest)) => {
            printed.split_first().is_some_and(|(have, more)| line_matches(line, have) && matches(rest, more))
        }
    }
}

fn line_matches(expected: &str, have: &str) -> bool {
    match expected.split_once('…') {
        None => expected.trim_end() == have.trim_end(),
        Some((start, rest)) => have.strip_prefix(start).is_some_and(|have| {
            have.char_indices().map(|(at, _)| at).chain([have.len()]).any(|at| line_matches(rest, &have[at..]))
        }),
    }
}
