//! Counts for one limit.
//!
//! Why leases never give too much: whatever is used of one was taken from the bucket at most [`LASTS`] before (what a request itself asked for is
//! used as soon as the answer is there). In any time t, then, no more is used than was taken in t + [`LASTS`], and of a bucket that is smaller
//! by what comes in during [`LASTS`], that is no more than the whole bucket and what comes in during t. What is left of a lease comes back
//! within [`LASTS`] of its end, or not at all: a bucket that was full meanwhile could have held no more, so as much again is kept free. So the
//! bucket in Redis is smaller by what comes in during both; it is what may be refused early.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use data_encoding::BASE64URL_NOPAD;
use tokio::sync::oneshot;
use tollgate_core::cache::StoreError;
use tollgate_core::counters::{Amount, Counter, Limit, Taken, Taking, WhenAlone};

use super::Inner;
use super::lease::{self, Asking, Lease, tick};
use super::link::RedisError;
use super::scripts::{BUCKET, CALENDAR, FROM, LARGEST, SLIDING, SLIDING_BACK, TICKS};
use crate::count::bucket::{Bucket, ticks};
use crate::count::calendar::Calendar;
use crate::count::sliding::PARTS;

/// For how long a lease of a bucket may be used.
const LASTS: Duration = Duration::from_millis(50);
/// For how long one of a count of the calendar may be: such counts are of windows that are longer.
const CALENDAR_LASTS: Duration = Duration::from_secs(1);
/// From how many a second on a bucket is leased; less is asked for each time.
const LEASED_FROM: u64 = 100;
/// From how many on a count of the calendar is leased, and the share of it that may be leased at a time.
const CALENDAR_FROM: u32 = 10_000;
const CALENDAR_SHARE: u32 = 2_000;
/// For how long it is believed that there is nothing left: somebody may have given something back.
const BELIEVED: Duration = Duration::from_secs(1);
/// Buckets that need longer to be full are not shared: they would have to begin empty afterwards, and that would be felt.
const SHARED_TO: Duration = Duration::from_secs(600);
/// How long a gateway that was given nothing lets some come together before it asks for more leases.
const GATHER: Duration = Duration::from_millis(10);

/// One limit.
#[derive(Debug)]
pub(super) struct Of(Arc<OfLimit>);

#[derive(Debug)]
struct OfLimit {
    all: Arc<Inner>,
    id: Box<str>,
    how: How,
    alone: WhenAlone,
    /// The most that can be taken at once.
    most: u32,
}

#[derive(Debug)]
enum How {
    Bucket(Refilled),
    Sliding {
        /// Ticks of Redis of a 32nd of the window.
        part: u64,
        count: u32,
    },
    Calendar {
        calendar: Calendar,
        count: u32,
        terms: Option<Terms>,
    },
}

/// A bucket, in ticks of Redis.
#[derive(Clone, Copy, Debug)]
struct Refilled {
    /// Until one more is there.
    each: u64,
    /// Until an empty bucket is full.
    holds: u64,
    /// The same bucket as it is counted here.
    own: Bucket,
    period: Duration,
    terms: Option<Terms>,
}

/// Where something is counted.
#[derive(Clone, Debug)]
struct Key {
    /// Its name in Redis.
    name: String,
    /// When the window of the calendar ends that it is of.
    end: SystemTime,
}

/// How leases of a limit are.
#[derive(Clone, Copy, Debug)]
struct Terms {
    lasts: Duration,
    /// The most that all gateways together may have leased.
    most: u32,
}

impl Terms {
    /// How much this gateway may lease, of so many.
    fn of_one(self, gateways: u64) -> u32 {
        let part = u64::from(self.most) / gateways.max(1);
        u32::try_from(part.clamp(1, lease::MOST.into())).unwrap_or(1)
    }
}

