//! The attempts of one request.

use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderName;
use http::{Method, request};
use tokio::time::{Instant, sleep};

use super::attempt::{Begun, Failure, attempt};
use super::backing::{Backed, Place};
use super::downstream::Downstream;
use super::feed::Feed;
use super::vigil::{Pace, Vigil};
use crate::balance::{Outcome, Overflow, Picked, RetryPermit};
use crate::limits;
use crate::record::Record;
use crate::retry::{self, Decision};
use crate::route::{Retry, Timeouts};
use crate::serve::Tunnel;
use crate::session::EndpointTag;
use crate::telemetry::ResponseFlags;
use crate::upstream::{Endpoint, EndpointError, Way};

const RATE_LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");

/// A request that is ready to be sent.
pub(super) struct Trying<'a> {
    pub(super) tunnel: &'a Tunnel,
    pub(super) head: &'a request::Parts,
    pub(super) backed: &'a Backed<'a>,
    pub(super) policy: &'a Retry,
    pub(super) timeouts: Timeouts,
    pub(super) hash: Option<u64>,
    /// The endpoint that the request asks for.
    pub(super) session: Option<EndpointTag>,
    /// When the whole request's time is over.
    pub(super) until: Option<Instant>,
    /// In which its body has to come.
    pub(super) pace: Pace,
}

/// A response that has begun, and where.
pub(super) struct Arrived {
    pub(super) begun: Begun,
    pub(super) to: Endpoint,
    /// Counts the request at its endpoint while the response goes on.
    pub(super) picked: Option<Picked>,
}

/// Why no attempt brought a response.
pub(super) enum Failed {
    NoEndpoint(EndpointError),
    Attempt(Failure),
    /// The whole request's time is over.
    Late,
}

#[derive(Default)]
struct Course {
    retries: u32,
    free: u32,
    tried: Vec<Arc<str>>,
    permit: Option<RetryPermit>,
    /// The session's endpoint failed the request, so that it goes elsewhere, as with Envoy.
    is_astray: bool,
}

