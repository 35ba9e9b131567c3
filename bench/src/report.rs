//! What was measured, as data: the JSON file is this, table and chart are drawn from it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::statistics::{median, median_ratio};
use crate::targets::{self, Verdict};

/// Number of this shape of data; it changes when a reader of the old one would misread the new.
pub(crate) const FORMAT: u32 = 1;

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// [`FORMAT`].
    pub(crate) format: u32,
    /// Weft's version.
    pub(crate) version: String,
    /// Where it ran.
    pub(crate) machine: Machine,
    /// How it ran.
    pub(crate) settings: RunSettings,
    /// What came out, in order of the scenarios.
    pub(crate) measures: Vec<Measure>,
    /// Scenarios that did not run to their end.
    pub(crate) failures: Vec<Failure>,
}

/// How a run was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunSettings {
    /// Short rounds: the figures show that everything works, and no more.
    pub(crate) quick: bool,
    /// Length of one measurement, seconds.
    pub(crate) seconds: f64,
    /// Measurements of each side.
    pub(crate) rounds: u16,
}

/// A scenario that failed to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// Its name.
    pub(crate) scenario: String,
    /// Why.
    pub(crate) reason: String,
}

/// Whose connections are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    /// Pods outside of the mesh.
    Plain,
    /// Pods in the mesh.
    Mesh,
    /// Pods in a mesh of the same controller and agent with another ztunnel.
    Peer,
    /// Through one Envoy, without TLS.
    Hop,
    /// Through two Envoys, as sidecars with mutual TLS.
    Pair,
}

impl Side {
    /// All, in the order of columns and bars.
    pub(crate) const ALL: [Self; 5] = [Self::Plain, Self::Mesh, Self::Peer, Self::Hop, Self::Pair];
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Plain => "plain",
            Self::Mesh => "mesh",
            Self::Peer => "peer",
            Self::Hop => "envoy",
            Self::Pair => "envoy pair",
        })
    }
}

/// Where the server is, seen from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Place {
    /// On the other node.
    Across,
    /// On the same node.
    Local,
}

impl Place {
    /// Both, in the order in which they are measured.
    pub(crate) const ALL: [Self; 2] = [Self::Across, Self::Local];
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Across => "across nodes",
            Self::Local => "on one node",
        })
    }
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Microseconds,
    Milliseconds,
    PerSecond,
    GigabitsPerSecond,
    Bytes,
}

impl Unit {
    /// Whether more is better.
    #[must_use]
    pub(crate) fn more_is_better(self) -> bool {
        matches!(self, Self::PerSecond | Self::GigabitsPerSecond)
    }

    /// A value as people read it. Prefixes are decimal: 1 MB is 1,000,000 bytes.
    #[must_use]
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::Microseconds if value < 10_000.0 => format!("{value:.0} µs"),
            Self::Microseconds => format!("{:.1} ms", value / 1e3),
            Self::Milliseconds => format!("{value:.1} ms"),
            Self::PerSecond if value < 1_000.0 => format!("{value:.0}/s"),
            Self::PerSecond => format!("{:.1}k/s", value / 1e3),
            Self::GigabitsPerSecond => format!("{value:.1} Gb/s"),
            Self::Bytes if value.abs() < 1e3 => format!("{value:.0} B"),
            Self::Bytes if value.abs() < 1e5 => format!("{:.1} kB", value / 1e3),
            Self::Bytes => format!("{:.1} MB", value / 1e6),
        }
    }
}

/// What distinguishes one measure from the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Subject {
    /// Name of the scenario, as `--only` takes it.
    pub(crate) scenario: String,
    /// What of it: `p50`, `rate`, `idle`…
    pub(crate) figure: String,
    /// Where the server was, if that matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<Place>,
    /// Worker threads of each ztunnel, if they were set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) workers: Option<u16>,
    /// What the figures count.
    pub(crate) unit: Unit,
}

impl Subject {
    /// A figure of a scenario.
    #[must_use]
    pub(crate) fn new(scenario: &str, figure: &str, unit: Unit) -> Self {
        let (scenario, figure) = (scenario.to_owned(), figure.to_owned());
        Self { scenario, figure, place: None, workers: None, unit }
    }

    /// Whether it is of requests of HTTP through a waypoint.
    #[must_use]
    pub(crate) fn is_l7(&self) -> bool {
        self.scenario.starts_with("l7-")
    }

