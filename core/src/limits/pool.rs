//! The pool of HBONE connections.

use std::time::Duration;

/// TCP, TLS and HTTP/2 together, each with a deadline of its own of 5 s, and a certificate look-up. A net under
/// them, so that a capability without deadlines can't strand those who wait.
pub const POOL_CONNECT_DEADLINE: Duration = Duration::from_secs(20);
/// A connection without tunnels leaves the pool after this; Istio's ztunnel has the same number.
pub const POOL_IDLE_MAX: Duration = Duration::from_secs(300);
/// The same beside another one without tunnels: after a peak one spare is enough, and each takes some 60 kB.
pub const POOL_SURPLUS_IDLE_MAX: Duration = Duration::from_secs(5);
/// Connections from one source to one peer: 25 600 tunnels, near the number of local ports towards one address.
pub const POOL_CONNECTIONS_PER_PEER_MAX: usize = 256;
/// Connections of one pool. An idle one costs about 60 kB with its TLS state: 250 MB at worst.
pub const POOL_CONNECTIONS_MAX: usize = 4096;
/// A connection that refused a stream gets no new ones for this long.
pub const POOL_REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// Connections that one request for a tunnel tries, the first included. Nothing of the user has been sent before
/// the reply, so that another attempt repeats nothing.
pub const POOL_OPEN_ATTEMPTS: usize = 3;
/// Connects that one request for a tunnel waits for before it gives up. Those who wait are spread over connects
/// that will have room for them, so that one is the rule; more are needed only if others overtake.
pub const POOL_CHECKOUT_ROUNDS: usize = 8;
