//! One look-up: the hosts file, then the name servers.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, Resolver, TokioResolver};
use tokio::time::timeout;

use super::Settings;

/// How long an entry of the hosts file holds: it has no time to live, but people edit it.
const HOSTS_FILE_TTL: Duration = Duration::from_secs(30);

/// Why a look-up has no answer, in words for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupError(String);

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LookupError {}

/// The addresses of a name, sorted, never none, and how long they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) ttl: Duration,
}

/// One SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Record {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) port: u16,
    /// A host, lower-cased, with its final dot.
    pub(super) target: String,
}

/// Asks for one name at a time, without a cache: whoever asks keeps the answer.
pub(super) struct Lookup {
    resolver: TokioResolver,
    timeout: Duration,
    shortest: Duration,
    longest: Duration,
}

impl Lookup {
    pub(super) fn new(settings: &Settings) -> Result<Self, LookupError> {
        let provider = TokioRuntimeProvider::default();
        let mut builder = if settings.servers.is_empty() {
            let unreadable = |error| LookupError(format!("the system's DNS settings cannot be read: {error}"));
            Resolver::builder(provider).map_err(unreadable)?
        } else {
            let servers = settings.servers.iter().map(|server| {
                let with_port = |mut connection: ConnectionConfig| {
                    connection.port = server.port();
                    connection
                };
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(with_port);
                NameServerConfig::new(server.ip(), true, connections.into())
            });
            Resolver::builder_with_config(ResolverConfig::from_parts(None, Vec::new(), servers.collect()), provider)
        };
        own_options(builder.options_mut(), settings);
        let resolver = builder.build().map_err(|error| LookupError(error.to_string()))?;
        Ok(Self { resolver, timeout: settings.timeout, shortest: settings.min_ttl, longest: settings.max_ttl })
    }

    /// All addresses of `host`, IPv4 and IPv6. With a dot at its end no search list is applied.
    pub(super) async fn addresses(&self, host: &str) -> Result<Answer, LookupError> {
        let (addresses, ttl) = match by_hosts_file(host.trim_end_matches('.')) {
            Some(found) => (found, HOSTS_FILE_TTL),
            None => self.by_servers(host).await?,
        };
        Ok(self.answer(addresses, ttl))
    }

    /// The SRV records of a name, and how long they hold. None if it is said that there is no such service (the target `.`).
    pub(super) async fn services(&self, name: &str) -> Result<(Vec<Record>, Duration), LookupError> {
        let found = self.within(self.resolver.lookup(name, RecordType::SRV), "the name has no SRV record").await?;
        let mut ttl = Duration::MAX;
        let mut records = Vec::new();
        let mut is_said = false;
        for record in found.answers() {
            let RData::SRV(srv) = &record.data else { continue };
            (is_said, ttl) = (true, ttl.min(Duration::from_secs(record.ttl.into())));
            // RFC 2782: "A Target of "." means that the service is decidedly not available at this domain."
            if !srv.target.is_root() {
                let target = srv.target.to_ascii().to_ascii_lowercase();
                records.push(Record { priority: srv.priority, weight: srv.weight, port: srv.port, target });
            }
        }
        if is_said { Ok((records, self.bounded(ttl))) } else { Err(LookupError("the name has no SRV record".into())) }
    }

    async fn by_servers(&self, host: &str) -> Result<(Vec<IpAddr>, Duration), LookupError> {
        let found = self.within(self.resolver.lookup_ip(host), "the name has no address").await?;
        let ttl = found.as_lookup().answers().iter().map(|record| record.ttl).min().unwrap_or_default();
        let addresses: Vec<IpAddr> = found.iter().collect();
        if addresses.is_empty() {
            return Err(LookupError("the name has no address".into()));
        }
        Ok((addresses, Duration::from_secs(ttl.into())))
    }

    async fn within<T>(
        &self,
        asked: impl Future<Output = Result<T, NetError>>,
        nothing: &str,
    ) -> Result<T, LookupError> {
        match timeout(self.timeout, asked).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) if error.is_nx_domain() => Err(LookupError("there is no such name".into())),
            Ok(Err(error)) if error.is_no_records_found() => Err(LookupError(nothing.into())),
            Ok(Err(error)) => Err(LookupError(error.to_string())),
            Err(_) => Err(LookupError("no name server answered in time".into())),
        }
    }

    fn bounded(&self, ttl: Duration) -> Duration {
        ttl.min(self.longest).max(self.shortest)
    }

    fn answer(&self, mut addresses: Vec<IpAddr>, ttl: Duration) -> Answer {
        addresses.sort_unstable();
        addresses.dedup();
        Answer { addresses, ttl: self.bounded(ttl) }
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

fn own_options(options: &mut ResolverOpts, settings: &Settings) {
    options.timeout = settings.timeout / 2;
    options.attempts = 1;
    options.cache_size = 0;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    // Read by us on every look-up, so that changes are followed.
    options.use_hosts_file = ResolveHosts::Never;
    options.try_tcp_on_error = true;
}

/// What the system's hosts file says. It is small and local: read each time.
fn by_hosts_file(host: &str) -> Option<Vec<IpAddr>> {
    let name = Name::from_utf8(host).ok()?;
    let hosts = Hosts::from_system().ok()?;
    let mut found = Vec::new();
    for kind in [RecordType::A, RecordType::AAAA] {
        if let Some(lookup) = hosts.lookup_static_host(&Query::query(name.clone(), kind)) {
            found.extend(lookup.answers().iter().filter_map(|record| record.data.ip_addr()));
        }
    }
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
impl LookupError {
    pub(super) fn test(text: &str) -> Self {
        Self(text.into())
    }
}
