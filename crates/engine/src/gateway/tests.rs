use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use tollgate_config::load_text;
use tollgate_config::model::FileMode;
use tollgate_core::exchange::Exchange;
use tollgate_core::field::Known;
use tollgate_core::handler::Handler;
use tollgate_core::policy::BoxFuture;
use tollgate_core::problem::Problem;
use tollgate_core::reply::Reply;
use tollgate_http1::HeadLimits;
use tollgate_plan::Plan;

use super::*;
use crate::bind::{Port, bind};
use crate::deployment::{Correlation, Rules};
use crate::http::connection::Greeting;

#[derive(Debug)]
struct Hello;

impl Handler for Hello {
    fn call<'a>(&'a self, _: &'a mut Exchange) -> BoxFuture<'a, Result<Reply, Problem>> {
        Box::pin(std::future::ready(Ok(Reply::full(200, "text/plain", "hello"))))
    }
}

fn deployment(metrics: &Metrics) -> Deployment {
    let config = load_text("x.yaml", "listen: 1\nroutes: { /: { reply: 204 } }", &|_| None, &[]).unwrap().config;
    let rules = Rules {
        limits: config.limits,
        heads: HeadLimits { target: 8192, head: 32768, fields: 100 },
        trust: config.trust,
        owned: Arc::default(),
        sessions: Arc::default(),
        correlation: Correlation {
            header: Bytes::from_static(b"X-Correlation-ID"),
            known: Known::of(b"X-Correlation-ID"),
            accept: config.correlation.accept,
            echo: true,
        },
    };
    let plan = Plan::of_handlers(vec![("GET", "/**", Arc::new(Hello) as Arc<dyn Handler>)], metrics).unwrap();
    Deployment::new(Arc::new(plan), Arc::new([]), Arc::new(rules))
}

fn get(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A gateway that has room for `workers` and listens at an address.
struct Bench {
    gateway: Gateway,
    metrics: Arc<Metrics>,
    address: Bind,
    at: SocketAddr,
}

const DRAIN_TIME: Duration = Duration::from_secs(5);

impl Bench {
    fn new(workers: usize) -> Self {
        let metrics = Metrics::new(workers);
        let (bells, drain): (Arc<[Notify]>, _) =
            ((0..workers).map(|_| Notify::new()).collect(), Arc::new(Drain::default()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (clock, slow) = (Clock::real(), runtime.handle().clone());
        let gateway = Gateway::new(Parts { clock, metrics: Arc::clone(&metrics), bells, drain, slow });
        let sockets = bind(&Bind::Socket(([127, 0, 0, 1], 0).into()), FileMode::default(), 1, Port::Free);
        let mut sockets = sockets.unwrap().listeners;
        let Listener::Tcp(socket) = &sockets[0] else { panic!("{sockets:?}") };
        let at = socket.local_addr().unwrap();
        let address = Bind::Socket(at);
        sockets.extend(bind(&address, FileMode::default(), workers - 1, Port::Ours).unwrap().listeners);
        let bench = Self { gateway, metrics, address, at };
        bench.apply(workers, sockets);
        bench
    }

    fn apply(&self, workers: usize, sockets: Vec<Listener>) {
        self.try_apply(workers, sockets).unwrap();
    }

    fn try_apply(&self, workers: usize, sockets: Vec<Listener>) -> io::Result<()> {
        let deployment = deployment(&self.metrics);
        let (serves, greeting) = (Serves::Routes, Greeting::default());
        let (address, admission) = (self.address.clone(), crate::crowd::Admission::default());
        let listening = Listening { address, serves, greeting, admission, sockets, file: None };
        let (listeners, drain_time) = (vec![listening], DRAIN_TIME);
        self.gateway.apply(Change { deployment, listeners, workers, access_log: None, drain_time })
    }

    /// A connection that stays open after its first answer.
    fn open(&self) -> TcpStream {
        let mut open = TcpStream::connect(self.at).unwrap();
        open.write_all(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n").unwrap();
        assert!(open.read(&mut [0; 1024]).unwrap() > 0);
        open
    }
}

#[test]
fn a_worker_that_panics_begins_again_with_its_sockets() {
    let bench = Bench::new(1);
    let Bench { gateway, metrics, at, .. } = &bench;
    assert!(get(*at).ends_with("hello"));
    let mut open = bench.open();
    gateway.state().seats[0].assign(Assigned::Panic);
    // Its connections end, and it takes new ones.
    assert_eq!(open.read(&mut [0; 1024]).unwrap_or(0), 0);
    assert!(get(*at).ends_with("hello"));
    gateway.drain().begin();
    let (clock, begun) = (Clock::real(), Clock::real().now());
    assert!(gateway.join() && clock.now().duration_since(begun) < DRAIN_TIME, "it still ends in good order");
    assert_eq!(metrics.totals().connections, 0);
}

#[test]
fn a_worker_that_is_too_many_is_hurried_only_if_its_place_is_needed() {
    let bench = Bench::new(2);
    let mut open: Vec<TcpStream> = (0..32).map(|_| bench.open()).collect();
    let connections = || bench.metrics.totals().connections;
    assert_eq!(connections(), 32);
    bench.apply(1, Vec::new());
    assert_eq!((connections(), bench.gateway.workers()), (32, 1), "what is at rest stays");
    bench.apply(2, Vec::new());
    let left = connections();
    assert!(left > 0 && left < 32, "all connections of one of two workers ended: {left}");
    let closed = open.iter_mut().filter_map(|open| {
        open.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        open.read(&mut [0; 1]).ok()
    });
    assert_eq!(closed.count(), usize::try_from(32 - left).unwrap());
    assert!(get(bench.at).ends_with("hello"));
    drop(open);
    bench.gateway.drain().begin();
    assert!(bench.gateway.join());
}

#[test]
fn a_change_that_fails_leaves_nothing_behind() {
    let bench = Bench::new(2);
    bench.apply(1, Vec::new());
    // There is room for one more, and not for two.
    bench.try_apply(3, Vec::new()).unwrap_err();
    assert_eq!(bench.gateway.workers(), 1);
    assert!(get(bench.at).ends_with("hello"));
    // Its place is free again.
    bench.apply(2, Vec::new());
    assert_eq!(bench.gateway.workers(), 2);
    assert!(get(bench.at).ends_with("hello"));
    bench.gateway.drain().begin();
    assert!(bench.gateway.join());
}
