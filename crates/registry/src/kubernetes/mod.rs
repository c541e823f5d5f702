//! Kubernetes, after its published API: the EndpointSlices (`discovery.k8s.io/v1`) of a service, listed once and watched from there.
//!
//! - A watch is a stream of changes from a resource version on; it ends after a minute and goes on from the last version that it
//!   named, of changes or bookmarks. If that version is too old (410 Gone), all is listed again.
//! - A stream that says nothing beyond its minute is dead. What fails shows as [`State::Stale`](crate::State::Stale), and is asked for
//!   again after a second, then less and less often, at last every 30 seconds; instances are used for `hold`, then they lapse.
//! - The token is a file that Kubernetes replaces: it is read for every question.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, fs};

use tokio::runtime::Handle;
use tollgate_core::caller::{Call, Caller, Chunks};
use tollgate_core::clock::Clock;
use tollgate_observe::Metrics;

use crate::Source;
use crate::backoff::{Backoff, Pace, spread};
use crate::consul::coded;
use crate::dns::Dns;
use crate::kept::{Following, Kept, Told};
use crate::places::Places;

mod slices;

use slices::{Event, List, Slices};

/// Most bytes of a list, and of a chunk of a stream.
const MOST_BYTES: usize = 32 * 1024 * 1024;
/// Most bytes of one change: a slice has 1,000 endpoints at most.
const MOST_LINE: usize = 4 * 1024 * 1024;
/// Most bytes of what is said with a refusal, which is then read no further.
const MOST_SAID: usize = 64 * 1024;
/// Most slices of one service.
const MOST_SLICES: usize = 1_000;
/// Most bytes of a token.
const MOST_TOKEN: u64 = 64 * 1024;
/// How many slices one page of a list has.
const PAGE: usize = 500;
/// How long an answer may take to begin.
const ANSWER: Duration = Duration::from_secs(10);
/// A stream that lasted so long is one, though it said nothing.
const LASTING: Duration = Duration::from_secs(5);
/// How long the server may watch before it ends the stream.
const WATCH: Duration = Duration::from_secs(60);

/// How Kubernetes is asked.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the API server is.
    pub url: String,
    /// What it is shown.
    pub token: Option<Token>,
    /// How long instances are used while there is no answer.
    pub hold: Duration,
}

/// Who the gateway is there.
#[derive(Clone, PartialEq, Eq)]
pub enum Token {
    /// As it stands in a file, each time anew.
    File(PathBuf),
    /// This.
    Text(String),
}

/// Which instances are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The namespace.
    pub namespace: String,
    /// The service in it.
    pub service: String,
    /// The port; `None`: the only one that there is.
    pub port: Option<Port>,
}

/// A port of a service's instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// By its name.
    Name(String),
    /// By its number.
    Number(u16),
}

/// Asks the API server.
#[derive(Debug)]
pub struct Kubernetes {
    settings: Settings,
    caller: Arc<dyn Caller>,
    dns: Arc<Dns>,
    runtime: Handle,
    clock: Clock,
    metrics: Arc<Metrics>,
}

/// Why what is known must be listed again.
enum Broken {
    /// What changed since then is not known any more.
    Gone,
    /// Anything else.
    Failed(String),
}

impl From<String> for Broken {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

impl Kubernetes {
    /// Asks by this caller, on `runtime`, never a worker's.
    pub fn new(
        settings: Settings,
        caller: Arc<dyn Caller>,
        dns: Arc<Dns>,
        runtime: Handle,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self { settings, caller, dns, runtime, clock, metrics })
    }

    /// The instances of a service, followed until this is dropped.
    pub fn source(self: &Arc<Self>, wanted: Wanted) -> Arc<dyn Source> {
        let name = format!("kubernetes {}/{}", wanted.namespace, wanted.service);
        let told = Told::new(Arc::clone(&self.metrics), Metrics::sources, &name);
        let (hold, clock) = (Some(self.settings.hold), self.clock.clone());
        let (kept, view) = Kept::new(told, Places::new(Arc::clone(&self.dns)), Vec::new(), hold, clock);
        Arc::new(Following::new(view, &self.runtime, follow(Arc::clone(self), wanted, kept)))
    }

