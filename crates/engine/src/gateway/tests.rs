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
        correlation: Correlation {
            header: Bytes::from_static(b"X-Correlation-ID"),
            known: Known::of(b"X-Correlation-ID"),
            accept: config.correlation.accept,
            echo: true,
        },
    };
    let plan = Plan::of_handlers(vec![("GET", "/**", Arc::new(Hello) as Arc<dyn Handler>)], metrics).unwrap();
    Deployment { plan: Arc::new(plan), backends: Arc::new([]), rules: Arc::new(rules) }
}

fn get(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_worker_that_panics_begins_again_with_its_sockets() {
    let metrics = Metrics::new(1);
    let (bells, drain): (Arc<[Notify]>, _) = (Arc::new([Notify::new()]), Arc::new(Drain::default()));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (clock, slow) = (Clock::real(), runtime.handle().clone());
    let gateway = Gateway::new(Parts { clock, metrics: Arc::clone(&metrics), bells, drain, slow });
    let address = Bind::Socket(([127, 0, 0, 1], 0).into());
    let sockets = bind(&address, FileMode::default(), 1, Port::Free).unwrap().listeners;
    let Listener::Tcp(socket) = &sockets[0] else { panic!("{sockets:?}") };
    let at = socket.local_addr().unwrap();
    let deployment = deployment(&metrics);
    let listening = Listening { address, serves: Serves::Routes, greeting: Greeting::default(), sockets, file: None };
    let (listeners, drain_time) = (vec![listening], Duration::from_secs(5));
    gateway.apply(Change { deployment, listeners, workers: 1, access_log: None, drain_time }).unwrap();
    assert!(get(at).ends_with("hello"));
    let mut open = TcpStream::connect(at).unwrap();
    open.write_all(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n").unwrap();
    assert!(open.read(&mut [0; 1024]).unwrap() > 0);
    gateway.state().seats[0].assign(Assigned::Panic);
    // Its connections end, and it takes new ones.
    assert_eq!(open.read(&mut [0; 1024]).unwrap_or(0), 0);
    assert!(get(at).ends_with("hello"));
    gateway.drain().begin();
    let (clock, begun) = (Clock::real(), Clock::real().now());
    assert!(gateway.join() && clock.now().duration_since(begun) < drain_time, "it still ends in good order");
    assert_eq!(metrics.totals().connections, 0);
}
