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
// ---- TLS and certificates -------------------------------------------------------------------------------------

/// Time for a TLS handshake, from its first byte to its last. Two round trips of 1 s, a lost packet on each (1 s
/// more) and the signing still fit; a peer that says nothing holds its permit no longer than that.
pub const TLS_DEADLINE: Duration = Duration::from_secs(5);
/// Longest leaf certificate that is read, bytes. One with a single mesh identity has under 1 KiB; the rest is room
/// for long names, RSA keys and extensions. rustls itself bounds the whole chain by 64 KiB.
pub const LEAF_BYTES_MAX: usize = 16 * 1024;
/// Client configurations kept by a workload's certificate, one for each set of expected peers: what one workload
/// calls within a certificate's life. Each weighs some KiB; the least recently used goes.
pub const CLIENT_CONFIGS_MAX: usize = 128;
/// Sessions that a client configuration keeps for resumption; rustls spreads them over servers, 8 each.
pub const CLIENT_SESSIONS_MAX: usize = 256;
/// Certificates of one chain: a leaf and its intermediates. Real ones have two or three.
pub const CHAIN_CERTIFICATES_MAX: usize = 10;
/// Roots of one bundle: a federation of some tens of meshes, each in the middle of a rotation.
pub const ROOT_CERTIFICATES_MAX: usize = 128;
/// Longest file of roots or of a token, bytes: the bundle above with 4 KiB a root.
pub const CREDENTIAL_FILE_BYTES_MAX: u64 = 512 * 1024;

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

/// HTTP/2 PING interval on connections to the controller: an idle one through a NAT or load balancer stays open
/// (their idle timeouts start at 60 s), and a dead one is noticed within [`CONTROL_PING_DEADLINE`] more.
pub const CONTROL_PING_INTERVAL: Duration = Duration::from_secs(30);
/// Time for the answer to that PING.
pub const CONTROL_PING_DEADLINE: Duration = Duration::from_secs(10);
/// Addresses of the controller that one connect tries; they share [`CONNECT_DEADLINE`].
pub const CONTROL_ADDRESSES_MAX: usize = 4;
// --- Telemetry, admin and DNS -------------------------------------------------------------------------------

/// Traffic series that a process keeps. A node of 250 pods that each talk with 16 others in both directions makes
/// 8,000; at about 300 bytes each that is 2.5 MB. What exceeds it is counted under `unknown` parties.
pub const TRAFFIC_SERIES_MAX: usize = 8192;
/// A series without connections goes away after this time: two scrape intervals of the slowest sensible
/// Prometheus (5 min), so its last value has been read.
pub const TRAFFIC_SERIES_IDLE: Duration = Duration::from_secs(600);
/// A full table is searched for idle series at most this often, so that a flood of new pairs stays cheap.
pub const TRAFFIC_EVICTION_INTERVAL: Duration = Duration::from_secs(10);
/// Workloads that have their own name in the DNS counters: four times the pods of a large node.
pub const DNS_SERIES_MAX: usize = 1024;
/// Log bytes that wait for standard output. At 600 bytes a line it holds 1,700 lines: a stall of about 0.1 s at the
/// highest rate of connections. What exceeds it is dropped and counted; the data path never waits.
pub const LOG_QUEUE_BYTES_MAX: usize = 1 << 20;
/// Longest log line, bytes. Longer ones are cut.
pub const LOG_LINE_BYTES_MAX: usize = 16 * 1024;
/// At exit, how long standard output may take to swallow the last lines.
pub const LOG_FLUSH_DEADLINE: Duration = Duration::from_secs(1);

/// Connections to one admin, metrics or readiness server: a kubelet, two Prometheus servers and some people.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// Time to send the head of a request.
pub const ADMIN_HEADER_DEADLINE: Duration = Duration::from_secs(2);
/// Head of a request, bytes; hyper's minimum.
pub const ADMIN_HEADER_BYTES_MAX: usize = 8 * 1024;
/// Body of a request, bytes. No route takes a larger document.
pub const ADMIN_BODY_BYTES_MAX: usize = 64 * 1024;
/// Time to send that body.
pub const ADMIN_BODY_DEADLINE: Duration = Duration::from_secs(5);
/// Time for a route to answer.
pub const ADMIN_HANDLER_DEADLINE: Duration = Duration::from_secs(30);
/// Age at which a kept-alive connection is asked to end, and then time until it is cut.
pub const ADMIN_CONNECTION_AGE_MAX: Duration = Duration::from_secs(300);
/// Time for the last response of an aged connection.
pub const ADMIN_CONNECTION_GRACE: Duration = Duration::from_secs(30);
/// Pause after a failed accept (out of descriptors), so that the loop doesn't spin.
pub const ADMIN_ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
