//! Bounds that only the node proxy has, each with its derivation. Shared ones are in `weft_core::limits`.

use std::time::Duration;

/// Requests waiting for the namespace broker. One takes about 10 µs, so a full queue is 10 ms of work.
pub(crate) const BROKER_QUEUE: usize = 1024;
/// A request that has waited this long fails its connection rather than queue behind a stuck kernel.
pub(crate) const BROKER_DEADLINE: Duration = Duration::from_secs(2);
/// Sockets made ahead for a busy pod. At 10,000 connections a second this asks the broker 300 times a second.
pub(crate) const SOCKET_BATCH_MAX: usize = 32;
/// How long a pod's first connection waits for the controller to describe the pod (the incumbent's figure).
pub(crate) const WORKLOAD_DEADLINE: Duration = Duration::from_secs(5);
/// How long a connection waits for a policy that its workload names and that has not arrived.
pub(crate) const POLICY_DEADLINE: Duration = Duration::from_secs(5);
/// Instances of a waypoint that one connection tries besides the first. During a rollout one is going and one may have gone;
/// where more can't be reached, something else is wrong, and more tries would add to it.
pub(crate) const WAYPOINT_RETRIES: usize = 2;
/// Draws for an instance that a connection hasn't tried. With one in two untried, one in 256 connections draws none.
pub(crate) const WAYPOINT_DRAWS: usize = 8;
/// Connections of one pod in one direction. Protects the node's descriptors (two a connection) from one pod.
pub(crate) const CONNECTIONS_PER_POD_MAX: usize = 16_384;
/// Time between two tries to start a pod's listeners.
pub(crate) const POD_RETRY: Duration = Duration::from_secs(5);
/// Pods on one node: Kubernetes allows 110 by default and large nodes 500.
pub(crate) const PODS_MAX: usize = 2_048;
/// First wait before connecting to the node agent again (the incumbent's figure).
pub(crate) const ZDS_BACKOFF_MIN: Duration = Duration::from_millis(10);
/// Longest wait before connecting to the node agent again. A local socket costs nothing to try, and pods that
/// start meanwhile wait for it (the incumbent waits up to 15 s).
pub(crate) const ZDS_BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Longest time between two looks at open connections; a net under the wake-ups of the mesh.
pub(crate) const RECHECK_MAX: Duration = Duration::from_secs(60);
/// When connections are cut at the end of a drain: time to tell their peers and to write their records.
pub(crate) const GOODBYE_DEADLINE: Duration = Duration::from_secs(2);
