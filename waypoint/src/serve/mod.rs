//! What comes in: connections of other proxies, the tunnels on them, and what is spoken inside.
//!
//! ```text
//!  accept ─▶ TLS (who calls) ─▶ HTTP/2 CONNECT ─▶ target (whose waypoint are we?) ─▶ sniff ─┬▶ http
//!                                                                     hello (whose TLS?) ◀─┴▶ tcp
//! ```

mod accept;
mod choose;
mod hello;
mod record;
mod relay;
mod sniff;
mod stream;
mod target;
mod tcp;
mod tunnel;

pub(crate) use accept::Workers;
pub(crate) use choose::{Followed, Greeting, Seen as SeenConnection, follow};
pub(crate) use stream::Inner;
pub(crate) use target::{Own, Target};
pub(crate) use tunnel::{Tunnel, source};

#[cfg(test)]
pub(crate) use hello::tests::hello;
