//! Whether a request is tried again.

use std::time::Duration;

use http::response;
use rand::RngExt;

use super::attempt::Failure;
use crate::route::{Retry, RetryOn};
use crate::upstream::SendError;

/// One request's attempts so far.
pub(super) struct Course<'a> {
    policy: Option<&'a Retry>,
    retries: u32,
    has_repeated_unprocessed: bool,
}

/// The mesh's default where a rule says nothing: Istio's two retries, on what is safe to repeat.
const DEFAULT_RETRIES: u32 = 2;
const DEFAULT_BACKOFF: (Duration, Duration) = (Duration::from_millis(25), Duration::from_millis(250));

impl<'a> Course<'a> {
    pub(super) fn new(policy: Option<&'a Retry>) -> Self {
        Self { policy, retries: 0, has_repeated_unprocessed: false }
    }

    /// How long to wait before the next attempt; `None`: this response is the answer.
    pub(super) fn after_response(
        &mut self,
        head: &response::Parts,
        can_repeat: bool,
    ) -> Option<Duration> {
        let policy = self.policy?;
        let status = head.status.as_u16();
        let grpc: Option<u32> =
            head.headers.get("grpc-status").and_then(|it| it.to_str().ok()?.parse().ok());
        let on = |kind| policy.on.contains(&kind);
        let counts = policy.http_codes.contains(&status)
            || grpc.is_some_and(|code| policy.grpc_codes.contains(&code))
            || (on(RetryOn::GatewayError) && matches!(status, 502..=504))
            || (on(RetryOn::ServerError) && status >= 500)
            || (on(RetryOn::Conflict) && status == 409);
        if counts { self.next(can_repeat) } else { None }
    }

    /// The same after an attempt without a response.
    pub(super) fn after_failure(&mut self, failure: &Failure, can_repeat: bool) -> Option<Duration> {
        // What nobody processed is repeated once, whatever was set: it is not a second request.
        if failure.is_unprocessed() && can_repeat && !self.has_repeated_unprocessed {
            self.has_repeated_unprocessed = true;
            return Some(Duration::ZERO);
        }
        let on = |kind| self.policy.is_none_or(|policy| policy.on.contains(&kind));
        let on_set = |kind| self.policy.is_some_and(|policy| policy.on.contains(&kind));
        let counts = on_set(RetryOn::ServerError)
            || match failure {
                Failure::Dial(_) => on(RetryOn::ConnectFailure),
                Failure::Send(SendError::Refused) => on(RetryOn::RefusedStream),
                Failure::Send(SendError::NotSent) => {
                    on(RetryOn::ConnectFailure) || on_set(RetryOn::ResetBeforeRequest)
                }
                Failure::Send(_) => on_set(RetryOn::Reset),
                Failure::Timeout => on_set(RetryOn::AttemptTimeout) || on_set(RetryOn::GatewayError),
                Failure::Gone(_) => return None,
            };
        if counts { self.next(can_repeat) } else { None }
    }

    fn next(&mut self, can_repeat: bool) -> Option<Duration> {
        let most = self.policy.map_or(DEFAULT_RETRIES, |policy| policy.retries);
        if !can_repeat || self.retries >= most {
            return None;
        }
        self.retries += 1;
        let longest = match self.policy {
            Some(policy) => policy.backoff(self.retries),
            None => {
                let (base, max) = DEFAULT_BACKOFF;
                base.saturating_mul(1 << (self.retries - 1).min(8)).min(max)
            }
        };
        Some(longest.mul_f64(rand::rng().random_range(0.0..=1.0)))
    }
}
