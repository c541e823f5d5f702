//! The way of a request, top to bottom. There is no second path for errors, static answers or health.

use std::sync::Arc;
use std::time::Instant;

use tollgate_core::body::Body;
use tollgate_core::dialect::grpc;
use tollgate_core::field::Known as KnownField;
use tollgate_core::handler::Handler;
use tollgate_core::head::Version;
use tollgate_core::policy::{Flow, Step};
use tollgate_core::problem::Problem;
use tollgate_core::reply::Reply;
use tollgate_http1::faults::{BODY_TOO_LARGE, CONNECT};
use tollgate_observe::metrics::Closed;
use tollgate_plan::{Action, Captures, Found, RoutePlan};

use crate::deployment::{Deployment, Rules};
use crate::fallback;
use crate::faults::SLOW;
use crate::forward::Transit;
use crate::http::downstream::{Client, Downstream};
use crate::http::turn::Turn;
use crate::overload::{self, Known};
use crate::{content, deadline, forward, hops, identify, mirror, respond};

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// The next request.
    Next,
    /// It is over.
    Close(Closed),
    /// It is over, but the client may still be sending: read on a little, so that it sees the answer.
    Linger(Closed),
}

/// Why an exchange ends without its regular answer.
#[derive(Debug)]
pub(crate) enum Stop {
    /// With this one instead.
    Problem(Problem),
    /// With none: nobody is there to read it.
    ClientGone,
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// Serves one request. `refused`: its head was not even worth a route.
pub(crate) async fn serve<S: Downstream>(
    client: &mut Client<S>,
    turn: &mut Turn,
    d: &Arc<Deployment>,
    refused: Option<Problem>,
) -> After {
    identify::identify(&mut turn.x, &d.rules);
    // A request without a route has a body all the same, behind which the next one begins.
    let is_framed = refused.is_none();
    let Found { route, captures, refused } = match refused {
        None => d.plan.find(&turn.x),
        // A head that was refused has no route: what it seems to ask for means nothing.
        refused => d.plan.unrouted(refused),
    };
    turn.x.route = Arc::clone(&route.meta);
    turn.x.criticality = route.criticality;
    let refused = refused.or_else(|| overload::refusal(client, turn, d, route, Known::Early));
    route.metrics.shard(client.worker.index).begin();
    if is_framed {
        turn.expect_body(d.rules.body(route.bounds.body));
    }
    set_deadline(turn, route);
    let mut account = Account { client, turn, route, begun: 0, end: End::Cut };
    let (begun, decided) = match refused {
        None => before(account.client, account.turn, d, route).await,
        Some(problem) => (0, Err(problem.into())),
    };
    account.begun = begun;
    let Account { client, turn, .. } = &mut account;
    let answer = match decided {
        Ok(Flow::Next) => act(client, turn, d, route, &captures).await,
        Ok(Flow::Reply(reply)) => own(turn, *reply),
        Err(stop) => Err(stop),
    };
    let transit = match answer {
        Ok(transit) => Some(transit),
        Err(Stop::Problem(problem)) => Some(respond::render(turn, route, problem)),
        Err(Stop::ClientGone) => None,
    };
    let after = match transit {
        Some(transit) => {
            let transit = behind(client, turn, route, begun, transit).await;
            respond::send(client, turn, d, route, transit, is_framed).await
        }
        None => After::Close(Closed::Client),
    };
    account.end = End::Own;
    after
}

/// By when it must be over: the route says so, or a caller in the route's `deadline` header, or one of gRPC, which is spoken
/// over HTTP/2 only.
fn set_deadline(turn: &mut Turn, route: &RoutePlan) {
    let x = &mut turn.x;
    x.deadline = route.bounds.total.map(|total| x.began + total);
    if let Some(field) = &route.deadline
        && let Some(left) = deadline::told(x, field)
    {
        x.deadline = x.began.checked_add(left).map(|deadline| x.by(deadline)).or(x.deadline);
    }
    if x.head.version != Version::Http2 || !x.head.fields.known(KnownField::ContentType).is_some_and(grpc::is_call) {
        return;
    }
    turn.is_grpc = true;
    if let Some(most) = x.head.fields.get("grpc-timeout").and_then(grpc::timeout) {
        x.deadline = x.began.checked_add(most).map(|deadline| x.by(deadline)).or(x.deadline);
    }
}

/// What a policy or handler decides in its own time, which is bounded.
pub(crate) async fn decided<S, T>(
    client: &mut Client<S>,
    at: Instant,
    deciding: impl Future<Output = Result<T, Problem>>,
    who: impl FnOnce() -> String,
) -> Result<T, Problem> {
    let at = at.max(client.look());
    // Boxed: few wait, and every idle connection would else keep room for it.
    let bounded = Box::pin(tokio::time::timeout_at(at.into(), deciding));
    bounded.await.unwrap_or_else(|_| Err(SLOW.problem().cause(who())))
}

/// The account of a request, which is closed when this is dropped: also if that is before its end, because the gateway
/// stops and the time to drain is over.
struct Account<'s, S> {
    client: &'s mut Client<S>,
    turn: &'s mut Turn,
    route: &'s RoutePlan,
    /// Policies that were begun.
    begun: usize,
    end: End,
}

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// By itself.
    Own,
    /// It was cut.
    Cut,
}

impl<S> Drop for Account<'_, S> {
    fn drop(&mut self) {
        // Others wait for it.
        self.turn.permit = None;
        self.turn.pass = None;
        if self.end == End::Cut {
            self.turn.cut();
        }
        crate::finish::finish(self.client, self.turn, self.route, self.begun);
    }
}

