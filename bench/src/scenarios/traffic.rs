//! Latency, requests, bulk and new connections: all sides take turns in each round.

use anyhow::{Context, Result};

use crate::arguments::Scenario;
use crate::bed::{Bed, PORT, Site};
use crate::client::{Load, Outcome};
use crate::progress::say;
use crate::report::{Measure, Place, RunSettings, Samples, Subject, Unit};

/// Connections that exchange messages: enough to keep every worker thread busy.
const REQUEST_CONNECTIONS: u32 = 64;
/// Connections that are being opened at a time.
const NEW_AT_ONCE: u32 = 16;
/// Length of the run before the first round, whose figures nobody sees: certificates are fetched,
/// tunnels opened, windows grown.
const WARM_UP_SECONDS: f64 = 0.3;

/// Measures one scenario at both places.
///
/// # Errors
/// A run failed, or lost a single message.
pub(crate) fn measure(scenario: Scenario, bed: &Bed, run: &RunSettings) -> Result<Vec<Measure>> {
    let mut samples = Samples::default();
    for place in Place::ALL {
        for site in bed.round(0) {
            let load = Load { seconds: WARM_UP_SECONDS.min(run.seconds), ..load(scenario, run) };
            exchange(site, place, &load)?;
        }
        for number in 0..run.rounds {
            let mut told = format!("{} {place}, round {}:", scenario.name(), number + 1);
            for site in bed.round(number) {
                let outcome = exchange(site, place, &load(scenario, run))?;
                for (figure, unit, value) in figures(scenario, &outcome)? {
                    let subject = Subject::new(scenario.name(), figure, unit).at(place);
                    samples.add(&subject, site.side, value);
                    told.push_str(&format!("  {} {figure} {}", site.side, unit.show(value)));
                }
            }
            say(&told);
        }
    }
    Ok(samples.measures())
}

/// What a scenario asks of the client.
pub(super) fn load(scenario: Scenario, run: &RunSettings) -> Load {
    let (mode, connections) = match scenario {
        Scenario::Requests => ("rps", REQUEST_CONNECTIONS),
        Scenario::Bulk1 => ("bulk", 1),
        Scenario::Bulk4 => ("bulk", 4),
        Scenario::Connections => ("connect", NEW_AT_ONCE),
        _ => ("latency", 1),
    };
    Load { mode, connections, seconds: run.seconds, rate: None }
}

/// One run of the client.
pub(super) fn exchange(site: &Site, place: Place, load: &Load) -> Result<Outcome> {
    let outcome = load.run(&site.client, site.server(place).address(PORT));
    outcome.with_context(|| format!("{} side, {place}\n{}", site.side, site.log_tails()))
}

/// The figures of a scenario in an outcome.
pub(super) fn figures(
    scenario: Scenario,
    outcome: &Outcome,
) -> Result<Vec<(&'static str, Unit, f64)>> {
    let latency = outcome.latency.context("the bench client gave no latencies");
    Ok(match scenario {
        Scenario::Bulk1 | Scenario::Bulk4 => {
            let rate = outcome.gigabits_per_second.context("the bench client gave no bulk rate")?;
            vec![("rate", Unit::GigabitsPerSecond, rate)]
        }
        Scenario::Latency => {
            let latency = latency?;
            vec![
                ("p50", Unit::Microseconds, latency.p50_us),
                ("p99", Unit::Microseconds, latency.p99_us),
            ]
        }
        _ => vec![
            ("rate", Unit::PerSecond, outcome.rate),
            ("p99", Unit::Microseconds, latency?.p99_us),
        ],
    })
}
