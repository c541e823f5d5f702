//! The way into the registry and out of it: instances register themselves, and whoever discovers by itself looks them up. By the trait
//! [`Directory`]; what keeps the instances is not known here.
//!
//! `rights.rs` says who may, `asked.rs` reads what is asked, `lists.rs` answers with many, `events.rs` tells changes as they come.

mod access;
mod asked;
pub(crate) mod described;
mod events;
pub mod faults;
mod lists;
mod rights;
mod shown;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use tollgate_core::clock::Clock;
use tollgate_core::exchange::Exchange;
use tollgate_core::handler::Handler;
use tollgate_core::policy::BoxFuture;
use tollgate_core::problem::Problem;
use tollgate_core::reply::Reply;
use tollgate_core::serde_json::{Value, json};
use tollgate_registry::directory::{Directory, Listing, Registered, Trouble};
use tollgate_registry::said::{self, Mistake, Unsaid};

pub use self::access::Access;
use self::asked::{Asked, LONGEST_WAIT, OF_LISTS, OnlyIfThere, invalid};
use self::faults::{
    COMPACTED, FORBIDDEN, FULL, MALFORMED, NOT_FOUND, PRECONDITION, UNAUTHORIZED, UNAVAILABLE, UNHEARD,
};
use self::lists::Subject;
use self::rights::{Asker, Right};
use crate::guard::{Guard, Shown};

/// Most bytes of what an instance says.
const MOST_SAID: usize = 16 * 1024;
/// When those come again for whom there was no room.
const AGAIN: Duration = Duration::from_secs(1);
/// The revision up to which an answer holds.
const REVISION: &str = "Tollgate-Revision";

/// The registry of the process.
#[derive(Debug)]
pub struct Registry {
    /// What keeps the instances.
    pub directory: Arc<dyn Directory>,
    /// Who may do what, and how many may wait for changes.
    pub access: Arc<Access>,
    /// How long an instance lives that does not say so itself.
    pub ttl: Duration,
    /// The time.
    pub clock: Clock,
    /// Tells those who wait to go elsewhere.
    pub ending: Arc<dyn Ending>,
}

/// The end of the process, as far as those must know it who wait on purpose.
pub trait Ending: Debug + Send + Sync + 'static {
    /// Returns once it has begun.
    fn begun(&self) -> BoxFuture<'_, ()>;
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Services,
    Instances,
    Get,
    Register,
    Renew,
    Drain,
    Undrain,
    Deregister,
}

impl Ask {
    fn right(self) -> Right {
        match self {
            Self::Services | Self::Instances | Self::Get => Right::Read,
            Self::Register | Self::Renew | Self::Drain | Self::Undrain | Self::Deregister => Right::Register,
        }
    }

    /// What the query may say.
    pub(crate) fn parameters(self) -> &'static [&'static str] {
        if self == Self::Instances { OF_LISTS } else { &[] }
    }

    /// Whether it comes with a body; `Some(false)`: it may.
    pub(crate) fn body(self) -> Option<bool> {
        match self {
            Self::Register => Some(true),
            Self::Renew => Some(false),
            _ => None,
        }
    }
}

/// Answers one of them.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(crate) ask: Ask,
    pub(crate) registry: Arc<Registry>,
    pub(crate) guard: Arc<Guard>,
}

impl Handler for Answers {
    fn call<'a>(&'a self, x: &'a mut Exchange) -> BoxFuture<'a, Result<Reply, Problem>> {
        let who = self.who(x);
        let asked = Asked::read(x, self.ask.parameters());
        Box::pin(async move {
            // Who may not ask is not told what is wrong with the question.
            let asker = match who {
                Who::Is(asker) => asker,
                Who::Refused(problem) => return Err(problem),
                Who::Wrong => {
                    self.guard.slow_down().await?;
                    return Err(unauthorized("Bearer realm=\"tollgate\", error=\"invalid_token\""));
                }
            };
            self.answer(asker, asked?).await
        })
    }

    fn most_content(&self) -> usize {
        if self.ask.body().is_some() { MOST_SAID } else { 0 }
    }

    fn most_wait(&self) -> Duration {
        if self.ask == Ask::Instances { LONGEST_WAIT } else { Duration::ZERO }
    }

    fn describe(&self) -> String {
        "the registry".to_owned()
    }
}