    /// All slices, page by page, and the version from which to watch.
    async fn list(&self, wanted: &Wanted) -> Result<(Slices, String), Broken> {
        let (mut slices, mut go_on) = (Slices::default(), String::new());
        loop {
            let page = if go_on.is_empty() { String::new() } else { format!("&continue={}", coded(&go_on)) };
            let call = self.call(wanted, &format!("limit={PAGE}{page}"), ANSWER).await?;
            let answer = self.caller.call(call).await.map_err(|error| error.0)?;
            match answer.status {
                200 => {}
                410 => return Err(Broken::Gone),
                status => return Err(refused(status, &answer.body).into()),
            }
            let list = List::read(&answer.body)?;
            slices.extend(list.items)?;
            match list.metadata.go_on.filter(|next| !next.is_empty()) {
                Some(next) => go_on = next,
                None => return Ok((slices, list.metadata.resource_version)),
            }
        }
    }

    /// A stream of what changes after this version.
    async fn watch(&self, wanted: &Wanted, version: &str) -> Result<Stream, Broken> {
        let seconds = WATCH.as_secs();
        let query =
            format!("watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={}", coded(version));
        let call = self.call(wanted, &query, ANSWER).await?;
        let opened = self.caller.open(call).await.map_err(|error| error.0)?;
        match opened.status {
            200 => Ok(Stream { chunks: opened.chunks, read: Vec::new() }),
            410 => Err(Broken::Gone),
            status => Err(refused(status, &said(opened.chunks).await).into()),
        }
    }

    async fn call(&self, wanted: &Wanted, query: &str, timeout: Duration) -> Result<Call, String> {
        let url = format!(
            "{}/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices?labelSelector={}&{query}",
            self.settings.url.trim_end_matches('/'),
            coded(&wanted.namespace),
            coded(&format!("kubernetes.io/service-name={}", wanted.service)),
        );
        let mut call = Call::get(url, MOST_BYTES, timeout);
        call.fields.push(("Accept", "application/json".to_owned()));
        let token = match self.settings.token.clone() {
            None => None,
            Some(Token::Text(text)) => Some(text),
            Some(Token::File(path)) => {
                // A disk may take its time; the runtime has other things to do.
                Some(tokio::task::spawn_blocking(move || read(&path)).await.map_err(|error| error.to_string())??)
            }
        };
        call.fields.extend(token.map(|token| ("Authorization", format!("Bearer {token}"))));
        Ok(call)
    }
}

fn read(path: &PathBuf) -> Result<String, String> {
    let told = |why: &dyn fmt::Display| format!("the token in `{}` cannot be read: {why}", path.display());
    let length = fs::metadata(path).map_err(|error| told(&error))?.len();
    if length > MOST_TOKEN {
        return Err(told(&"it is too large"));
    }
    let text = fs::read_to_string(path).map_err(|error| told(&error))?;
    let token = text.trim();
    let is_fit = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    if is_fit { Ok(token.to_owned()) } else { Err(told(&"it is no token")) }
}

/// What the server says instead of a stream, as far as it comes soon.
async fn said(mut chunks: Box<dyn Chunks>) -> Vec<u8> {
    let mut all = Vec::new();
    let reading = async {
        while let Ok(Some(chunk)) = chunks.next().await {
            all.extend_from_slice(&chunk);
            if all.len() >= MOST_SAID {
                break;
            }
        }
    };
    // What has come by then is what there is.
    let _ = tokio::time::timeout(ANSWER, reading).await;
    all
}

fn refused(status: u16, body: &[u8]) -> String {
    let why = slices::message(body).map_or_else(String::new, |message| format!(": {message}"));
    format!("the API server answers {status}{why}")
}

/// Lists, watches, and begins again where that breaks.
async fn follow(kubernetes: Arc<Kubernetes>, wanted: Wanted, mut kept: Kept) -> Infallible {
    let mut failures = Backoff::default();
    let mut pace = Pace::new(kubernetes.clock.now());
    let mut wait = Duration::ZERO;
    loop {
        let listed = async {
            tokio::time::sleep(wait).await;
            kubernetes.list(&wanted).await
        };
        let broken = match kept.during(listed).await {
            Err(broken) => broken,
            Ok((slices, version)) => match slices.places(wanted.port.as_ref()) {
                Err(why) => Broken::Failed(why),
                Ok(places) => {
                    kept.learn(places);
                    let mut known = Known { slices, version };
                    watched(&kubernetes, &wanted, &mut kept, (&mut pace, &mut failures), &mut known).await
                }
            },
        };
        wait = match broken {
            Broken::Gone => pace.ask(kubernetes.clock.now()),
            Broken::Failed(why) => {
                kept.fail(&why);
                spread(failures.failed())
            }
        };
    }
}