    /// Measured at a place.
    #[must_use]
    pub(crate) fn at(self, place: Place) -> Self {
        Self { place: Some(place), ..self }
    }

    /// Measured with a number of worker threads.
    #[must_use]
    pub(crate) fn with_workers(self, workers: Option<u16>) -> Self {
        Self { workers, ..self }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.scenario, self.figure)?;
        if let Some(place) = self.place {
            write!(f, ", {place}")?;
        }
        match self.workers {
            None => Ok(()),
            Some(1) => f.write_str(", 1 worker"),
            Some(workers) => write!(f, ", {workers} workers"),
        }
    }
}

/// One line of the results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measure {
    /// What it is.
    #[serde(flatten)]
    pub(crate) subject: Subject,
    /// A value a side.
    pub(crate) sides: Vec<SideValue>,
    /// What the mesh has to reach, and whether it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<Verdict>,
    /// How the mesh stands to Envoys as sidecars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to_pair: Option<ToPair>,
}

/// The mesh's figures as multiples of those of two Envoys.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct ToPair {
    /// Median over the rounds of the multiple in the same round.
    pub(crate) ratio: f64,
    /// What it has to be, and whether it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<Verdict>,
}

impl Measure {
    /// Judges the values by the subject's target, if it has one.
    #[must_use]
    pub(crate) fn new(subject: Subject, sides: Vec<SideValue>) -> Self {
        let of = |side| sides.iter().find(|value| value.side == side);
        let (mesh, pair) = (of(Side::Mesh), of(Side::Pair));
        let target = mesh.and_then(|mesh| targets::judge(&subject, mesh));
        let ratio =
            mesh.zip(pair).and_then(|(mesh, pair)| median_ratio(&mesh.samples, &pair.samples));
        let to_pair =
            ratio.map(|ratio| ToPair { ratio, target: targets::judge_to_pair(&subject, ratio) });
        Self { subject, sides, target, to_pair }
    }

    /// A side's value.
    #[must_use]
    pub(crate) fn of(&self, side: Side) -> Option<&SideValue> {
        self.sides.iter().find(|value| value.side == side)
    }
}

/// A side's figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SideValue {
    /// Whose.
    pub(crate) side: Side,
    /// The value that stands for all: the median of the samples, unless the figure's name says
    /// another percentile.
    pub(crate) value: f64,
    /// Median over the rounds of the value as a multiple of plain's in the same round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio: Option<f64>,
    /// One a round (or a repetition), in order.
    pub(crate) samples: Vec<f64>,
}

/// Collects samples round by round.
#[derive(Debug, Default)]
pub(crate) struct Samples(Vec<(Subject, BTreeMap<Side, Vec<f64>>)>);

impl Samples {
    /// Adds a sample of one side.
    pub(crate) fn add(&mut self, subject: &Subject, side: Side, sample: f64) {
        let known = self.0.iter_mut().find(|(known, _)| known == subject);
        match known {
            Some((_, sides)) => sides.entry(side).or_default().push(sample),
            None => self.0.push((subject.clone(), BTreeMap::from([(side, vec![sample])]))),
        }
    }

    /// One measure a subject, in the order in which they first came.
    #[must_use]
    pub(crate) fn measures(self) -> Vec<Measure> {
        self.0.into_iter().map(|(subject, sides)| measure(subject, sides)).collect()
    }
}