impl Refilled {
    fn new(count: u32, period: Duration, burst: u32) -> Self {
        let nanos = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        let each = nanos.div_ceil(u64::from(count.max(1))).saturating_mul(TICKS).div_ceil(1000).max(1);
        let lasts = in_ticks(LASTS);
        // What comes in while a lease lasts; and while what is left of it may come back.
        let most = lasts.div_ceil(each);
        let spare = most * 2;
        let is_fast = each <= in_ticks(Duration::from_secs(1)) / LEASED_FROM;
        let terms = (is_fast && u64::from(burst) >= spare * 2)
            .then_some(Terms { lasts: LASTS, most: u32::try_from(most).unwrap_or(u32::MAX) });
        let size = u64::from(burst) - if terms.is_some() { spare } else { 0 };
        let holds = size.saturating_mul(each).min(LARGEST);
        Self { each, holds, own: Bucket::new(count, period, burst), period, terms }
    }

    /// How long an empty one needs to be full.
    fn whole(&self) -> Duration {
        time(self.holds)
    }

    /// How much is left, of a bucket that is full in so many ticks.
    fn left(&self, owed: u64) -> u64 {
        self.holds.saturating_sub(owed) / self.each
    }

    /// After how many ticks so much is there.
    fn wait(&self, owed: u64, cost: u32) -> u64 {
        (owed.saturating_add(u64::from(cost).saturating_mul(self.each))).saturating_sub(self.holds)
    }
}

fn in_ticks(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).saturating_mul(TICKS)
}

fn time(ticks: u64) -> Duration {
    Duration::from_nanos(ticks.saturating_mul(1000 / TICKS))
}

impl Of {
    pub(super) fn new(all: Arc<Inner>, limit: &Limit) -> Self {
        let (how, most) = match limit.amount.clone() {
            Amount::Bucket { count, period, burst } => (How::Bucket(Refilled::new(count, period, burst)), burst),
            Amount::Sliding { count, period } => {
                let part = in_ticks(period).div_ceil(PARTS - 1).max(1);
                (How::Sliding { part, count }, count)
            }
            Amount::Calendar { count, each, zone } => {
                let terms =
                    (count >= CALENDAR_FROM).then_some(Terms { lasts: CALENDAR_LASTS, most: count / CALENDAR_SHARE });
                (How::Calendar { calendar: Calendar::new(count, each, zone), count, terms }, count)
            }
        };
        Self(Arc::new(OfLimit { all, id: limit.id.as_str().into(), how, alone: limit.alone, most }))
    }
}

impl Counter for Of {
    fn take(&self, key: &[u8], cost: u32) -> Taking {
        let (of, all) = (&self.0, &*self.0.all);
        let passed = all.passed();
        let (now, hash) = (ticks(passed), of.hash(key));
        if of.terms().is_some()
            && let Some(taken) = of.spend(hash, passed, cost)
        {
            return Taking::Now(taken);
        }
        if all.standing.is_alone(now) {
            return match of.take_alone(hash, passed, cost) {
                Ok(taken) => Taking::Now(taken),
                Err(error) => Taking::Later(Box::pin(ready(Err(error)))),
            };
        }
        if let Some(wait) = of.used_up(hash, now).filter(|_| cost > 0) {
            return Taking::Now(Taken { refused: Some(wait), left: 0, whole: wait });
        }
        Taking::Later(Box::pin(OfLimit::asked(Arc::clone(of), key.to_vec(), hash, cost)))
    }

    fn give_back(&self, key: &[u8], cost: u32) {
        let (of, all) = (Arc::clone(&self.0), &*self.0.all);
        let passed = all.passed();
        let (now, hash) = (ticks(passed), of.hash(key));
        all.used_up.change(hash, now, |word| ((word > now).then_some(now), ()));
        if of.terms().is_some() {
            let back = |word| {
                let word = Lease::give_back(word, tick(passed), cost);
                (word, word.is_some())
            };
            if all.leases.change(hash, tick(passed), back) {
                return;
            }
        }
        if all.standing.is_alone(now) {
            return of.give_back_alone(hash, now, cost);
        }
        let key = of.key(key);
        all.runtime.spawn(async move {
            // If it cannot be said, some of it is refused that need not be.
            let _ = of.back(&key, cost).await;
        });
    }
}

