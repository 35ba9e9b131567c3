//! HTTP/2 and HPACK, by h2spec.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weft_harness::Inside;

use crate::programs::program;
use crate::town::{PORT, town};
use crate::{Exception, check};

/// What doesn't pass.
const EXCEPTIONS: &[Exception] = &[(
    "http2/3.5: Sends invalid connection preface",
    "the port takes HTTP/1.1 as well, and this is a request line of it: answered 400 before the connection ends, where h2spec \
     takes any byte for a frame",
)];
/// Cases that there are; should h2spec skip some, this shows it.
const CASES: usize = 146;
/// Time for all of them: they come one after the other, and some wait for two seconds.
const DEADLINE: Duration = Duration::from_secs(150);

pub(crate) fn h2spec_passes_but_for_what_is_listed(_: &Inside) -> Result<()> {
    let town = town()?;
    let report = town.mesh.folder().join("h2spec.xml");
    let before = town.counted("origin")?;
    let finished = town
        .client
        .launch(program("h2spec")?)
        .args(["--strict", "--host", "origin.app", "--port", &PORT.to_string(), "--junit-report"])
        .arg(&report)
        .run(DEADLINE)?;
    let report = std::fs::read_to_string(&report).with_context(|| format!("{finished:?}"))?;
    let (cases, failed) = read(&report);
    check(&failed, EXCEPTIONS).with_context(|| finished.stdout.clone())?;
    ensure!(cases == CASES, "{cases} cases instead of {CASES}");
    ensure!(town.counted("origin")? > before, "h2spec went past the waypoint");
    Ok(())
}

/// Cases of a report, and those that failed or were skipped: `http2/3.5: Sends …`.
fn read(report: &str) -> (usize, BTreeSet<String>) {
    let mut failed = BTreeSet::new();
    let mut cases = 0;
    for case in report.split("<testcase ").skip(1) {
        let case = case.split("</testcase>").next().unwrap_or_default();
        cases += 1;
        if case.contains("<failure") || case.contains("<error") || case.contains("<skipped") {
            let part = |name: &str| {
                let value = case.split_once(&format!("{name}=\"")).map_or("", |(_, rest)| rest);
                value.split('"').next().unwrap_or_default()
            };
            failed.insert(format!("{}: {}", part("package"), part("classname")));
        }
    }
    (cases, failed)
}
