//! The documentation holds: configs are accepted (or refused, where they show mistakes), sessions go as printed, links
//! lead somewhere.
//!
//! What a page may hold, by the words behind the three backticks:
//! - `yaml`: a whole config, accepted without a warning. Its first line may be a comment with its file name.
//! - `yaml part`: a part of one; what is missing for a whole one is put around it.
//! - `yaml fails`: a whole config that is refused.
//! - `console`: commands behind `$ `, each with what it prints (standard error too). `…` stands for anything in a line,
//!   a line of `…` for any lines. All blocks of a page are one shell session, in a folder where the configs of the page
//!   are written as they come (`tollgate.yaml` unless they name their file). Ports are exchanged for free ones.
//! - `sh`, `text`: shown only.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use tempfile::TempDir;
use tollgate_testkit::deadline::PATIENCE;
use tollgate_testkit::wait_until;

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
/// Ports that pages use; each becomes a free one of as many digits, so that columns stay where they are.
const PORTS: [&str; 7] = ["8080", "8081", "9900", "9001", "9002", "9003", "9004"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the checkout")
}

/// A page of the documentation, by its path in the checkout.
struct Page {
    name: String,
    text: String,
}

/// A fenced block.
struct Block<'p> {
    kind: &'p str,
    line: usize,
    text: &'p str,
}

/// Every page written by hand.
fn pages() -> Vec<Page> {
    let mut files: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(PathBuf::from).to_vec();
    files.extend(files_below("docs", "md").into_iter().filter(|file| !file.starts_with("docs/reference")));
    let read = |file: PathBuf| Page {
        text: fs::read_to_string(root().join(&file)).unwrap_or_else(|e| panic!("{}: {e}", file.display())),
        name: file.display().to_string(),
    };
    files.into_iter().map(read).collect()
}

/// Files with this ending, sorted, by their paths in the checkout.
fn files_below(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|have| have == ending) {
                found.insert(path.strip_prefix(root()).expect("below the root").to_owned());
            }
        }
    }
    found.into_iter().collect()
}

impl Page {
    fn blocks(&self) -> Vec<Block<'_>> {
        let mut blocks = Vec::new();
        let mut open: Option<(&str, usize, usize)> = None;
        let mut at = 0;
        for (number, line) in self.text.split_inclusive('\n').enumerate() {
            if let Some(kind) = line.trim_end().strip_prefix("```") {
                open = match open {
                    None => Some((kind, number + 2, at + line.len())),
                    Some((kind, line, start)) => {
                        blocks.push(Block { kind, line, text: &self.text[start..at] });
                        None
                    }
                };
            }
            at += line.len();
        }
        assert!(open.is_none(), "{}: a block without an end", self.name);
        blocks
    }

    fn has(&self, kind: &str) -> bool {
        self.blocks().iter().any(|block| block.kind == kind)
    }
}

impl Block<'_> {
    /// The file that its first line names.
    fn file(&self) -> Option<&str> {
        let name = self.text.lines().next()?.strip_prefix("# ")?;
        (name.ends_with(".yaml") && !name.contains(' ')).then_some(name)
    }

    /// A whole config: a part gets a listener, and a route that uses its services.
    fn whole(&self) -> String {
        let sections = |name: &str| self.text.lines().any(|line| line.starts_with(&format!("{name}:")));
        let mut text = self.text.to_owned();
        if self.kind != "yaml part" {
            return text;
        }
        if !sections("listen") {
            text.push_str("listen: 8080\n");
        }
        if !sections("routes") && !sections("apis") {
            let services: Vec<String> = self.services().iter().map(|name| format!("{name}: 1")).collect();
            text.push_str("routes:\n");
            text.push_str(&match services.is_empty() {
                true => "  /**: { reply: 204 }\n".to_owned(),
                false => format!("  /**: {{ to: {{ {} }} }}\n", services.join(", ")),
            });
        }
        text
    }

    fn services(&self) -> Vec<&str> {
        let below = self.text.lines().skip_while(|line| !line.starts_with("services:")).skip(1);
        let below = below.take_while(|line| line.is_empty() || line.starts_with([' ', '#']));
        let names = below.filter_map(|line| line.strip_prefix("  ")?.split_once(':').map(|(name, _)| name));
        names.filter(|name| !name.starts_with([' ', '#'])).collect()
    }
}

