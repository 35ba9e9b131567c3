//! Every bound of the shared data path, with its derivation. A bound that only one file needs still lives here,
//! so that one page answers "how much can a stranger make us hold, and for how long".

use std::time::Duration;

/// SPIFFE ID specification, section 2.3: a trust domain has at most 255 bytes.
pub const TRUST_DOMAIN_BYTES_MAX: usize = 255;
/// Kubernetes: an object's name is a DNS subdomain of at most 253 bytes.
pub const NAME_BYTES_MAX: usize = 253;

/// Time to reach a peer over TCP. A round trip of 1 s with two lost SYNs (1 s + 2 s) still fits.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
