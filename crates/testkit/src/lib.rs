//! For tests: raw peers on both sides of the gateway, the gateway as a process, and the conformance cases.
//!
//! Everything here fails by panicking with a message that says what was awaited: it is meant for tests only.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test kit fails the test it works for, and panicking is how"
)]

pub mod bench;
pub mod browser;
pub mod cli;
pub mod conformance;
pub mod consul;
pub mod deadline;
pub mod durable;
pub mod etcd;
pub mod gate;
pub mod gateway;
pub mod http2;
pub mod kubernetes;
pub mod load;
pub mod marks;
pub mod name_server;
pub mod peer;
pub mod pki;
pub mod port;
pub mod process;
pub mod provider;
pub mod raw_client;
pub mod recorder;
pub mod redis;
pub mod registrant;
pub mod slow;
pub mod stand_in;
pub mod strict;

pub use browser::{Browser, Cookie, Fetched, Seen, Tab};
pub use cli::{Cli, Ran};
pub use consul::Consul;
pub use deadline::{Deadline, wait_until};
pub use etcd::Etcd;
pub use gate::Gate;
pub use gateway::Gateway;
pub use http2::FrameClient;
pub use kubernetes::Kubernetes;
pub use load::{Backends, Companions, Load};
pub use name_server::NameServer;
pub use peer::Peer;
pub use pki::{Authority, Identity};
pub use port::free_port;
pub use provider::{Provider, modules, verify};
pub use raw_client::{RawClient, ReadError};
pub use recorder::{Recorder, Script, Step};
pub use redis::Redis;
pub use registrant::Registrant;
pub use rustix::process::Signal;
pub use slow::{Manner, SlowClients};
pub use strict::{Request, Response};
