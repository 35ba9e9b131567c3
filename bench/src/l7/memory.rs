//! Memory of a waypoint: idle, after requests, and with a large estate of services that use it.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use super::bed::Bed;
use super::estate::Estate;
use crate::progress::say;
use crate::report::{Measure, RunSettings, Samples, Side, Subject, Unit};
use crate::resident::Resident;

/// How long memory is left alone before it is read.
const REST: Duration = Duration::from_secs(5);
const REST_QUICK: Duration = Duration::from_secs(1);

/// Measures the waypoint, and Envoys where there are any: those idle only, for nobody tells them of services.
///
/// # Errors
/// The estate wasn't taken in time, or a program ended.
pub(super) fn measure(bed: &Bed, run: &RunSettings) -> Result<Vec<Measure>> {
    let rest = if run.quick { REST_QUICK } else { REST };
    let estate = if run.quick { Estate::SMALL } else { Estate::WHOLE };
    let mut samples = Samples::default();
    let mut add = |figure: &str, side: Side, bytes: u64| {
        say(&format!("l7-memory: {side} {figure} {}", Unit::Bytes.show(bytes as f64)));
        samples.add(&Subject::new("l7-memory", figure, Unit::Bytes), side, bytes as f64);
    };
    // Whatever ran before must not show.
    bed.restart_waypoint()?;
    restart_envoys(bed)?;
    std::thread::sleep(rest);
    let idle = waypoint(bed)?;
    add("idle", Side::Mesh, idle.all);
    add("idle, unshared", Side::Mesh, idle.anonymous);
    for (side, memory) in envoys(bed)? {
        add("idle", side, memory.all);
        add("idle, unshared", side, memory.anonymous);
    }
    say(&format!("l7-memory: writing {} services", estate.services));
    let start = Instant::now();
    estate.write(bed.mesh.manifests())?;
    bed.wait_loaded(estate.services)?;
    say(&format!("  taken after {:.1} s", start.elapsed().as_secs_f64()));
    std::thread::sleep(rest);
    add(&estate.figure(), Side::Mesh, waypoint(bed)?.all);
    // As one that comes later finds it.
    bed.restart_waypoint()?;
    bed.wait_loaded(estate.services)?;
    std::thread::sleep(rest);
    add(&format!("{}, started with them", estate.figure()), Side::Mesh, waypoint(bed)?.all);
    Ok(samples.measures())
}

fn waypoint(bed: &Bed) -> Result<Resident> {
    Resident::of(bed.mesh.waypoint_process(&bed.waypoint)?.pid()?)
}

fn restart_envoys(bed: &Bed) -> Result<()> {
    for name in bed.sites.iter().flat_map(|site| &site.envoys) {
        bed.mesh.process(name)?.restart()?;
    }
    Ok(())
}

/// The larger Envoy of each side that has any.
fn envoys(bed: &Bed) -> Result<Vec<(Side, Resident)>> {
    let mut all = Vec::new();
    for site in bed.sites.iter().filter(|site| !site.envoys.is_empty()) {
        let mut largest = Resident::default();
        for name in &site.envoys {
            largest = largest.larger(Resident::of(bed.mesh.process(name)?.pid()?)?);
        }
        all.push((site.side, largest));
    }
    Ok(all)
}
