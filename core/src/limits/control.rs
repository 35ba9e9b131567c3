//! Connections to the controller, and the tokens shown there.

use std::time::Duration;

/// Longest bearer or join token, bytes. Kubernetes' own are about 1 KiB.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;
/// HTTP/2 PING interval on connections to the controller: an idle one through a NAT or load balancer stays open
/// (their idle timeouts start at 60 s), and a dead one is noticed within [`CONTROL_PING_DEADLINE`] more.
pub const CONTROL_PING_INTERVAL: Duration = Duration::from_secs(30);
/// Time for the answer to that PING.
pub const CONTROL_PING_DEADLINE: Duration = Duration::from_secs(10);
/// Addresses of the controller that one connect tries; they share [`super::CONNECT_DEADLINE`].
pub const CONTROL_ADDRESSES_MAX: usize = 4;
