//! Names and passwords (RFC 7617) that a directory is asked about: it lets whoever has them bind (LDAP, Active Directory), and tells in
//! which groups they are. What it said holds for a stated time. Never more questions at a time than are allowed; none on a worker.

pub mod directory;
pub(crate) mod faults;
pub mod template;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use tollgate_core::clock::Clock;
use tollgate_core::exchange::Exchange;
use tollgate_core::principal::{Authenticator, Bearers, Credential, Effort, Found, Principal, Standing};
use tollgate_core::problem::Problem;

use self::directory::{Account, Directory, Entry, Failure, Link, Search, Server, Way};
use self::faults::{LDAP_CROWDED, LDAP_REFUSED, LDAP_UNAVAILABLE};
use self::template::Template;
use crate::faults::{TOO_MANY_FAILURES, because};
use crate::password::{self, Digests, Password};
use crate::remembered::{Digest, Remembered};
use crate::together::{Together, Waits};

/// The longest name and the longest password that a directory is asked about, in bytes.
const LONGEST: (usize, usize) = (256, 1024);
/// Most groups of one user: more than that is trouble, since a list that is cut off may lack the one that shuts somebody out.
const MOST_GROUPS: i32 = 1000;
/// How often resting connections are looked at.
const SWEEP: Duration = Duration::from_secs(15);

/// Which directory is asked, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory.
    pub server: Server,
    /// As whom users are bound; `None`: as the entry that `users` finds.
    pub user: Option<Template>,
    /// The gateway's own account there.
    pub account: Option<Account>,
    /// How a user's entry is found; `None`: it is the one that was bound.
    pub users: Option<Users>,
    /// How a user's groups are found.
    pub groups: Option<Groups>,
    /// What is taken from the user's entry.
    pub attributes: Vec<String>,
    /// The attribute by which users are known; `None`: by the names they give.
    pub subject: Option<String>,
    /// How long the directory may take.
    pub timeout: Duration,
    /// For how long it holds that a password was right.
    pub cache: Duration,
    /// For how long it holds that one was wrong.
    pub negative: Duration,
    /// Most connections; a question takes up to two.
    pub pool: usize,
    /// Most passwords that are asked about at a time.
    pub at_once: usize,
    /// About how many names with passwords are remembered, of each kind.
    pub remember: usize,
}

/// Where users are.
#[derive(Clone, Debug)]
pub struct Users {
    /// Below which entry.
    pub below: String,
    /// Which one it is.
    pub filter: Template,
}

/// Where groups are.
#[derive(Clone, Debug)]
pub enum Groups {
    /// Entries of their own.
    Entries {
        /// Below which entry.
        below: String,
        /// Which ones are the user's.
        filter: Template,
        /// The attribute that is their name.
        name: String,
    },
    /// Values of this attribute of the user's own entry.
    Attribute(String),
}

/// Names and passwords that a directory is asked about. Cheap to copy: whoever waits holds it, too.
#[derive(Clone)]
pub struct LdapSource(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    settings: Settings,
    clock: Clock,
    digests: Option<Digests>,
    good: Remembered<(Arc<Principal>, Instant)>,
    bad: Remembered<Instant>,
    together: Arc<Together<Verdict>>,
    outside: OnceLock<(Directory, Handle)>,
    trouble: Mutex<Option<(SystemTime, String)>>,
}

/// What came of asking.
#[derive(Clone)]
enum Verdict {
    Good(Arc<Principal>),
    Refused(Arc<str>),
    Untold,
}

impl LdapSource {
    /// Takes passwords once [`LdapSource::start`] was called.
    #[must_use]
    pub fn new(name: &str, settings: Settings, clock: Clock) -> Self {
        let (good, bad) = (Remembered::new(settings.remember), Remembered::new(settings.remember));
        let (together, digests, name) = (Together::new(settings.at_once), Digests::new(), name.into());
        let (outside, trouble) = (OnceLock::new(), Mutex::default());
        Self(Arc::new(Inner { name, settings, clock, digests, good, bad, together, outside, trouble }))
    }

    /// Has the directory asked on this runtime from now on. Only the first call counts.
    pub fn start(&self, way: Arc<dyn Way>, asking: &Handle) {
        let settings = &self.0.settings;
        let directory =
            Directory::new(settings.server.clone(), settings.account.clone(), settings.pool, way, self.0.clock.clone());
        if self.0.outside.set((directory, asking.clone())).is_ok() {
            let weak = Arc::downgrade(&self.0);
            drop(asking.spawn(async move {
                loop {
                    tokio::time::sleep(SWEEP).await;
                    let Some(own) = weak.upgrade() else { return };
                    own.outside.get().iter().for_each(|(directory, _)| directory.sweep());
                }
            }));
        }
    }

