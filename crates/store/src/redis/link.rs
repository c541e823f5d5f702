//! The way to Redis: one server, the master that Sentinels name, or a Cluster.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue,
    IntoConnectionInfo, Pipeline, RedisConnectionInfo, RedisFuture, ScriptInvocation, TlsCertificates, TlsMode, Value,
};

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(1);
/// How long any answer may take; who asks waits less.
const ANSWER: Duration = Duration::from_secs(1);

/// How Redis is reached.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// Where it is.
    pub at: RedisAt,
    /// As whom we come (ACL).
    pub credentials: Credentials,
    /// TLS, if it is spoken.
    pub tls: Option<RedisTls>,
    /// What all our keys begin with.
    pub prefix: String,
    /// How long a request may wait for it.
    pub timeout: Duration,
}

/// Where Redis is.
#[derive(Clone, Debug)]
pub enum RedisAt {
    /// A server.
    Server {
        /// Its host.
        host: String,
        /// Its port.
        port: u16,
        /// The number of the database.
        database: i64,
    },
    /// A server, by a Unix socket.
    Socket {
        /// The socket's path.
        path: PathBuf,
        /// The number of the database.
        database: i64,
    },
    /// The master that Sentinels name.
    Sentinels {
        /// The Sentinels: host and port.
        nodes: Vec<(String, u16)>,
        /// What they call it.
        master: String,
        /// As whom we come to them.
        credentials: Credentials,
        /// The number of the database.
        database: i64,
    },
    /// A Cluster.
    Cluster {
        /// Some of its servers: host and port.
        nodes: Vec<(String, u16)>,
    },
}

/// A name and a password.
#[derive(Clone, Default)]
pub struct Credentials {
    /// The name; without it, the default user.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
}

/// Certificates and a key, as PEM.
#[derive(Clone, Default)]
pub struct RedisTls {
    /// Who may vouch for the servers; without it, whom the system trusts.
    pub ca: Option<Vec<u8>>,
    /// Our own certificate, and its key.
    pub own: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:***", self.user.as_deref().unwrap_or_default())
    }
}

impl fmt::Debug for RedisTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TLS")
    }
}

/// Why Redis is of no use now, in words for our log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisError(pub String);

impl fmt::Display for RedisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RedisError {}

impl From<redis::RedisError> for RedisError {
    fn from(error: redis::RedisError) -> Self {
        Self(error.to_string())
    }
}

/// Connections that are open, shared by all who ask: cheap to copy.
#[derive(Clone)]
pub(super) enum Connected {
    /// To one server.
    Server {
        /// Of those who are in a hurry.
        quick: MultiplexedConnection,
        /// Of those who wait until what they wrote is copied.
        safe: MultiplexedConnection,
        /// Which run of which server it is.
        run: String,
    },
    /// To all of a Cluster.
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connected {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server { quick, .. } => quick.req_packed_command(cmd),
            Self::Cluster(cluster) => cluster.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server { quick, .. } => quick.req_packed_commands(pipeline, offset, count),
            Self::Cluster(cluster) => cluster.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server { quick, .. } => quick.get_db(),
            Self::Cluster(cluster) => cluster.get_db(),
        }
    }
}

impl Connected {
    /// Runs a script.
    pub(super) async fn run<T: FromRedisValue>(&mut self, script: &ScriptInvocation<'_>) -> Result<T, RedisError> {
        Ok(script.invoke_async(self).await?)
    }

    /// Runs a script, and waits until a replica has what it wrote, if there is one: then whoever takes the place of a server that fails knows
    /// it, too. `wait`: for so long at most, if there are any; a replica that is behind keeps nobody from being served.
    pub(super) async fn run_safely<T: FromRedisValue>(
        &mut self,
        script: &ScriptInvocation<'_>,
        key: &str,
        wait: Option<Duration>,
    ) -> Result<T, RedisError> {
        let Some(most) = wait else { return self.run(script).await };
        let mut wait = redis::cmd("WAIT");
        wait.arg(1).arg(u64::try_from(most.as_millis()).unwrap_or(u64::MAX).max(1));
        match self {
            Self::Server { safe, .. } => {
                let done = script.invoke_async(safe).await?;
                wait.query_async::<Value>(safe).await?;
                Ok(done)
            }
            Self::Cluster(cluster) => {
                let done = script.invoke_async(cluster).await?;
                // To the server that has this key.
                let slot = Route::with_key(key, SlotAddr::Master);
                let there = RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(slot));
                cluster.route_command(wait, there).await?;
                Ok(done)
            }
        }
    }

    /// Which runs of which servers these are: another text once one of them began anew, or another took its place.
    pub(super) async fn servers(&mut self) -> Result<String, RedisError> {
        match self {
            Self::Server { run, .. } => Ok(run.clone()),
            Self::Cluster(cluster) => {
                let mut info = redis::cmd("INFO");
                info.arg("server");
                let masters = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                let told = cluster.route_command(info, masters).await?;
                let mut runs: Vec<String> =
                    texts(&told).iter().filter_map(|text| field(text, "run_id").map(str::to_owned)).collect();
                runs.sort_unstable();
                Ok(runs.join(","))
            }
        }
    }

    /// What it says of copies and of what it writes to disk.
    pub(super) async fn keeps(&mut self) -> Result<Keeps, RedisError> {
        let mut info = redis::cmd("INFO");
        let told = match self {
            Self::Server { quick, .. } => info.query_async::<Value>(quick).await?,
            Self::Cluster(cluster) => {
                let masters = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                cluster.route_command(std::mem::take(&mut info), masters).await?
            }
        };
        let texts = texts(&told);
        let all = |name: &str, wanted: fn(&str) -> bool| {
            !texts.is_empty() && texts.iter().all(|text| field(text, name).is_some_and(wanted))
        };
        Ok(Keeps { replicas: all("connected_slaves", |count| count != "0"), disk: all("aof_enabled", |on| on == "1") })
    }
}

