//! Which endpoint is asked, as whom, and what is done if it does not answer.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use serde_json::{Value, json};
use tollgate_core::caller::{Answer, Call, Caller, Opened};
use tollgate_core::clock::Clock;

use super::wire::{Authenticated, Refusal, decoded};
use super::{ALL, EtcdCredentials, EtcdSettings, SMALL, TRY};
use crate::Trouble;

/// Asks etcd.
pub(super) struct Client {
    endpoints: Box<[String]>,
    /// The one that is asked first: it answered last.
    preferred: AtomicUsize,
    credentials: Option<EtcdCredentials>,
    token: Mutex<Option<Arc<str>>>,
    pub(super) prefix: String,
    caller: Arc<dyn Caller>,
    pub(super) clock: Clock,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    path: &'static str,
    body: Vec<u8>,
    /// It does no harm twice.
    repeats: bool,
    /// Most bytes of the answer.
    most: usize,
    /// How long one endpoint may take.
    each: Duration,
}

impl Ask {
    /// What may be asked twice.
    pub(super) fn read(path: &'static str, request: &Value) -> Self {
        Self { path, body: request.to_string().into_bytes(), repeats: true, most: SMALL, each: TRY }
    }

    /// What may not.
    pub(super) fn change(path: &'static str, request: &Value) -> Self {
        Self { repeats: false, ..Self::read(path, request) }
    }

    /// With an answer of up to so many bytes.
    pub(super) fn up_to(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// Of each endpoint, for so long.
    pub(super) fn within(self, each: Duration) -> Self {
        Self { each, ..self }
    }
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) body: Vec<u8>,
    /// By whom.
    pub(super) endpoint: usize,
    /// When that one was asked.
    pub(super) began: Instant,
}

/// Why it was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// This endpoint does not answer, or says that it cannot just now: perhaps another one can.
    Unavailable(String),
    /// They will all refuse it.
    Refused(String),
    /// The token is not (any more) what lets us in.
    Token,
    /// Nobody needs to say who they are.
    NoAuthentication,
    /// There is no such lease.
    NoLease,
    /// That revision is not known any more.
    Compacted,
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unavailable(why) => Self::Unavailable(format!("etcd: {why}")),
            Failure::Refused(why) => Self::Refused(format!("etcd refuses it: {why}")),
            // Who asks for what knows what to make of these; they do not come here.
            Failure::Token => Self::Unavailable("etcd: it refuses the token that it has just given".to_owned()),
            Failure::NoAuthentication => Self::Refused("etcd refuses it: authentication is not enabled".to_owned()),
            Failure::NoLease => Self::Refused("etcd refuses it: there is no such lease".to_owned()),
            Failure::Compacted => Self::Unavailable("etcd: the revision is not known any more".to_owned()),
        }
    }
}

impl Client {
    pub(super) fn new(settings: EtcdSettings, caller: Arc<dyn Caller>, clock: Clock) -> Result<Self, String> {
        let EtcdSettings { endpoints, credentials, mut prefix } = settings;
        if !prefix.ends_with('/') {
            prefix.push('/');
        }
        if endpoints.is_empty() {
            return Err("etcd: no endpoint is named".to_owned());
        }
        let endpoints = endpoints.iter().map(|endpoint| checked(endpoint)).collect::<Result<_, _>>()?;
        let (preferred, token) = (AtomicUsize::new(0), Mutex::default());
        Ok(Self { endpoints, preferred, credentials, token, prefix, caller, clock })
    }

    /// How many there are.
    pub(super) fn endpoints(&self) -> usize {
        self.endpoints.len()
    }

    /// Its URL.
    pub(super) fn endpoint(&self, endpoint: usize) -> &str {
        &self.endpoints[endpoint % self.endpoints.len()]
    }

    /// The one that answered last.
    pub(super) fn preferred(&self) -> usize {
        self.preferred.load(Ordering::Relaxed) % self.endpoints.len()
    }

    /// Asks one endpoint after the other, beginning with the preferred one, until one answers.
    pub(super) async fn ask(&self, ask: &Ask) -> Result<Asked, Failure> {
        self.ask_noting(ask, &mut false).await
    }

    /// The same; notes whether an endpoint may have done it, and not said so.
    pub(super) async fn ask_noting(&self, ask: &Ask, is_unsure: &mut bool) -> Result<Asked, Failure> {
        self.ask_from(self.preferred(), ask, is_unsure).await
    }

