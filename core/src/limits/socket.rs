//! Sockets: connecting, accepting, reading.

use std::time::Duration;

/// Time to reach a peer over TCP. A round trip of 1 s with two lost SYNs (1 s + 2 s) still fits.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// First read of a socket, bytes: a request or a line of a chatty protocol.
pub const READ_BYTES_MIN: usize = 2 << 10;
/// Largest read of a socket, bytes. Beyond it the cost of a system call no longer shows.
pub const READ_BYTES_MAX: usize = 256 << 10;
/// Memory of one read that a thread keeps for the next, bytes. Larger reads are worth taking theirs.
pub const SPARE_READ_BYTES_MAX: usize = 64 << 10;
/// Connections waiting to be accepted: a burst of as many SYNs as arrive in the 10 ms that a busy thread may take,
/// at 100 000 connections a second. `net.core.somaxconn` caps it.
pub const LISTEN_BACKLOG: i32 = 1024;
/// First pause after a failed accept.
pub const ACCEPT_BACKOFF_MIN: Duration = Duration::from_millis(5);
/// Longest pause after failed accepts: descriptors come back when connections end, which is noticed within a second.
pub const ACCEPT_BACKOFF_MAX: Duration = Duration::from_secs(1);
/// TCP keepalive: silence before the first probe. Istio's ztunnel has the same three numbers.
pub const TCP_KEEPALIVE_TIME: Duration = Duration::from_secs(180);
/// TCP keepalive: between probes.
pub const TCP_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(180);
/// TCP keepalive: lost probes that end a connection.
pub const TCP_KEEPALIVE_PROBES: u32 = 9;