    /// The answer that is on its way, or that is asked for now. `None`: too many are.
    fn ask(&self, digest: Digest, given: Password, asking: &Handle) -> Option<Waits<Verdict>> {
        let own = Arc::clone(&self.0);
        self.0.together.ask(digest, asking, || async move {
            let asked = Arc::clone(&own);
            // The library gives up on what it cannot read: that ends this task only.
            let asking = tokio::spawn(async move { asked.asked(&given).await });
            let told = asking.await.unwrap_or_else(|_| Err(Failure::Trouble("what came is no LDAP".to_owned())));
            own.remember(digest, told)
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What nobody is asked about: no password, which a directory takes for nobody's and lets in (RFC 4513 §5.1.2), and what no directory
/// would know.
fn is_hopeless(given: &Password) -> bool {
    let (name, secret) = (&given.name, &given.secret);
    let is_bare = secret.is_empty() || name.is_empty() || name.trim() != name;
    is_bare
        || name.len() > LONGEST.0
        || secret.len() > LONGEST.1
        || name.chars().any(char::is_control)
        || secret.contains(&0)
        || str::from_utf8(secret).is_err()
}

impl Inner {
    /// What is known of a name with its password.
    fn known(&self, digest: &Digest) -> Option<Result<Arc<Principal>, Problem>> {
        let now = self.clock.now();
        let good = self.good.get(digest, |(_, until)| now < *until).map(|(principal, _)| Ok(principal));
        good.or_else(|| self.bad.get(digest, |until| now < *until).map(|_| Err(LDAP_REFUSED.problem())))
    }

    fn remember(&self, digest: Digest, told: Result<Principal, Failure>) -> Verdict {
        let now = self.clock.now();
        let mut trouble = lock(&self.trouble);
        if !matches!(told, Err(Failure::Trouble(_))) && trouble.take().is_some() {
            tracing::info!(source = &*self.name, "the directory can be asked again");
        }
        match told {
            Ok(principal) => {
                let principal = Arc::new(principal);
                self.good.add(digest, (Arc::clone(&principal), now + self.settings.cache));
                Verdict::Good(principal)
            }
            Err(Failure::Refused(why)) => {
                self.bad.add(digest, now + self.settings.negative);
                Verdict::Refused(why.into())
            }
            Err(Failure::Trouble(error)) => {
                if trouble.is_none() {
                    tracing::warn!(source = &*self.name, %error, "the directory cannot be asked");
                }
                // Told once; the error may be another one by now.
                let since = trouble.take().map_or_else(|| self.clock.unix(), |(since, _)| since);
                *trouble = Some((since, error));
                Verdict::Untold
            }
        }
    }

    async fn asked(&self, given: &Password) -> Result<Principal, Failure> {
        let trouble = |why: String| Err(Failure::Trouble(why));
        let Some((directory, _)) = self.outside.get() else { return trouble("nobody is asked".to_owned()) };
        let asking = async {
            let _turn = directory.turn().await;
            self.judged(directory, given).await
        };
        match tokio::time::timeout(self.settings.timeout, asking).await {
            Ok(told) => told,
            Err(_) => trouble(format!("{}: no answer in time", self.settings.server)),
        }
    }

    async fn judged(&self, directory: &Directory, given: &Password) -> Result<Principal, Failure> {
        let no_user = || Failure::Refused("there is no such user".to_owned());
        let secret = str::from_utf8(&given.secret).map_err(|_| no_user())?;
        let (mut link, entry) = match (&self.settings.user, directory.account(), &self.settings.users) {
            (Some(user), ..) => {
                let name = user.fill(&given.name, "").ok_or_else(no_user)?;
                let mut link = directory.bind(&name, secret).await?;
                let entry = self.own_entry(directory, &mut link, &name, &given.name).await?;
                // Two names may lead to two people, of whom one could pass for the other: whoever is found has this password, too.
                match entry.as_ref().filter(|_| self.settings.users.is_some()) {
                    Some(found) if found.dn.is_empty() => return Err(no_user()),
                    Some(found) => {
                        directory.rest(link);
                        (directory.bind(&found.dn, secret).await?, entry)
                    }
                    None => (link, entry),
                }
            }
            (None, Some(account), Some(users)) => {
                let search = self.search(users, &given.name);
                let found = directory.search_as_own(account, &search.as_search(self)).await?;
                let entry = one(found)?;
                // Nothing but that entry: an empty name would be nobody's.
                if entry.dn.is_empty() {
                    return Err(no_user());
                }
                (directory.bind(&entry.dn, secret).await?, Some(entry))
            }
            _ => return Err(Failure::Trouble("there is no way to find a user".to_owned())),
        };
        let dn = entry.as_ref().map(|entry| entry.dn.clone());
        let bound = self.settings.user.as_ref().filter(|user| user.is_dn()).and_then(|u| u.fill(&given.name, ""));
        let dn = dn.or(bound);
        let groups = self.groups(directory, &mut link, entry.as_ref(), &given.name, dn.as_deref()).await;
        directory.rest(link);
        self.principal(&given.name, entry.as_ref(), dn, groups?)
    }

    /// The entry of whoever is bound there, if anything is wanted of it.
    async fn own_entry(
        &self,
        directory: &Directory,
        link: &mut Link,
        bound: &str,
        user: &str,
    ) -> Result<Option<Entry>, Failure> {
        let settings = &self.settings;
        if let Some(users) = &settings.users {
            let search = self.search(users, user);
            let found = match directory.account() {
                Some(account) => directory.search_as_own(account, &search.as_search(self)).await,
                None => directory.search(link, &search.as_search(self)).await,
            };
            return one(found?).map(Some);
        }
        let is_of_use = !settings.attributes.is_empty()
            || settings.subject.is_some()
            || matches!(settings.groups, Some(Groups::Attribute(_)));
        if !is_of_use {
            return Ok(None);
        }
        let search = Search { below: bound, only: true, filter: "(objectClass=*)", ..self.rest_of_search(2) };
        let found = match directory.account() {
            Some(account) => directory.search_as_own(account, &search).await,
            None => directory.search(link, &search).await,
        };
        found?
            .pop()
            .map(Some)
            .ok_or_else(|| Failure::Trouble("a user's own entry may not be read: name an account (`bind`)".to_owned()))
    }

    fn rest_of_search(&self, most: i32) -> Search<'_> {
        let settings = &self.settings;
        let mut attributes: Vec<&str> = settings.attributes.iter().map(String::as_str).collect();
        attributes.extend(settings.subject.as_deref());
        if let Some(Groups::Attribute(name)) = &settings.groups {
            attributes.push(name);
        }
        if attributes.is_empty() {
            // No attributes at all (RFC 4511 §4.5.1.8).
            attributes.push("1.1");
        }
        Search { below: "", only: false, filter: "", attributes, most, timeout: settings.timeout }
    }

    fn search<'s>(&self, users: &'s Users, user: &str) -> ForUser<'s> {
        ForUser { below: &users.below, filter: users.filter.fill(user, "").unwrap_or_default() }
    }

    async fn groups(
        &self,
        directory: &Directory,
        link: &mut Link,
        entry: Option<&Entry>,
        user: &str,
        dn: Option<&str>,
    ) -> Result<Option<Vec<String>>, Failure> {
        let (below, filter, name) = match &self.settings.groups {
            None => return Ok(None),
            Some(Groups::Attribute(name)) => return Ok(entry.map(|entry| entry.values(name).to_vec())),
            Some(Groups::Entries { below, filter, name }) => (below, filter, name),
        };
        let filter = match (filter.has_dn(), dn) {
            (true, None) => None,
            (_, dn) => filter.fill(user, dn.unwrap_or_default()),
        };
        let filter = filter.ok_or_else(|| Failure::Trouble("nobody knows the user's entry: `users`".to_owned()))?;
        let search = Search { below, filter: &filter, attributes: vec![name], ..self.rest_of_search(MOST_GROUPS + 1) };
        let found = match directory.account() {
            Some(account) => directory.search_as_own(account, &search).await?,
            None => directory.search(link, &search).await?,
        };
        if found.len() > usize::try_from(MOST_GROUPS).unwrap_or(usize::MAX) {
            return Err(Failure::Trouble(format!("a user is in more than {MOST_GROUPS} groups")));
        }
        let mut names: Vec<String> = found.iter().flat_map(|group| group.values(name)).cloned().collect();
        names.sort_unstable();
        names.dedup();
        Ok(Some(names))
    }

    fn principal(
        &self,
        user: &str,
        entry: Option<&Entry>,
        dn: Option<String>,
        groups: Option<Vec<String>>,
    ) -> Result<Principal, Failure> {
        let mut claims = Map::new();
        for name in &self.settings.attributes {
            match entry.map_or(&[][..], |entry| entry.values(name)) {
                [] => None,
                [one] => claims.insert(name.clone(), json!(one)),
                several => claims.insert(name.clone(), json!(several)),
            };
        }
        let subject = match &self.settings.subject {
            None => user,
            Some(name) => match entry.map_or(&[][..], |entry| entry.values(name)) {
                [one] => one,
                _ => return Err(Failure::Trouble(format!("a user's entry has no one `{name}`"))),
            },
        };
        claims.insert("sub".to_owned(), json!(subject));
        if let Some(dn) = dn {
            claims.insert("dn".to_owned(), Value::String(dn));
        }
        if let Some(groups) = groups {
            claims.insert("groups".to_owned(), json!(groups));
        }
        Ok(crate::principal(&self.name, &claims, None))
    }

    fn settle(&self, verdict: Verdict) -> Result<Arc<Principal>, Problem> {
        match verdict {
            Verdict::Good(principal) => Ok(principal),
            Verdict::Refused(why) => Err(because(&LDAP_REFUSED, why)),
            Verdict::Untold => Err(self.untold()),
        }
    }

    fn untold(&self) -> Problem {
        let why = lock(&self.trouble).as_ref().map_or_else(|| "nobody is asked".to_owned(), |(_, why)| why.clone());
        because(&LDAP_UNAVAILABLE, why).header("Retry-After", "5")
    }
}

/// A search for one user.
struct ForUser<'s> {
    below: &'s str,
    filter: String,
}

