//! Token buckets: how often somebody may ask.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// One bucket: `burst` at once, `per_second` after that.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    burst: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(per_second: f64, burst: f64) -> Self {
        let state = State { tokens: burst, filled: Instant::now() };
        Self { per_second, burst, state: Mutex::new(state) }
    }

    /// Takes one, or tells how long until there is one.
    pub(crate) fn take(&self) -> Result<(), Duration> {
        let mut state = self.state.lock();
        let now = Instant::now();
        let gained = now.duration_since(state.filled).as_secs_f64() * self.per_second;
        state.tokens = (state.tokens + gained).min(self.burst);
        state.filled = now;
        if state.tokens >= 1.0 {
            state.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - state.tokens) / self.per_second))
    }

    /// Takes one and waits for it, if that is no longer than `wait`; else tells how long it would have been.
    pub(crate) async fn take_within(&self, wait: Duration) -> Result<(), Duration> {
        let deadline = Instant::now() + wait;
        loop {
            let Err(missing) = self.take() else {
                return Ok(());
            };
            if Instant::now() + missing > deadline {
                return Err(missing);
            }
            tokio::time::sleep(missing).await;
        }
    }

    fn is_full(&self) -> bool {
        let state = self.state.lock();
        let gained = state.filled.elapsed().as_secs_f64() * self.per_second;
        state.tokens + gained >= self.burst
    }
}

/// A bucket for each of a bounded number of keys. Keys come from verified tokens, never from a stranger's text.
#[derive(Debug)]
pub(crate) struct Buckets {
    per_second: f64,
    burst: f64,
    keys_max: usize,
    by_key: Mutex<HashMap<Arc<str>, Arc<Bucket>>>,
}

impl Buckets {
    /// No keys yet.
    pub(crate) fn new(per_second: f64, burst: f64, keys_max: usize) -> Self {
        Self { per_second, burst, keys_max, by_key: Mutex::default() }
    }

    /// Takes one from the bucket of `key`, or tells how long until there is one.
    pub(crate) fn take(&self, key: &str) -> Result<(), Duration> {
        let bucket = {
            let mut by_key = self.by_key.lock();
            if !by_key.contains_key(key) && by_key.len() >= self.keys_max {
                // A full bucket remembers nothing.
                by_key.retain(|_, bucket| !bucket.is_full());
            }
            if !by_key.contains_key(key) && by_key.len() >= self.keys_max {
                return Err(Duration::from_secs(1));
            }
            let fresh = || Arc::new(Bucket::new(self.per_second, self.burst));
            by_key.entry(key.into()).or_insert_with(fresh).clone()
        };
        bucket.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn burst_is_granted_then_the_rate_holds() {
        let bucket = Bucket::new(10.0, 3.0);
        assert_eq!((0..5).filter(|_| bucket.take().is_ok()).count(), 3);
        tokio::time::advance(Duration::from_millis(210)).await;
        assert_eq!((0..5).filter(|_| bucket.take().is_ok()).count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_longer_than_allowed_is_refused_at_once() {
        let bucket = Bucket::new(0.5, 1.0);
        assert!(bucket.take_within(Duration::from_secs(1)).await.is_ok());
        assert!(bucket.take_within(Duration::from_secs(1)).await.is_err());
        assert!(bucket.take_within(Duration::from_secs(3)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn one_key_does_not_use_up_another_and_keys_are_bounded() {
        let buckets = Buckets::new(1.0, 1.0, 2);
        assert!(buckets.take("a").is_ok());
        assert!(buckets.take("a").is_err());
        assert!(buckets.take("b").is_ok());
        assert!(buckets.take("c").is_err());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(buckets.take("c").is_ok());
    }
}