impl Trying<'_> {
    pub(super) async fn run(
        &self,
        downstream: &mut Downstream,
        feed: &mut Feed,
        vigil: &mut Vigil<'_>,
        record: &mut Record,
    ) -> Result<Arrived, Failed> {
        let mut course = Course::default();
        loop {
            let (picked, to) = self.endpoint(&course)?;
            let mut head = self.head.clone();
            record.tries(&to, &mut head.headers);
            let (until, is_whole) = self.deadline();
            vigil.begin(Some(until), self.pace, feed.read);
            let outcome = self.attempt(downstream, feed, head, &to, vigil).await;
            match &outcome {
                Ok(begun) => record.tried(Ok(begun.head.status.as_u16())),
                Err(failure) => record.tried(Err(failure)),
            }
            self.report(picked.as_ref(), &outcome);
            if is_whole && matches!(outcome, Err(Failure::Timeout)) {
                return Err(Failed::Late);
            }
            let Some(wait) = self.again(&mut course, &outcome, feed, record) else {
                return match outcome {
                    Ok(begun) => Ok(Arrived { begun, to, picked }),
                    Err(failure) => Err(Failed::Attempt(failure)),
                };
            };
            drop(outcome);
            course.tried.push(to.workload.uid.clone());
            if !wait.is_zero() {
                sleep(wait).await;
            }
        }
    }

    fn endpoint(&self, course: &Course) -> Result<(Option<Picked>, Endpoint), Failed> {
        let tried: &[_] = if self.policy.reuses_endpoints { &[] } else { &course.tried };
        let is_anywhere = self.policy.is_any_locality && !course.tried.is_empty();
        let place = &self.backed.place;
        let of_session = self.session.filter(|_| !course.is_astray);
        let (picked, to) = match of_session.and_then(|tag| place.of_session(tag)) {
            Some(found) => found,
            None => {
                let found = place.endpoint(self.hash, tried, is_anywhere, &mut rand::rng());
                found.map_err(Failed::NoEndpoint)?
            }
        };
        let host = self.head.uri.authority().map_or("", |it| it.host());
        Ok((picked, to.for_host(host).map_err(Failed::NoEndpoint)?))
    }

    async fn attempt(
        &self,
        downstream: &mut Downstream,
        feed: &mut Feed,
        head: request::Parts,
        to: &Endpoint,
        vigil: &mut Vigil<'_>,
    ) -> Result<Begun, Failure> {
        let worker = &self.tunnel.worker;
        let way = self.way(to);
        Box::pin(attempt(&worker.shelf, downstream, feed, head, &way, vigil)).await
    }

    /// The way to an endpoint, with what bounds it.
    pub(super) fn way<'w>(&'w self, to: &'w Endpoint) -> Way<'w> {
        let worker = &self.tunnel.worker;
        let way = Way::plain(to, self.backed.spoken, worker.baggage(), self.tunnel.trace);
        match &self.backed.place {
            Place::Backend(backend) => {
                let host = self.head.uri.authority().map_or("", |it| it.host());
                way.bounded(backend, &worker.shelves).secured(backend, host)
            }
            Place::One(_) => way,
        }
    }

    /// When the attempt has to have begun to answer, and whether that is the end of the whole request's time.
    fn deadline(&self) -> (Instant, bool) {
        let now = Instant::now();
        let left = self.until.map(|until| until.saturating_duration_since(now));
        let Some(limit) = retry::attempt_limit(&self.timeouts, left) else {
            return (now + limits::RESPONSE_HEAD_DEADLINE, true);
        };
        (now + limit, left == Some(limit))
    }

    fn report(&self, picked: Option<&Picked>, outcome: &Result<Begun, Failure>) {
        let outcome = match outcome {
            Ok(begun) => match grpc_status(&begun.head.headers) {
                Some(status) => Some(Outcome::of_grpc(status)),
                None => Some(Outcome::Status(begun.head.status.as_u16())),
            },
            Err(failure) => failure.outcome(),
        };
        if let (Some(picked), Some(outcome)) = (picked, outcome) {
            picked.report(outcome, Instant::now());
        }
    }

    /// How long to wait before the next attempt; `None`: there is none.
    fn again(
        &self,
        course: &mut Course,
        outcome: &Result<Begun, Failure>,
        feed: &Feed,
        record: &mut Record,
    ) -> Option<Duration> {
        let failure = match outcome {
            Ok(begun) => retry::Failure::Response {
                status: begun.head.status.as_u16(),
                grpc_status: grpc_status(&begun.head.headers),
                is_rate_limited: begun.head.headers.contains_key(RATE_LIMITED),
            },
            Err(failure) => failure.kind(is_idempotent(&self.head.method))?,
        };
        let now = Instant::now();
        let attempt = retry::Attempt {
            failure,
            retries: course.retries,
            free_retries: course.free,
            has_answered: false,
            is_replayable: feed.can_repeat(),
            time_left: self.until.map(|until| until.saturating_duration_since(now)),
        };
        match retry::decide(self.policy, &attempt, &mut rand::rng()) {
            Decision::GiveUp => {
                if course.retries > 0 && course.retries >= self.policy.retries {
                    record.flag(ResponseFlags::RETRY_EXCEEDED, "via_upstream");
                }
                None
            }
            Decision::Again { after, is_free: true } => {
                // What wasn't processed, such as on a connection that was just closing, says nothing against the endpoint.
                course.is_astray |= failure != retry::Failure::Refused;
                course.free += 1;
                Some(after)
            }
            Decision::Again { after, is_free: false } => {
                if let Err(overflow) = self.admit(course) {
                    tracing::debug!(target: "http", %overflow, "no retry: the budget is spent");
                    record.flag(ResponseFlags::UPSTREAM_OVERFLOW, "retry_budget_exceeded");
                    return None;
                }
                course.is_astray = true;
                course.retries += 1;
                Some(after)
            }
        }
    }

    /// One retry at a time counts; the permit of the last one is kept until the request has its response.
    fn admit(&self, course: &mut Course) -> Result<(), Overflow> {
        if let Place::Backend(backend) = &self.backed.place
            && course.permit.is_none()
        {
            course.permit = Some(backend.cluster().admit_retry()?);
        }
        Ok(())
    }
}

fn grpc_status(headers: &http::HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// RFC 9110, section 9.2.2.
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}
