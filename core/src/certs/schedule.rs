//! When to ask: pure rules over two clocks.
//!
//! Certificates live on the wall clock, which can jump; distances between attempts are measured on tokio's, which
//! cannot. An attempt is due only when both agree.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::limits;

/// What a connection waits for goes first, then what is held by nobody yet, then renewals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Priority {
    Background,
    Warmup,
    RealTime,
}

/// The attempts of one identity so far.
#[derive(Debug, Clone)]
pub(super) struct Attempts {
    failures: u32,
    last_end: Option<Instant>,
    /// On the monotonic clock, not before this.
    earliest: Instant,
    /// On the wall clock, not before this; `None` while nothing is held.
    renew_at: Option<SystemTime>,
}

impl Attempts {
    /// None yet: due at once.
    pub(super) fn none(now: Instant) -> Self {
        Self { failures: 0, last_end: None, earliest: now, renew_at: None }
    }

    /// One succeeded, with a certificate valid until `not_after`.
    ///
    /// Renewal is due at half of the time that is left, ±10 % so that a node's certificates do not stay in step. It
    /// counts from now and not from the certificate's own start, which CAs date back against skew: for a lifetime of
    /// a minute that would be half past before it begins.
    pub(super) fn succeeded(&mut self, now: Instant, wall: SystemTime, not_after: SystemTime) {
        let left = not_after.duration_since(wall).unwrap_or_default();
        self.failures = 0;
        self.last_end = Some(now);
        self.earliest = now + limits::CERT_REFRESH_MIN;
        self.renew_at = Some(wall + (left / 2).mul_f64(rand::random_range(0.9..=1.1)));
    }

    /// One failed while a certificate was held that is valid until `valid_until`, if any was.
    pub(super) fn failed(
        &mut self,
        now: Instant,
        wall: SystemTime,
        valid_until: Option<SystemTime>,
    ) -> Duration {
        let mut delay = backoff(self.failures, rand::random_range(0.8..=1.2));
        // The end of what is held is the last chance before connections fail.
        if let Some(left) = valid_until.and_then(|end| end.duration_since(wall).ok()) {
            delay = delay.min(left.max(limits::CERT_BACKOFF_INITIAL));
        }
        self.failures = self.failures.saturating_add(1);
        self.last_end = Some(now);
        self.earliest = now + delay;
        delay
    }

    /// When the next one is due.
    pub(super) fn due(&self, now: Instant, wall: SystemTime, priority: Priority) -> Instant {
        let renewal = self
            .renew_at
            .and_then(|at| at.duration_since(wall).ok())
            .and_then(|ahead| now.checked_add(ahead));
        let due = renewal.map_or(self.earliest, |at| at.max(self.earliest));
        match self.last_end {
            Some(end) if priority == Priority::RealTime && self.failures > 0 => {
                due.min(end + limits::CERT_BACKOFF_WAITED_MAX)
            }
            _ => due,
        }
    }
}

/// 0.5 s, doubled by every failure, times `jitter`, at most 150 s.
fn backoff(failures: u32, jitter: f64) -> Duration {
    let factor = 2_u32.saturating_pow(failures);
    let plain = limits::CERT_BACKOFF_INITIAL.saturating_mul(factor).min(limits::CERT_BACKOFF_MAX);
    plain.mul_f64(jitter).min(limits::CERT_BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks() -> (Instant, SystemTime) {
        (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000))
    }

    #[test]
    fn backoff_doubles_up_to_its_cap() {
        let seconds: Vec<f64> = (0..12).map(|n| backoff(n, 1.0).as_secs_f64()).collect();
        assert_eq!(
            seconds,
            [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 150.0, 150.0, 150.0]
        );
        assert_eq!(backoff(u32::MAX, 1.2), limits::CERT_BACKOFF_MAX);
    }

    #[test]
    fn renewal_is_due_at_half_of_what_is_left() {
        let (now, wall) = clocks();
        for ttl in [60, 86_400] {
            let ttl = Duration::from_secs(ttl);
            let mut attempts = Attempts::none(now);
            attempts.succeeded(now, wall, wall + ttl);
            let due = attempts.due(now, wall, Priority::Background) - now;
            assert!(due >= ttl.mul_f64(0.44) && due <= ttl.mul_f64(0.56), "{ttl:?}: {due:?}");
        }
    }

    #[test]
    fn half_life_in_the_past_waits_for_the_minimum() {
        let (now, wall) = clocks();
        for left in [Duration::ZERO, Duration::from_secs(3)] {
            let mut attempts = Attempts::none(now);
            attempts.succeeded(now, wall, wall + left);
            let due = attempts.due(now, wall, Priority::Background);
            assert_eq!(due, now + limits::CERT_REFRESH_MIN);
        }
        let mut attempts = Attempts::none(now);
        attempts.succeeded(now, wall, wall - Duration::from_secs(600));
        assert_eq!(attempts.due(now, wall, Priority::RealTime), now + limits::CERT_REFRESH_MIN);
    }

    #[test]
    fn jump_of_the_wall_clock_makes_a_renewal_due() {
        let (now, wall) = clocks();
        let mut attempts = Attempts::none(now);
        attempts.succeeded(now, wall, wall + Duration::from_secs(86_400));
        let later = now + Duration::from_secs(60);
        let jumped = wall + Duration::from_secs(80_000);
        assert!(attempts.due(later, jumped, Priority::Background) <= later);
    }

    #[test]
    fn failure_is_repeated_before_what_is_held_ends() {
        let (now, wall) = clocks();
        let mut attempts = Attempts::none(now);
        let end = wall + Duration::from_secs(20);
        for _ in 0..10 {
            attempts.failed(now, wall, Some(end));
        }
        assert!(attempts.due(now, wall, Priority::Background) <= now + Duration::from_secs(20));
        // A certificate that ends this instant makes no hot loop.
        attempts.failed(now, wall, Some(wall));
        assert!(
            attempts.due(now, wall, Priority::Background) >= now + limits::CERT_BACKOFF_INITIAL
        );
    }

    #[test]
    fn waiting_connection_shortens_a_long_backoff() {
        let (now, wall) = clocks();
        let mut attempts = Attempts::none(now);
        for _ in 0..10 {
            attempts.failed(now, wall, None);
        }
        assert!(attempts.due(now, wall, Priority::Warmup) > now + Duration::from_secs(100));
        let waited_for = attempts.due(now, wall, Priority::RealTime);
        assert_eq!(waited_for, now + limits::CERT_BACKOFF_WAITED_MAX);
    }
}
