//! Timeouts, retries and faults: what is set. Carrying it out needs a clock, and is the proxy's.

use std::time::Duration;

use super::fraction::Fraction;

/// How long a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timeouts {
    /// From the request's end to the last byte of the response, all attempts together.
    pub request: Option<Duration>,
    /// One attempt.
    pub attempt: Option<Duration>,
}

/// When and how often a request is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Besides the first attempt.
    pub retries: u32,
    /// On what.
    pub on: Box<[RetryOn]>,
    /// On these codes of responses.
    pub http_codes: Box<[u16]>,
    /// On these of gRPC.
    pub grpc_codes: Box<[u32]>,
    /// Longest wait before the first retry; it doubles for each further one.
    pub backoff_base: Duration,
    /// Longest wait of all.
    pub backoff_max: Duration,
    /// Endpoints that were tried already may be tried again.
    pub reuses_endpoints: bool,
    /// Endpoints outside of the caller's locality may be tried.
    pub is_any_locality: bool,
}

/// What is retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOn {
    /// No connection.
    ConnectFailure,
    /// The peer says that it never processed the request.
    RefusedStream,
    /// The stream ended before the response began.
    Reset,
    /// As `Reset`, and nothing of the request had been sent.
    ResetBeforeRequest,
    /// 502, 503, 504.
    GatewayError,
    /// 500 to 599, and all failures.
    ServerError,
    /// 409.
    Conflict,
    /// An attempt took too long.
    AttemptTimeout,
    /// An answer with `x-envoy-ratelimited`. Where it isn't listed, such answers aren't tried again whatever else is.
    RateLimited,
}

impl Retry {
    /// The longest wait before retry `number`, from 1; the wait itself is drawn between 0 and that.
    pub fn backoff(&self, number: u32) -> Duration {
        let doubled = 2_u32.checked_pow(number.saturating_sub(1));
        let wait = doubled.and_then(|times| self.backoff_base.checked_mul(times));
        wait.unwrap_or(self.backoff_max).min(self.backoff_max)
    }
}

/// Faults that are injected, each drawn by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fault {
    /// Of some requests, before anything else.
    pub delay: Option<(Fraction, Duration)>,
    /// Of some requests, after the delay.
    pub abort: Option<(Fraction, Abort)>,
}

/// An answer instead of the backend's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abort {
    /// This status.
    Http(http::StatusCode),
    /// 200 and this status in the trailers.
    Grpc(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let retry = Retry {
            retries: 5,
            on: Box::default(),
            http_codes: Box::default(),
            grpc_codes: Box::default(),
            backoff_base: Duration::from_millis(25),
            backoff_max: Duration::from_millis(250),
            reuses_endpoints: false,
            is_any_locality: false,
        };
        let waits = [1, 2, 4, 5, 40].map(|number| retry.backoff(number).as_millis());
        assert_eq!(waits, [25, 50, 200, 250, 250]);
    }
}
