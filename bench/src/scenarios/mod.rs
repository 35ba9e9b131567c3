//! What is measured, one scenario after the other.

mod growth;
mod memory;
mod traffic;

use anyhow::Result;

use crate::arguments::Scenario;
use crate::bed::Bed;
use crate::control;
use crate::report::{Measure, RunSettings};

/// Runs one scenario on all sides.
///
/// # Errors
/// It could not run to its end.
pub(crate) fn run(scenario: Scenario, bed: &Bed, run: &RunSettings) -> Result<Vec<Measure>> {
    match scenario {
        Scenario::Memory => memory::measure(bed, run),
        Scenario::Growth => growth::measure(bed, run),
        Scenario::Control => control::measure(bed, run),
        traffic => traffic::measure(traffic, bed, run),
    }
}
