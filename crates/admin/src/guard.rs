//! Who may ask: whoever has the token, by a name of the listener, and from no page of another origin.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::Semaphore;
use tollgate_config::model::HostPattern;
use tollgate_core::exchange::Exchange;
use tollgate_core::host;
use tollgate_core::problem::Problem;
use tollgate_identity::bearer;

use crate::faults::{FOREIGN_ORIGIN, TOO_MANY, UNAUTHORIZED, WRONG_HOST};
use crate::token::{Digest, Token};

/// How long the answer to a wrong token takes.
const SLOWLY: Duration = Duration::from_millis(250);
/// How many of them wait at the same time; more are refused at once.
const AT_ONCE: usize = 32;

/// What becomes of a request.
pub(crate) enum Verdict {
    /// It goes on.
    Admitted,
    /// It is refused at once.
    Refused(Problem),
    /// It has a wrong token.
    Wrong,
}

/// What somebody shows of a token.
pub(crate) enum Shown<'x> {
    /// The admin token.
    Own,
    /// Another one.
    Other(&'x str),
    /// None at all.
    Nothing,
    /// Something that is no token.
    Unreadable,
}

/// Lets some in.
pub struct Guard {
    token: Token,
    hosts: Vec<HostPattern>,
    slowly: Duration,
    waiting: Semaphore,
}

impl Guard {
    /// Lets in who has the token. `hosts`: names of the listener beside addresses and `localhost`.
    #[must_use]
    pub fn new(token: Token, hosts: Vec<HostPattern>) -> Self {
        Self { token, hosts, slowly: SLOWLY, waiting: Semaphore::new(AT_ONCE) }
    }

    /// Whether the request may go on.
    pub(crate) fn judge(&self, x: &Exchange) -> Verdict {
        if let Err(problem) = self.comes_right(x) {
            return Verdict::Refused(problem);
        }
        match self.shown(x) {
            Shown::Own => Verdict::Admitted,
            Shown::Nothing => Verdict::Refused(unauthorized("Bearer realm=\"tollgate\"")),
            Shown::Other(_) | Shown::Unreadable => Verdict::Wrong,
        }
    }

    /// Whether it is asked by a name of the listener, and for no page of another origin.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn comes_right(&self, x: &Exchange) -> Result<(), Problem> {
        if !self.is_ours(x.head.host()) {
            return Err(WRONG_HOST.problem());
        }
        match x.head.fields.all("origin").all(|origin| is_same(origin, x.scheme, x.head.host())) {
            true => Ok(()),
            false => Err(FOREIGN_ORIGIN.problem()),
        }
    }

    /// The SHA-256 of the token.
    pub(crate) fn digest(&self) -> Digest {
        self.token.digest()
    }

    /// What is shown of a token.
    pub(crate) fn shown<'x>(&self, x: &'x Exchange) -> Shown<'x> {
        match bearer::token(&x.head.fields) {
            Ok(Some(token)) if self.token.is(token.as_bytes()) => Shown::Own,
            Ok(Some(token)) => Shown::Other(token),
            Ok(None) if !x.head.fields.has("authorization") => Shown::Nothing,
            _ => Shown::Unreadable,
        }
    }

    /// Goes on with whoever was admitted; who came with a wrong token waits.
    ///
    /// # Errors
    /// Why it does not go on.
    pub(crate) async fn admit(&self, verdict: Verdict) -> Result<(), Problem> {
        match verdict {
            Verdict::Admitted => Ok(()),
            Verdict::Refused(problem) => Err(problem),
            Verdict::Wrong => Err(self.wrong().await),
        }
    }

    /// A page can have a browser look up its own name and get this machine's address for it, but cannot make the browser ask
    /// for an address or for `localhost` and still believe that it is asking its own server.
    fn is_ours(&self, host: &str) -> bool {
        let name = host::name(host).to_ascii_lowercase();
        let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&name);
        let is_for = |pattern: &HostPattern| match pattern {
            HostPattern::Exact(exact) => *exact == name,
            HostPattern::Wildcard(below) => {
                name.strip_suffix(below.as_str()).is_some_and(|front| front.len() > 1 && front.ends_with('.'))
            }
        };
        name == "localhost" || bare.parse::<IpAddr>().is_ok() || self.hosts.iter().any(is_for)
    }

    async fn wrong(&self) -> Problem {
        match self.slow_down().await {
            Ok(()) => unauthorized("Bearer realm=\"tollgate\", error=\"invalid_token\""),
            Err(problem) => problem,
        }
    }

    /// Whoever came with a wrong token waits.
    ///
    /// # Errors
    /// Too many do.
    pub(crate) async fn slow_down(&self) -> Result<(), Problem> {
        let waiting = self.waiting.try_acquire();
        let _waiting = waiting.map_err(|_| TOO_MANY.problem().header("Retry-After", "1"))?;
        tokio::time::sleep(self.slowly).await;
        Ok(())
    }
}

/// RFC 6750 §3.
fn unauthorized(challenge: &'static str) -> Problem {
    UNAUTHORIZED.problem().header("WWW-Authenticate", challenge)
}

/// Whether a page of this origin comes from here (RFC 6454 §7).
fn is_same(origin: &[u8], scheme: &str, host: &str) -> bool {
    !host.is_empty() && origin.eq_ignore_ascii_case(format!("{scheme}://{host}").as_bytes())
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> (tempfile::TempDir, Guard) {
        let folder = tempfile::tempdir().unwrap();
        let hosts = vec![HostPattern::Exact("admin.example".into()), HostPattern::Wildcard("wild.example".into())];
        let guard = Guard::new(Token::load_or_make(folder.path()).unwrap(), hosts);
        (folder, Guard { slowly: Duration::ZERO, ..guard })
    }

    #[test]
    fn only_names_that_nobody_else_can_have_are_its_own() {
        let (_folder, guard) = guard();
        for host in [
            "127.0.0.1:9901",
            "[::1]:9901",
            "10.1.2.3",
            "LocalHost:9901",
            "Admin.example",
            "a.wild.example:1",
            "localhost.",
        ] {
            assert!(guard.is_ours(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "wild.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil-admin.example",
        ] {
            assert!(!guard.is_ours(host), "{host}");
        }
    }

    #[test]
    fn a_page_from_elsewhere_is_told_by_its_origin() {
        assert!(is_same(b"http://127.0.0.1:9901", "http", "127.0.0.1:9901"));
        for origin in
            ["null", "http://evil.example", "https://127.0.0.1:9901", "http://127.0.0.1", "http://127.0.0.1:8080", ""]
        {
            assert!(!is_same(origin.as_bytes(), "http", "127.0.0.1:9901"), "{origin}");
        }
        assert!(!is_same(b"http://", "http", ""));
    }

    #[test]
    fn only_so_many_wrong_tokens_wait() {
        let (_folder, guard) = guard();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        assert_eq!(runtime.block_on(guard.wrong()).fault, &UNAUTHORIZED);
        let all = guard.waiting.try_acquire_many(u32::try_from(AT_ONCE).unwrap()).unwrap();
        assert_eq!(runtime.block_on(guard.wrong()).fault, &TOO_MANY);
        drop(all);
        assert_eq!(runtime.block_on(guard.wrong()).fault, &UNAUTHORIZED);
    }
}