    /// The same, beginning with this one.
    pub(super) async fn ask_from(&self, first: usize, ask: &Ask, is_unsure: &mut bool) -> Result<Asked, Failure> {
        let (start, mut troubles) = (self.clock.now(), Vec::new());
        for endpoint in (first..first + self.endpoints.len()).map(|endpoint| endpoint % self.endpoints.len()) {
            let began = self.clock.now();
            let left = ALL.saturating_sub(began.saturating_duration_since(start));
            if left.is_zero() {
                troubles.push(format!("no more than {} s are taken", ALL.as_secs()));
                break;
            }
            match self.at(endpoint, &ask.clone().within(ask.each.min(left))).await {
                Ok(body) => {
                    self.preferred.store(endpoint, Ordering::Relaxed);
                    return Ok(Asked { body, endpoint, began });
                }
                Err(Failure::Unavailable(why)) => {
                    *is_unsure = true;
                    troubles.push(format!("{}: {why}", self.endpoint(endpoint)));
                    self.pass_over(endpoint);
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::Unavailable(troubles.join("; ")))
    }

    /// If this one is preferred, the next is from now on.
    pub(super) fn pass_over(&self, endpoint: usize) {
        let next = (endpoint + 1) % self.endpoints.len();
        // Another may have found one that answers meanwhile.
        let _ = self.preferred.compare_exchange(endpoint, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Asks this endpoint alone.
    pub(super) async fn at(&self, endpoint: usize, ask: &Ask) -> Result<Vec<u8>, Failure> {
        let token = self.token(endpoint, ask.each).await?;
        match self.made(endpoint, ask, token.as_deref()).await {
            // It was refused before anything was done.
            Err(Failure::Token) => {
                self.forget(token.as_deref());
                let token = self.token(endpoint, ask.each).await?;
                let again = self.made(endpoint, ask, token.as_deref()).await;
                again.map_err(|failure| match failure {
                    Failure::Token => Failure::Unavailable("it refuses the token that it has just given".to_owned()),
                    other => other,
                })
            }
            other => other,
        }
    }

    async fn made(&self, endpoint: usize, ask: &Ask, token: Option<&str>) -> Result<Vec<u8>, Failure> {
        let call = self.call(endpoint, ask, token);
        let Answer { status, body, .. } =
            self.caller.call(call).await.map_err(|error| Failure::Unavailable(error.to_string()))?;
        if status == 200 { Ok(body) } else { Err(refused(status, &body)) }
    }

    /// Asks this endpoint for what comes bit by bit; `most`: bytes of a piece. Gives the token along with which it was asked.
    pub(super) async fn open(&self, endpoint: usize, ask: &Ask) -> Result<(Opened, Option<Arc<str>>), Failure> {
        let token = self.token(endpoint, ask.each).await?;
        let call = self.call(endpoint, ask, token.as_deref());
        let mut opened = self.caller.open(call).await.map_err(|error| Failure::Unavailable(error.to_string()))?;
        if opened.status == 200 {
            return Ok((opened, token));
        }
        let why = tokio::time::timeout(ask.each, opened.chunks.next()).await;
        let failure = refused(opened.status, &why.ok().and_then(Result::ok).flatten().unwrap_or_default());
        if failure == Failure::Token {
            self.forget(token.as_deref());
        }
        Err(failure)
    }

    fn call(&self, endpoint: usize, ask: &Ask, token: Option<&str>) -> Call {
        let mut fields = vec![
            ("content-type", "application/json".to_owned()),
            // A member that has lost its leader says so at once, also in the midst of a watch, and does not wait for another.
            ("grpc-metadata-hasleader", "true".to_owned()),
        ];
        fields.extend(token.map(|token| ("authorization", token.to_owned())));
        Call {
            method: "POST",
            url: format!("{}{}", self.endpoint(endpoint), ask.path),
            fields,
            body: ask.body.clone(),
            most: ask.most,
            timeout: ask.each,
            repeats: ask.repeats,
        }
    }

    /// What lets us in, if anything need.
    async fn token(&self, endpoint: usize, each: Duration) -> Result<Option<Arc<str>>, Failure> {
        let Some(EtcdCredentials { user, password }) = &self.credentials else { return Ok(None) };
        if let Some(token) = &*self.token.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Some(Arc::clone(token)));
        }
        let request = json!({ "name": user, "password": password });
        let ask = Ask::read("/v3/auth/authenticate", &request).within(each);
        match self.made(endpoint, &ask, None).await {
            Ok(body) => {
                let token: Arc<str> = decoded::<Authenticated>(&body)?.token.into();
                *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&token));
                Ok(Some(token))
            }
            // Everybody may do everything there: so may we.
            Err(Failure::NoAuthentication) => Ok(None),
            Err(Failure::Refused(why)) => Err(Failure::Refused(format!("user `{user}`: {why}"))),
            Err(failure) => Err(failure),
        }
    }

    /// This token is of no more use.
    pub(super) fn forget(&self, refused: Option<&str>) {
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if token.as_deref() == refused {
            *token = None;
        }
    }

    /// A key as etcd knows it, for JSON.
    pub(super) fn key(&self, key: &str) -> String {
        BASE64.encode(format!("{}{key}", self.prefix).as_bytes())
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (endpoints, prefix) = (&self.endpoints, &self.prefix);
        f.debug_struct("Etcd").field("endpoints", endpoints).field("prefix", prefix).finish_non_exhaustive()
    }
}

/// `http://HOST:PORT`, without a slash at its end.
fn checked(endpoint: &str) -> Result<String, String> {
    let wanted = || format!("etcd: `{endpoint}` is no endpoint; write http://HOST:PORT or https://HOST:PORT");
    let rest = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://")).ok_or_else(wanted)?;
    let host = rest.strip_suffix('/').unwrap_or(rest);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_plain) {
        return Err(wanted());
    }
    Ok(endpoint.strip_suffix('/').unwrap_or(endpoint).to_owned())
}

/// What an answer that is not 200 means.
fn refused(status: u16, body: &[u8]) -> Failure {
    match decoded::<Refusal>(body) {
        Ok(refusal) => refusal.failure(),
        Err(_) if status == 404 => Failure::Unavailable(
            "it answers 404: is it etcd 3.4 or later, with its gateway (--enable-grpc-gateway)?".to_owned(),
        ),
        Err(_) => Failure::Unavailable(format!("it answers {status}")),
    }
}