fn measure(subject: Subject, sides: BTreeMap<Side, Vec<f64>>) -> Measure {
    let plain = sides.get(&Side::Plain).cloned();
    let values = sides.into_iter().map(|(side, samples)| SideValue {
        side,
        value: median(&samples),
        ratio: match (&plain, side) {
            (_, Side::Plain) | (None, _) => None,
            (Some(plain), _) => median_ratio(&samples, plain),
        },
        samples,
    });
    Measure::new(subject, values.collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small report with every kind of row, for this and the golden tests.
    pub(crate) fn example() -> Report {
        let mut samples = Samples::default();
        let latency = Subject::new("latency", "p50", Unit::Microseconds).at(Place::Across);
        let requests = Subject::new("requests", "rate", Unit::PerSecond).at(Place::Local);
        let growth =
            Subject::new("growth", "bulk-4", Unit::GigabitsPerSecond).with_workers(Some(1));
        let idle = Subject::new("memory", "idle", Unit::Bytes).at(Place::Across);
        for (subject, plain, mesh, peer) in [
            (&latency, 60.0, 120.0, 133.0),
            (&latency, 62.0, 124.0, 139.0),
            (&requests, 80_000.0, 32_000.0, 29_500.0),
            (&growth, 24.0, 12.0, 6.0),
        ] {
            samples.add(subject, Side::Plain, plain);
            samples.add(subject, Side::Mesh, mesh);
            samples.add(subject, Side::Peer, peer);
        }
        samples.add(&idle, Side::Mesh, 12_300_000.0);
        samples.add(&idle, Side::Peer, 15_500_000.0);
        report_of(
            samples,
            vec![Failure { scenario: "control".into(), reason: "no <answer>".into() }],
        )
    }

    /// The same of requests through a waypoint.
    pub(crate) fn example_l7() -> Report {
        let mut samples = Samples::default();
        let subject = |scenario: &str, figure: &str, unit| Subject::new(scenario, figure, unit);
        let latency = subject("l7-latency", "p50", Unit::Microseconds);
        let requests = subject("l7-requests", "rate", Unit::PerSecond);
        let idle = subject("l7-memory", "idle", Unit::Bytes);
        for (subject, plain, mesh, hop, pair) in [
            (&latency, 60.0, 240.0, 226.0, 368.0),
            (&requests, 73_000.0, 19_000.0, 26_600.0, 17_000.0),
        ] {
            samples.add(subject, Side::Plain, plain);
            samples.add(subject, Side::Mesh, mesh);
            samples.add(subject, Side::Hop, hop);
            samples.add(subject, Side::Pair, pair);
        }
        samples.add(&idle, Side::Mesh, 15_300_000.0);
        samples.add(&idle, Side::Pair, 70_500_000.0);
        report_of(samples, Vec::new())
    }

    fn report_of(samples: Samples, failures: Vec<Failure>) -> Report {
        Report {
            format: FORMAT,
            version: "0.1.0".to_owned(),
            machine: Machine {
                cpus: 2,
                processor: "a processor".to_owned(),
                kernel: "6.18".to_owned(),
                congestion_control: "cubic".to_owned(),
                memory_bytes: 8_000_000_000,
                load: 0.1,
            },
            settings: RunSettings { quick: false, seconds: 2.0, rounds: 5 },
            measures: samples.measures(),
            failures,
        }
    }

    #[test]
    fn the_mesh_is_also_a_multiple_of_two_envoys() {
        let report = example_l7();
        let to_pair = |index: usize| report.measures.get(index).unwrap().to_pair.unwrap();
        assert!((to_pair(0).ratio - 240.0 / 368.0).abs() < 1e-9);
        assert_eq!(to_pair(0).target.map(|target| target.met), Some(true));
        assert_eq!(to_pair(1).target.map(|target| target.met), Some(false));
        assert_eq!(to_pair(2).target, None);
    }

    #[test]
    fn rounds_become_medians_and_ratios_to_plain() {
        let report = example();
        let latency = report.measures.first().unwrap();
        let mesh = latency.of(Side::Mesh).unwrap();
        assert!((mesh.value - 122.0).abs() < 1e-9);
        assert!((mesh.ratio.unwrap() - 2.0).abs() < 1e-9);
        assert_eq!(latency.of(Side::Plain).unwrap().ratio, None);
    }

    #[test]
    fn results_survive_the_way_through_a_file() {
        let report = example();
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }

    #[test]
    fn values_read_in_the_prefix_that_suits_them() {
        for (unit, value, expected) in [
            (Unit::Microseconds, 61.4, "61 µs"),
            (Unit::Microseconds, 25_000.0, "25.0 ms"),
            (Unit::Milliseconds, 27.0, "27.0 ms"),
            (Unit::PerSecond, 80_712.0, "80.7k/s"),
            (Unit::PerSecond, 12.0, "12/s"),
            (Unit::GigabitsPerSecond, 14.52, "14.5 Gb/s"),
            (Unit::Bytes, 3_950.0, "4.0 kB"),
            (Unit::Bytes, 15_500_000.0, "15.5 MB"),
            (Unit::Bytes, 12.0, "12 B"),
        ] {
            assert_eq!(unit.show(value), expected);
        }
    }

    #[test]
    fn subjects_read_as_a_line() {
        let subject = Subject::new("growth", "rate", Unit::PerSecond);
        assert_eq!(subject.clone().with_workers(Some(1)).to_string(), "growth, rate, 1 worker");
        assert_eq!(subject.at(Place::Local).to_string(), "growth, rate, on one node");
    }
}
