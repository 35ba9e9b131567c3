//! One attempt: an endpoint, a connection, the request, and the head of the response.

use std::pin::pin;
use std::time::Duration;

use http::header::UPGRADE;
use http::{Request, StatusCode, request, response};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::downstream::{Downstream, Gone};
use super::feed::{Feed, Pipe};
use super::headers;
use super::vigil::{Alarm, Vigil};
use crate::balance::Outcome;
use crate::retry;
use crate::upstream::{Exchange, SendError, Shelf, TakeError, Way};

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
    Take(TakeError),
    /// A connection, and no response on it.
    #[error("{0}")]
    Send(SendError),
    /// It took longer than one attempt may.
    #[error("no response in time")]
    Timeout,
    /// Policies changed, and don't allow it any more.
    #[error("{0}")]
    Forbidden(String),
    /// The client went away.
    #[error("{0}")]
    Gone(Gone),
}

impl Failure {
    /// As retrying sees it; `None`: there is nobody left to try again for.
    pub(super) fn kind(&self, is_idempotent: bool) -> Option<retry::Failure> {
        Some(match self {
            Self::Take(TakeError::Overflow(_)) | Self::Gone(_) | Self::Forbidden(_) => return None,
            Self::Take(_) | Self::Send(SendError::NotSent) => retry::Failure::ConnectFailed,
            Self::Send(SendError::Refused) => retry::Failure::Refused,
            // An application that closes an idle connection may meet a request halfway. What may be repeated is
            // (RFC 9110, section 9.2.2).
            Self::Send(SendError::ClosedWhileIdle) if is_idempotent => retry::Failure::Refused,
            Self::Send(
                SendError::ClosedWhileIdle | SendError::Protocol(_) | SendError::Reset(_),
            ) => retry::Failure::Reset { was_sent: true },
            Self::Timeout => retry::Failure::TimedOut,
        })
    }

    /// As the endpoint's record has it.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        Some(match self {
            Self::Take(TakeError::Overflow(_)) | Self::Gone(_) | Self::Forbidden(_) => return None,
            Self::Take(_) => Outcome::ConnectFailed,
            Self::Send(_) => Outcome::Reset,
            Self::Timeout => Outcome::Timeout,
        })
    }
}

impl From<Alarm> for Failure {
    fn from(alarm: Alarm) -> Self {
        match alarm {
            Alarm::Late => Self::Timeout,
            Alarm::Silent => Self::Gone(Gone::Silent),
            Alarm::Slow => Self::Gone(Gone::Slow),
            Alarm::Forbidden(why) => Self::Forbidden(why),
        }
    }
}

/// One attempt. `vigil` knows when it has to have begun to answer.
pub(super) async fn attempt(
    shelf: &Shelf,
    downstream: &mut Downstream,
    feed: &mut Feed,
    mut head: request::Parts,
    way: &Way<'_>,
    vigil: &mut Vigil<'_>,
) -> Result<Begun, Failure> {
    let taking = vigil.guard(Box::pin(shelf.take(way)));
    let mut exchange = taking.await?.map_err(Failure::Take)?;
    let began = Instant::now();
    let (mut pipe, body) = feed.begin();
    head.uri = way.address(head.uri);
    let asks_to_change = head.headers.contains_key(UPGRADE);
    let request = Request::from_parts(head, body);
    let response = {
        let mut sending = pin!(exchange.send(request));
        loop {
            tokio::select! {
                biased;
                sent = &mut sending => break sent.map_err(Failure::Send)?,
                fed = feed.step(&mut pipe, downstream) => fed.map_err(Failure::Gone)?,
                () = vigil.due() => if let Some(alarm) = vigil.look(feed.awaited()) {
                    return Err(alarm.into());
                }
            }
        }
    };
    let (head, body) = response.into_parts();
    if !headers::is_framed_once(&head.headers) {
        let why = "its response says twice where it ends".to_owned();
        return Err(Failure::Send(SendError::Protocol(why)));
    }
    if head.status == StatusCode::SWITCHING_PROTOCOLS && !asks_to_change {
        let why = "it changes to a protocol that wasn't asked for".to_owned();
        return Err(Failure::Send(SendError::Protocol(why)));
    }
    Ok(Begun { exchange, head, body, pipe, took: began.elapsed() })
}
