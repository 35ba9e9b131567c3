//! Which faults a request gets.

use std::time::Duration;

use rand::Rng;

use crate::route::{Abort, Fault};

/// What a request drew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drawn {
    /// Wait so long first.
    pub delay: Option<Duration>,
    /// Then answer this, instead of asking a backend.
    pub abort: Option<Abort>,
}

/// Draws delay and abort, each by itself. Shares are as exact as they are written: a millionth is one.
pub fn draw(fault: &Fault, rng: &mut impl Rng) -> Drawn {
    let delay = fault.delay.filter(|(share, _)| share.holds(rng.next_u64()));
    let abort = fault.abort.filter(|(share, _)| share.holds(rng.next_u64()));
    Drawn { delay: delay.map(|(_, delay)| delay), abort: abort.map(|(_, abort)| abort) }
}
