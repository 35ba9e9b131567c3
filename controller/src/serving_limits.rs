//! Bounds of what the controller serves, each with its derivation. (The shared data path has its own in
//! `weft_core::limits`.)

use std::time::Duration;

// ---- Connections ----------------------------------------------------------------------------------------------

/// Connections at once. Two a node (proxy and agent) for 2,000 nodes, and half as many again while they reconnect.
pub const CONNECTIONS_MAX: usize = 6_000;
/// Connections of one address: a sixth of all, so that one host can't use them up, and enough for hundreds of
/// nodes behind one translated address.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 1_000;
/// TLS handshakes at once. A handshake costs about 0.3 ms of processor time, so 512 take less than 0.2 s.
pub const HANDSHAKES_MAX: usize = 512;
/// Handshakes of one address: a quarter, so that a host which keeps silent leaves room for the others.
pub const HANDSHAKES_PER_ADDRESS_MAX: usize = 128;
/// Handshake and HTTP/2 preface together. Three round trips of 1 s fit.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// First wait after a failed accept (out of descriptors, mostly); doubled up to the next constant.
pub const ACCEPT_BACKOFF_MIN: Duration = Duration::from_millis(5);
/// Longest wait after a failed accept.
pub const ACCEPT_BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Pings to an idle client; with the timeout a dead one is gone after 40 s.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// How long a ping may stay unanswered.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams of one connection: one discovery stream and a burst of certificate requests.
pub const STREAMS_PER_CONNECTION: u32 = 128;
/// Decoded request headers, bytes: a token of a few KiB and a dozen short fields.
pub const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;
/// How long open connections may finish their calls after a signal to stop.
pub const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);

// ---- Discovery ------------------------------------------------------------------------------------------------

/// A response holds resources up to this size, bytes (a larger single resource goes alone). Three of them carry
/// 10,000 workloads, and a slow client pins no more than this in its send buffer.
pub const RESPONSE_BYTES_MAX: usize = 1024 * 1024;
/// Unacknowledged responses of one type. One would cost an apply time per MiB of a first load; four keep the pipe
/// full, and what changes meanwhile coalesces in the log instead of queueing for the client.
pub const RESPONSES_IN_FLIGHT_MAX: usize = 4;
/// Responses between a session and its connection. They are references into the log, so two are cheap.
pub const RESPONSE_QUEUE: usize = 2;
/// Log entries read in one go without sending, about 5 ms: other sessions get the thread in between.
pub const SCAN_MAX: usize = 20_000;
/// Changes that do not concern a client's own node reach it at most once in this time.
pub const COALESCE: Duration = Duration::from_millis(15);
/// Removals kept a type, for sessions that still have to read them; about 10 MiB. Whoever is further behind is
/// disconnected, and on its return compares versions instead.
pub const REMOVALS_KEPT: usize = 65_536;
/// A request, bytes: 400,000 names with versions on a reconnect (istio/ztunnel#1811 met the usual 4 MiB at 40,000).
pub const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Names that one client may subscribe to, a type.
pub const NAMES_PER_CLIENT_MAX: usize = 100_000;
/// A resource name, bytes: cluster, kind, namespace and name of at most 253 each, and room.
pub const RESOURCE_NAME_BYTES_MAX: usize = 1_200;
/// Types of one stream.
pub const TYPES_PER_STREAM_MAX: usize = 16;
/// Time until a stream's first request.
pub const FIRST_REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// Streams admitted a second: istiod's rule is min(15 + 5 a core, 100). 2,000 nodes are back after 20–30 s.
pub const STREAMS_PER_SECOND: f64 = 100.0;
/// How long a stream waits to be admitted before it is told to come back.
pub const ADMISSION_WAIT: Duration = Duration::from_secs(1);
/// Refused resources remembered a client and type, for the status.
pub const REFUSALS_KEPT: usize = 100;
/// Bytes kept of a refusal's reason.
pub const REFUSAL_BYTES_MAX: usize = 512;
/// Batches of changes between the model and the log.
pub const CHANGE_QUEUE: usize = 64;

// ---- Certificates and tokens ----------------------------------------------------------------------------------

/// Validity of the self-signed root (istiod's default).
pub const ROOT_TTL: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Validity of a leaf where the request names none.
pub const LEAF_TTL_DEFAULT: Duration = Duration::from_secs(86_400);
/// Shortest validity of a leaf: with less, renewal would not get two attempts.
pub const LEAF_TTL_MIN: Duration = Duration::from_secs(60);
/// Longest validity of a leaf (istiod's `MAX_WORKLOAD_CERT_TTL`).
pub const LEAF_TTL_MAX: Duration = Duration::from_secs(90 * 86_400);
/// A leaf is valid from this much before it is signed (or a tenth of its validity if that is less), for clocks that
/// run behind.
pub const BACKDATE_MAX: Duration = Duration::from_secs(120);
/// Validity of the controller's own serving certificate; renewed at half of it.
pub const SERVING_TTL: Duration = Duration::from_secs(86_400);
/// A signing request in PEM, bytes. RSA 8192 with extensions takes 4 KiB.
pub const CSR_BYTES_MAX: usize = 16 * 1024;
/// A request to the certificate or node service, bytes.
pub const UNARY_REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Certificates of one node at once: all identities of a full node (250 pods) after a restart, and some more.
pub const CSR_BURST: f64 = 300.0;
/// Certificates of one node a second after that.
pub const CSR_PER_SECOND: f64 = 20.0;
/// Nodes whose rates are remembered.
pub const RATED_NODES_MAX: usize = 10_000;
/// Joins a second, of all nodes together: each costs a signature and nobody is authenticated before.
pub const JOINS_PER_SECOND: f64 = 20.0;
/// Validity of a proxy's token.
pub const TOKEN_TTL: Duration = Duration::from_secs(3_600);
/// Validity of an agent's token, renewed at half of it: a node that was off for a week comes back without a new join
/// token. It never leaves the node's state folder but to the controller.
pub const AGENT_TOKEN_TTL: Duration = Duration::from_secs(14 * 86_400);
/// Validity of a join token where none is asked for.
pub const JOIN_TOKEN_TTL_DEFAULT: Duration = Duration::from_secs(3_600);
/// Validity of a waypoint's first token where none is asked for; it renews it. A day, since it may be made today for a
/// waypoint that starts tomorrow.
pub const WAYPOINT_TOKEN_TTL_DEFAULT: Duration = Duration::from_secs(24 * 3_600);
/// Longest validity of a join token.
pub const JOIN_TOKEN_TTL_MAX: Duration = Duration::from_secs(365 * 86_400);
/// A token, bytes: Kubernetes' own are about 1 KiB.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// A file of the state folder or of a plugged-in authority, bytes.
pub const STATE_FILE_BYTES_MAX: u64 = 1024 * 1024;

// ---- Admin ----------------------------------------------------------------------------------------------------

/// A request to the admin server, bytes.
pub const ADMIN_BODY_BYTES_MAX: usize = 16 * 1024;
/// Admin requests at once.
pub const ADMIN_REQUESTS_MAX: usize = 64;
