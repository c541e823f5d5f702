//! Requests held against rules: small ones where they are, larger ones beside the workers, so many at a time.

use std::fmt::Write as _;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tollgate_core::body::Length;
use tollgate_core::dialect::grpc;
use tollgate_core::exchange::Exchange;
use tollgate_core::field::Known;
use tollgate_core::head::Version;
use tollgate_core::policy::{Flow, Hooks, Policy, Step};
use tollgate_core::problem::Problem;
use tollgate_waf::{Finding, Guard, Refusal, Request, Verdict};

use super::{BLOCKED, CROWDED, files};

/// Up to so many bytes of head and body take no longer than a worker can do without: a tenth to a half of a millisecond.
const SMALL: usize = 3000;
/// Most requests that wait for a place, for each that has one.
const MOST_WAITING: usize = 64;
/// Most rules that `explain` names.
const MOST_NAMED: usize = 30;

/// Places for larger requests: as many as there are processors, of which this is all about.
static PLACES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(*PROCESSORS)));
static PROCESSORS: LazyLock<usize> = LazyLock::new(|| std::thread::available_parallelism().map_or(1, NonZero::get));
static WAITING: AtomicUsize = AtomicUsize::new(0);

#[derive(Debug)]
pub(super) struct Waf {
    guard: Arc<Guard>,
    /// Largest body.
    most: u64,
    is_shadow: bool,
    /// The files as they are named, and as they were when these were read.
    names: Vec<String>,
    files: Vec<String>,
    what: String,
}

/// Somebody waits for a place, as long as this is there.
struct Waiting;

