//! A directory (LDAP v3, RFC 4511): binds and searches on connections that are kept for a while. Decides nothing about who is let in but
//! what the directory says.
//!
//! A connection serves one question at a time. Those that are bound as the gateway's own account are used for searches, the others for
//! binds of users; one is turned into the other where need be. Referrals are not followed: whoever they name would get passwords.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ldap3::result::LdapError;
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, Scope, SearchEntry, SearchOptions, SearchResult, StdStream};
use tokio::sync::Semaphore;
use tollgate_core::clock::Clock;
use tollgate_core::policy::BoxFuture;

/// How long a connection may rest: less than most servers and firewalls keep one.
const REST: Duration = Duration::from_secs(60);

/// The way to a directory: a port, since names are looked up and certificates judged elsewhere.
pub trait Way: fmt::Debug + Send + Sync + 'static {
    /// A connection to this host.
    fn connect(&self, host: String, port: u16) -> BoxFuture<'static, Result<std::net::TcpStream, String>>;
    /// How TLS is spoken with it.
    fn tls(&self) -> Arc<rustls::ClientConfig>;
}

/// Where a directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its host: a name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether, and when, TLS is spoken.
    pub tls: Tls,
}

/// Whether TLS is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// From the first byte (`ldaps`).
    First,
    /// Once the server agreed to it (StartTLS, RFC 4511 §4.14); nothing else is said before.
    Start,
    /// Never.
    None,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls == Tls::First { "ldaps" } else { "ldap" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

/// A name and its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// The distinguished name, or what else the directory takes.
    pub name: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why there is no answer.
pub(super) enum Failure {
    /// The directory lets this user not in; for the log.
    Refused(String),
    /// Our trouble, or the directory's.
    Trouble(String),
}

/// Connections to a directory.
pub(super) struct Directory {
    server: Server,
    account: Option<Account>,
    way: Arc<dyn Way>,
    clock: Clock,
    resting: Mutex<Vec<Link>>,
    /// One permit for each question, which takes up to two connections: the user's, and one of the gateway's account.
    most: Semaphore,
}

/// One connection.
pub(super) struct Link {
    ldap: Ldap,
    is_account: bool,
    /// Since when it rests; `None`: it is new.
    rests: Option<Instant>,
}

impl Directory {
    pub(super) fn new(server: Server, account: Option<Account>, most: usize, way: Arc<dyn Way>, clock: Clock) -> Self {
        Self { server, account, way, clock, resting: Mutex::default(), most: Semaphore::new((most / 2).max(1)) }
    }

    /// Waits until a connection may be used.
    pub(super) async fn turn(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        self.most.acquire().await.ok()
    }

    /// Closes connections that have rested for too long.
    pub(super) fn sweep(&self) {
        let now = self.clock.now();
        self.resting().retain(|link| link.rests.is_none_or(|since| now.saturating_duration_since(since) < REST));
    }

    fn resting(&self) -> MutexGuard<'_, Vec<Link>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has it rest; what is broken is dropped instead.
    pub(super) fn rest(&self, mut link: Link) {
        if !link.ldap.is_closed() {
            link.rests = Some(self.clock.now());
            self.resting().push(link);
        }
    }

    /// A connection: one that rests, of the wanted kind if there is one, or a new one.
    async fn take(&self, is_account: bool) -> Result<Link, Failure> {
        self.sweep();
        let kept = {
            let mut resting = self.resting();
            resting.retain_mut(|link| !link.ldap.is_closed());
            let at = resting.iter().rposition(|link| link.is_account == is_account);
            match at {
                Some(at) => Some(resting.swap_remove(at)),
                None => resting.pop(),
            }
        };
        match kept {
            Some(link) => Ok(link),
            None => self.connect().await.map_err(|why| Failure::Trouble(format!("{}: {why}", self.server))),
        }
    }

    async fn connect(&self) -> Result<Link, String> {
        let stream = self.way.connect(self.server.host.clone(), self.server.port).await?;
        let settings = LdapConnSettings::new()
            .set_starttls(self.server.tls == Tls::Start)
            .set_config(self.way.tls())
            .set_std_stream(StdStream::Tcp(stream));
        let url = self.server.to_string();
        let (connection, ldap) = LdapConnAsync::with_settings(settings, &url).await.map_err(|e| told(&e))?;
        // Ends when the last handle is dropped, or the server closes it; what went wrong is told where the answer is awaited.
        drop(tokio::spawn(async move { drop(connection.drive().await) }));
        Ok(Link { ldap, is_account: false, rests: None })
    }

    /// Binds as a user. The connection is that user's afterwards.
    pub(super) async fn bind(&self, name: &str, password: &str) -> Result<Link, Failure> {
        loop {
            let mut link = self.take(false).await?;
            link.is_account = false;
            match link.ldap.simple_bind(name, password).await {
                Ok(told) if told.rc == 0 => return Ok(link),
                Ok(told) => {
                    self.rest(link);
                    return Err(judge(told.rc, &told.text));
                }
                // It was closed while it rested.
                Err(_) if link.rests.is_some() => {}
                Err(error) => return Err(self.trouble(&error)),
            }
        }
    }

    /// A connection that is bound as the gateway's own account.
    pub(super) async fn own(&self, account: &Account) -> Result<Link, Failure> {
        loop {
            let mut link = self.take(true).await?;
            if link.is_account {
                return Ok(link);
            }
            match link.ldap.simple_bind(&account.name, &account.password).await {
                Ok(told) if told.rc == 0 => {
                    link.is_account = true;
                    return Ok(link);
                }
                Ok(told) => {
                    let why = format!("the gateway's own account is not let in: {}", words(told.rc, &told.text));
                    return Err(Failure::Trouble(format!("{}: {why}", self.server)));
                }
                Err(_) if link.rests.is_some() => {}
                Err(error) => return Err(self.trouble(&error)),
            }
        }
    }

    /// Searches as the gateway's own account.
    pub(super) async fn search_as_own(&self, account: &Account, search: &Search<'_>) -> Result<Vec<Entry>, Failure> {
        loop {
            let mut link = self.own(account).await?;
            match search.on(&mut link.ldap).await {
                Ok(told) => {
                    self.rest(link);
                    return self.entries(search, told);
                }
                Err(_) if link.rests.is_some() => {}
                Err(error) => return Err(self.trouble(&error)),
            }
        }
    }

    /// Searches as whoever is bound there.
    pub(super) async fn search(&self, link: &mut Link, search: &Search<'_>) -> Result<Vec<Entry>, Failure> {
        let told = search.on(&mut link.ldap).await.map_err(|error| self.trouble(&error))?;
        self.entries(search, told)
    }

    pub(super) fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    fn entries(&self, search: &Search<'_>, SearchResult(all, told): SearchResult) -> Result<Vec<Entry>, Failure> {
        let is_over = told.rc == SIZE_LIMIT_EXCEEDED;
        if told.rc != 0 && !is_over {
            let why = format!("the search below `{}`: {}", search.below, words(told.rc, &told.text));
            return Err(Failure::Trouble(format!("{}: {why}", self.server)));
        }
        // What refers elsewhere is no entry.
        let entries = all.into_iter().filter(|one| !one.is_ref() && !one.is_intermediate());
        let entries: Vec<Entry> = entries.map(|one| Entry::new(SearchEntry::construct(one))).collect();
        if is_over && entries.len() < usize::try_from(search.most).unwrap_or(usize::MAX) {
            let why = format!("the search below `{}` found more than the server tells", search.below);
            return Err(Failure::Trouble(format!("{}: {why}", self.server)));
        }
        Ok(entries)
    }

    fn trouble(&self, error: &LdapError) -> Failure {
        Failure::Trouble(format!("{}: {}", self.server, told(error)))
    }
}

const SIZE_LIMIT_EXCEEDED: u32 = 4;

/// What is looked for.
pub(super) struct Search<'s> {
    pub(super) below: &'s str,
    /// Only the entry itself, not what is below it.
    pub(super) only: bool,
    pub(super) filter: &'s str,
    pub(super) attributes: Vec<&'s str>,
    /// Most entries that are told.
    pub(super) most: i32,
    pub(super) timeout: Duration,
}