impl OfLimit {
    fn hash(&self, key: &[u8]) -> u64 {
        use std::hash::BuildHasher;
        self.all.hasher.hash_one((&*self.id, key))
    }

    fn terms(&self) -> Option<Terms> {
        match &self.how {
            How::Bucket(bucket) => bucket.terms,
            How::Calendar { terms, .. } => *terms,
            How::Sliding { .. } => None,
        }
    }

    /// The key of Redis of a key: a hash, so that nobody can read there who called.
    fn key(&self, key: &[u8]) -> Key {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(self.id.as_bytes());
        context.update(&[0]);
        context.update(key);
        let hash = context.finish();
        let name = BASE64URL_NOPAD.encode(hash.as_ref().get(..16).unwrap_or_default());
        let prefix = &self.all.settings.prefix;
        match &self.how {
            How::Bucket(_) => Key { name: format!("{prefix}:b:{name}"), end: UNIX_EPOCH },
            How::Sliding { .. } => Key { name: format!("{prefix}:s:{name}"), end: UNIX_EPOCH },
            How::Calendar { calendar, .. } => {
                let end = calendar.end(self.unix());
                Key { name: format!("{prefix}:c:{name}:{end}"), end: calendar_end(end) }
            }
        }
    }

    /// Now, by the clock of Redis.
    fn unix(&self) -> SystemTime {
        let (own, ahead) = (self.all.clock.unix(), self.all.ahead.load(Relaxed));
        let by = Duration::from_millis(ahead.unsigned_abs());
        (if ahead < 0 { own.checked_sub(by) } else { own.checked_add(by) }).unwrap_or(own)
    }

    /// Uses the lease, if there is one.
    fn spend(&self, hash: u64, passed: Duration, cost: u32) -> Option<Taken> {
        let at = tick(passed);
        let left = self.all.leases.change(hash, at, |word| match Lease::spend(word, at, cost) {
            Some((word, left)) => (Some(word), Some(left)),
            None => (None, None),
        })?;
        let (more, whole) = self.known(hash, ticks(passed));
        Some(Taken { refused: None, left: u64::from(left) + more, whole })
    }

    /// What is left beside the lease, as far as is known, and after how long all of it is there again.
    fn known(&self, hash: u64, now: u64) -> (u64, Duration) {
        match &self.how {
            How::Bucket(bucket) => {
                let owed = self.all.known.change(hash, now, |word| (None, word.saturating_sub(now)));
                let whole = Duration::from_nanos(owed.saturating_mul(16));
                (bucket.left(in_ticks(whole)), whole)
            }
            How::Calendar { calendar, .. } => {
                let left = self.all.known.change(hash, now, |word| (None, word)) & u64::from(u32::MAX);
                let unix = self.unix();
                (left, calendar_end(calendar.end(unix)).duration_since(unix).unwrap_or_default())
            }
            How::Sliding { .. } => (0, Duration::ZERO),
        }
    }

    /// How long there is nothing, as far as is known.
    fn used_up(&self, hash: u64, now: u64) -> Option<Duration> {
        let until = self.all.used_up.change(hash, now, |word| (None, word));
        (until > now).then(|| Duration::from_nanos((until - now).saturating_mul(16)))
    }

    /// There is nothing for so long.
    fn note_used_up(&self, hash: u64, wait: Duration) {
        let now = self.all.now();
        let until = now + ticks(wait.min(BELIEVED));
        self.all.used_up.change(hash, now, |_| (Some(until), ()));
    }

