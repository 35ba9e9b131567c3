//! Waiting for something to become true, always under a deadline.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

/// Pause between two looks: short against any figure that the tests print.
const INTERVAL: Duration = Duration::from_millis(2);

/// Looks until `probe` gives a value; the last answer is in the error when the time is up.
///
/// `probe` answers `Ok(value)` when what it waits for has come, and an error that says what it
/// sees instead while it hasn't.
///
/// # Errors
/// `what` hasn't come within `deadline`.
pub fn until<T>(what: &str, deadline: Duration, mut probe: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() >= deadline => {
                return Err(error.context(format!("{what}: not within {deadline:?}")));
            }
            Err(_) => std::thread::sleep(INTERVAL),
        }
    }
}

/// As [`until`] for a plain condition.
///
/// # Errors
/// The condition doesn't hold within `deadline`.
pub fn until_true(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<()> {
    until(what, deadline, || if condition()? { Ok(()) } else { bail!("still not so") })
}