impl Search<'_> {
    async fn on(&self, ldap: &mut Ldap) -> Result<SearchResult, LdapError> {
        let seconds = i32::try_from(self.timeout.as_secs().max(1)).unwrap_or(i32::MAX);
        let scope = if self.only { Scope::Base } else { Scope::Subtree };
        ldap.with_search_options(SearchOptions::new().sizelimit(self.most).timelimit(seconds));
        ldap.search(self.below, scope, self.filter, self.attributes.clone()).await
    }
}

/// What a directory knows of somebody or something.
pub(super) struct Entry {
    pub(super) dn: String,
    /// By names in lower case.
    attributes: HashMap<String, Vec<String>>,
}

impl Entry {
    fn new(entry: SearchEntry) -> Self {
        let attributes = entry.attrs.into_iter().map(|(name, values)| (name.to_ascii_lowercase(), values));
        Self { dn: entry.dn, attributes: attributes.collect() }
    }

    /// The values of an attribute that are text.
    pub(super) fn values(&self, name: &str) -> &[String] {
        self.attributes.get(&name.to_ascii_lowercase()).map_or(&[], Vec::as_slice)
    }
}

/// What a directory makes of a user's password (RFC 4511 appendix A; some lock accounts with 19 or 53).
fn judge(code: u32, text: &str) -> Failure {
    match code {
        19 | 32 | 34 | 48 | 49 | 53 => Failure::Refused(words(code, text)),
        _ => Failure::Trouble(format!("the bind of a user: {}", words(code, text))),
    }
}

