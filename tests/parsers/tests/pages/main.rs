//! From what users write to what becomes of it: the controller's translation and the waypoint together, and the YAML of the docs.
//!
//! One program: each by itself would be both of them compiled and linked once more.

mod access;
mod origination;
mod resilience;
mod routing;
mod support;
mod telemetry;