    /// Asks Redis, for a few milliseconds at most.
    async fn asked(of: Arc<Self>, key: Vec<u8>, hash: u64, cost: u32) -> Result<Taken, StoreError> {
        let key = of.key(&key);
        let facts = &of.all.facts;
        let asking = async {
            match of.terms() {
                Some(terms) => Self::leased(&of, &key, hash, cost, terms).await,
                None => of.each_time(&key, hash, cost).await,
            }
        };
        let error = match tokio::time::timeout(of.all.settings.timeout, asking).await {
            Ok(Ok(taken)) => {
                facts.answered.fetch_add(1, Relaxed);
                return Ok(taken);
            }
            Ok(Err(error)) => {
                facts.failed.fetch_add(1, Relaxed);
                error
            }
            Err(_) => {
                facts.late.fetch_add(1, Relaxed);
                RedisError(format!("no answer within {} ms", of.all.settings.timeout.as_millis()))
            }
        };
        let passed = of.all.passed();
        if of.all.standing.is_alone(ticks(passed)) || of.alone == WhenAlone::Allow {
            return of.take_alone(hash, passed, cost);
        }
        facts.refused.fetch_add(1, Relaxed);
        Err(StoreError(format!("the store of counters: {error}")))
    }

    /// Takes a lease, or waits for whoever does.
    async fn leased(of: &Arc<Self>, key: &Key, hash: u64, cost: u32, terms: Terms) -> Result<Taken, RedisError> {
        let all = &of.all;
        loop {
            let mut rung = std::pin::pin!(all.bell(hash).notified());
            rung.as_mut().enable();
            let at = tick(all.passed());
            let most = terms.of_one(all.standing.gateways().0);
            match all.leases.change(hash, at, |word| Lease::ask(word, at, terms.lasts, most)) {
                Asking::Ask { want, back, until } => {
                    let back = of.comes_back(back, until);
                    let (tell, told) = oneshot::channel();
                    let (of, key) = (Arc::clone(of), key.clone());
                    // On its own: the answer is for others, too, should this client go.
                    all.runtime.spawn(async move {
                        let _ = tell.send(of.lease(&key, hash, cost, want, back, terms).await);
                    });
                    return told.await.unwrap_or_else(|_| Err(RedisError("nobody asks any more".to_owned())));
                }
                Asking::Wait => rung.await,
            }
            let passed = all.passed();
            if let Some(taken) = of.spend(hash, passed, cost) {
                return Ok(taken);
            }
            if let Some(wait) = of.used_up(hash, ticks(passed)) {
                return Ok(Taken { refused: Some(wait), left: 0, whole: wait });
            }
        }
    }

    /// How much of what was left of a lease that ended then is given back.
    fn comes_back(&self, left: u32, until: u64) -> u32 {
        let ended = lease::time(until);
        let ago = self.all.passed().saturating_sub(ended);
        let is_good = match &self.how {
            How::Bucket(_) => ago <= LASTS,
            // What belongs to another window means nothing in this one.
            How::Calendar { calendar, .. } => {
                let now = self.unix();
                now.checked_sub(ago).is_some_and(|then| calendar.end_at(then) == calendar.end_at(now))
            }
            How::Sliding { .. } => false,
        };
        if is_good { left } else { 0 }
    }

    /// Asks for what a request takes and for a lease of `want` beside it.
    async fn lease(
        &self,
        key: &Key,
        hash: u64,
        cost: u32,
        want: u32,
        back: u32,
        terms: Terms,
    ) -> Result<Taken, RedisError> {
        let all = &self.all;
        let passed = all.passed();
        let got = self.take_there(key, cost.saturating_add(want), cost, back).await;
        let (left, until) = match &got {
            Ok(got) => (got.taken.saturating_sub(cost), tick(passed + terms.lasts.min(got.lasts))),
            Err(_) => (0, tick(passed)),
        };
        all.leases.change(hash, tick(passed), |word| (Some(Lease::granted(word, left, until)), ()));
        if let Ok(got) = &got {
            let now = all.now();
            all.known.change(hash, now, |_| (Some(got.word(now)), ()));
            if got.taken < cost.max(1) && got.left == 0 {
                // Some come together first, so that a flood asks no more often than this.
                let gathered = got.wait.max(got.gathers(want).min(GATHER));
                self.note_used_up(hash, gathered);
            }
        }
        all.bell(hash).notify_waiters();
        got.map(|got| {
            let refused = (got.taken < cost).then_some(got.wait);
            Taken { refused, left: got.left + u64::from(left), whole: got.whole }
        })
    }

