//! A client that is none: of copies, whose answers nobody sees.

use std::task::{Context, Poll};

use crate::deployment::Deployment;
use crate::http::downstream::{Cut, Downstream, Framing, Gone, Unread};
use crate::http::ends::{Sink, Source};
use crate::http::pump::Prefix;
use crate::http::turn::Turn;
use crate::worker::Worker;

/// Sent its request, whole, and takes whatever comes of it.
#[derive(Debug)]
pub(crate) struct Nobody;

impl Downstream for Nobody {
    fn source(&mut self) -> Source<'_> {
        Source::Held
    }

    fn sink<'a>(&'a mut self, _: &'a mut Prefix) -> Sink<'a> {
        Sink::Nowhere
    }

    fn arriving(&self) -> u64 {
        0
    }

    fn is_gone(&mut self, _: &mut Context<'_>, _: &mut Turn) -> bool {
        false
    }

    fn may_stay(&self, _: &Turn, _: &Deployment) -> bool {
        false
    }

    fn poll_unread(&mut self, _: &mut Context<'_>, _: &mut Turn) -> Unread {
        Unread::Nothing
    }

    fn outstanding(_: &Turn) -> Unread {
        Unread::Nothing
    }

    fn poll_discard(&mut self, _: &mut Context<'_>, _: &mut Turn) -> Poll<bool> {
        Poll::Ready(true)
    }

    async fn inform(&mut self, _: &mut Turn) -> Result<(), Gone> {
        Ok(())
    }

    fn begin(&mut self, _: &mut Turn, _: &Deployment, _: &Worker, _: Framing, _: bool) -> Result<(), Gone> {
        Ok(())
    }

    fn switch(&mut self, _: &mut Turn, _: &Deployment, _: &[u8]) -> Result<(), Gone> {
        Err(Gone)
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn end(&mut self) {}

    fn cut(&mut self, _: Cut) {}
}