impl Waiting {
    fn begin() -> Option<Self> {
        let before = WAITING.fetch_add(1, Ordering::Relaxed);
        // Dropped at once, it counts back.
        let own = Self;
        (before < MOST_WAITING * *PROCESSORS).then_some(own)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Waf {
    pub(super) fn new(guard: Arc<Guard>, names: &[&str], most: u64, is_shadow: bool) -> Self {
        let what = described(&guard, names, most, is_shadow);
        let files = files::expanded(names.iter().copied());
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Self { guard, most, is_shadow, names, files, what }
    }

    /// What the verdict means for the exchange.
    fn decide(&self, x: &mut Exchange, verdict: &Verdict) -> Result<Flow, Problem> {
        let Some(refusal) = &verdict.refused else { return Ok(Flow::Next) };
        let cause = cause(refusal, verdict);
        if self.is_shadow {
            x.trail.shadow = Some(&BLOCKED);
            x.trail.cause = Some(cause);
            return Ok(Flow::Next);
        }
        Err(BLOCKED.problem().cause(cause))
    }

    /// Beside the worker, when there is a place.
    async fn beside(&self, x: &mut Exchange, request: Request) -> Result<Flow, Problem> {
        let crowded = || CROWDED.problem().header("Retry-After", "1");
        let waiting = Waiting::begin().ok_or_else(crowded)?;
        let place = Arc::clone(&PLACES).acquire_owned().await.map_err(|_| crowded())?;
        drop(waiting);
        let guard = Arc::clone(&self.guard);
        // The place is held until it is done, also if nobody waits for it any more.
        let inspecting = tokio::task::spawn_blocking(move || {
            let verdict = guard.inspect(&request);
            drop(place);
            verdict
        });
        match inspecting.await {
            Ok(verdict) => self.decide(x, &verdict),
            Err(stopped) => Err(CROWDED.problem().cause(stopped).header("Retry-After", "1")),
        }
    }
}

impl Policy for Waf {
    fn hooks(&self) -> Hooks {
        Hooks { content: true, ..Hooks::REQUEST }
    }

    /// All of a body, but of calls of gRPC, which may go on for ever in both directions. Who only looks on refuses nobody for a large one.
    fn wants_content(&self, x: &Exchange) -> Option<usize> {
        let is_stream = x.head.version == Version::Http2;
        if is_stream && x.head.fields.known(Known::ContentType).is_some_and(grpc::is_call) {
            return None;
        }
        let is_fit = match x.length {
            Length::None => return None,
            Length::Known(bytes) => bytes <= self.most,
            _ => false,
        };
        (is_fit || !self.is_shadow).then(|| usize::try_from(self.most).unwrap_or(usize::MAX))
    }

    fn on_request<'a>(&'a self, x: &'a mut Exchange) -> Step<'a> {
        let request = request(x);
        // Without a runtime there is nothing to keep free.
        if request.size() <= SMALL || Handle::try_current().is_err() {
            let verdict = self.guard.inspect(&request);
            return Step::Now(self.decide(x, &verdict));
        }
        Step::Later(Box::pin(self.beside(x, request)))
    }

    fn is_stale(&self) -> bool {
        files::expanded(self.names.iter().map(String::as_str)) != self.files || self.guard.is_stale()
    }

    fn describe(&self) -> String {
        self.what.clone()
    }
}

/// The request as rules look at it.
fn request(x: &Exchange) -> Request {
    let head = &x.head;
    let mut target = head.raw_path.of(head.fields.buffer.filled()).to_vec();
    if head.is_asterisk {
        target = b"*".to_vec();
    }
    if let Some(query) = head.query() {
        target.push(b'?');
        target.extend(query.bytes());
    }
    let mut headers: Vec<_> = head.fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    if !head.fields.has("host") && !head.host().is_empty() {
        headers.insert(0, (b"Host".to_vec(), head.host().as_bytes().to_vec()));
    }
    Request {
        method: head.method_text().to_owned(),
        target,
        path: head.path().to_owned(),
        protocol: head.version.name(),
        headers,
        body: x.content.clone().unwrap_or_default(),
        client: x.client.ip(),
        id: x.id.as_str().to_owned(),
        // It is chance that rules look for in it.
        age: x.trace.id % 1_000_000,
    }
}

/// Why a request is refused, for our log: `942100 (ARGS:q), 942190 (ARGS:q); score 10, refused from 5`.
fn cause(refusal: &Refusal, verdict: &Verdict) -> String {
    let mut text = String::new();
    if *refusal == Refusal::Work {
        text.push_str("more work than is done for one request; ");
    }
    let is_sum = |finding: &&Finding| !finding.place.starts_with("TX:");
    for finding in verdict.findings.iter().filter(is_sum) {
        let place =
            if finding.place.is_empty() { String::new() } else { format!(" ({})", finding.place.escape_debug()) };
        // Writing to memory does not fail, here and below.
        let _ = write!(text, "{}{place}, ", finding.rule);
    }
    match refusal {
        Refusal::Rule(rule) if !verdict.findings.iter().any(|finding| finding.rule == *rule) => {
            let _ = write!(text, "{rule}, ");
        }
        _ => {}
    }
    if verdict.more > 0 {
        let _ = write!(text, "{} more, ", verdict.more);
    }
    text.truncate(text.trim_end_matches([',', ';', ' ']).len());
    if let (Some(score), Some(threshold)) = (verdict.score, verdict.threshold) {
        let _ = write!(text, "; score {score}, refused from {threshold}");
    }
    text
}

fn described(guard: &Guard, names: &[&str], most: u64, is_shadow: bool) -> String {
    let mut text = format!("{} rules of {}; bodies to {most} bytes", guard.count(), names.join(", "));
    if guard.above() > 0 {
        let _ = write!(text, "; {} rules of higher levels of paranoia left out", guard.above());
    }
    let not_run: Vec<String> = guard.not_run().map(|own| own.id.to_string()).collect();
    if !not_run.is_empty() {
        let more = not_run.len().saturating_sub(MOST_NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let named = not_run[..not_run.len().min(MOST_NAMED)].join(", ");
        let _ = write!(text, "; not run, for want of a memory, answers, or others to ask: {named}{more}");
    }
    if !guard.unused().is_empty() {
        let _ = write!(text, "; left out and not there: {}", guard.unused().join(", "));
    }
    if is_shadow {
        text.push_str(" (shadow: refuses nobody)");
    }
    text
}
