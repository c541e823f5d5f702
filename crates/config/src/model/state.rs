//! `state`: where counters, marks, sessions and answers are kept.

use std::path::PathBuf;

use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_core::section;
use tollgate_core::text::{FromText, decode_from_text, text_schema};
use tollgate_core::units::{Bounded, BoundedSize, Period};

use crate::model::auth::secret::Secret;
use crate::model::defaults::v1;
use crate::model::tls::FilePath;

section! {
    /// Where limits are counted; where marks of what may be used once and sessions are kept, for all workers; and what other servers answered
    /// (of tokens, for tokens, with decisions): not asked again after a reload.
    pub struct State {
        /// Where limits are counted that several gateways share. Without it, each counts for itself.
        redis: Option<Redis>,
        /// Most bytes of memory for marks, sessions and answers. Once they are used, answers make room, and once there are none, what needs
        /// another entry is answered 503: no mark and no session is forgotten before its time.
        memory: BoundedSize<65_536, 68_719_476_736> = v1::STATE_MEMORY,
        /// About how many callers are known of each kind of limit (buckets, windows, the calendar), over all limits: beside it, some
        /// 40 bytes of memory for each. Beyond it those are forgotten who used least of theirs.
        counters: Bounded<1_000, 100_000_000> = v1::STATE_COUNTERS,
    }
}

section! {
    /// Redis: one server, the master that Sentinels name, or a Cluster. One of `url`, `sentinels` and `cluster`.
    pub struct Redis: fits {
        /// A server: `redis://host:6379`, `rediss://host:6379/1` (TLS, and the number of a database), `unix:/run/redis.sock`.
        url: Option<Spanned<RedisUrl>>,
        /// Sentinels, which know the master: host and port of each.
        sentinels: Option<Vec<Spanned<HostPort>>>,
        /// What Sentinels call the master.
        master: Option<Spanned<String>>,
        /// Some servers of a Cluster: host and port of each.
        cluster: Option<Vec<Spanned<HostPort>>>,
        /// The number of the database, with Sentinels.
        database: Option<Spanned<Bounded<0, 1_000_000>>>,
        /// As whom the gateway comes (ACL); without it, as the default user.
        user: Option<Spanned<String>>,
        /// That user's password.
        password: Option<Secret>,
        /// As whom the gateway comes to Sentinels, if they ask for that.
        sentinel_user: Option<Spanned<String>>,
        /// That user's password.
        sentinel_password: Option<Secret>,
        /// TLS, with Sentinels and a Cluster; a `url` says so itself.
        tls: bool = v1::REDIS_TLS,
        /// Who may vouch for the servers (PEM); without it, whom the system trusts.
        ca: Option<Spanned<FilePath>>,
        /// The gateway's own certificate (PEM), if servers ask for one.
        cert: Option<Spanned<FilePath>>,
        /// Its key (PEM).
        key: Option<Spanned<FilePath>>,
        /// What the names of all keys begin with: gateways that are to share their counters have the same one.
        prefix: Spanned<Prefix> = v1::REDIS_PREFIX,
        /// How long a request may wait for Redis.
        timeout: Period = v1::REDIS_TIMEOUT,
    }
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisUrl {
    /// By the network.
    Server {
        /// Its host and port.
        at: HostPort,
        /// Whether TLS is spoken.
        is_tls: bool,
        /// The number of the database.
        database: u32,
    },
    /// By a Unix socket.
    Socket(PathBuf),
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an address, of IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// What the names of keys begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(pub String);

impl FromText for HostPort {
    const WHAT: &'static str = "a host and a port";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let wrong = || Diagnostic::error(format!("`{text}` is no host and port")).hint("`redis-1:6379`, `[::1]:6379`");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_name = |host: &str| {
            !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
        };
        match inner {
            Some(address) if address.parse::<std::net::Ipv6Addr>().is_err() => return Err(wrong()),
            None if !is_name(host) => return Err(wrong()),
            _ => {}
        }
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
        Ok(Self { host: inner.unwrap_or(host).to_owned(), port })
    }
}

impl FromText for RedisUrl {
    const WHAT: &'static str = "a URL of Redis";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let wrong = || {
            Diagnostic::error(format!("`{text}` is no URL of Redis"))
                .hint("`redis://host:6379`, `rediss://host:6379/1`, `unix:/run/redis.sock`")
        };
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') { Ok(Self::Socket(path.into())) } else { Err(wrong()) };
        }
        let is_tls = text.starts_with("rediss://");
        let rest = text.strip_prefix("rediss://").or_else(|| text.strip_prefix("redis://")).ok_or_else(wrong)?;
        if rest.contains('@') {
            // What stands there may be a password: it is not shown.
            return Err(Diagnostic::error("a URL of Redis has neither user nor password here")
                .hint("`user`, and `password: ${env:NAME}`, stand beside `url`"));
        }
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let database = if database.is_empty() { 0 } else { database.parse().map_err(|_| wrong())? };
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        let authority = if has_port { authority.to_owned() } else { format!("{authority}:6379") };
        let at = HostPort::from_text(&authority).map_err(|_| wrong())?;
        Ok(Self::Server { at, is_tls, database })
    }
}

