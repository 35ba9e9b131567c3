//! The command line.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};

use crate::report::RunSettings;

const EXAMPLES: &str = "\
Examples:
  weft-bench                                   everything, a table at the end
  weft-bench --quick                           a minute or two, only to see that all of it runs
  weft-bench --only latency --only bulk-1      two scenarios
  weft-bench --peer /path/to/ztunnel --json results.json --chart results.svg
  weft-bench --only l7-latency --only l7-requests --envoy /path/to/envoy

Progress goes to the error output, the table to the output. The exit status is 0 if every scenario
ran to its end, whether or not it met its targets.";

/// The mesh beside plain TCP: builds two nodes in network namespaces, and measures.
#[derive(Debug, Clone, Parser)]
#[command(name = "weft-bench", version, about, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Another ztunnel binary, to run through the same scenarios under Weft's controller and agent.
    #[arg(long, value_name = "PATH")]
    peer: Option<PathBuf>,
    /// Envoy's binary, to run through the scenarios of HTTP: one as a hop, two as sidecars with mutual TLS.
    #[arg(long, value_name = "PATH")]
    envoy: Option<PathBuf>,
    /// Plain TCP alone: what this machine can do.
    #[arg(long, conflicts_with_all = ["peer", "envoy"])]
    plain: bool,
    /// Short rounds and a small estate: shows that everything runs, says little about speed.
    #[arg(long)]
    quick: bool,
    /// Length of one measurement [default: 2, or 0.3 with --quick].
    #[arg(long)]
    seconds: Option<f64>,
    /// Measurements of each side, of which the median counts [default: 5, or 1 with --quick].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: Option<u16>,
    /// Only this scenario; may be given several times.
    #[arg(long, value_name = "NAME", value_enum)]
    only: Vec<Scenario>,
    /// Writes all results, with every sample, to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draws the results to this file as SVG.
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Round trips on one connection.
    Latency,
    /// Requests a second on 64 connections.
    Requests,
    /// One bulk stream.
    #[value(name = "bulk-1")]
    Bulk1,
    /// Four bulk streams.
    #[value(name = "bulk-4")]
    Bulk4,
    /// New connections a second.
    Connections,
    /// Memory of the ztunnels: idle, with 4,000 connections open, and after.
    Memory,
    /// Speed and memory with 1, 2 and 4 worker threads.
    Growth,
    /// The control plane with 10,000 workloads.
    Control,
    /// Requests of HTTP through a waypoint, on one connection.
    #[value(name = "l7-latency")]
    L7Latency,
    /// The same on 64 connections: how many a second, and how they fare at half of it.
    #[value(name = "l7-requests")]
    L7Requests,
    /// New connections a second, each for one request of HTTP.
    #[value(name = "l7-connections")]
    L7Connections,
    /// Memory of a waypoint: idle, and with 1,000 services of ten routes each.
    #[value(name = "l7-memory")]
    L7Memory,
    /// How soon a changed route acts, with those services bound.
    #[value(name = "l7-change")]
    L7Change,
}

impl Scenario {
    /// Its name, as `--only` takes it and the results have it.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Requests => "requests",
            Self::Bulk1 => "bulk-1",
            Self::Bulk4 => "bulk-4",
            Self::Connections => "connections",
            Self::Memory => "memory",
            Self::Growth => "growth",
            Self::Control => "control",
            Self::L7Latency => "l7-latency",
            Self::L7Requests => "l7-requests",
            Self::L7Connections => "l7-connections",
            Self::L7Memory => "l7-memory",
            Self::L7Change => "l7-change",
        }
    }

    /// Whether it is of requests of HTTP through a waypoint, which have a bed of their own.
    #[must_use]
    pub(crate) fn is_l7(self) -> bool {
        matches!(
            self,
            Self::L7Latency
                | Self::L7Requests
                | Self::L7Connections
                | Self::L7Memory
                | Self::L7Change
        )
    }

    /// Whether plain TCP alone can run it.
    #[must_use]
    pub(crate) fn is_of_traffic(self) -> bool {
        !self.is_l7() && !matches!(self, Self::Memory | Self::Growth | Self::Control)
    }
}

/// What is to be run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Lengths and counts.
    pub(crate) run: RunSettings,
    /// The other ztunnel.
    pub(crate) peer: Option<PathBuf>,
    /// Envoy.
    pub(crate) envoy: Option<PathBuf>,
    /// No mesh at all.
    pub(crate) plain_only: bool,
    /// What to measure, in order.
    pub(crate) scenarios: Vec<Scenario>,
    /// Where the results go.
    pub(crate) json: Option<PathBuf>,
    /// Where the chart goes.
    pub(crate) chart: Option<PathBuf>,
}

impl TryFrom<Arguments> for Plan {
    type Error = anyhow::Error;

    fn try_from(arguments: Arguments) -> Result<Self> {
        let quick = arguments.quick;
        let seconds = arguments.seconds.unwrap_or(if quick { 0.3 } else { 2.0 });
        if !(0.05..=600.0).contains(&seconds) {
            bail!("--seconds must be 0.05 to 600");
        }
        let wanted = |scenario: &Scenario| {
            (arguments.only.is_empty() || arguments.only.contains(scenario))
                && (!arguments.plain || scenario.is_of_traffic())
        };
        let scenarios: Vec<_> = Scenario::value_variants().iter().copied().filter(wanted).collect();
        if scenarios.is_empty() {
            bail!("nothing to run: what --only names needs a mesh, and --plain has none");
        }
        // Programs in other mount namespaces and folders must find it.
        let whole = |path: PathBuf| path.canonicalize().with_context(|| path.display().to_string());
        Ok(Self {
            run: RunSettings {
                quick,
                seconds,
                rounds: arguments.rounds.unwrap_or(if quick { 1 } else { 5 }),
            },
            peer: arguments.peer.map(whole).transpose()?,
            envoy: arguments.envoy.map(whole).transpose()?,
            plain_only: arguments.plain,
            scenarios,
            json: arguments.json,
            chart: arguments.chart,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(words: &[&str]) -> Result<Plan> {
        let words = ["weft-bench"].iter().chain(words);
        Plan::try_from(Arguments::try_parse_from(words)?)
    }

    #[test]
    fn everything_runs_unless_told_otherwise() {
        let plan = plan(&[]).unwrap();
        assert_eq!(plan.scenarios, Scenario::value_variants());
        assert_eq!((plan.run.rounds, plan.run.quick), (5, false));
    }

    #[test]
    fn chosen_scenarios_run_in_their_usual_order() {
        let plan = plan(&["--only", "memory", "--only", "bulk-1", "--quick"]).unwrap();
        assert_eq!(plan.scenarios, [Scenario::Bulk1, Scenario::Memory]);
        assert_eq!(plan.run.rounds, 1);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            &["--only", "nonsense"][..],
            &["--seconds", "0"],
            &["--seconds", "nan"],
            &["--rounds", "0"],
            &["--plain", "--only", "memory"],
            &["--plain", "--peer", "/bin/true"],
            &["--plain", "--envoy", "/bin/true"],
            &["--plain", "--only", "l7-latency"],
            &["--peer", "/no/such/file"],
            &["--envoy", "/no/such/file"],
        ] {
            assert!(plan(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn names_in_results_are_those_of_the_command_line() {
        for scenario in Scenario::value_variants() {
            let value = scenario.to_possible_value().unwrap();
            assert_eq!(value.get_name(), scenario.name());
        }
    }
}
