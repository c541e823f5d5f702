//! One policy, or a few, on a bench: real heads in, what it decided out. No engine, no network.
//!
//! ```ignore
//! let bench = Bench::of::<RequireConfig>("headers: [X-Tenant]");
//! bench.get("/").refused_with("require/header");
//! bench.request("GET", "/", &[("X-Tenant", "a")]).passes().response(200, &[]).replies(200);
//! ```

mod people;

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use tollgate_core::address_list::AddressList;
use tollgate_core::body::{Body, Finish, Length, RecodeError, Recoder};
use tollgate_core::buffer::Buffer;
use tollgate_core::clock::Clock;
use tollgate_core::counters::Counters;
use tollgate_core::country::{Countries, Country};
use tollgate_core::decode::DecodeCx;
use tollgate_core::dialect::{Dialect, ProblemJson};
use tollgate_core::exchange::Exchange;
use tollgate_core::facts::{ClientAddress, Conn, Route, Tls};
use tollgate_core::head::Fields;
use tollgate_core::ids::{CorrelationId, Trace};
use tollgate_core::pacer::Pacers;
use tollgate_core::policy::{Attempt, BuildCx, Flow, Hooks, Place, Policy, PolicyConfig, PolicyKind, Stage, Step};
use tollgate_core::principal::{Sources, Standing};
use tollgate_core::problem::Problem;
use tollgate_http1::{HeadLimits, Parsed, request, response};
use tollgate_store::MemoryCounters;

pub use people::sources;

/// The name of the host in every request.
pub const HOST: &str = "bench.example";

/// Policies in their order.
type Chain = Vec<(Stage, Arc<dyn Policy>)>;

/// Policies in their order, ready for requests.
#[derive(Debug)]
pub struct Bench {
    chain: Chain,
    route: Arc<Route>,
    conn: Arc<Conn>,
    clock: Clock,
}

impl Bench {
    /// The policy that this value of its key makes; short forms may be used.
    ///
    /// # Panics
    /// If it does not build, with every mistake.
    #[must_use]
    #[track_caller]
    pub fn of<C: PolicyConfig>(yaml: &str) -> Self {
        Self::empty().and::<C>(yaml)
    }

