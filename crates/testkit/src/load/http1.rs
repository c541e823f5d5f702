//! A request over HTTP/1.1.

use std::sync::PoisonError;

use super::Way;
use super::connection::{AnyStream, is_closed};
use super::lane::{Ask, Lane, Trouble};
use super::wire::{Ended, Wire};

/// So many connections rest at least before one is used again: all of them shall rest a while, as a browser's do.
const RESTING: usize = 4;
/// Further ones are closed.
const MOST: usize = 64;

impl Lane {
    pub(super) async fn http1(&self, ask: &Ask) -> Result<(), Trouble> {
        let (mut wire, used) = match self.rested().await {
            Some(wire) => (wire, true),
            None => {
                let stream = self.target.connect().await;
                (Wire::new(stream.map_err(|error| Trouble::Refused(error.to_string()))?), false)
            }
        };
        // Whoever is refused may still be told why: what cannot be written is seen when the answer is read.
        let _ = wire.send(&self.written(ask)).await;
        let head = match wire.head().await {
            Ok(head) => head,
            Err(Ended::Unheard(why)) if used => return Err(Trouble::Unheard(why)),
            Err(Ended::Unheard(why)) => return Err(Trouble::Lost(format!("no answer on a new connection: {why}"))),
            Err(Ended::Cut(why)) => return Err(Trouble::Lost(format!("cut in its head: {why}"))),
        };
        let body = wire.body(&head).await.map_err(|error| Trouble::Lost(format!("cut in its body: {error}")))?;
        ask.judge(head.word(1), &body)?;
        if !wire.is_empty() {
            return Err(Trouble::Lost("more than the answer came".to_owned()));
        }
        if self.target.way == Way::Kept && !head.is_last() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < MOST {
                idle.push_back(wire);
            }
        }
        Ok(())
    }

    fn written(&self, ask: &Ask) -> Vec<u8> {
        let (method, path, host) = (ask.method(), &ask.path, &self.target.host);
        let close = if self.target.way == Way::New { "Connection: close\r\n" } else { "" };
        let length = match ask.body.len() {
            0 => String::new(),
            length => format!("Content-Length: {length}\r\n"),
        };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{close}{length}\r\n");
        [head.as_bytes(), &ask.body].concat()
    }

    /// The connection that has rested longest and is still open.
    async fn rested(&self) -> Option<Wire<AnyStream>> {
        loop {
            let mut wire = {
                let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                if idle.len() < RESTING {
                    return None;
                }
                idle.pop_front()?
            };
            if !is_closed(&mut wire.stream).await {
                return Some(wire);
            }
        }
    }
}