/// What `tollgate` says, and its exit code.
fn tollgate(words: &[&str]) -> (String, i32) {
    let mut command = Command::new(TOLLGATE);
    command.args(words).current_dir(root()).env_remove("TOLLGATE_CONFIG").stdin(Stdio::null());
    let output = command.output().expect("tollgate runs");
    let said = [output.stderr, output.stdout].concat();
    (String::from_utf8(said).expect("UTF-8"), output.status.code().expect("an exit code"))
}

/// Holds every block of these kinds against `tollgate check`; tells all that are not as they should be.
fn check_blocks(kinds: &[&str], expected: i32) {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("tollgate.yaml");
    let (mut faults, mut checked) = (Vec::new(), 0);
    for page in pages() {
        for block in page.blocks().iter().filter(|block| kinds.contains(&block.kind)) {
            fs::write(&file, block.whole()).expect("written");
            let (said, code) = tollgate(&["check", "-c", file.to_str().expect("UTF-8")]);
            if code != expected || (expected == 0 && said.contains("warning")) {
                faults.push(format!("{}:{} gives {code}\n{said}", page.name, block.line));
            }
            checked += 1;
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(checked > 0, "no block of {kinds:?} was found");
}

#[test]
fn every_config_in_the_docs_is_accepted_without_a_warning() {
    check_blocks(&["yaml", "yaml part"], 0);
}

#[test]
fn every_config_that_shows_a_mistake_is_refused() {
    check_blocks(&["yaml fails"], 2);
}

#[test]
fn every_example_is_accepted_without_a_warning_and_formatted() {
    let examples = files_below("examples", "yaml");
    assert!(!examples.is_empty());
    for example in examples {
        let name = example.to_str().expect("UTF-8");
        let (said, code) = tollgate(&["check", "-c", name]);
        assert!(code == 0 && !said.contains("warning"), "{said}");
        assert_eq!(tollgate(&["fmt", "--check", name]), (String::new(), 0));
    }
}

#[test]
fn every_block_of_the_docs_is_of_a_kind_that_is_looked_at() {
    let known = ["yaml", "yaml part", "yaml fails", "console", "sh", "text", "rust"];
    for page in pages().iter().filter(|page| page.name != "docs/performance.md") {
        for block in page.blocks() {
            assert!(known.contains(&block.kind), "{}:{}: ```{}", page.name, block.line, block.kind);
        }
    }
}

#[test]
fn every_session_in_the_docs_goes_as_printed() {
    let pages: Vec<Page> = pages().into_iter().filter(|page| page.has("console")).collect();
    assert!(!pages.is_empty());
    let faults: Vec<String> = pages.iter().flat_map(|page| Session::start().play(page)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A shell in a folder of its own.
struct Session {
    shell: Child,
    lines: Receiver<String>,
    folder: TempDir,
    ports: Vec<(&'static str, String)>,
}

/// Ends what a command printed.
const DONE: &str = "--- the command is done ---";

impl Session {
    fn start() -> Self {
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
        session.write("exec 2>&1; trap 'kill $(jobs -p) 2>/dev/null' EXIT\n");
        session
    }

    fn write(&mut self, text: &str) {
        self.shell.stdin.as_mut().expect("its input").write_all(text.as_bytes()).expect("bash listens");
    }

    /// Plays all that a page shows; tells where what is printed differs.
    fn play(mut self, page: &Page) -> Vec<String> {
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
        let config = fs::read_to_string(self.folder.path().join("tollgate.yaml")).unwrap_or_default();
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

#[test]
fn every_link_in_the_docs_leads_to_a_file_and_a_heading() {
    let mut faults = Vec::new();
    for page in pages() {
        let folder = root().join(&page.name).parent().expect("its folder").to_owned();
        let targets = page.text.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target));
        for target in targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:")) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { root().join(&page.name) } else { folder.join(file) };
            let leads = path.exists() && (anchor.is_empty() || anchors(&path).iter().any(|have| have == anchor));
            if !leads {
                faults.push(format!("{}: {target}", page.name));
            }
        }
    }
    assert!(faults.is_empty(), "links that lead nowhere:\n{}", faults.join("\n"));
}

/// The anchors that GitHub gives to a page's headings.
fn anchors(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap_or_default();
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | ' ');
    headings.map(|h| h.to_lowercase().chars().filter(|c| kept(*c)).collect::<String>().replace(' ', "-")).collect()
}