/// Where else what is written is, should a server fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keeps {
    /// At a replica.
    pub(super) replicas: bool,
    /// On its disk, with each write (AOF).
    pub(super) disk: bool,
}

/// All texts of an answer, of one server or of several.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::BulkString(bytes) => vec![String::from_utf8_lossy(bytes).into_owned()],
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => vec![text.clone()],
        Value::Array(all) => all.iter().flat_map(texts).collect(),
        Value::Map(all) => all.iter().flat_map(|(_, value)| texts(value)).collect(),
        _ => Vec::new(),
    }
}

/// A field of what `INFO` tells.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

impl RedisSettings {
    /// Opens connections.
    pub(super) async fn connect(&self) -> Result<Connected, RedisError> {
        let connecting = async {
            match &self.at {
                RedisAt::Cluster { nodes } => {
                    Ok(Connected::Cluster(self.cluster(nodes)?.get_async_connection().await?))
                }
                RedisAt::Sentinels { nodes, master, credentials, database } => {
                    let mut client = self.sentinels(nodes, master, credentials, *database)?;
                    self.server(client.async_get_client().await?).await
                }
                RedisAt::Server { host, port, database } => {
                    self.server(self.client(self.address(host, *port), *database)?).await
                }
                RedisAt::Socket { path, database } => {
                    self.server(self.client(ConnectionAddr::Unix(path.clone()), *database)?).await
                }
            }
        };
        tokio::time::timeout(CONNECT * 2, connecting)
            .await
            .unwrap_or_else(|_| Err(RedisError("no connection in time".to_owned())))
    }

    async fn server(&self, client: Client) -> Result<Connected, RedisError> {
        let config =
            || AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(ANSWER));
        let mut quick = client.get_multiplexed_async_connection_with_config(&config()).await?;
        let safe = client.get_multiplexed_async_connection_with_config(&config()).await?;
        let told: String = redis::cmd("INFO").arg("server").query_async(&mut quick).await?;
        let run = field(&told, "run_id").ok_or_else(|| RedisError("`INFO server` names no run_id".to_owned()))?;
        Ok(Connected::Server { quick, safe, run: run.to_owned() })
    }

    fn address(&self, host: &str, port: u16) -> ConnectionAddr {
        match self.tls {
            None => ConnectionAddr::Tcp(host.to_owned(), port),
            Some(_) => ConnectionAddr::TcpTls { host: host.to_owned(), port, insecure: false, tls_params: None },
        }
    }

    fn certificates(&self) -> Option<TlsCertificates> {
        let tls = self.tls.as_ref()?;
        let own = tls.own.clone().map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
        Some(TlsCertificates { client_tls: own, root_cert: tls.ca.clone() })
    }

    fn client(&self, address: ConnectionAddr, database: i64) -> Result<Client, RedisError> {
        let is_socket = matches!(address, ConnectionAddr::Unix(_));
        let info = address.into_connection_info()?.set_redis_settings(self.redis(database));
        Ok(match self.certificates().filter(|_| !is_socket) {
            Some(certificates) => Client::build_with_tls(info, certificates)?,
            None => Client::open(info)?,
        })
    }

    fn redis(&self, database: i64) -> RedisConnectionInfo {
        // To say who we are would take a right that is of no other use.
        let mut redis = RedisConnectionInfo::default().set_db(database).set_skip_set_lib_name();
        let Credentials { user, password } = &self.credentials;
        if let Some(user) = user {
            redis = redis.set_username(user);
        }
        if let Some(password) = password {
            redis = redis.set_password(password);
        }
        redis
    }

    fn sentinels(
        &self,
        nodes: &[(String, u16)],
        master: &str,
        credentials: &Credentials,
        database: i64,
    ) -> Result<redis::sentinel::SentinelClient, RedisError> {
        let nodes = nodes.iter().map(|(host, port)| self.address(host, *port));
        let mut builder = SentinelClientBuilder::new(nodes, master, SentinelServerType::Master)?;
        builder = builder.set_client_to_redis_db(database);
        if let Some(user) = &self.credentials.user {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = &self.credentials.password {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(user) = &credentials.user {
            builder = builder.set_client_to_sentinel_username(user);
        }
        if let Some(password) = &credentials.password {
            builder = builder.set_client_to_sentinel_password(password);
        }
        if let Some(certificates) = self.certificates() {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates);
        }
        Ok(builder.build()?)
    }

    fn cluster(&self, nodes: &[(String, u16)]) -> Result<redis::cluster::ClusterClient, RedisError> {
        let nodes: Vec<ConnectionInfo> = nodes
            .iter()
            .map(|(host, port)| self.address(host, *port).into_connection_info())
            .collect::<Result<_, _>>()?;
        let mut builder = ClusterClientBuilder::new(nodes)
            .connection_timeout(CONNECT)
            .response_timeout(ANSWER)
            .overall_response_timeout(Some(ANSWER))
            .retries(1);
        if let Some(user) = &self.credentials.user {
            builder = builder.username(user);
        }
        if let Some(password) = &self.credentials.password {
            builder = builder.password(password);
        }
        if let Some(certificates) = self.certificates() {
            builder = builder.certs(certificates);
        }
        Ok(builder.build()?)
    }
}
