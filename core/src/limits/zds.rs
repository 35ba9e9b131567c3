//! The node agent's protocol.

use std::time::Duration;

/// Time for one packet to be taken by a peer of the agent's protocol, or for its answer to come. A proxy answers an
/// `add` once the pod's listeners are bound, which is milliseconds; a busy node gets a hundred times that.
pub const ZDS_DEADLINE: Duration = Duration::from_secs(5);
/// A pod's uid: Kubernetes uses 36 bytes. What is derived from a namespace (63) and a name (253) must fit too, and an
/// `add` with the longest uid, name, namespace (63) and service account (253) stays under a packet's 1024 bytes.
pub const ZDS_UID_BYTES_MAX: usize = 320;
/// Descriptors read from one packet. The protocol uses one; room for one is room for two after the kernel's
/// alignment, and the surplus is closed by whoever finds that the count is wrong.
pub const ZDS_DESCRIPTORS_MAX: usize = 1;
