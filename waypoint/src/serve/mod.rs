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

pub use accept::Workers;
pub use stream::Inner;
pub use target::{Own, Target};
pub use tunnel::Tunnel;
