//! The body of a request that the gateway itself wants: read whole, up to a bound, and held for whoever it is sent to. Trailers are
//! not kept (RFC 9110 §6.5.1).

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use tokio::sync::oneshot;
use tollgate_core::body::Length;
use tollgate_core::problem::Problem;
use tollgate_http1::faults::BODY_TOO_LARGE;
use tollgate_plan::RoutePlan;

use crate::deployment::Deployment;
use crate::faults::{BODY_TIMEOUT, SLOW_BODY};
use crate::http::attempt::{body_problem, recode_problem};
use crate::http::downstream::{Client, Downstream, Gone};
use crate::http::ends::Sink;
use crate::http::pump::{Broken, Kept, Tee};
use crate::http::turn::Turn;
use crate::pace;
use crate::recall::{Came, Watch};
use crate::serve::Stop;

/// Has all of the body in `x.content`, as it is after the recoders that are there by now, if it is no larger than that.
pub(crate) async fn have<S: Downstream>(
    client: &mut Client<S>,
    turn: &mut Turn,
    d: &Deployment,
    route: &RoutePlan,
    most: usize,
) -> Result<(), Stop> {
    match &turn.x.content {
        Some(content) if turn.x.recoders.is_empty() => {
            return if content.len() > most { Err(too_large(most).into()) } else { Ok(()) };
        }
        _ => {}
    }
    let content = read(client, turn, d, route, most).await?;
    if turn.x.length != Length::None {
        turn.x.length = Length::Known(content.len() as u64);
        // It is here already.
        turn.verdict.expects_continue = false;
        turn.upload.hold(content.clone());
    }
    turn.x.content = Some(content);
    Ok(())
}

/// All of the body.
async fn read<S: Downstream>(
    client: &mut Client<S>,
    turn: &mut Turn,
    d: &Deployment,
    route: &RoutePlan,
    most: usize,
) -> Result<Bytes, Stop> {
    if turn.x.length == Length::None {
        return Ok(Bytes::new());
    }
    let most = most.min(usize::try_from(route.bounds.body).unwrap_or(usize::MAX));
    if matches!(turn.x.length, Length::Known(n) if n > most as u64) {
        return Err(too_large(most).into());
    }
    if turn.verdict.expects_continue {
        // RFC 9110 §10.1.1.
        turn.x.reply.head.status = 100;
        let informed = tokio::time::timeout(route.bounds.idle, client.side.inform(turn)).await;
        informed.unwrap_or(Err(Gone)).map_err(|Gone| Stop::ClientGone)?;
        turn.x.reply.head.clear();
    }
    // What a service would get is what is read here: held against what was signed, unpacked.
    turn.upload.recode_with(std::mem::take(&mut turn.x.recoders), turn.x.length);
    let (to, mut kept) = oneshot::channel();
    turn.upload.tee_to(Tee::new(most, to));
    let mut watch = Watch::new(&d.recall, route, client.now);
    let (mut moves, mut deadline) = (None, client.now);
    poll_fn(|cx| {
        match turn.upload.poll(cx, client.side.source(), &mut turn.x.head.fields.buffer, Sink::Nowhere) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(Broken::Bad(bad))) => return Poll::Ready(Err(Stop::Problem(body_problem(bad)))),
            Poll::Ready(Err(Broken::Recode(error, problem))) => {
                return Poll::Ready(Err(Stop::Problem(recode_problem(error, problem))));
            }
            Poll::Ready(Err(_)) => return Poll::Ready(Err(Stop::ClientGone)),
            Poll::Pending => {}
        }
        // No more of it is read than it takes to know.
        if matches!(kept.try_recv(), Ok(Kept::TooLarge)) {
            return Poll::Ready(Err(too_large(most).into()));
        }
        if moves != Some(turn.upload.moves) {
            moves = Some(turn.upload.moves);
            deadline = turn.x.by(client.look() + route.bounds.idle);
        }
        let due = pace::upload(client, turn, d, None, true).filter(|due| *due < deadline);
        watch.poll(cx, client, due.unwrap_or(deadline)).map(|ended| match ended {
            Came::Route => Err(Stop::ClientGone),
            Came::Deadline if due.is_some() => Err(Stop::Problem(SLOW_BODY.problem())),
            Came::Deadline => Err(Stop::Problem(BODY_TIMEOUT.problem())),
        })
    })
    .await?;
    // Who looked at it does not see it again.
    turn.note_shadow();
    match kept.try_recv() {
        Ok(Kept::Whole(content)) => Ok(content),
        Ok(Kept::TooLarge) | Err(_) => Err(too_large(most).into()),
    }
}

fn too_large(most: usize) -> Problem {
    BODY_TOO_LARGE.problem().detail(format!("the body is larger than {most} bytes"))
}