impl ForUser<'_> {
    fn as_search<'a>(&'a self, own: &'a Inner) -> Search<'a> {
        // Two are one too many.
        Search { below: self.below, filter: &self.filter, ..own.rest_of_search(2) }
    }
}

/// The one entry; two may be two people.
fn one(mut found: Vec<Entry>) -> Result<Entry, Failure> {
    match (found.pop(), found.is_empty()) {
        (Some(entry), true) => Ok(entry),
        (Some(_), false) => Err(Failure::Refused("more than one entry is found".to_owned())),
        (None, _) => Err(Failure::Refused("there is no such user".to_owned())),
    }
}

impl Authenticator for LdapSource {
    fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    fn authenticate<'a>(&'a self, x: &'a Exchange, effort: Effort) -> Found<'a> {
        let own = &self.0;
        let given = match password::read(&x.head.fields) {
            None => return Found::Nothing,
            Some(Err(problem)) => return Found::Checked(Err(problem)),
            Some(Ok(given)) => given,
        };
        if is_hopeless(&given) {
            return Found::Checked(Err(because(&LDAP_REFUSED, "nobody can have that name and password")));
        }
        let (Some((_, asking)), Some(digests)) = (own.outside.get(), &own.digests) else {
            return Found::Checked(Err(own.untold()));
        };
        let digest = digests.of(&given);
        if let Some(known) = own.known(&digest) {
            return Found::Checked(known);
        }
        if effort == Effort::Little {
            return Found::Checked(Err(TOO_MANY_FAILURES.problem()));
        }
        match self.ask(digest, given, asking) {
            None => Found::Checked(Err(LDAP_CROWDED.problem().header("Retry-After", "1"))),
            // Without an answer, nobody answers any more.
            Some(waits) => {
                Found::Checking(Box::pin(async move { own.settle(waits.answer().await.unwrap_or(Verdict::Untold)) }))
            }
        }
    }

