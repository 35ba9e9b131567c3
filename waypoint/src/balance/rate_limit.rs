//! How many requests in which time: the generic cell rate algorithm (ITU-T I.371, annex A), which is a bucket of tokens kept
//! as one point in time.

use std::time::Duration;

use tokio::time::Instant;

use super::cluster::Cluster;
use super::settings::RateLimit;

/// The bucket is empty: 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the service's rate limit is reached")]
pub struct RateLimited {
    /// Until there is a token. `None`: never.
    pub retry_after: Option<Duration>,
}

/// A bucket. Time is counted in nanoseconds × tokens, so that a token's time is a whole number: no rounding adds up.
#[derive(Debug)]
pub(super) struct Bucket {
    limit: Option<RateLimit>,
    /// When the bucket will be full again.
    full_at: u128,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(limit: Option<RateLimit>) -> Self {
        Self { limit, full_at: 0 }
    }

    /// Takes a token at a time in nanoseconds.
    fn take(&mut self, now: u64) -> Result<(), RateLimited> {
        let Some(limit) = self.limit else {
            return Ok(());
        };
        let cost = limit.interval.as_nanos();
        let tokens = u128::from(limit.tokens);
        if limit.burst == 0 || (tokens == 0 && self.full_at >= u128::from(limit.burst)) {
            return Err(RateLimited { retry_after: None });
        }
        if tokens == 0 {
            // Nothing is ever put in: it counts what was taken.
            self.full_at += 1;
            return Ok(());
        }
        let now = u128::from(now) * tokens;
        let full_at = self.full_at.max(now) + cost;
        let latest = now + cost * u128::from(limit.burst);
        if full_at > latest {
            let wait = (full_at - latest).div_ceil(tokens);
            let wait = Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX));
            return Err(RateLimited { retry_after: Some(wait) });
        }
        self.full_at = full_at;
        Ok(())
    }
}

impl Cluster {
    /// Takes a token of the service's rate limit, if it has one.
    pub fn admit_rate(&self, now: Instant) -> Result<(), RateLimited> {
        if self.inner.live.load().settings.rate_limit.is_none() {
            return Ok(());
        }
        let now = self.inner.nanoseconds(now);
        self.inner.bucket.lock().take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_gives_its_burst_and_then_its_rate_to_the_nanosecond() {
        let limit = RateLimit { burst: 3, tokens: 3, interval: Duration::from_secs(1) };
        let mut bucket = Bucket::new(Some(limit));
        for _ in 0..3 {
            assert_eq!(bucket.take(0), Ok(()));
        }
        // A third of a second is no whole number of nanoseconds.
        let wait = Some(Duration::from_nanos(333_333_334));
        assert_eq!(bucket.take(0), Err(RateLimited { retry_after: wait }));
        assert!(bucket.take(333_333_333).is_err());
        assert_eq!(bucket.take(333_333_334), Ok(()));
        assert_eq!(bucket.take(666_666_667), Ok(()));
        assert_eq!(bucket.take(1_000_000_000), Ok(()));
        assert!(bucket.take(1_000_000_000).is_err());
    }

    #[test]
    fn rate_holds_over_an_hour_of_greed() {
        let limit = RateLimit { burst: 10, tokens: 7, interval: Duration::from_secs(1) };
        let mut bucket = Bucket::new(Some(limit));
        let hour = 3_600_u64;
        let passed = (0..hour * 100).filter(|tick| bucket.take(tick * 10_000_000).is_ok()).count();
        assert_eq!(passed, 10 + 7 * 3_600 - 1);
    }

    #[test]
    fn bucket_that_is_never_filled_gives_what_it_holds() {
        let limit = RateLimit { burst: 2, tokens: 0, interval: Duration::from_secs(1) };
        let mut bucket = Bucket::new(Some(limit));
        assert_eq!((bucket.take(0), bucket.take(u64::MAX)), (Ok(()), Ok(())));
        assert_eq!(bucket.take(u64::MAX), Err(RateLimited { retry_after: None }));
        let closed = RateLimit { burst: 0, tokens: 1, interval: Duration::from_secs(1) };
        assert!(Bucket::new(Some(closed)).take(0).is_err());
        assert_eq!(Bucket::new(None).take(0), Ok(()));
    }
}
