//! Small requests of HTTP/1.1 through a waypoint, beside the same without any proxy and through Envoys.

mod bed;
mod change;
mod envoy;
mod estate;
mod memory;
mod traffic;

use anyhow::Result;

use crate::arguments::Scenario;
use crate::report::{Measure, RunSettings};
pub(crate) use bed::Bed;

/// Runs one scenario on all sides.
///
/// # Errors
/// It could not run to its end.
pub(crate) fn run(scenario: Scenario, bed: &Bed, run: &RunSettings) -> Result<Vec<Measure>> {
    match scenario {
        Scenario::L7Change => change::measure(bed, run),
        Scenario::L7Memory => memory::measure(bed, run),
        traffic => traffic::measure(traffic, bed, run),
    }
}
