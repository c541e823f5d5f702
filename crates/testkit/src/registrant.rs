//! An instance that registers itself and renews that, as a service does that needs no wrapper.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::json;

use crate::deadline::wait_until;
use crate::raw_client::RawClient;

/// How long a gateway may take for an answer, before another one is asked.
const ANSWER: Duration = Duration::from_secs(2);
/// The pause before all are asked again, when none renewed it.
const AGAIN: Duration = Duration::from_millis(200);

/// It renews itself three times within its time to live until it is dropped, or goes. Dropped, it is heard of no more.
#[derive(Debug)]
pub struct Registrant {
    desk: Arc<Desk>,
    over: Option<mpsc::SyncSender<()>>,
    renewing: Option<JoinHandle<()>>,
}

/// Whom it asks, and what it says.
#[derive(Debug)]
struct Desk {
    /// The gateways' admin listeners; the first one that answers is enough.
    gateways: Vec<SocketAddr>,
    token: String,
    /// Of the instance, in the API.
    path: String,
    said: String,
    every: Duration,
    renewals: AtomicU64,
}

impl Registrant {
    /// Registers an instance of this service with one of the gateways, whose admin listeners these are.
    ///
    /// # Panics
    /// When none lets it in for long.
    #[must_use]
    pub fn start(gateways: &[SocketAddr], token: &str, service: &str, address: SocketAddr, ttl: Duration) -> Self {
        let said = json!({ "address": address.ip(), "port": address.port(), "ttl": format!("{}s", ttl.as_secs()) });
        let desk = Arc::new(Desk {
            gateways: gateways.to_vec(),
            token: token.to_owned(),
            path: format!("/v1/registry/services/{service}/instances/{address}"),
            said: said.to_string(),
            every: ttl / 3,
            renewals: AtomicU64::new(0),
        });
        wait_until("an instance is registered", || desk.registers());
        let (over, is_over) = mpsc::sync_channel(1);
        let renewed = Arc::clone(&desk);
        let renewing = Some(thread::spawn(move || renewed.renew_until(&is_over)));
        Self { desk, over: Some(over), renewing }
    }

    /// How often it was renewed so far.
    #[must_use]
    pub fn renewals(&self) -> u64 {
        self.desk.renewals.load(Ordering::Acquire)
    }

    /// It goes: returns once a gateway has said that it is gone.
    ///
    /// # Panics
    /// When none says so for long.
    pub fn deregister(mut self) {
        self.end();
        wait_until("an instance is gone", || self.desk.any("DELETE", "", "") == Some(204));
    }

    fn end(&mut self) {
        drop(self.over.take());
        if let Some(renewing) = self.renewing.take() {
            let _ = renewing.join();
        }
    }
}

impl Drop for Registrant {
    fn drop(&mut self) {
        self.end();
    }
}

impl Desk {
    fn renew_until(&self, is_over: &mpsc::Receiver<()>) {
        let mut pause = self.every;
        while is_over.recv_timeout(pause) == Err(mpsc::RecvTimeoutError::Timeout) {
            let is_renewed = match self.any("POST", "/renew", "{}") {
                Some(200) => true,
                // Whoever is forgotten registers again.
                Some(404) => self.registers(),
                _ => false,
            };
            self.renewals.fetch_add(u64::from(is_renewed), Ordering::AcqRel);
            pause = if is_renewed { self.every } else { AGAIN };
        }
    }

    fn registers(&self) -> bool {
        matches!(self.any("PUT", "", &self.said), Some(200 | 201))
    }

    /// What the first gateway says that has something to say.
    fn any(&self, method: &str, more: &str, body: &str) -> Option<u16> {
        self.gateways.iter().find_map(|gateway| self.ask(*gateway, method, more, body).filter(|status| *status < 500))
    }

    fn ask(&self, gateway: SocketAddr, method: &str, more: &str, body: &str) -> Option<u16> {
        let mut client = RawClient::try_connect(gateway).ok()?.patience(ANSWER);
        client.send(format!(
            "{method} {}{more} HTTP/1.1\r\nHost: {gateway}\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.path,
            self.token,
            body.len()
        ));
        Some(client.response(method).ok()?.status)
    }
}
