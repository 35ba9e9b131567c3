//! Judged by strangers: conformance programs of others, called by a pod through the whole of the shipped mesh (its proxy, the
//! service's waypoint, the other node's proxy), with the list of what doesn't pass.

mod grpc;
mod http_two;
mod programs;
#[path = "../support/mod.rs"]
mod support;
mod town;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Result, ensure};

use grpc::grpc_interop_passes_but_for_what_is_listed;
use http_two::h2spec_passes_but_for_what_is_listed;

fn main() -> ExitCode {
    if programs::is_to_build()
        && let Err(error) = programs::build()
    {
        // Not a skip: a tier that can't run has not passed.
        let said = format!("error: {error:#}\n\ntest result: FAILED. 0 passed; 1 failed\n\n");
        // Nobody is left to be told that it couldn't be said.
        let _said = std::io::stdout().write_all(said.as_bytes());
        return ExitCode::FAILURE;
    }
    weft_harness::tests![
        h2spec_passes_but_for_what_is_listed,
        grpc_interop_passes_but_for_what_is_listed,
    ]
    .run()
}

/// A case that doesn't pass, and why that is right or borne.
type Exception = (&'static str, &'static str);

/// Compares what failed with what is listed: both ways, so that the list stays true.
fn check(failed: &BTreeSet<String>, listed: &[Exception]) -> Result<()> {
    let listed: BTreeSet<String> = listed.iter().map(|(case, _)| (*case).to_owned()).collect();
    let (new, gone): (Vec<_>, Vec<_>) =
        (failed.difference(&listed).collect(), listed.difference(failed).collect());
    ensure!(new.is_empty(), "these fail and aren't listed: {new:#?}");
    ensure!(gone.is_empty(), "these pass and are listed as failing: {gone:#?}");
    Ok(())
}
