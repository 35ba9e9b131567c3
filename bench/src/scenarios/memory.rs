//! Memory of a ztunnel, the larger of the two: idle, with thousands of open connections, and after they closed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::time::Instant;
use weft_harness::{Process, poll};

use crate::bed::{Bed, PORT, Site};
use crate::client::Load;
use crate::progress::say;
use crate::report::{Measure, Place, RunSettings, Samples, Subject, Unit};
use crate::resident::Resident;

/// Open connections, and how many in a quick run.
const CONNECTIONS: u32 = 4_000;
const CONNECTIONS_QUICK: u32 = 200;
/// Restarting and filling takes long and the figures hardly differ.
const ROUNDS_MAX: u16 = 3;
/// Time to open all connections.
const OPEN_DEADLINE: Duration = Duration::from_secs(60);
/// How long connections are held once all are open; memory is read in the middle of it.
const HOLD: Duration = Duration::from_secs(4);
/// Time to check all of them and close.
const CLOSE_DEADLINE: Duration = Duration::from_secs(60);
/// Memory counts as settled when it moved by less than this …
const SETTLED_BYTES: u64 = 64 << 10;
/// … for this long,
const SETTLED_FOR: Duration = Duration::from_secs(1);
/// or when this has passed: then it is taken as it is.
const SETTLE_DEADLINE: Duration = Duration::from_secs(10);
/// When memory is read after the last connection closed. An allocator that gives pages back does
/// so within ten seconds by default.
const AFTER_CLOSE: Duration = Duration::from_secs(15);
const AFTER_CLOSE_QUICK: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(100);

/// Measures all sides that have ztunnels, at both places.
///
/// # Errors
/// A ztunnel didn't come up, or a connection failed.
pub(crate) fn measure(bed: &Bed, run: &RunSettings) -> Result<Vec<Measure>> {
    let mut samples = Samples::default();
    let subject = |figure, place| Subject::new("memory", figure, Unit::Bytes).at(place);
    for place in Place::ALL {
        for number in 0..run.rounds.min(ROUNDS_MAX) {
            for site in bed.proxied() {
                let (held, connections) = fill(site, place, None, run)?;
                let after = if run.quick { AFTER_CLOSE_QUICK } else { AFTER_CLOSE };
                std::thread::sleep(after);
                let closed = site.ztunnel_memory()?.all as f64;
                let figures = [
                    ("idle", held.idle),
                    ("idle, unshared", held.idle_unshared),
                    ("open", held.open),
                    ("per connection", (held.open - held.idle) / f64::from(connections)),
                    ("after close", closed),
                    ("kept after close", closed - held.idle),
                ];
                let mut told = format!("memory {place}, round {}: {}", number + 1, site.side);
                for (figure, bytes) in figures {
                    samples.add(&subject(figure, place), site.side, bytes);
                    told.push_str(&format!("  {figure} {}", Unit::Bytes.show(bytes)));
                }
                say(&told);
            }
        }
    }
    Ok(samples.measures())
}

/// Resident memory of the larger of the two ztunnels, bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    /// Before the first connection.
    pub(super) idle: f64,
    /// Of that, without the pages of the program itself.
    pub(super) idle_unshared: f64,
    /// With all connections open.
    pub(super) open: f64,
}

/// Starts the ztunnels anew, opens connections, closes them; how many, too.
pub(super) fn fill(
    site: &Site,
    place: Place,
    workers: Option<u16>,
    run: &RunSettings,
) -> Result<(Held, u32)> {
    site.restart_ztunnels(workers)?;
    let before = settled(site)?;
    let connections = if run.quick { CONNECTIONS_QUICK } else { CONNECTIONS };
    let load = Load { mode: "hold", connections, seconds: HOLD.as_secs_f64(), rate: None };
    let launch = load.launch(&site.client, site.server(place).address(PORT))?;
    // A log of its own for each client: the line that tells that all are open comes once.
    let name = format!("hold-{}", site.mesh.process_names().len());
    let client = site.mesh.start(&name, launch)?;
    let result = watch(site, &client, connections);
    let open =
        result.with_context(|| format!("{} side, {place}\n{}", site.side, client.log_tail(3)))?;
    let (idle, idle_unshared) = (before.all as f64, before.anonymous as f64);
    Ok((Held { idle, idle_unshared, open }, connections))
}

fn watch(site: &Site, client: &Process, connections: u32) -> Result<f64> {
    poll::until("all connections open", OPEN_DEADLINE, || {
        let line = client.log()?.lines().find_map(held_connections).context("none said yet")?;
        ensure!(line == u64::from(connections), "only {line} of {connections} could be opened");
        Ok(())
    })?;
    std::thread::sleep(HOLD / 2);
    let open = site.ztunnel_memory()?.all as f64;
    let status = client.wait(HOLD + CLOSE_DEADLINE)?;
    ensure!(status.success(), "not every connection still worked: {status}");
    Ok(open)
}

/// The number in the client's line `{"held": 4000, …}`.
fn held_connections(line: &str) -> Option<u64> {
    serde_json::from_str::<Value>(line).ok()?.get("held")?.as_u64()
}

/// Memory once it has stopped moving.
fn settled(site: &Site) -> Result<Resident> {
    let start = Instant::now();
    let (mut mark, mut since) = (site.ztunnel_memory()?.all, start);
    while since.elapsed() < SETTLED_FOR && start.elapsed() < SETTLE_DEADLINE {
        std::thread::sleep(PAUSE);
        let now = site.ztunnel_memory()?.all;
        if now.abs_diff(mark) >= SETTLED_BYTES {
            (mark, since) = (now, Instant::now());
        }
    }
    site.ztunnel_memory()
}

#[cfg(test)]
mod tests {
    use super::held_connections;

    #[test]
    fn the_line_of_open_connections_is_told_from_the_others() {
        assert_eq!(held_connections(r#"{"held":4000,"seconds":1.5}"#), Some(4000));
        assert_eq!(held_connections(r#"{"mode":"hold","count":3}"#), None);
        assert_eq!(held_connections("shop: no"), None);
    }
}
