//! `weft-bench`: the mesh beside plain TCP, and beside another ztunnel if one is given, in one run.
//!
//! ```text
//! Arguments ─▶ Plan ─▶ Bed (nodes, pods, programs) ─▶ scenarios ─▶ Report ─▶ table, JSON, chart
//! ```
//!
//! Invariants:
//! * Sides take turns in every round, so that whatever else the machine does meets all of them.
//! * A figure with a lost message in it is none: the scenario fails, and the program with it.
//! * Missing a target is a result and no failure.

mod arguments;
mod bed;
mod chart;
mod client;
mod control;
mod l7;
mod machine;
mod progress;
mod report;
mod resident;
mod scenarios;
mod statistics;
mod table;
mod targets;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use clap::error::ErrorKind;
use weft_harness::enter;

use arguments::{Arguments, Plan, Scenario};
use bed::Bed;
use machine::Machine;
use progress::say;
use report::{FORMAT, Failure, Measure, Report};

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("weft-bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// True if every scenario ran.
fn run() -> Result<bool> {
    let arguments = Arguments::try_parse();
    // Help needs no namespaces. Other mistakes wait: the words may be the harness's helper's.
    if let Err(error) = &arguments
        && matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
    {
        error.exit();
    }
    let _inside = enter()?;
    let plan = Plan::try_from(arguments.unwrap_or_else(|error| error.exit()))?;
    // Better now than after a quarter of an hour.
    for path in [&plan.json, &plan.chart].into_iter().flatten() {
        File::create(path).with_context(|| format!("can't write {}", path.display()))?;
    }
    let report = measure(&plan)?;
    if let Some(path) = &plan.json {
        write(path, &serde_json::to_string_pretty(&report)?)?;
    }
    if let Some(path) = &plan.chart {
        write(path, &chart::svg(&report))?;
    }
    writeln!(std::io::stdout().lock(), "{}", table::text(&report))?;
    Ok(report.failures.is_empty())
}

fn measure(plan: &Plan) -> Result<Report> {
    let machine = Machine::look();
    if machine.is_busy() {
        say(&format!(
            "warning: load {:.1} on {} processors before it began: figures will be of that, too",
            machine.load, machine.cpus
        ));
    }
    let mut report = Report {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        machine,
        settings: plan.run.clone(),
        measures: Vec::new(),
        failures: Vec::new(),
    };
    // One bed after the other: what one of them was filled with must not be in the way of the other's figures.
    let (of_http, of_tcp): (Vec<_>, Vec<_>) = plan.scenarios.iter().partition(|it| it.is_l7());
    if !of_tcp.is_empty() {
        let bed = Bed::build(plan)?;
        run_all(&of_tcp, &mut report, |it| scenarios::run(it, &bed, &plan.run));
    }
    if !of_http.is_empty() {
        let bed = l7::Bed::build(plan)?;
        run_all(&of_http, &mut report, |it| l7::run(it, &bed, &plan.run));
    }
    Ok(report)
}

fn run_all(
    scenarios: &[Scenario],
    report: &mut Report,
    run: impl Fn(Scenario) -> Result<Vec<Measure>>,
) {
    for scenario in scenarios {
        match run(*scenario) {
            Ok(measures) => report.measures.extend(measures),
            Err(error) => {
                say(&format!("{} failed: {error:#}", scenario.name()));
                let reason = error.root_cause().to_string();
                report.failures.push(Failure { scenario: scenario.name().to_owned(), reason });
            }
        }
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("can't write {}", path.display()))
}
