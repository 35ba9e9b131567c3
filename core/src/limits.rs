//! Every bound of the shared data path, with its derivation. A bound that only one file needs still lives here,
//! so that one page answers "how much can a stranger make us hold, and for how long".

use std::time::Duration;

/// SPIFFE ID specification, section 2.3: a trust domain has at most 255 bytes.
pub const TRUST_DOMAIN_BYTES_MAX: usize = 255;
/// Kubernetes: an object's name is a DNS subdomain of at most 253 bytes.
pub const NAME_BYTES_MAX: usize = 253;

/// Time to reach a peer over TCP. A round trip of 1 s with two lost SYNs (1 s + 2 s) still fits.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

// ---- ZDS: the node agent's protocol (core::zds) ----

/// Time for one packet to be taken by a peer of the agent's protocol, or for its answer to come. A proxy answers an
/// `add` once the pod's listeners are bound, which is milliseconds; a busy node gets a hundred times that.
pub const ZDS_DEADLINE: Duration = Duration::from_secs(5);
/// A pod's uid: Kubernetes uses 36 bytes. What is derived from a namespace (63) and a name (253) must fit too, and an
/// `add` with the longest uid, name, namespace (63) and service account (253) stays under a packet's 1024 bytes.
pub const ZDS_UID_BYTES_MAX: usize = 320;
/// Descriptors read from one packet. The protocol uses one; room for one is room for two after the kernel's
/// alignment, and the surplus is closed by whoever finds that the count is wrong.
pub const ZDS_DESCRIPTORS_MAX: usize = 1;
