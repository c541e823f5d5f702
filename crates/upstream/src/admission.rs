//! What a request passes before it is sent, where a service is spared: its turn, if it is sent no more than so many in a time, and the gate
//! of adaptive concurrency.
//!
//! A turn comes first, then a connection: who waits for its turn holds none. Whoever had to wait for a connection after its turn, with
//! others, is spaced once more, with the connection in hand: what the instances see is never faster.

use std::sync::Arc;
use std::time::Duration;

use tollgate_core::pacer::Pacer;
use tollgate_observe::metrics::ServiceShard;

use crate::adaptive::{Gate, Overloaded, Permit};
use crate::connection::Connection;
use crate::service::{Ask, Refusal, Service};

/// Who says when a request may be sent.
#[derive(Clone, Debug)]
pub struct Smoothing {
    /// Over all routes and workers.
    pub pacer: Arc<Pacer>,
    /// How long one may wait at most.
    pub wait: Option<Duration>,
}

impl Service {
    /// A connection, once it is this request's turn, and there are few enough others.
    pub(crate) async fn admitted(
        &self,
        smoothing: Option<&Smoothing>,
        gate: Option<&Arc<Gate>>,
        ask: &Ask<'_>,
    ) -> Result<(Connection, Option<Permit>), Refusal> {
        let metrics = self.shared.metrics.shard(ask.worker);
        let rest = self.rest(ask);
        if let Some(smoothing) = smoothing {
            self.turn(smoothing, ask, metrics).await?;
        }
        let permit = match gate {
            Some(gate) => {
                let entered = gate.enter(ask.criticality, ask.worker, ask.deadline).await;
                Some(entered.map_err(|Overloaded| Refusal::Overloaded)?)
            }
            None => None,
        };
        self.resume(rest)?;
        let connection = self.connection(&Ask { now: self.clock.now(), ..*ask }).await?;
        if let Some(smoothing) = smoothing {
            let held_up = smoothing.pacer.send(self.clock.now(), ask.deadline).ok_or(Refusal::Deadline)?;
            self.pause(held_up, metrics).await;
        }
        Ok((connection, permit))
    }

    /// Waits for this request's turn.
    async fn turn(&self, smoothing: &Smoothing, ask: &Ask<'_>, metrics: &ServiceShard) -> Result<(), Refusal> {
        let by = smoothing.wait.map_or(ask.deadline, |most| ask.deadline.min(ask.now + most));
        let turn = smoothing.pacer.reserve(ask.now, by).map_err(|none| {
            metrics.smooth_refused();
            Refusal::Rate(none.retry)
        })?;
        // Dropped in there, it is free again if nobody came after it.
        self.pause(turn.wait(ask.now), metrics).await;
        turn.used();
        Ok(())
    }

    async fn pause(&self, time: Duration, metrics: &ServiceShard) {
        if !time.is_zero() {
            let _waiting = Waiting::new(metrics);
            tokio::time::sleep(time).await;
        }
    }
}

/// Counts a request that waits for its turn, also if its client leaves and it is dropped there.
struct Waiting<'m>(&'m ServiceShard);

impl<'m> Waiting<'m> {
    fn new(metrics: &'m ServiceShard) -> Self {
        metrics.smoothing();
        Self(metrics)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.smoothed();
    }
}