/// A body whose length is known to be too large is not even begun.
fn within_limits(turn: &Turn, route: &RoutePlan) -> Result<(), Problem> {
    if Rules::allows(turn.x.length, route.bounds.body) {
        return Ok(());
    }
    Err(BODY_TOO_LARGE.problem().detail(format!("the body is larger than {} bytes", route.bounds.body)))
}

/// The policies before anything is sent; how many were begun, and what they decided.
async fn before<S: Downstream>(
    client: &mut Client<S>,
    turn: &mut Turn,
    d: &Deployment,
    route: &RoutePlan,
) -> (usize, Result<Flow, Stop>) {
    if !route.hooks.request {
        return (route.chain.len(), Ok(Flow::Next));
    }
    for (i, link) in route.chain.iter().enumerate() {
        if !link.hooks.request {
            continue;
        }
        if link.hooks.content
            && let Some(most) = link.policy.wants_content(&turn.x)
        {
            // Boxed: few want it, and every idle connection would else keep room for it.
            if let Err(stop) = Box::pin(content::have(client, turn, d, route, most)).await {
                return (i + 1, Err(stop));
            }
        }
        let at = due(client, turn, route);
        turn.x.due = Some(at);
        let decided = match link.policy.on_request(&mut turn.x) {
            Step::Now(decided) => decided,
            Step::Later(deciding) => decided(client, at, deciding, || format!("policy {}", link.name)).await,
        };
        match decided {
            Ok(Flow::Next) => {}
            ended => return (i + 1, ended.map_err(Stop::Problem)),
        }
    }
    match overload::refusal(client, turn, d, route, Known::Late) {
        Some(problem) => (route.chain.len(), Err(problem.into())),
        None => (route.chain.len(), Ok(Flow::Next)),
    }
}

/// By when whatever has to wait must be done: the time counts from the end of the body, if that was read.
fn due<S>(client: &mut Client<S>, turn: &Turn, route: &RoutePlan) -> Instant {
    let from = if turn.x.content.is_some() { client.look() } else { turn.x.began };
    turn.x.by(from + route.bounds.timeout)
}

/// What the route does.
async fn act<S: Downstream>(
    client: &mut Client<S>,
    turn: &mut Turn,
    d: &Arc<Deployment>,
    route: &RoutePlan,
    captures: &Captures,
) -> Result<Transit, Stop> {
    within_limits(turn, route)?;
    if turn.connects && !matches!(route.action, Action::Proxy(_)) {
        return Err(CONNECT.problem().detail("nothing here changes to another protocol").into());
    }
    match &route.action {
        Action::Proxy(proxy) => match hops::last_hop(&mut turn.x, &d.plan) {
            Some(reply) => own(turn, reply),
            None => {
                if !d.rules.sessions.is_empty() {
                    turn.x.head.remove_cookies_if(|name| d.rules.is_of_session(name));
                }
                mirror::copy(client, turn, d, route, proxy, captures);
                fallback::forward(client, turn, d, route, proxy, captures).await
            }
        },
        Action::Fixed(fixed) => own(turn, respond::fixed(fixed)),
        Action::Redirect(redirect) => own(turn, respond::redirect(&turn.x, redirect, captures)),
        // Boxed: every idle connection would else keep room for it.
        Action::Serve(handler) => Box::pin(handled(client, turn, d, route, &**handler)).await,
    }
}

/// Has a part of the gateway answer, with the request's body if it wants that.
async fn handled<S: Downstream>(
    client: &mut Client<S>,
    turn: &mut Turn,
    d: &Deployment,
    route: &RoutePlan,
    handler: &dyn Handler,
) -> Result<Transit, Stop> {
    if handler.most_content() > 0 {
        content::have(client, turn, d, route, handler.most_content()).await?;
    }
    let at = due(client, turn, route);
    // What a service would be told of the caller, whoever asks in its place is.
    if route.hooks.attempt && forward::answered(client, turn, route, &route.meta.name, at).await? {
        return Ok(Transit::Own);
    }
    let at = turn.x.by(at + handler.most_wait());
    let reply = decided(client, at, handler.call(&mut turn.x), || handler.describe()).await?;
    own(turn, reply)
}

fn own(turn: &mut Turn, reply: Reply) -> Result<Transit, Stop> {
    turn.x.reply = reply;
    Ok(Transit::Own)
}

/// The policies once there is an answer, in reverse, whoever gave it.
async fn behind<S>(
    client: &mut Client<S>,
    turn: &mut Turn,
    route: &RoutePlan,
    begun: usize,
    transit: Transit,
) -> Transit {
    if !route.hooks.response {
        return transit;
    }
    let mut transit = transit;
    for link in route.chain[..begun].iter().rev().filter(|link| link.hooks.response) {
        let decided = match link.policy.on_response(&mut turn.x) {
            Step::Now(decided) => decided,
            Step::Later(deciding) => {
                let at = client.look() + route.bounds.timeout;
                decided(client, at, deciding, || format!("policy {}", link.name)).await
            }
        };
        match decided {
            Ok(Flow::Next) => {}
            Ok(Flow::Reply(reply)) => {
                turn.x.reply = *reply;
                transit = Transit::Own;
            }
            Err(problem) => transit = respond::render(turn, route, problem),
        }
    }
    // A policy may have put a body of its own in place of the upstream's; a change of protocol has none.
    let changes = turn.upstream.as_ref().is_some_and(|upstream| upstream.protocol.is_some());
    if changes || matches!(turn.x.reply.body, Body::Wire(_)) { transit } else { Transit::Own }
}