/// Whoever asks.
enum Who {
    /// It may.
    Is(Asker),
    /// It may not.
    Refused(Problem),
    /// It has a token that nobody knows.
    Wrong,
}

impl Answers {
    /// Who asks, and whether it may.
    fn who(&self, x: &Exchange) -> Who {
        if let Err(problem) = self.guard.comes_right(x) {
            return Who::Refused(problem);
        }
        let asker = match self.guard.shown(x) {
            Shown::Own => return Who::Is(Asker::admin(x, self.guard.digest())),
            Shown::Other(token) => Asker::with_token(x, token),
            Shown::Nothing => Asker::without_token(x, self.registry.clock.unix()),
            Shown::Unreadable => return Who::Wrong,
        };
        let (access, right) = (&self.registry.access, self.ask.right());
        let service = Asked::service_in(x.head.path());
        if access.may(&asker, right, service) {
            return Who::Is(asker);
        }
        if asker.is_nobody() {
            return Who::Refused(unauthorized("Bearer realm=\"tollgate\""));
        }
        if asker.has_token() && !access.may(&asker, Right::Read, None) {
            return Who::Wrong;
        }
        let service = service.map_or_else(|| "any service".to_owned(), |service| format!("`{service}`"));
        let what = if right == Right::Read { "look up" } else { "register" };
        tracing::warn!(by = %asker, service, "refused: it may not {what} instances of that service");
        Who::Refused(FORBIDDEN.problem().detail(format!("{asker} may not {what} instances of {service}")))
    }

    async fn answer(&self, asker: Asker, asked: Asked) -> Result<Reply, Problem> {
        match self.ask {
            Ask::Services => self.registry.services(&asker),
            Ask::Instances => {
                let registry = Arc::clone(&self.registry);
                Subject::new(registry, asker, &asked).answer(&asked).await
            }
            Ask::Get => self.registry.get(&asked),
            Ask::Register => self.registry.register(&asker, &asked).await,
            Ask::Renew => self.registry.renew(&asked).await,
            Ask::Drain => self.registry.drain(&asker, &asked, true).await,
            Ask::Undrain => self.registry.drain(&asker, &asked, false).await,
            Ask::Deregister => self.registry.deregister(&asker, &asked).await,
        }
    }
}

impl Registry {
    /// What is known of a service, or of all; and how old that is, in milliseconds.
    fn known(&self, service: Option<&str>) -> Result<(Listing, u64), Problem> {
        let listing = self.directory.list(service);
        let Some(age) = listing.age else { return Err(UNHEARD.problem().retry_after(AGAIN)) };
        Ok((listing, u64::try_from(age.as_millis()).unwrap_or(u64::MAX)))
    }

    fn services(&self, asker: &Asker) -> Result<Reply, Problem> {
        let (listing, age) = self.known(None)?;
        let mut services: Vec<Value> = Vec::new();
        for of_one in listing.instances.chunk_by(|a, b| a.registration.service == b.registration.service) {
            let service = of_one.first().map(|instance| &*instance.registration.service).unwrap_or_default();
            if self.access.may(asker, Right::Read, Some(service)) {
                let draining = of_one.iter().filter(|instance| instance.draining).count();
                services.push(json!({ "name": service, "instances": of_one.len(), "draining": draining }));
            }
        }
        let told = answer(200, &json!({ "revision": listing.revision, "age_ms": age, "services": services }));
        Ok(told.header(REVISION, listing.revision.to_string()))
    }

    fn find(&self, asked: &Asked) -> Result<Option<Arc<Registered>>, Problem> {
        let (listing, _) = self.known(Some(&asked.service))?;
        Ok(listing.instances.into_iter().find(|instance| *instance.registration.id == *asked.id))
    }

    fn get(&self, asked: &Asked) -> Result<Reply, Problem> {
        self.find(asked)?.map(|found| answer(200, &shown::instance(&found))).ok_or_else(|| not_found(asked))
    }

    /// Whether the conditions of the request hold, as far as this gateway knows (RFC 9110 §13.2.2).
    fn precondition(&self, asked: &Asked) -> Result<(), Problem> {
        if !asked.only_if_absent && asked.only_if_there.is_none() {
            return Ok(());
        }
        let found = self.find(asked)?;
        let fails = match asked.only_if_there {
            Some(OnlyIfThere::Any) => found.is_none(),
            Some(OnlyIfThere::Never) => true,
            None => found.is_some(),
        };
        let is = if found.is_some() { "registered" } else { "not registered" };
        if fails { Err(PRECONDITION.problem().detail(format!("the instance is {is}"))) } else { Ok(()) }
    }