/// A result in words for the log.
fn words(code: u32, text: &str) -> String {
    // What Active Directory says in hexadecimal behind `data`.
    let data = text.split("data ").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or_default();
    let why = match (code, data.trim()) {
        (49, "525") => "no such user",
        (49, "530" | "531") => "not at this time, or not from here",
        (49, "532") => "the password has expired",
        (49, "533") => "the account is disabled",
        (49, "701") => "the account has expired",
        (49, "773") => "the password must be changed first",
        (49, "775") => "the account is locked",
        (8 | 13, _) => "the directory wants TLS: `ldaps://`, or `starttls: true`",
        (10, _) => "it refers to another server, which is not followed",
        (32, _) => "there is no such entry, or it may not be seen",
        (49, _) => "invalid credentials",
        (50, _) => "that is not allowed",
        _ => "refused",
    };
    let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
    if text.is_empty() { format!("{why} (result {code})") } else { format!("{why} (result {code}: {text})") }
}

fn told(error: &LdapError) -> String {
    match error {
        LdapError::LdapResult { result } => words(result.rc, &result.text),
        LdapError::ResultRecv { .. } | LdapError::OpSend { .. } | LdapError::EndOfStream => {
            "the connection broke, or what came is no LDAP".to_owned()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_directories_say_of_passwords_is_told_from_trouble() {
        let ad = "80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data 775, v4563";
        let refused = |code, text| matches!(judge(code, text), Failure::Refused(_));
        assert!(refused(49, "") && refused(49, ad) && refused(53, "account locked"));
        assert!(words(49, ad).starts_with("the account is locked"));
        assert!(words(49, &ad.replace("775", "532")).starts_with("the password has expired"));
        for code in [1, 2, 8, 10, 13, 51, 52, 80] {
            assert!(!refused(code, ""), "{code}");
        }
        assert!(!words(49, "a\r\nb").contains(['\r', '\n']));
    }
}
