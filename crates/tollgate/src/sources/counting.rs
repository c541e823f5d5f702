//! Where limits are counted: in memory, or in Redis, which is kept over reloads if it would be reached alike.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tollgate_config::model::{self, FilePath, HostPort, RedisUrl, Secret};
use tollgate_core::counters::Counters;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_store::{Credentials, MemoryCounters, RedisAt, RedisCounters, RedisSettings, RedisTls};

use crate::wire::World;

/// Who counts.
#[derive(Debug)]
pub(super) enum Counting {
    Memory(MemoryCounters),
    Redis(Box<model::Redis>, RedisCounters),
}

impl Counting {
    /// One that would be made as it was `before` is the same.
    ///
    /// # Errors
    /// Files that cannot be used.
    pub(super) fn build(state: &model::State, world: &World, before: Option<&Self>) -> Result<Self, Diagnostic> {
        let Some(written) = &state.redis else { return Ok(Self::Memory(world.counters.clone())) };
        if let Some(Self::Redis(known, counters)) = before
            && **known == *written
        {
            return Ok(Self::Redis(known.clone(), counters.clone()));
        }
        let keys = usize::try_from(state.counters.get()).unwrap_or(usize::MAX);
        let (forgotten, facts) = (world.metrics.limits_forgotten(), world.metrics.store());
        let clock = world.clock.clone();
        let counters = RedisCounters::new(settings(written)?, keys, clock, world.counting(), forgotten, facts);
        Ok(Self::Redis(Box::new(written.clone()), counters))
    }

    /// As policies know it.
    pub(super) fn counters(&self) -> Arc<dyn Counters> {
        match self {
            Self::Memory(memory) => Arc::new(memory.clone()),
            Self::Redis(_, redis) => Arc::new(redis.clone()),
        }
    }

    /// Has the store asked from now on.
    pub(super) fn start(&self) {
        if let Self::Redis(_, redis) = self {
            redis.start();
        }
    }

    /// Waits until the store was asked once.
    pub(super) async fn heard(&self) {
        if let Self::Redis(_, redis) = self {
            redis.heard().await;
        }
    }

    /// It is in force.
    pub(super) fn take_effect(&self, state: &model::State, world: &World) {
        let keys = usize::try_from(state.counters.get()).unwrap_or(usize::MAX);
        world.counters.resize(keys);
        world.metrics.store().is_used.store(matches!(self, Self::Redis(..)), Relaxed);
        if let Self::Redis(_, redis) = self {
            redis.resize(keys);
        }
    }

    /// The gateway stops.
    pub(super) fn leave(&self) {
        if let Self::Redis(_, redis) = self {
            redis.leave();
        }
    }
}

/// Looks whether its files can be used.
///
/// # Errors
/// Those that cannot.
pub(super) fn check(state: &model::State) -> Result<(), Diagnostic> {
    state.redis.as_ref().map_or(Ok(()), |written| settings(written).map(drop))
}

fn settings(written: &model::Redis) -> Result<RedisSettings, Diagnostic> {
    let credentials = |user: Option<&Spanned<String>>, password: Option<&Secret>| Credentials {
        user: user.map(|user| user.value.clone()),
        password: password.map(|password| password.0.clone()),
    };
    let nodes = |nodes: &[Spanned<HostPort>]| {
        nodes.iter().map(|node| (node.value.host.clone(), node.value.port)).collect::<Vec<_>>()
    };
    let database = written.database.as_ref().map_or(0, |database| database.value.get().cast_signed());
    let (at, is_tls) = match (written.url.as_ref().map(|url| &url.value), &written.sentinels, &written.cluster) {
        (Some(RedisUrl::Server { at, is_tls, database }), ..) => {
            let at = RedisAt::Server { host: at.host.clone(), port: at.port, database: i64::from(*database) };
            (at, *is_tls)
        }
        (Some(RedisUrl::Socket(path)), ..) => (RedisAt::Socket { path: path.clone(), database: 0 }, false),
        (None, Some(sentinels), _) => {
            let at = RedisAt::Sentinels {
                nodes: nodes(sentinels),
                master: written.master.as_ref().map(|master| master.value.clone()).unwrap_or_default(),
                credentials: credentials(written.sentinel_user.as_ref(), written.sentinel_password.as_ref()),
                database,
            };
            (at, written.tls)
        }
        (None, None, cluster) => {
            (RedisAt::Cluster { nodes: nodes(cluster.as_deref().unwrap_or_default()) }, written.tls)
        }
    };
    let tls = match is_tls {
        false => None,
        true => {
            let own = match (&written.cert, &written.key) {
                (Some(cert), Some(key)) => Some((read(cert)?, read(key)?)),
                _ => None,
            };
            Some(RedisTls { ca: written.ca.as_ref().map(read).transpose()?, own })
        }
    };
    Ok(RedisSettings {
        at,
        credentials: credentials(written.user.as_ref(), written.password.as_ref()),
        tls,
        prefix: written.prefix.value.0.clone(),
        timeout: written.timeout.0,
    })
}

fn read(file: &Spanned<FilePath>) -> Result<Vec<u8>, Diagnostic> {
    fs::read(&file.value.0).map_err(|error| {
        Diagnostic::error(format!("`{}` cannot be read: {error}", file.value.0.display())).at(&file.span)
    })
}
