//! Keeps an instance registered with whichever gateway answers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::gateways::{Answered, Gateways};
use super::instance::Instance;
use super::ready::Ready;
use crate::cli::output::{Failure, Output};

/// The pause after no gateway answered, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// How often an instance is renewed within its time.
const RENEWALS: u32 = 3;

/// Keeps an instance registered.
pub(super) struct Asking<'o> {
    gateways: Arc<Gateways>,
    instance: Arc<Instance>,
    output: &'o Output,
    /// Some gateway may know it.
    has_asked: bool,
    /// What was said last of what does not work.
    told: Option<String>,
}

/// What came of asking.
enum Came {
    Done(Answered),
    /// It has to register again.
    NotThere,
    /// In words for a person, and what to do.
    Refused(String, Option<&'static str>),
    /// No gateway answers.
    Nobody(String),
}

impl<'o> Asking<'o> {
    pub(super) fn new(gateways: &Arc<Gateways>, instance: &Arc<Instance>, output: &'o Output) -> Self {
        let (gateways, instance) = (Arc::clone(gateways), Arc::clone(instance));
        Self { gateways, instance, output, has_asked: false, told: None }
    }

    /// Whether any gateway may know it.
    pub(super) fn may_be_known(&self) -> bool {
        self.has_asked
    }

    /// Whether it may register, as far as a gateway answers.
    ///
    /// # Errors
    /// It may not.
    pub(super) async fn allowed(&mut self) -> Result<(), Failure> {
        match self.look().await {
            Came::Refused(message, hint) => Err(Failure::Other { message, hint: hint.map(str::to_owned) }),
            Came::Nobody(why) => {
                self.tell(format!("no gateway answers, it is started all the same: {why}"));
                Ok(())
            }
            Came::Done(_) | Came::NotThere => Ok(()),
        }
    }

    /// Registers it once it is ready, and renews it for as long as this is polled.
    pub(super) async fn live(&mut self, ready: &Ready) -> Infallible {
        ready.wait(|why| self.tell(format!("not ready yet: {why}"))).await;
        let mut pause = PAUSES.0;
        loop {
            match self.register().await {
                Came::Done(answered) => {
                    pause = PAUSES.0;
                    let (service, place) = (self.instance.service(), self.instance.shown().unwrap_or_default());
                    self.tell(format!("`{service}` at {place} is registered with {}", answered.url));
                    self.renew().await;
                    continue;
                }
                Came::NotThere => self.tell("that is no admin listener of a gateway with a registry".to_owned()),
                Came::Refused(message, _) => self.tell(format!("{message}; it goes on trying")),
                Came::Nobody(why) => self.tell(format!("no gateway answers, it goes on trying: {why}")),
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Renews it until it has to register again.
    async fn renew(&mut self) {
        let every = self.instance.ttl / RENEWALS;
        let mut next = every;
        loop {
            sleep(next).await;
            next = every;
            let path = format!("{}/renew", self.instance.path().unwrap_or_default());
            match self.ask("POST", path, String::new()).await {
                Came::Done(_) => {
                    if self.told.take_if(|told| told.starts_with("not renewed")).is_some() {
                        self.output.note("tollgate register: renewed again");
                    }
                }
                Came::NotThere => {
                    return self.tell("the gateway does not know it any more: it registers again".to_owned());
                }
                Came::Refused(why, _) | Came::Nobody(why) => {
                    self.tell(format!("not renewed, it goes on trying: {why}"));
                    next = PAUSES.0.max(every / RENEWALS).min(every);
                }
            }
        }
    }

    /// Takes it away, if any gateway may know it; tries until one has answered, whatever it says.
    pub(super) async fn leave(&mut self) {
        let Some(path) = self.instance.path().filter(|_| self.has_asked) else { return };
        loop {
            match self.ask("DELETE", path.clone(), String::new()).await {
                Came::Done(_) | Came::NotThere => {
                    self.has_asked = false;
                    return self.tell("deregistered".to_owned());
                }
                // What it takes to be let in is not to be had by asking again.
                Came::Refused(why, Some(_)) => return self.tell(format!("not deregistered: {why}")),
                Came::Refused(why, None) | Came::Nobody(why) => self.tell(format!("not deregistered: {why}")),
            }
            sleep(PAUSES.0).await;
        }
    }

    /// Asks for the service's instances: whoever may register them may see them.
    async fn look(&mut self) -> Came {
        let came = self.ask("GET", self.instance.list(), String::new()).await;
        if let Came::Done(answered) = &came {
            self.instance.asks_from(answered.from);
        }
        came
    }

    async fn register(&mut self) -> Came {
        if self.instance.path().is_none() {
            match self.look().await {
                Came::Done(_) => {}
                other => return other,
            }
        }
        let path = self.instance.path().unwrap_or_default();
        self.has_asked = true;
        self.ask("PUT", path, self.instance.said()).await
    }

    async fn ask(&self, method: &'static str, path: String, body: String) -> Came {
        let gateways = Arc::clone(&self.gateways);
        // Goes on if nobody waits for it any more; what is asked later waits for its turn.
        let asked = tokio::task::spawn_blocking(move || gateways.ask(method, &path, &body)).await;
        match asked {
            Ok(Ok(answered)) => came(answered),
            Ok(Err(why)) => Came::Nobody(why),
            Err(error) => Came::Nobody(error.to_string()),
        }
    }

    /// Says something, once.
    fn tell(&mut self, what: String) {
        if self.told.as_deref() != Some(what.as_str()) {
            self.output.note(&format!("tollgate register: {what}"));
            self.told = Some(what);
        }
    }
}

fn came(answered: Answered) -> Came {
    let Answered { answer, url, .. } = &answered;
    let said = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
    let detail = ["detail", "title"].into_iter().find_map(|name| said[name].as_str());
    let detail = detail.unwrap_or("that is no answer of an admin listener");
    let refused = |what: String, hint| Came::Refused(what, hint);
    match answer.status {
        200..=204 => Came::Done(answered),
        404 if said["type"].as_str().is_some_and(|kind| kind.ends_with("registry/not-found")) => Came::NotThere,
        401 => refused(
            format!("{url} does not know whoever asks: the token is missing or wrong"),
            Some(
                "`--token-file`, or TOLLGATE_TOKEN: a token that stands under `registry: register` of the gateway's config",
            ),
        ),
        403 => refused(
            format!("{url}: {detail}"),
            Some("`registry: register` of the gateway's config says who may register which services"),
        ),
        421 => refused(
            format!("{url} does not go by that name"),
            Some("ask by an address, or put the name under `hosts` of the admin listener"),
        ),
        status => refused(format!("{url} answered {status}: {detail}"), None),
    }
}
