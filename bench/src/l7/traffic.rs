//! Requests of HTTP: all sides take turns in each round.

use anyhow::{Context, Result, ensure};

use super::bed::{Bed, Site};
use crate::arguments::Scenario;
use crate::client::{Load, Outcome};
use crate::progress::say;
use crate::report::{Measure, RunSettings, Samples, Side, Subject, Unit};

/// Connections that make requests: enough to keep every worker thread busy.
const REQUEST_CONNECTIONS: u32 = 64;
/// Connections that are being opened at a time.
const NEW_AT_ONCE: u32 = 16;
/// Length of the run before the first round, whose figures nobody sees.
const WARM_UP_SECONDS: f64 = 0.3;
/// Part of its own peak rate at which a side's latency under load is taken.
const PART_OF_PEAK: f64 = 0.5;

type Figure = (&'static str, Unit, f64);

/// Measures one scenario.
///
/// # Errors
/// A run failed, lost a single request, or went round the waypoint.
pub(super) fn measure(scenario: Scenario, bed: &Bed, run: &RunSettings) -> Result<Vec<Measure>> {
    let mut samples = Samples::default();
    for site in bed.round(0) {
        let load = load(scenario, WARM_UP_SECONDS.min(run.seconds));
        exchange(bed, site, &load)?;
    }
    for number in 0..run.rounds {
        let mut told = format!("{}, round {}:", scenario.name(), number + 1);
        for site in bed.round(number) {
            for (figure, unit, value) in figures(scenario, bed, site, run)? {
                let subject = Subject::new(scenario.name(), figure, unit);
                samples.add(&subject, site.side, value);
                told.push_str(&format!("  {} {figure} {}", site.side, unit.show(value)));
            }
        }
        say(&told);
    }
    Ok(samples.measures())
}

/// What a scenario asks of the client.
fn load(scenario: Scenario, seconds: f64) -> Load {
    let (mode, connections) = match scenario {
        Scenario::L7Requests => ("http-rps", REQUEST_CONNECTIONS),
        Scenario::L7Connections => ("http-connect", NEW_AT_ONCE),
        _ => ("http-latency", 1),
    };
    Load { mode, connections, seconds, rate: None }
}

/// One run of the client; the mesh's must have come through the waypoint, every one.
fn exchange(bed: &Bed, site: &Site, load: &Load) -> Result<Outcome> {
    let before = if site.side == Side::Mesh { bed.counted()? } else { 0.0 };
    let outcome = load.run(&site.client, site.target);
    let outcome = outcome.with_context(|| format!("{} side\n{}", site.side, bed.log_tails()))?;
    if site.side == Side::Mesh {
        let counted = bed.counted()? - before;
        let answered = outcome.count;
        ensure!(counted >= answered as f64, "the waypoint saw {counted} of {answered} requests");
    }
    Ok(outcome)
}

/// One side's figures in one round.
fn figures(scenario: Scenario, bed: &Bed, site: &Site, run: &RunSettings) -> Result<Vec<Figure>> {
    let outcome = exchange(bed, site, &load(scenario, run.seconds))?;
    let latency = outcome.latency.context("the bench client gave no latencies")?;
    let mut figures = match scenario {
        Scenario::L7Latency => vec![("p50", Unit::Microseconds, latency.p50_us)],
        _ => vec![("rate", Unit::PerSecond, outcome.rate)],
    };
    figures.push(("p99", Unit::Microseconds, latency.p99_us));
    if scenario == Scenario::L7Requests {
        let rate = Some(outcome.rate * PART_OF_PEAK);
        let load = Load {
            mode: "http-paced",
            connections: REQUEST_CONNECTIONS,
            seconds: run.seconds,
            rate,
        };
        let latency = exchange(bed, site, &load)?.latency;
        let latency = latency.context("the bench client gave no latencies")?;
        figures.push(("p50 at half the rate", Unit::Microseconds, latency.p50_us));
        figures.push(("p99 at half the rate", Unit::Microseconds, latency.p99_us));
    }
    Ok(figures)
}
