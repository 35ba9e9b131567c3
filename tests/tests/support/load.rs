//! Requests at a steady rate beside what a test does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use weft_harness::{Mesh, Pod, Process, config, poll};

/// Time for a load to report once it was asked to end.
const REPORT_DEADLINE: Duration = Duration::from_secs(10);
/// Time for its first request to be through.
const FIRST_DEADLINE: Duration = Duration::from_secs(10);

/// Loads started by this program.
static STARTED: AtomicU64 = AtomicU64::new(0);

/// Whether each request has a connection of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connections {
    /// The same few throughout.
    Kept,
    /// The same few, opened anew where the other side closed them between two requests.
    Pooled,
    /// A new one, and a look-up, each time.
    New,
}

/// A load that runs.
#[derive(Debug)]
pub(crate) struct Load(Arc<Process>);

impl Load {
    /// Starts `rps` requests a second from a pod, and waits until it is under way.
    pub(crate) fn start(
        mesh: &Mesh,
        from: &Pod,
        url: &str,
        rps: u32,
        connections: Connections,
    ) -> Result<Self> {
        // Each has a log of its own: the last word of an earlier load would look like this one's first.
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("load-{}-{connections:?}-{number}", from.spec.name);
        let rps = rps.to_string();
        let words = ["load", "--progress", "--url", url, "--rps", &rps];
        let mut launch = from.launch(config::binary("shop")?).args(words);
        match connections {
            Connections::New => launch = launch.arg("--new-connections"),
            Connections::Pooled => launch = launch.arg("--pooled"),
            Connections::Kept => {}
        }
        let load = Self(mesh.start(&name, launch)?);
        poll::until("the first requests of a load", FIRST_DEADLINE, || {
            let (total, failed) = load.so_far()?;
            ensure!(total > 0, "none so far, {failed} failed");
            Ok(())
        })?;
        Ok(load)
    }

    /// Requests and failures by the last word from it, at most a second old.
    pub(crate) fn so_far(&self) -> Result<(u64, u64)> {
        counts(&self.0.log_tail(1))
    }

    /// Ends it; how many requests it made. Fails if one failed.
    pub(crate) fn finish(self) -> Result<u64> {
        let (total, failed, report) = self.tally()?;
        ensure!(failed == 0, "{failed} of {total} requests failed: {report}");
        ensure!(total > 0, "no request was made");
        Ok(total)
    }

    /// Ends it; requests, failures and the whole report.
    pub(crate) fn tally(self) -> Result<(u64, u64, String)> {
        self.0.signal(Signal::SIGTERM)?;
        self.0.wait(REPORT_DEADLINE)?;
        let report = self.0.log_tail(1);
        let (total, failed) = counts(&report)?;
        Ok((total, failed, report))
    }
}

fn counts(line: &str) -> Result<(u64, u64)> {
    let report: Value =
        serde_json::from_str(line).with_context(|| format!("a report: {line:?}"))?;
    let number = |key: &str| report.get(key).and_then(Value::as_u64).context("a number");
    Ok((number("total")?, number("failed")?))
}
