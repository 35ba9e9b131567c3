//! One attempt: an endpoint, a connection, the request, and the head of the response.

use std::pin::pin;
use std::time::Duration;

use http::{Request, request, response};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep_until};

use super::downstream::{Downstream, Gone};
use super::feed::{Feed, Pipe};
use crate::serve::Tunnel;
use crate::upstream::{DialError, Endpoint, Exchange, SendError, Spoken};

/// A response that has begun.
pub(super) struct Begun {
    pub(super) exchange: Exchange,
    pub(super) head: response::Parts,
    pub(super) body: Incoming,
    pub(super) pipe: Pipe,
    /// From the end of connecting to the response's head.
    pub(super) took: Duration,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// No connection.
    #[error("{0}")]
    Dial(DialError),
    /// A connection, and no response on it.
    #[error("{0}")]
    Send(SendError),
    /// It took longer than one attempt may.
    #[error("no response in time")]
    Timeout,
    /// The client went away.
    #[error("{0}")]
    Gone(Gone),
}

impl Failure {
    /// Whether the application certainly didn't process the request.
    pub(super) fn is_unprocessed(&self) -> bool {
        matches!(self, Self::Dial(_) | Self::Send(SendError::NotSent | SendError::Refused))
    }
}

/// One attempt at `to`. `until`: when it has to have begun to answer.
pub(super) async fn attempt(
    tunnel: &Tunnel,
    downstream: &mut Downstream,
    feed: &mut Feed,
    head: &request::Parts,
    to: &Endpoint,
    spoken: Spoken,
    until: Instant,
) -> Result<Begun, Failure> {
    let shelf = &tunnel.worker.shelf;
    let taking = shelf.take(to, spoken, tunnel.worker.baggage(), tunnel.trace);
    let (mut exchange, _) = tokio::select! {
        biased;
        taken = Box::pin(taking) => taken.map_err(Failure::Dial)?,
        () = sleep_until(until) => return Err(Failure::Timeout),
    };
    let began = Instant::now();
    let (mut pipe, body) = feed.begin();
    let request = Request::from_parts(head.clone(), body);
    let mut late = pin!(sleep_until(until));
    let response = {
        let mut sending = pin!(exchange.send(request));
        loop {
            tokio::select! {
                biased;
                sent = &mut sending => break sent.map_err(Failure::Send)?,
                fed = feed.step(&mut pipe, downstream) => fed.map_err(Failure::Gone)?,
                () = &mut late => return Err(Failure::Timeout),
            }
        }
    };
    let (head, body) = response.into_parts();
    Ok(Begun { exchange, head, body, pipe, took: began.elapsed() })
}