/// What a list says, and the changes since.
struct Known {
    slices: Slices,
    version: String,
}

/// Follows the changes, stream after stream, until that breaks. Only a stream that says something, or has lasted, is a success: who may
/// list, and may not watch, would be asked for the list every second.
async fn watched(
    kubernetes: &Kubernetes,
    wanted: &Wanted,
    kept: &mut Kept,
    (pace, failures): (&mut Pace, &mut Backoff),
    known: &mut Known,
) -> Broken {
    loop {
        let wait = pace.ask(kubernetes.clock.now());
        let opened = async {
            tokio::time::sleep(wait).await;
            kubernetes.watch(wanted, &known.version).await
        };
        let mut stream = match kept.during(opened).await {
            Ok(stream) => stream,
            Err(broken) => return broken,
        };
        let (opened, mut has_said) = (kubernetes.clock.now(), false);
        loop {
            let lines = match kept.during(stream.lines()).await {
                Ok(Some(lines)) => lines,
                // The minute is over, or somebody in between ends streams.
                Ok(None) => {
                    if has_said || kubernetes.clock.now().saturating_duration_since(opened) >= LASTING {
                        failures.succeeded();
                    }
                    break;
                }
                Err(why) => return Broken::Failed(why),
            };
            let is_changed = match take(&mut known.slices, &mut known.version, &lines) {
                Ok(is_changed) => is_changed,
                Err(broken) => return broken,
            };
            failures.succeeded();
            has_said = true;
            if !is_changed {
                continue;
            }
            match known.slices.places(wanted.port.as_ref()) {
                Ok(places) => kept.learn(places),
                Err(why) => return Broken::Failed(why),
            }
        }
    }
}

/// Takes changes over. Whether there were any, beside bookmarks.
fn take(slices: &mut Slices, version: &mut String, lines: &[Vec<u8>]) -> Result<bool, Broken> {
    let mut is_changed = false;
    for line in lines {
        match Event::read(line)? {
            Event::Put(slice) => {
                slice.metadata.resource_version.clone_into(version);
                slices.put(*slice)?;
                is_changed = true;
            }
            Event::Gone(slice) => {
                slice.metadata.resource_version.clone_into(version);
                slices.remove(&slice);
                is_changed = true;
            }
            Event::Bookmark(at) => *version = at,
            Event::Expired => return Err(Broken::Gone),
            Event::Failed(why) => return Err(Broken::Failed(why)),
        }
    }
    Ok(is_changed)
}

/// Changes as they come: a line for each.
#[derive(Debug)]
struct Stream {
    chunks: Box<dyn Chunks>,
    /// What is there of the next line.
    read: Vec<u8>,
}

impl Stream {
    /// The next lines, at least one; `None`: it has ended.
    async fn lines(&mut self) -> Result<Option<Vec<Vec<u8>>>, String> {
        loop {
            let most = WATCH + ANSWER;
            let silent = |_| format!("the API server says nothing for {} s", most.as_secs());
            let chunk = tokio::time::timeout(most, self.chunks.next()).await.map_err(silent)?;
            let Some(chunk) = chunk.map_err(|error| error.0)? else { return Ok(None) };
            self.read.extend_from_slice(&chunk);
            let lines = cut(&mut self.read);
            if self.read.len() > MOST_LINE {
                return Err(format!("a change is larger than {MOST_LINE} bytes"));
            }
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
        }
    }
}

/// All whole lines that are not empty.
fn cut(read: &mut Vec<u8>) -> Vec<Vec<u8>> {
    let Some(end) = read.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
    let rest = read.split_off(end + 1);
    let whole = std::mem::replace(read, rest);
    whole.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).map(<[u8]>::to_vec).collect()
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("url", &self.url).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
