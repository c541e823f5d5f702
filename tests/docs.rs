//! The documentation holds: configs are accepted (or refused, where they show mistakes), sessions go as printed, links
//! lead somewhere.
//!
//! What a page may hold, by the words behind the three backticks:
//! - `yaml`: a whole config, accepted without a warning. Its first line may be a comment with its file name.
//! - `yaml part`: a part of one; what is missing for a whole one is put around it.
//!   Certificates that it may name are there: `shop`, `wild`, `admin` and `gateway` (`.pem`, `.key`), and `ca.pem`.
//! - `yaml fails`: a whole config that is refused.
//! - `console`: commands behind `$ `, each with what it prints (standard error too). `…` stands for anything in a line,
//!   a line of `…` for any lines. All blocks of a page are one shell session, in a folder where the configs of the page
//!   are written as they come (`tollgate.yaml` unless they name their file). Ports are exchanged for free ones.
//! - `sh`, `text`: shown only.

#![allow(clippy::expect_used, clippy::panic, reason = "a test's helpers fail it by panicking")]

#[path = "docs/session.rs"]
mod session;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use tollgate_testkit::Authority;

use session::Session;

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

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
    command
        .args(words)
        .current_dir(root())
        .env_remove("TOLLGATE_CONFIG")
        .env("INTROSPECTION_SECRET", "any")
        .env("API_KEYS_SECRET", "0123456789abcdef0123456789abcdef")
        .env("SIGNING_SECRET", "0123456789abcdef0123456789abcdef")
        .env("PARTNER_SECRET", "0123456789abcdef0123456789abcdef")
        .env("ACCESS_KEY_SECRET", "0123456789abcdef0123456789abcdef")
        .env("STICKY_KEY", "0123456789abcdef0123456789abcdef")
        .env("CLIENT_SECRET", "any")
        .env("REDIS_PASSWORD", "any")
        .env("CONSUL_TOKEN", "any")
        .env("LDAP_PASSWORD", "any")
        .stdin(Stdio::null());
    let output = command.output().expect("tollgate runs");
    let said = [output.stderr, output.stdout].concat();
    (String::from_utf8(said).expect("UTF-8"), output.status.code().expect("an exit code"))
}

/// The files that configs of the documentation may name.
fn files_named(folder: &Path) {
    let authority = Authority::new("Documentation");
    authority.write(folder, "ca.pem");
    authority.server(&["shop.example"]).write(folder, "shop");
    authority.server(&["*.shop.example"]).write(folder, "wild");
    authority.server(&["gateway-1.internal"]).write(folder, "admin");
    authority.client("gateway").write(folder, "gateway");
    let metadata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../identity/testdata/saml/idp-metadata.xml");
    fs::copy(metadata, folder.join("idp-metadata.xml")).expect("written");
    fs::write(folder.join("users.htpasswd"), "").expect("written");
    fs::write(folder.join("keys.json"), "{\"keys\":[]}").expect("written");
    fs::write(folder.join("own-rules.conf"), "SecAction \"id:1,phase:1,pass\"\n").expect("written");
}

/// Holds every block of these kinds against `tollgate check`; tells all that are not as they should be.
fn check_blocks(kinds: &[&str], expected: i32) {
    let folder = TempDir::new().expect("a folder");
    files_named(folder.path());
    let file = folder.path().join("tollgate.yaml");
    // What configs serve files of has to be there.
    fs::create_dir(folder.path().join("public")).expect("made");
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
