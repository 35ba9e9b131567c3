//! What the tests of the shipped programs share.
#![allow(dead_code, reason = "each test program uses its own part of it")]

pub(crate) mod agent;
pub(crate) mod calls;
pub(crate) mod load;
pub(crate) mod objects;
pub(crate) mod peer;
pub(crate) mod status;
pub(crate) mod tcp;

use std::time::Duration;

/// The port of the servers that the tests call.
pub(crate) const PORT: u16 = 8080;
/// Time for a change to be in force, and for a line to be in a log.
pub(crate) const SOON: Duration = Duration::from_secs(5);
