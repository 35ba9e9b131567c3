//! Whether a request is tried again, how faults are drawn, and deadlines of gRPC. Pure: what happened is told.
//!
//! ```text
//!  Retry (the route's, or the mesh's default) ─┐
//!  Attempt (what happened, how often so far) ──┴─▶ decide ──▶ Again { after, is_free } | GiveUp
//! ```
//!
//! Invariants: once a byte of an answer went to the client nothing is tried again; what an endpoint may have processed is
//! tried again only where the policy says so; what none has processed is tried again once whatever the policy says, since
//! that costs nobody anything.

pub mod fault;
pub mod grpc_timeout;

#[cfg(test)]
mod tests;

use std::sync::LazyLock;
use std::time::Duration;

use rand::{Rng, RngExt};

use crate::route::{Retry, RetryOn, Timeouts};

/// What happened to an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// An answer. Also a good one may ask for a retry, by its codes.
    Response {
        /// Of HTTP.
        status: u16,
        /// Of gRPC, where the answer has no more than that (a "trailers-only" answer).
        grpc_status: Option<u32>,
        /// It carries `x-envoy-ratelimited`: trying again would only be refused again, unless the policy wants it.
        is_rate_limited: bool,
    },
    /// No connection, or the tunnel to the endpoint was refused: nothing of the request has left.
    ConnectFailed,
    /// The peer says that it never processed the request: REFUSED_STREAM, or GOAWAY with a lower last stream
    /// (RFC 9113 sections 8.7 and 6.8).
    Refused,
    /// The stream or connection ended before the answer began.
    Reset {
        /// Something of the request had been sent.
        was_sent: bool,
    },
    /// The attempt's own time is up.
    TimedOut,
}

/// An attempt that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// What happened.
    pub failure: Failure,
    /// Retries of this request so far, free ones not counted.
    pub retries: u32,
    /// Free retries of this request so far.
    pub free_retries: u32,
    /// Some of an answer went to the client.
    pub has_answered: bool,
    /// The whole body so far is still at hand.
    pub is_replayable: bool,
    /// What is left of the request's time; `None`: as much as it takes.
    pub time_left: Option<Duration>,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Try again.
    Again {
        /// After this time.
        after: Duration,
        /// Counts neither as one of the policy's retries nor against the budget: ask for no permit.
        is_free: bool,
    },
    /// The client gets what there is.
    GiveUp,
}

/// The policy of a route without one: Istio's default.
pub fn default_policy() -> &'static Retry {
    static DEFAULT: LazyLock<Retry> = LazyLock::new(|| Retry {
        retries: 2,
        on: Box::new([RetryOn::ConnectFailure, RetryOn::RefusedStream]),
        http_codes: Box::default(),
        grpc_codes: Box::new([UNAVAILABLE, CANCELLED]),
        backoff_base: Duration::from_millis(25),
        backoff_max: Duration::from_millis(250),
        reuses_endpoints: false,
        is_any_locality: false,
    });
    &DEFAULT
}

const CANCELLED: u32 = 1;
const UNAVAILABLE: u32 = 14;

/// Free retries of one request: with more, an endpoint that is always refused would be asked for ever.
const FREE_RETRIES_MAX: u32 = 1;

/// Whether to try again.
pub fn decide(policy: &Retry, attempt: &Attempt, rng: &mut impl Rng) -> Decision {
    let failure = attempt.failure;
    // Before there was a connection nothing of the body was taken.
    let is_repeatable = attempt.is_replayable || failure == Failure::ConnectFailed;
    if attempt.has_answered || !is_repeatable {
        return Decision::GiveUp;
    }
    if attempt.time_left == Some(Duration::ZERO) {
        return Decision::GiveUp;
    }
    let is_untouched = matches!(failure, Failure::ConnectFailed | Failure::Refused);
    if is_untouched && attempt.free_retries < FREE_RETRIES_MAX {
        return Decision::Again { after: Duration::ZERO, is_free: true };
    }
    if attempt.retries >= policy.retries || !is_retriable(policy, failure) {
        return Decision::GiveUp;
    }
    let longest = policy.backoff(attempt.retries.saturating_add(1));
    let after = longest.mul_f64(rng.random::<f64>());
    match attempt.time_left {
        Some(left) if after >= left => Decision::GiveUp,
        _ => Decision::Again { after, is_free: false },
    }
}

fn is_retriable(policy: &Retry, failure: Failure) -> bool {
    if let Failure::Response { status, grpc_status, is_rate_limited } = failure {
        // As Envoy has it, this condition alone decides then, whatever the status.
        if is_rate_limited {
            return policy.on.contains(&RetryOn::RateLimited);
        }
        let is_grpc = grpc_status.is_some_and(|status| policy.grpc_codes.contains(&status));
        let is_listed = is_grpc || policy.http_codes.contains(&status);
        let covers = |on: &RetryOn| match on {
            RetryOn::ServerError => (500..600).contains(&status),
            RetryOn::GatewayError => (502..=504).contains(&status),
            RetryOn::Conflict => status == 409,
            RetryOn::ConnectFailure
            | RetryOn::RefusedStream
            | RetryOn::Reset
            | RetryOn::ResetBeforeRequest
            | RetryOn::AttemptTimeout
            | RetryOn::RateLimited => false,
        };
        return is_listed || policy.on.iter().any(covers);
    }
    // As Envoy has it, `5xx`, `gateway-error` and `reset` cover every failure without an answer.
    policy.on.iter().any(|on| match on {
        RetryOn::ServerError | RetryOn::GatewayError | RetryOn::Reset => true,
        RetryOn::ConnectFailure => failure == Failure::ConnectFailed,
        RetryOn::RefusedStream => failure == Failure::Refused,
        RetryOn::ResetBeforeRequest => {
            matches!(failure, Failure::ConnectFailed | Failure::Reset { was_sent: false })
        }
        RetryOn::AttemptTimeout => failure == Failure::TimedOut,
        RetryOn::Conflict | RetryOn::RateLimited => false,
    })
}

/// How long a request may take: the route's limit, and what the client says in `grpc-timeout`, whichever is shorter.
pub fn time_limit(timeouts: &Timeouts, grpc_timeout: Option<Duration>) -> Option<Duration> {
    match (timeouts.request, grpc_timeout) {
        (Some(own), Some(client)) => Some(own.min(client)),
        (own, client) => own.or(client),
    }
}

/// How long one attempt may take, of what is left of the request's time.
pub fn attempt_limit(timeouts: &Timeouts, time_left: Option<Duration>) -> Option<Duration> {
    match (timeouts.attempt, time_left) {
        (Some(own), Some(left)) => Some(own.min(left)),
        (own, left) => own.or(left),
    }
}