impl FromText for Prefix {
    const WHAT: &'static str = "what keys begin with";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let is_fit = (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:/".contains(&byte));
        if is_fit {
            return Ok(Self(text.to_owned()));
        }
        Err(Diagnostic::error(format!("`{text}` cannot begin the names of keys"))
            .hint("from 1 to 64 letters, digits and `.-_:/`"))
    }
}

decode_from_text!(HostPort);
decode_from_text!(RedisUrl);
decode_from_text!(Prefix);
text_schema!(HostPort, "RedisHostPort", "description": "A host and a port.", "pattern": r"^.+:[0-9]+$", "examples": ["redis-1:6379"]);
text_schema!(RedisUrl, "RedisUrl", "description": "A server of Redis.", "pattern": r"^(rediss?://|unix:/)", "examples": ["redis://redis:6379"]);
text_schema!(Prefix, "RedisPrefix", "description": "What the names of keys begin with.", "pattern": r"^[A-Za-z0-9._:/-]{1,64}$", "examples": ["tollgate"]);

/// Whether all that is said of Redis goes together.
fn fits(redis: &Redis, cx: &mut DecodeCx) -> bool {
    let mistakes: Vec<Diagnostic> =
        [where_it_is(redis), with_sentinels(redis), with_tls(redis), with_user(redis)].into_iter().flatten().collect();
    let fits = mistakes.is_empty();
    mistakes.into_iter().for_each(|mistake| cx.report(mistake));
    fits
}

fn where_it_is(redis: &Redis) -> Option<Diagnostic> {
    let first = |nodes: &Option<Vec<Spanned<HostPort>>>| {
        nodes.as_ref().map(|nodes| nodes.first().map(|node| node.span.clone()))
    };
    let said = [redis.url.as_ref().map(|url| Some(url.span.clone())), first(&redis.sentinels), first(&redis.cluster)];
    let said: Vec<_> = said.into_iter().flatten().collect();
    let one_of = "one of `url`, `sentinels` and `cluster`, with at least one server";
    match said.as_slice() {
        [Some(_)] => None,
        [_, Some(second), ..] => Some(Diagnostic::error("it is said twice where Redis is").at(second).hint(one_of)),
        _ => Some(Diagnostic::error("it is not said where Redis is").at(&redis.prefix.span).hint(one_of)),
    }
}

fn with_sentinels(redis: &Redis) -> Option<Diagnostic> {
    if let Some(nodes) = &redis.sentinels {
        let first = nodes.first().map(|node| &node.span)?;
        return redis.master.is_none().then(|| {
            Diagnostic::error("Sentinels know several masters").at(first).hint("`master: mymaster` says which one")
        });
    }
    let database = redis.database.as_ref().map(|database| &database.span);
    let stray = [
        redis.master.as_ref().map(|master| (&master.span, "`master` goes with `sentinels`")),
        redis.sentinel_user.as_ref().map(|user| (&user.span, "`sentinel_user` goes with `sentinels`")),
        database
            .map(|span| (span, "a `url` says its database itself (`redis://host:6379/1`), and a Cluster has only one")),
    ];
    let (span, why) = stray.into_iter().flatten().next()?;
    Some(Diagnostic::error("this has no effect here").at(span).hint(why))
}

fn with_tls(redis: &Redis) -> Option<Diagnostic> {
    let is_tls = match redis.url.as_ref().map(|url| &url.value) {
        Some(RedisUrl::Server { is_tls, .. }) => *is_tls,
        Some(RedisUrl::Socket(_)) => false,
        None => redis.tls,
    };
    let file = [&redis.ca, &redis.cert, &redis.key].into_iter().flatten().next();
    if let Some(file) = file.filter(|_| !is_tls) {
        let mistake = Diagnostic::error("without TLS, nobody shows a certificate").at(&file.span);
        return Some(mistake.hint("`url: rediss://…`, or `tls: true` with `sentinels` and `cluster`"));
    }
    let ((Some(lone), None) | (None, Some(lone))) = (&redis.cert, &redis.key) else { return None };
    Some(Diagnostic::error("a certificate and its key go together").at(&lone.span).hint("`cert` and `key`"))
}

fn with_user(redis: &Redis) -> Option<Diagnostic> {
    let (user, password) = (redis.user.as_ref(), redis.password.as_ref());
    let lone = user.filter(|_| password.is_none())?;
    Some(Diagnostic::error("a user without a password").at(&lone.span).hint("`password: ${env:REDIS_PASSWORD}`"))
}
