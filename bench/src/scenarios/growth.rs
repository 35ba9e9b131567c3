//! How speed and memory grow with the ztunnels' worker threads.

use anyhow::Result;

use super::{memory, traffic};
use crate::arguments::Scenario;
use crate::bed::Bed;
use crate::progress::say;
use crate::report::{Measure, Place, RunSettings, Samples, Subject, Unit};

/// Worker threads of each ztunnel.
const WORKERS: [u16; 3] = [1, 2, 4];
/// What is measured with each: whatever more threads could help.
const LOADS: [Scenario; 3] = [Scenario::Requests, Scenario::Bulk4, Scenario::Connections];
/// Each round restarts the ztunnels for each number of threads.
const ROUNDS_MAX: u16 = 3;

/// Measures across nodes with each number of threads.
///
/// # Errors
/// A ztunnel didn't come up, or a run failed.
pub(crate) fn measure(bed: &Bed, run: &RunSettings) -> Result<Vec<Measure>> {
    let mut samples = Samples::default();
    for number in 0..run.rounds.min(ROUNDS_MAX) {
        for workers in WORKERS {
            say(&format!("growth, round {}, workers: {workers}", number + 1));
            fill(bed, workers, run, &mut samples)?;
            for load in LOADS {
                speed(bed, load, (number, workers), run, &mut samples)?;
            }
        }
    }
    for site in bed.proxied() {
        site.restart_ztunnels(None)?;
    }
    Ok(samples.measures())
}

/// Memory with a number of workers; leaves the ztunnels running with it.
fn fill(bed: &Bed, workers: u16, run: &RunSettings, samples: &mut Samples) -> Result<()> {
    for site in bed.proxied() {
        let (held, connections) = memory::fill(site, Place::Across, Some(workers), run)?;
        let each = (held.open - held.idle) / f64::from(connections);
        for (figure, bytes) in [("idle", held.idle), ("per connection", each)] {
            let subject = Subject::new("growth", figure, Unit::Bytes).with_workers(Some(workers));
            samples.add(&subject, site.side, bytes);
        }
    }
    Ok(())
}

fn speed(
    bed: &Bed,
    scenario: Scenario,
    (number, workers): (u16, u16),
    run: &RunSettings,
    samples: &mut Samples,
) -> Result<()> {
    let mut told = format!("  {}:", scenario.name());
    for site in bed.round(number) {
        let outcome = traffic::exchange(site, Place::Across, &traffic::load(scenario, run))?;
        let figures = traffic::figures(scenario, &outcome)?;
        let rate = figures.into_iter().find(|(figure, ..)| *figure == "rate");
        if let Some((_, unit, value)) = rate {
            let subject = Subject::new("growth", scenario.name(), unit);
            samples.add(&subject.with_workers(Some(workers)), site.side, value);
            told.push_str(&format!("  {} {}", site.side, unit.show(value)));
        }
    }
    say(&told);
    Ok(())
}