    /// Asks for what a request takes.
    async fn each_time(&self, key: &Key, hash: u64, cost: u32) -> Result<Taken, RedisError> {
        if let How::Sliding { part, count, .. } = &self.how {
            return self.slide(key, hash, cost, *part, *count).await;
        }
        let got = self.take_there(key, cost, cost, 0).await?;
        let refused = (got.taken < cost).then_some(got.wait);
        if refused.is_some() && got.left == 0 {
            self.note_used_up(hash, got.first);
        }
        Ok(Taken { refused, left: got.left, whole: got.whole })
    }

    async fn slide(&self, key: &Key, hash: u64, cost: u32, part: u64, count: u32) -> Result<Taken, RedisError> {
        let all = &self.all;
        let mut connected = all.connected().ok_or_else(unreached)?;
        let script = {
            let mut script = SLIDING.key(&key.name);
            script.arg(part).arg(count).arg(cost);
            script
        };
        let wait = all.waits_for_replicas();
        let (taken, left, wait, whole): (u8, u64, u64, u64) = connected.run_safely(&script, &key.name, wait).await?;
        let refused = (taken == 0).then(|| time(wait));
        if let Some(wait) = refused.filter(|_| left == 0) {
            // By the next part some may be out.
            self.note_used_up(hash, wait.min(time(part)));
        }
        Ok(Taken { refused, left, whole: time(whole) })
    }

    /// Takes from a bucket or a count of the calendar: up to `want`, at least `least` or nothing.
    async fn take_there(&self, key: &Key, want: u32, least: u32, back: u32) -> Result<Got, RedisError> {
        let all = &self.all;
        let mut connected = all.connected().ok_or_else(unreached)?;
        let wait = all.waits_for_replicas();
        match &self.how {
            How::Bucket(bucket) => {
                let (gateways, silent) = all.standing.gateways();
                // Those that are silent may give their shares: for the others less is left.
                let each = match gateways.checked_sub(silent) {
                    Some(heard @ 1..) => (bucket.each * gateways).div_ceil(heard),
                    _ => bucket.each,
                };
                // What is asked for each time is written safely, so that only shares are unknown.
                let since = if bucket.terms.is_some() { all.standing.since() } else { all.standing.shared() };
                let earliest = match since {
                    0 => 0,
                    _ if bucket.whole() > SHARED_TO => 0,
                    since => {
                        since.saturating_sub(FROM * 1000).saturating_mul(1000 * TICKS).saturating_add(bucket.holds)
                    }
                };
                let mut script = BUCKET.key(&key.name);
                script.arg(each).arg(bucket.holds).arg(want).arg(least).arg(back).arg(earliest);
                // What begins empty after a failure need not be written safely.
                let (taken, owed): (u32, u64) = match bucket.terms {
                    Some(_) if bucket.whole() <= SHARED_TO => connected.run(&script).await?,
                    _ => connected.run_safely(&script, &key.name, wait).await?,
                };
                Ok(Got::of_bucket(bucket, taken, owed, least))
            }
            How::Calendar { count, .. } => {
                // None, if the window ended meanwhile: whatever is left of it is over, too.
                let until = key.end.duration_since(self.unix()).unwrap_or_default();
                let mut script = CALENDAR.key(&key.name);
                script.arg(*count).arg(want).arg(least).arg(back).arg(until.as_secs() + 60);
                let (taken, left): (u32, u64) = connected.run_safely(&script, &key.name, wait).await?;
                Ok(Got {
                    taken,
                    left,
                    wait: until,
                    first: until,
                    whole: until,
                    lasts: until,
                    each: until,
                    is_count: true,
                })
            }
            How::Sliding { .. } => Err(RedisError("windows that slide are not leased".to_owned())),
        }
    }

