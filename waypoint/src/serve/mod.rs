//! What comes in: connections of other proxies, the tunnels on them, and what is spoken inside.
//!
//! ```text
//!  accept ─▶ TLS (who calls) ─▶ HTTP/2 CONNECT ─▶ target (whose waypoint are we?) ─▶ sniff ─┬▶ http
//!                                                                                      └▶ tcp
//! ```

mod accept;
mod sniff;
mod stream;
mod target;
mod tcp;
mod tunnel;

pub(crate) use accept::Workers;
pub(crate) use stream::Inner;
pub(crate) use target::{Own, Target};
pub(crate) use tunnel::Tunnel;
