//! Every bound of the node agent, with its derivation.

use std::time::Duration;

/// Pods of one node. Kubernetes supports 110 and the largest documented set-ups run 500; twice that leaves room for
/// pods that are leaving while their successors arrive.
pub const PODS_MAX: usize = 1024;
/// Addresses of one pod: two families, and a few secondary interfaces.
pub const POD_ADDRESSES_MAX: usize = 16;
/// A namespace's file name: runtimes use `cni-` and a UUID (40 bytes).
pub const NETNS_NAME_BYTES_MAX: usize = 128;

/// Pods that are enrolled at a time. Each costs five short programs that queue on the kernel's one configuration
/// lock, so more would only wait there.
pub const PARALLEL_ENROLMENTS: usize = 4;
/// Time for `nft` or `ip`, which take milliseconds; the kernel's configuration lock can be held for seconds while
/// another namespace with many devices is torn down.
pub const PROGRAM_DEADLINE: Duration = Duration::from_secs(10);
/// Time inside a pod's namespace: six programs one after another (two families of rule and route, nft, one spare).
pub const NAMESPACE_DEADLINE: Duration = Duration::from_secs(60);
/// What is kept of a program's output: a reason for a person to read.
pub const PROGRAM_OUTPUT_BYTES_MAX: u64 = 64 << 10;
/// What is kept of a reason in the status.
pub const REASON_BYTES_MAX: usize = 300;

/// First pause after a failed enrolment: a namespace that is still being set up is ready within this.
pub const ENROLMENT_RETRY_MIN: Duration = Duration::from_millis(250);
/// Longest pause: a person who mends the cause doesn't wait longer.
pub const ENROLMENT_RETRY_MAX: Duration = Duration::from_secs(30);
/// How often each enrolled pod's namespace is compared with the one that was enrolled.
pub const NAMESPACE_CHECK: Duration = Duration::from_secs(10);
/// How long a stopping agent waits for programs under way.
pub const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// Proxies connected at once: two during an upgrade, the rest for ones that linger in their drain.
pub const ZDS_CONNECTIONS_MAX: usize = 8;
/// First pause before a pod that a proxy refused is named again: what the proxy itself waits between attempts.
pub const REFUSAL_RETRY_MIN: Duration = Duration::from_secs(5);
/// Longest pause.
pub const REFUSAL_RETRY_MAX: Duration = Duration::from_secs(60);
/// Attempts to have a proxy drop a pod. One that never had it may refuse for ever.
pub const REMOVAL_ATTEMPTS_MAX: u32 = 5;
/// First pause after a failed accept (out of descriptors, mostly).
pub const ACCEPT_RETRY_MIN: Duration = Duration::from_millis(50);
/// Longest pause.
pub const ACCEPT_RETRY_MAX: Duration = Duration::from_secs(5);

/// Time to reach the controller, handshake included: a round trip of 1 s with a lost packet in each step.
pub const CONTROL_CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Time for one call to the controller.
pub const CONTROL_CALL_DEADLINE: Duration = Duration::from_secs(10);
/// First pause after a failed call.
pub const CONTROL_RETRY_MIN: Duration = Duration::from_secs(1);
/// Longest pause: well under half the life of the shortest useful token (10 minutes).
pub const CONTROL_RETRY_MAX: Duration = Duration::from_secs(60);
/// Least time between two renewals, whatever the clocks say: a node whose clock is ahead would otherwise ask without end.
pub const RENEWAL_INTERVAL_MIN: Duration = Duration::from_secs(10);
/// Most time between two looks at the clock: wall time can jump while a timer sleeps.
pub const RENEWAL_CHECK: Duration = Duration::from_secs(300);
/// The roots: a few certificates of 1 to 2 KiB, several during a rotation.
pub const ROOTS_BYTES_MAX: usize = 256 << 10;
/// The largest file in the state folder: the pods, at most 2 KiB each, twice (wanted and enrolled), with slack.
pub const STATE_FILE_BYTES_MAX: u64 = 16 << 20;