    async fn register(&self, asker: &Asker, asked: &Asked) -> Result<Reply, Problem> {
        let said = asked
            .said()?
            .ok_or_else(|| MALFORMED.problem().detail("a JSON object is needed, with at least a `port`"))?;
        let unsaid = Unsaid { address: asked.from.ip(), ttl: self.ttl };
        let (registration, load) = said::registration(&asked.service, &asked.id, &said, unsaid).map_err(invalid)?;
        if self.access.is_own(&registration.address, registration.port) {
            let detail = format!("the gateway itself listens at {}, port {}", registration.address, registration.port);
            return Err(invalid(vec![Mistake { pointer: "/port".to_owned(), detail }]));
        }
        self.precondition(asked)?;
        let before = self.find(asked).ok().flatten();
        let (mut registered, is_new) = self.directory.register(registration).await.map_err(problem)?;
        if load.is_some() {
            registered = self.directory.renew(&asked.service, &asked.id, load).await.map_err(problem)?;
        }
        let own = &registered.registration;
        if is_new {
            tracing::info!(
                service = &*own.service, id = &*own.id, address = &*own.address, port = own.port, by = %asker,
                "an instance registered"
            );
        } else if before.is_none_or(|before| before.revision != registered.revision) {
            tracing::info!(
                service = &*own.service, id = &*own.id, address = &*own.address, port = own.port, weight = own.weight, by = %asker,
                "an instance says something else of itself"
            );
        }
        let reply = answer(if is_new { 201 } else { 200 }, &shown::instance(&registered));
        Ok(reply.header(REVISION, registered.revision.to_string()))
    }

    async fn renew(&self, asked: &Asked) -> Result<Reply, Problem> {
        let load = match asked.said()? {
            Some(said) => said::renewal(&said).map_err(invalid)?,
            None => None,
        };
        let renewed = self.directory.renew(&asked.service, &asked.id, load).await;
        renewed.map(|renewed| answer(200, &shown::instance(&renewed))).map_err(|trouble| of(asked, trouble))
    }

    async fn drain(&self, asker: &Asker, asked: &Asked, draining: bool) -> Result<Reply, Problem> {
        self.precondition(asked)?;
        let drained = self.directory.drain(&asked.service, &asked.id, draining).await;
        let drained = drained.map_err(|trouble| of(asked, trouble))?;
        tracing::info!(service = asked.service, id = asked.id, draining, by = %asker, "an instance drains, or does no more");
        Ok(answer(200, &shown::instance(&drained)).header(REVISION, drained.revision.to_string()))
    }

    async fn deregister(&self, asker: &Asker, asked: &Asked) -> Result<Reply, Problem> {
        self.precondition(asked)?;
        let was_there = self.directory.deregister(&asked.service, &asked.id).await.map_err(problem)?;
        if was_there {
            tracing::info!(service = asked.service, id = asked.id, by = %asker, "an instance deregistered");
        }
        Ok(guarded(Reply::empty(204)))
    }
}

/// RFC 6750 §3.
fn unauthorized(challenge: &'static str) -> Problem {
    UNAUTHORIZED.problem().header("WWW-Authenticate", challenge)
}

fn not_found(asked: &Asked) -> Problem {
    NOT_FOUND.problem().detail(format!("`{}` of `{}` is not registered", asked.id, asked.service))
}

/// What came of something that was asked of one instance.
fn of(asked: &Asked, trouble: Trouble) -> Problem {
    if trouble == Trouble::NotFound { not_found(asked) } else { problem(trouble) }
}

fn problem(trouble: Trouble) -> Problem {
    match trouble {
        Trouble::NotFound => NOT_FOUND.problem(),
        Trouble::Full { .. } => FULL.problem().detail(trouble.to_string()),
        Trouble::Unavailable(why) => UNAVAILABLE.problem().detail(why.clone()).retry_after(AGAIN).cause(why),
        Trouble::Compacted => COMPACTED.problem(),
    }
}

fn answer(status: u16, value: &Value) -> Reply {
    guarded(Reply::full(status, "application/json", format!("{value}\n")))
}

fn guarded(reply: Reply) -> Reply {
    reply.header("Cache-Control", "no-store").header("X-Content-Type-Options", "nosniff")
}