    fn challenge(&self) -> String {
        password::challenge(&self.0.name)
    }

    fn credential(&self) -> Credential<'_> {
        Credential::Authorization
    }

    fn bearers(&self) -> Bearers {
        Bearers::None
    }

    fn describe(&self) -> String {
        format!("names and passwords that {} is asked about", self.0.settings.server)
    }

    fn standing(&self) -> Standing {
        match lock(&self.0.trouble).clone() {
            None => Standing::Good,
            Some((since, error)) => Standing::Stale { since, error },
        }
    }
}

impl fmt::Debug for LdapSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LdapSource").field("name", &self.0.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_directory_would_take_for_nobody_is_not_asked_about() {
        let hopeless =
            |name: &str, secret: &[u8]| is_hopeless(&Password { name: name.to_owned(), secret: secret.into() });
        assert!(!hopeless("alice", b"secret") && !hopeless("\u{e4} b", "\u{e4} ".as_bytes()));
        for (name, secret) in
            [("alice", &b""[..]), ("", b"x"), (" alice", b"x"), ("alice ", b"x"), ("al\0ice", b"x"), ("alice", b"x\0y")]
        {
            assert!(hopeless(name, secret), "{name:?}");
        }
        assert!(hopeless("alice", b"\xff") && hopeless(&"a".repeat(257), b"x") && hopeless("a", &[b'x'; 1025]));
    }
}
