//! Signs of life: by them a gateway learns whether Redis is there, how many they are, and since when buckets are counted.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::{Duration, UNIX_EPOCH};

use super::Inner;
use super::link::{Connected, Keeps, RedisError};
use super::scripts::{BEAT, LEAVE};
use super::standing::{self, Told};
use crate::count::bucket::ticks;

/// How long a sign of life may take.
const ANSWER: Duration = Duration::from_millis(400);
/// With every how many signs of life it is asked what is copied.
const LOOK: u32 = 8;

/// What one connection after the other is told.
#[derive(Default)]
struct Signs {
    /// Which servers were spoken with last.
    servers: String,
    /// How many signs were given since something was asked that changes rarely.
    since_look: u32,
    /// Whether it was told that counts would be lost.
    is_warned: bool,
}

/// Gives signs of life until nobody counts any more.
pub(super) async fn forever(counters: Weak<Inner>) {
    let mut signs = Signs::default();
    let mut last = None;
    loop {
        let Some(all) = counters.upgrade() else { break };
        let beat = tokio::time::timeout(ANSWER, sign(&all, &mut signs));
        match beat.await.unwrap_or_else(|_| Err(RedisError("no answer in time".to_owned()))) {
            Ok(()) => last = all.connected().map(|connected| (connected, all.id.clone(), keys(&all))),
            Err(error) => failed(&all, &error),
        }
        all.tried.send_replace(true);
        drop(all);
        tokio::time::sleep(standing::BEAT).await;
    }
    if let Some((connected, id, keys)) = last {
        let _ = tokio::time::timeout(ANSWER, gone(connected, &id, &keys)).await;
    }
}

/// Says that this gateway stops.
pub(super) async fn leave(all: Arc<Inner>) {
    if let Some(connected) = all.connected() {
        // Without it, the others wait until it is forgotten.
        let _ = gone(connected, &all.id, &keys(&all)).await;
    }
}

async fn gone(mut connected: Connected, id: &str, keys: &[String; 2]) -> Result<(), RedisError> {
    connected.run(LEAVE.key(&keys[0]).key(&keys[1]).arg(id)).await
}

fn keys(all: &Inner) -> [String; 2] {
    [all.common("gateways"), all.common("agreed")]
}

/// One sign of life.
async fn sign(all: &Arc<Inner>, signs: &mut Signs) -> Result<(), RedisError> {
    let mut connected = match all.connected() {
        Some(connected) => connected,
        None => {
            signs.since_look = LOOK;
            all.settings.connect().await?
        }
    };
    let servers = connected.servers().await?;
    let at = all.now();
    let (standing, keys) = (&all.standing, keys(all));
    let has_spent = standing.is_lost() && standing.has_spent();
    let is_alone = standing.is_alone(at) && standing.last_heard().is_some();
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (count, place, list, all_know, since, shared, now, silent): (u32, u32, i64, u8, u64, u64, u64, u32) = connected
        .run(
            BEAT.key(&keys[0])
                .key(&keys[1])
                .arg(&all.id)
                .arg(standing.knows())
                .arg(&servers)
                .arg(&signs.servers)
                .arg(u8::from(is_alone))
                .arg(u8::from(has_spent))
                .arg(millis(standing::SILENT))
                .arg(millis(standing::FORGET))
                .arg(millis(standing::BACK)),
        )
        .await?;
    signs.servers = servers;
    if signs.since_look >= LOOK {
        signs.since_look = 0;
        look(all, &mut connected, signs).await;
    }
    signs.since_look += 1;
    let own = all.clock.unix().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    all.ahead.store(i64::try_from(i128::from(now) - own.cast_signed()).unwrap_or(0), Relaxed);
    all.connect(Some(connected));
    let told = Told { count, place, list, all_know: all_know == 1, since, shared, now, silent };
    all.facts.gateways.store(count.into(), Relaxed);
    standing.heard(told, at, has_spent, ticks);
    // A share that was given goes on until all are back.
    let is_up = !standing.is_alone(all.now());
    if is_up && !all.facts.is_up.swap(true, Relaxed) {
        tracing::info!(gateways = count, "counters are shared by the store");
    }
    Ok(())
}

/// Looks at what would be left, should a server fail; who may not know it counts on nothing.
async fn look(all: &Inner, connected: &mut Connected, signs: &mut Signs) {
    let keeps = connected.keeps().await.unwrap_or(Keeps { replicas: false, disk: false });
    all.has_replicas.store(keeps.replicas, Relaxed);
    if !keeps.replicas && !keeps.disk && !signs.is_warned {
        signs.is_warned = true;
        tracing::warn!(
            "Redis has no replica and writes to disk now and then only: should it fail, counts of days and months are lost \
             (set `appendonly yes` and `appendfsync always`, or add a replica)"
        );
    }
}

/// A sign of life that was not answered.
fn failed(all: &Inner, error: &RedisError) {
    all.facts.failed.fetch_add(1, Relaxed);
    let was_connected = all.connected().is_some();
    let unheard = all.standing.last_heard().is_none_or(|heard| all.now() > heard + ticks(standing::LOST));
    // One that only was late may answer the next; who hung up does not.
    if !was_connected || unheard || error.0 != "no answer in time" {
        all.connect(None);
        if all.standing.lose(ticks) {
            all.facts.is_up.store(false, Relaxed);
            tracing::warn!(%error, "the store of counters cannot be reached: this gateway counts alone");
        } else if !*all.tried.borrow() {
            tracing::warn!(%error, "the store of counters cannot be reached yet");
        }
    }
}