    fn empty() -> Self {
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            chain: Vec::new(),
            route: Arc::new(Route::new("", "bench")),
            conn: Arc::new(Conn::new(address(50_000), address(8080), 0)),
            clock: Clock::fake(std::time::UNIX_EPOCH),
        }
    }

    /// The policy of its own example.
    #[must_use]
    #[track_caller]
    pub fn example<C: PolicyConfig>() -> Self {
        Self::of::<C>(C::EXAMPLE)
    }

    /// Another policy behind those that are there; stages go before the order of calls.
    #[must_use]
    #[track_caller]
    pub fn and<C: PolicyConfig>(mut self, yaml: &str) -> Self {
        match build::<C>(yaml, &self.route, &self.clock) {
            Ok(built) => self.chain.extend(built),
            Err(mistakes) => panic!("`{}` does not build: {}", C::NAME, mistakes.join("; ")),
        }
        self.chain.sort_by_key(|(stage, _)| *stage);
        self
    }

    /// What is wrong with this value, each as `message (hint)`; nothing if it builds.
    #[must_use]
    pub fn mistakes<C: PolicyConfig>(yaml: &str) -> Vec<String> {
        build::<C>(yaml, &Route::default(), &Clock::real()).err().unwrap_or_default()
    }

    /// The same for a client that speaks this version of TLS: `TLSv1.3`.
    #[must_use]
    pub fn secured(mut self, version: &'static str) -> Self {
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (cipher, server_name, alpn) = ("", None, None);
        let tls = Tls { version, cipher, server_name, alpn, is_resumed: false, client: None };
        self.conn = Arc::new(Conn::new(address(50_000), address(8443), 0).under(tls));
        self
    }

    /// The hooks of each policy.
    #[must_use]
    pub fn hooks(&self) -> Vec<Hooks> {
        self.chain.iter().map(|(_, policy)| policy.hooks()).collect()
    }

    /// What each policy says of itself.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        self.chain.iter().map(|(_, policy)| policy.describe()).collect()
    }

    /// Time goes on.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// A `GET` without header fields.
    #[must_use]
    #[track_caller]
    pub fn get(&self, target: &str) -> Outcome {
        self.request("GET", target, &[])
    }

    /// A preflight for a `GET` by a page of this origin.
    #[must_use]
    #[track_caller]
    pub fn preflight(&self, origin: &str) -> Outcome {
        self.request("OPTIONS", "/", &[("Origin", origin), ("Access-Control-Request-Method", "GET")])
    }

    /// A request with these fields beside `Host`. Only its head: a body is as long as the fields tell.
    ///
    /// # Panics
    /// If the gateway would not take such a head, or a policy waits for what never comes.
    #[must_use]
    #[track_caller]
    pub fn request(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Outcome {
        self.run(self.exchange(method, target, headers))
    }

    #[track_caller]
    fn run(&self, x: Exchange) -> Outcome {
        let mut outcome = Outcome { chain: self.chain.clone(), x, ended: Ended::Passed };
        let mut begun = 0;
        for (_, policy) in &self.chain {
            begun += 1;
            if !policy.hooks().request {
                continue;
            }
            let decided = wait(policy.on_request(&mut outcome.x));
            if outcome.decided(decided) {
                outcome.behind(begun);
                break;
            }
        }
        outcome
    }

    /// The same, by a client with this address.
    #[must_use]
    #[track_caller]
    pub fn request_from(&self, client: ClientAddress, method: &str, target: &str, headers: &[(&str, &str)]) -> Outcome {
        let mut x = self.exchange(method, target, headers);
        x.client = client;
        self.run(x)
    }

    /// The same, of which the whole body was read already.
    #[must_use]
    #[track_caller]
    pub fn request_with(&self, method: &str, target: &str, headers: &[(&str, &str)], content: &[u8]) -> Outcome {
        let mut x = self.exchange(method, target, headers);
        x.length = Length::Known(content.len() as u64);
        x.content = Some(content.to_vec().into());
        self.run(x)
    }

    fn exchange(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Exchange {
        let text = head(&format!("{method} {target} HTTP/1.1\r\nHost: {HOST}\r\n"), headers);
        let mut x = Exchange::new(Arc::clone(&self.conn), Arc::clone(&self.route), self.clock.now());
        x.head.fields.buffer = Buffer::holding(text.as_bytes());
        let read = request::Reader::default().read(&mut x.head, &HeadLimits::default());
        assert!(matches!(read, Ok(Parsed::Complete)), "not a whole head: {read:?}\n{text}");
        x.length = request::judge(&mut x.head).unwrap_or_else(|problem| panic!("{problem:?}\n{text}")).length;
        x.trace = Trace::start();
        x.id = CorrelationId::from_trace(x.trace.id);
        x
    }
}

/// A request with these fields beside `Host`, as a handler gets it. Only its head.
///
/// # Panics
/// If the gateway would not take such a head.
#[must_use]
#[track_caller]
pub fn exchange(method: &str, target: &str, headers: &[(&str, &str)]) -> Exchange {
    Bench::empty().exchange(method, target, headers)
}

/// The list `office`, of one address.
#[derive(Debug)]
struct Office;

impl AddressList for Office {
    fn name(&self) -> &str {
        "office"
    }

    fn smallest_with(&self, address: IpAddr) -> Option<u8> {
        (address == IpAddr::from([198, 51, 100, 7])).then_some(32)
    }

    fn describe(&self) -> String {
        "office".to_owned()
    }

    fn standing(&self) -> Standing {
        Standing::Good
    }
}

/// Knows that 203.0.113.0/24 is in Austria.
#[derive(Debug)]
struct Atlas;

impl Countries for Atlas {
    fn of(&self, address: IpAddr) -> Option<Country> {
        matches!(address, IpAddr::V4(ip) if ip.octets().starts_with(&[203, 0, 113])).then(|| Country::read("AT"))?
    }

    fn describe(&self) -> String {
        "atlas".to_owned()
    }

    fn standing(&self) -> Standing {
        Standing::Good
    }
}

fn build<C: PolicyConfig>(yaml: &str, route: &Route, clock: &Clock) -> Result<Chain, Vec<String>> {
    let mut cx = DecodeCx::default();
    let counters: Arc<dyn Counters> = Arc::new(MemoryCounters::new(1000, clock.clone(), &Arc::default()));
    let countries: Option<Arc<dyn Countries>> = Some(Arc::new(Atlas));
    let people = Sources {
        counters: Some(counters),
        pacers: Some(Arc::new(Pacers::new(clock.clone()))),
        countries,
        lists: vec![Arc::new(Office)],
        ..sources(&["idp", "keys", "asked"])
    };
    let built = match tollgate_config::read("bench", yaml) {
        Ok(node) => (PolicyKind::of::<C>().build)(
            &C::desugar(node),
            &mut cx,
            &BuildCx { route, sources: &people, place: Place::Route },
        ),
        Err(mistakes) => {
            cx.diagnostics = mistakes;
            None
        }
    };
    let told = cx.diagnostics.into_iter().map(|mistake| match mistake.hint {
        Some(hint) => format!("{} ({hint})", mistake.message),
        None => mistake.message,
    });
    let told: Vec<String> = told.collect();
    built.filter(|_| told.is_empty()).ok_or(told)
}

fn recoded(recoder: &mut dyn Recoder, pieces: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, RecodeError> {
    let mut all = Vec::new();
    for piece in pieces {
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let mut output = Vec::new();
            let taken = recoder.recode(rest, &mut output)?;
            all.push(output);
            rest = &rest[taken..];
        }
    }
    loop {
        let mut output = Vec::new();
        let finish = recoder.finish(&mut output)?;
        all.push(output);
        if finish == Finish::Done {
            return Ok(all);
        }
    }
}

fn head(start: &str, headers: &[(&str, &str)]) -> String {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{start}{lines}\r\n")
}

/// How far a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Every policy let it pass: nobody answered yet.
    Passed,
    /// A policy answered by itself, or the service did.
    Replied,
    /// A policy refused it.
    Refused(&'static str),
}

/// What became of a request.
#[derive(Debug)]
pub struct Outcome {
    chain: Chain,
    x: Exchange,
    ended: Ended,
}

impl Outcome {
    /// Claims that every policy let it pass.
    #[track_caller]
    pub fn passes(self) -> Self {
        assert_eq!(self.ended, Ended::Passed, "{}", self.told());
        self
    }

    /// Whether it was refused.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self.ended, Ended::Refused(_))
    }

    /// Claims that it was refused with this fault.
    #[track_caller]
    pub fn refused_with(self, slug: &str) -> Self {
        match self.ended {
            Ended::Refused(refused) if refused == slug => self,
            other => panic!("expected `{slug}`, found {other:?}: {}", self.told()),
        }
    }

    /// Claims that the answer has this status.
    #[track_caller]
    pub fn replies(self, status: u16) -> Self {
        assert_ne!(self.ended, Ended::Passed, "nobody answered yet");
        assert_eq!(self.x.reply.head.status, status, "{}", self.told());
        self
    }

    /// The service's answer, after it went back through the policies. Only its head: the body is still to come.
    ///
    /// # Panics
    /// If the request was answered already, or the gateway would not take such a head.
    #[must_use]
    #[track_caller]
    pub fn response(self, status: u16, headers: &[(&str, &str)]) -> Self {
        let mut outcome = self.passes();
        let text = head(&format!("HTTP/1.1 {status} \r\n"), headers);
        let reply = &mut outcome.x.reply;
        reply.head.fields.buffer = Buffer::holding(text.as_bytes());
        let read = response::Reader::default().read(&mut reply.head, &HeadLimits::default());
        assert!(matches!(read, Ok(Parsed::Complete)), "not a whole head: {read:?}\n{text}");
        let verdict = response::judge(&mut reply.head, outcome.x.head.method);
        reply.body = Body::Wire(verdict.unwrap_or_else(|why| panic!("{why}\n{text}")).length);
        outcome.ended = Ended::Replied;
        outcome.behind(outcome.chain.len());
        outcome
    }

    /// The first value of a field of the answer.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers(name).into_iter().next()
    }

    /// All values of a field of the answer.
    #[must_use]
    pub fn headers(&self, name: &str) -> Vec<String> {
        texts(&self.x.reply.head.fields, name)
    }

    /// All values of a field of the request as it would be sent on.
    #[must_use]
    pub fn request_headers(&self, name: &str) -> Vec<String> {
        let onward = &self.x.onward;
        if !onward.hides(name.as_bytes()) {
            return texts(&self.x.head.fields, name);
        }
        let own = onward.fields.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name.as_bytes()));
        own.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    /// The request is about to be sent to this service.
    #[must_use]
    #[track_caller]
    pub fn attempt(self, service: &str) -> Self {
        let mut outcome = self.passes();
        outcome.x.onward.fields.clear();
        for (_, policy) in outcome.chain.clone().iter().filter(|(_, policy)| policy.hooks().attempt) {
            let decided = wait(policy.on_attempt(&mut outcome.x, Attempt { service }));
            if outcome.decided(decided) {
                break;
            }
        }
        outcome
    }

    /// The body of the request comes, in these pieces, and passes all that changes it or looks at it: what the service gets.
    ///
    /// # Errors
    /// What the client is told instead.
    ///
    /// # Panics
    /// If the request was answered already, or a problem is not the client's.
    #[track_caller]
    pub fn upload(&mut self, pieces: &[&[u8]]) -> Result<Vec<u8>, Problem> {
        assert_eq!(self.ended, Ended::Passed, "{}", self.told());
        let mut pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
        for recoder in &mut self.x.recoders {
            pieces = recoded(recoder.as_mut(), &pieces).map_err(|error| recoder.problem(error).expect("a problem"))?;
            let shadow = recoder.shadow().map(|problem| problem.fault);
            self.x.trail.shadow = self.x.trail.shadow.or(shadow);
        }
        Ok(pieces.concat())
    }

    /// The same body will come once more.
    pub fn start_over(&mut self) {
        self.x.recoders.iter_mut().for_each(|recoder| recoder.start_over());
    }

    /// The problem that the answer tells.
    ///
    /// # Panics
    /// If the answer is no problem.
    #[must_use]
    #[track_caller]
    pub fn problem(&self) -> serde_json::Value {
        match &self.x.reply.body {
            Body::Full(bytes) => serde_json::from_slice(bytes).expect("a problem"),
            other => panic!("expected a problem, found {other:?}"),
        }
    }

    /// The exchange as it stands.
    #[must_use]
    pub fn exchange(&self) -> &Exchange {
        &self.x
    }

    /// Takes a policy's word for it; whether that was the end.
    fn decided(&mut self, decided: Result<Flow, Problem>) -> bool {
        match decided {
            Ok(Flow::Next) => return false,
            Ok(Flow::Reply(reply)) => {
                self.x.reply = *reply;
                self.ended = Ended::Replied;
            }
            Err(problem) => {
                self.x.trail.fault = Some(problem.fault);
                self.x.reply = ProblemJson.render(&problem, self.x.id.as_str());
                self.ended = Ended::Refused(problem.fault.slug);
            }
        }
        true
    }

    /// The way back through the first `begun` policies, as in the engine.
    fn behind(&mut self, begun: usize) {
        for (_, policy) in self.chain.clone()[..begun].iter().rev().filter(|(_, policy)| policy.hooks().response) {
            let decided = wait(policy.on_response(&mut self.x));
            self.decided(decided);
        }
    }

    fn told(&self) -> String {
        match &self.x.reply.body {
            Body::Full(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => format!("{other:?}"),
        }
    }
}

fn texts(fields: &Fields, name: &str) -> Vec<String> {
    fields.all(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

/// What a step gives, waiting for it here if need be.
fn wait(step: Step<'_>) -> Result<Flow, Problem> {
    let future = match step {
        Step::Now(decided) => return decided,
        Step::Later(future) => future,
    };
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let (mut future, deadline) = (pin!(future), crate::Deadline::patient());
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(decided) => return decided,
            Poll::Pending => thread::park_timeout(deadline.left().expect("a policy waits for what never comes")),
        }
    }
}