    /// Gives back what was taken there.
    async fn back(&self, key: &Key, cost: u32) -> Result<(), RedisError> {
        if let How::Sliding { part, .. } = &self.how {
            let mut connected = self.all.connected().ok_or_else(unreached)?;
            return connected.run(SLIDING_BACK.key(&key.name).arg(*part).arg(cost)).await;
        }
        self.take_there(key, 0, 0, cost).await.map(drop)
    }

    /// What holds while this gateway counts alone.
    fn take_alone(&self, hash: u64, passed: Duration, cost: u32) -> Result<Taken, StoreError> {
        let facts = &self.all.facts;
        match self.alone {
            WhenAlone::Allow => {
                facts.allowed.fetch_add(1, Relaxed);
                return Ok(Taken { refused: None, left: self.most.into(), whole: Duration::ZERO });
            }
            WhenAlone::Share => {
                if let Some(taken) = self.take_share(hash, ticks(passed), cost) {
                    facts.shared.fetch_add(1, Relaxed);
                    return Ok(taken);
                }
            }
            WhenAlone::Refuse => {}
        }
        facts.refused.fetch_add(1, Relaxed);
        Err(StoreError("the store of counters cannot be reached".to_owned()))
    }

    /// Takes from this gateway's share; `None`: it has none, or none yet.
    fn take_share(&self, hash: u64, now: u64, cost: u32) -> Option<Taken> {
        let all = &self.all;
        let from = all.standing.share_from().filter(|from| *from <= now)?;
        let share = Some(all.standing.share(self.most)).filter(|share| *share > 0)?;
        let taken = match &self.how {
            How::Bucket(bucket) if bucket.whole() <= SHARED_TO => {
                let own = bucket.own.part(share);
                let empty = own.empty_at(from);
                all.shares.change(hash, now, |word| own.take(word.max(empty), now, cost))
            }
            // Who gave how much of these would have to be known afterwards.
            How::Bucket(_) | How::Sliding { .. } | How::Calendar { .. } => return None,
        };
        if taken.refused.is_none() && cost > 0 {
            all.standing.spend();
        }
        Some(taken)
    }

    fn give_back_alone(&self, hash: u64, now: u64, cost: u32) {
        let share = self.all.standing.share(self.most);
        if let (How::Bucket(bucket), 1..) = (&self.how, share) {
            let own = bucket.own.part(share);
            self.all.shares.change(hash, now, |word| (own.give_back(word, now, cost), ()));
        }
    }
}

/// When the window ends that ends with this quarter of an hour.
fn calendar_end(quarter: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(quarter.saturating_mul(900))
}

fn unreached() -> RedisError {
    RedisError("no connection".to_owned())
}

/// What Redis gave.
#[derive(Clone, Copy, Debug)]
struct Got {
    taken: u32,
    left: u64,
    /// How long until what was asked for is there; how long until anything is; and until all of it is.
    wait: Duration,
    first: Duration,
    whole: Duration,
    /// For how long it may be used at most.
    lasts: Duration,
    /// How long until one more is there.
    each: Duration,
    /// Whether it is a count, of which what is left is known; else when a bucket is full.
    is_count: bool,
}

impl Got {
    fn of_bucket(bucket: &Refilled, taken: u32, owed: u64, least: u32) -> Self {
        Self {
            taken,
            left: bucket.left(owed),
            wait: time(bucket.wait(owed, least)),
            first: time(bucket.wait(owed, 1)),
            whole: time(owed),
            lasts: bucket.period.max(LASTS),
            each: time(bucket.each),
            is_count: false,
        }
    }

    /// How long until so much is there.
    fn gathers(&self, much: u32) -> Duration {
        if self.is_count { self.wait } else { self.first + self.each * much }
    }

    /// What is remembered of it.
    fn word(&self, now: u64) -> u64 {
        if self.is_count { self.left.min(u32::MAX.into()) } else { now + ticks(self.whole) }
    }
}
