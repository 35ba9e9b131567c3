//! The control plane with a large estate: how soon a change acts, a client's first load, memory.
//!
//! ```text
//! manifests ──▶ controller ──▶ ztunnel of node 1 ──▶ cuts client ⇄ near
//!   (edit)           │    └──▶ ztunnel of node 2 ──▶ cuts client ⇄ far      change acted on
//!                    └───────▶ the bench's own discovery client             full load, change seen
//! ```

mod discovery;
mod edits;
mod estate;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weft_harness::poll;

use crate::bed::{Bed, Site};
use crate::progress::say;
use crate::report::{Measure, RunSettings, Samples, Side, SideValue, Subject, Unit};
use crate::statistics::{median, percentile};
use edits::Way;
use estate::Estate;

/// Time for all ztunnels to take the whole estate.
const LOAD_DEADLINE: Duration = Duration::from_secs(120);
/// Pause between two looks at a ztunnel's whole configuration, which cost it something.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// How long memory is left alone after the estate was loaded.
const REST: Duration = Duration::from_secs(5);

/// How often each thing is repeated: a 99th percentile needs a hundred.
#[derive(Debug, Clone, Copy)]
struct Repetitions {
    edits: usize,
    pods: usize,
    loads: usize,
}

impl Repetitions {
    fn of(run: &RunSettings) -> Self {
        if run.quick {
            Self { edits: 5, pods: 5, loads: 3 }
        } else {
            Self { edits: 100, pods: 100, loads: 20 }
        }
    }
}

/// Measures each side that has ztunnels; the controller is Weft's on all of them, so what concerns
/// it alone is measured once.
///
/// # Errors
/// The estate wasn't taken in time, a change didn't act, or a program ended.
pub(crate) fn measure(bed: &Bed, run: &RunSettings) -> Result<Vec<Measure>> {
    let estate = if run.quick { Estate::SMALL } else { Estate::WHOLE };
    let repetitions = Repetitions::of(run);
    let mut all = Collected::default();
    for site in bed.proxied() {
        measure_side(site, &estate, repetitions, &mut all)
            .with_context(|| format!("{} side\n{}", site.side, site.log_tails()))?;
    }
    Ok(all.measures())
}

fn measure_side(
    site: &Site,
    estate: &Estate,
    repetitions: Repetitions,
    all: &mut Collected,
) -> Result<()> {
    // Whatever ran before must not show in the memory.
    site.restart_ztunnels(None)?;
    let (workloads, services) = (estate.workloads(), estate.services());
    say(&format!("control, {}: writing {workloads} workloads, {services} services", site.side));
    estate.write(site.mesh.manifests())?;
    wait_loaded(site, workloads)?;
    std::thread::sleep(REST);
    all.memory(site)?;
    if site.side == Side::Mesh {
        let loads = discovery::full_loads(&site.mesh, estate, repetitions.loads)?;
        all.loads(site.side, &loads);
        let seen = edits::pods_seen(site, repetitions.pods)?;
        all.durations("new pod pushed", site.side, &seen);
    }
    for (what, way) in
        [("change acted on", Way::InPlace), ("renamed change acted on", Way::Renamed)]
    {
        let acted = edits::policies_act(site, way, repetitions.edits)?;
        all.durations(what, site.side, &acted);
    }
    Ok(())
}

/// Waits until both ztunnels know every workload.
fn wait_loaded(site: &Site, workloads: usize) -> Result<()> {
    for node in site.mesh.nodes() {
        poll::until(&format!("{} workloads at {}", workloads, node.name), LOAD_DEADLINE, || {
            // Between looks it needs the processor for the work that is waited for.
            std::thread::sleep(LOOK_PAUSE);
            let dump = site.mesh.config_dump(node.number)?;
            let known = dump.get("workloads").and_then(Value::as_array).map_or(0, Vec::len);
            ensure!(known >= workloads, "{known} so far");
            Ok(())
        })?;
    }
    Ok(())
}

/// What came out so far.
#[derive(Debug, Default)]
struct Collected {
    samples: Samples,
    percentiles: Vec<(Subject, SideValue)>,
}

impl Collected {
    fn memory(&mut self, site: &Site) -> Result<()> {
        let subject = |figure| Subject::new("control", figure, Unit::Bytes);
        if site.side == Side::Mesh {
            let controller = site.mesh.process("controller")?.resident_bytes()? as f64;
            self.samples.add(&subject("controller's memory"), site.side, controller);
        }
        let ztunnels = site.ztunnels()?;
        let bytes = ztunnels.iter().map(|ztunnel| ztunnel.resident_bytes());
        let largest =
            bytes.collect::<Result<Vec<_>>>()?.into_iter().max().context("no ztunnels")?;
        self.samples.add(&subject("a ztunnel's memory"), site.side, largest as f64);
        Ok(())
    }

    fn loads(&mut self, side: Side, loads: &[discovery::FullLoad]) {
        let subject = |figure, unit| Subject::new("control", figure, unit);
        for load in loads {
            let milliseconds = load.time.as_secs_f64() * 1e3;
            self.samples.add(&subject("full load", Unit::Milliseconds), side, milliseconds);
            self.samples.add(&subject("full load, size", Unit::Bytes), side, load.bytes as f64);
        }
        let times: Vec<f64> = loads.iter().map(|load| load.time.as_secs_f64() * 1e3).collect();
        let messages = loads.first().map_or(0, |load| load.messages);
        say(&format!("  full load: {:.1} ms in {messages} messages", median(&times)));
    }

    fn durations(&mut self, what: &str, side: Side, durations: &[Duration]) {
        let samples: Vec<f64> = durations.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        let mut told = format!("  {what}, {side}:");
        for (name, percent) in [("p50", 50), ("p99", 99)] {
            let value = percentile(&samples, percent);
            told.push_str(&format!("  {name} {}", Unit::Milliseconds.show(value)));
            let subject = Subject::new("control", &format!("{what}, {name}"), Unit::Milliseconds);
            let value = SideValue { side, value, ratio: None, samples: samples.clone() };
            self.percentiles.push((subject, value));
        }
        say(&told);
    }

    fn measures(self) -> Vec<Measure> {
        let mut grouped: Vec<(Subject, Vec<SideValue>)> = Vec::new();
        for (subject, value) in self.percentiles {
            match grouped.iter_mut().find(|(known, _)| *known == subject) {
                Some((_, values)) => values.push(value),
                None => grouped.push((subject, vec![value])),
            }
        }
        let percentiles = grouped.into_iter().map(|(subject, sides)| Measure::new(subject, sides));
        percentiles.chain(self.samples.measures()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_of_one_percentile_share_a_line() {
        let mut all = Collected::default();
        let times: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        all.durations("change acted on", Side::Mesh, &times);
        all.durations("change acted on", Side::Peer, &times);
        let measures = all.measures();
        assert_eq!(measures.len(), 2);
        let p99 = measures.last().unwrap();
        assert!((p99.of(Side::Peer).unwrap().value - 99.0).abs() < 1e-9);
        assert_eq!(p99.target.map(|target| target.met), Some(false));
    }
}
