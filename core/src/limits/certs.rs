//! Certificates: signing and renewal.

use std::time::Duration;

/// Signings in flight at a time. Eight saturate no CA, and fill a node of 250 pods in a few seconds.
pub const CERT_SIGNINGS_MAX: usize = 8;
/// Of those, how many are left for identities that a connection is waiting for, so that a restart's prefetch
/// against a slow CA does not make connections wait.
pub const CERT_SIGNINGS_WAITED_FOR: usize = 2;
/// Time for one signing; as generous as a CA under a restart of every node needs, since a late answer is still used.
pub const CERT_SIGN_DEADLINE: Duration = Duration::from_secs(10);
/// How long a connection waits for its certificate. Beyond it, the application's own connect timeout is near.
pub const CERT_WAIT_DEADLINE: Duration = Duration::from_secs(5);
/// First wait after a failed signing; doubled by each further one.
pub const CERT_BACKOFF_INITIAL: Duration = Duration::from_millis(500);
/// Longest wait between signings: a CA that came back is used within that time without anybody asking.
pub const CERT_BACKOFF_MAX: Duration = Duration::from_secs(150);
/// Longest wait between signings while a connection waits: shorter than its own deadline, so that every waiter sees
/// at least one attempt.
pub const CERT_BACKOFF_WAITED_MAX: Duration = Duration::from_secs(4);
/// Least time between two successful signings of one identity, whatever the clocks say. A certificate of 60 s is
/// renewed at 30 s and not hindered; a clock that is far ahead costs the CA six requests a minute and no more.
pub const CERT_REFRESH_MIN: Duration = Duration::from_secs(10);
/// How often due times are compared with the wall clock, which may have jumped: a step forward by NTP, or a machine
/// that slept, is noticed within this time.
pub const CERT_CLOCK_CHECK: Duration = Duration::from_secs(30);
/// Identities on one node. Kubernetes supports 110 pods a node and some run 1,000; each has at most one identity.
pub const CERT_ENTRIES_MAX: usize = 4096;
/// Longest answer of the CA, bytes: a full chain and a full bundle.
pub const CA_RESPONSE_BYTES_MAX: usize = 1024 * 1024;
/// How much of a remote error message is kept, bytes.
pub const REMOTE_MESSAGE_BYTES_MAX: usize = 256;
