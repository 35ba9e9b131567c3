//! Running the bench client in a pod, and reading what it found.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use weft_harness::{Launch, Pod, config};

/// Time that a run may take over its length: start, warm-up, and answers that come late.
const GRACE: Duration = Duration::from_secs(30);

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Load {
    /// The client's `--mode`.
    pub(crate) mode: &'static str,
    /// Connections at a time.
    pub(crate) connections: u32,
    /// For how long.
    pub(crate) seconds: f64,
    /// Requests a second, where the mode asks for it.
    pub(crate) rate: Option<f64>,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) count: u64,
    failed: u64,
    /// Messages or connections a second.
    pub(crate) rate: f64,
    /// Of a bulk mode.
    pub(crate) gigabits_per_second: Option<f64>,
    /// Of the others.
    pub(crate) latency: Option<Latency>,
    first_error: Option<String>,
}

/// Percentiles, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

impl Load {
    /// How the client is run in a pod.
    ///
    /// # Errors
    /// It isn't built.
    pub(crate) fn launch(&self, from: &Pod, target: SocketAddr) -> Result<Launch> {
        Ok(from
            .launch(config::binary("shop")?)
            .args([
                "bench-client".to_owned(),
                format!("--target={target}"),
                format!("--mode={}", self.mode),
                format!("--connections={}", self.connections),
                format!("--seconds={}", self.seconds),
            ])
            .args(self.rate.map(|rate| format!("--rate={rate:.3}"))))
    }

    /// Runs it to the end.
    ///
    /// # Errors
    /// It can't run, takes too long, or a single connection or message failed: a figure of
    /// traffic that was lost is of no use.
    pub(crate) fn run(&self, from: &Pod, target: SocketAddr) -> Result<Outcome> {
        let deadline = Duration::from_secs_f64(self.seconds * 1.5) + GRACE;
        let finished = self.launch(from, target)?.run(deadline)?;
        parse(&finished.stdout).with_context(|| {
            format!("{} from {} to {target}: {}", self.mode, from.spec.namespace, finished.stderr)
        })
    }
}

/// Reads the last line that the client printed.
fn parse(stdout: &str) -> Result<Outcome> {
    let line = stdout.lines().last().context("the bench client printed nothing")?;
    let outcome: Outcome = serde_json::from_str(line)
        .with_context(|| format!("the bench client printed what can't be read: {line}"))?;
    if outcome.failed > 0 || outcome.count == 0 {
        let error = outcome.first_error.as_deref().unwrap_or("no reason given");
        bail!("{} answered, {} failed: {error}", outcome.count, outcome.failed);
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"mode":"latency","connections":1,"seconds":0.3,"count":5,"failed":0,
        "rate":16.6,"latency":{"p50_us":61.0,"p90_us":80.0,"p99_us":120.0,"p999_us":1.0,
        "max_us":2.0}}"#;

    #[test]
    fn the_last_line_counts() {
        let text = format!("{{\"held\":3}}\n{}\n", GOOD.replace('\n', ""));
        let outcome = parse(&text).unwrap();
        let latency = outcome.latency.unwrap();
        assert!((latency.p50_us - 61.0).abs() < 1e-9 && (latency.p99_us - 120.0).abs() < 1e-9);
        assert_eq!(outcome.gigabits_per_second, None);
    }

    #[test]
    fn a_run_with_failures_is_no_measurement() {
        let text = GOOD.replace('\n', "").replace("\"failed\":0", "\"failed\":2");
        let error = parse(&text).unwrap_err().to_string();
        assert_eq!(error, "5 answered, 2 failed: no reason given");
        let text = GOOD.replace('\n', "").replace("\"count\":5", "\"count\":0");
        assert!(parse(&text).is_err());
    }

    #[test]
    fn anything_else_is_an_error_that_shows_it() {
        assert!(parse("").is_err());
        assert!(parse("shop: no route").unwrap_err().to_string().contains("no route"));
    }
}
