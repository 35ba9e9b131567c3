//! Every bound of the shared data path, with its derivation. A bound that only one file needs still lives here,
//! so that one page answers "how much can a stranger make us hold, and for how long".

use std::time::Duration;

/// SPIFFE ID specification, section 2.3: a trust domain has at most 255 bytes.
pub const TRUST_DOMAIN_BYTES_MAX: usize = 255;
/// Kubernetes: an object's name is a DNS subdomain of at most 253 bytes.
pub const NAME_BYTES_MAX: usize = 253;

/// Time to reach a peer over TCP. A round trip of 1 s with two lost SYNs (1 s + 2 s) still fits.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

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

/// Time to live of the answers that the DNS proxy makes, seconds: what a service's address may be out of date by.
pub const DNS_TTL_SECONDS: u32 = 30;
/// Largest answer over UDP, bytes: fits every path without fragments (DNS flag day 2020).
pub const DNS_UDP_BYTES_MAX: u16 = 1232;
/// Largest packet that is read from a pod or a name server over UDP, bytes. Longer ones are cut and so unreadable.
pub const DNS_UDP_READ_BYTES_MAX: usize = 4096;
/// Names that are looked up for one query: four bases (as it is and without three search domains), three expansions
/// each, with four wildcard parents each.
pub const DNS_LOOKUPS_MAX: usize = 64;
/// Addresses in one answer. 64 of IPv6 take 1.8 KB, so a client of UDP comes again over TCP.
pub const DNS_ADDRESSES_MAX: usize = 64;
/// Queries of one pod that wait for a name server. At 5 ms an answer that is 25,000 queries a second.
pub const DNS_FORWARDS_MAX: usize = 128;
/// TCP connections of one pod to its DNS proxy.
pub const DNS_TCP_CONNECTIONS_MAX: usize = 32;
/// Silence that ends such a connection (RFC 7766, section 6.2.3: a few seconds).
pub const DNS_TCP_IDLE: Duration = Duration::from_secs(5);
/// Time for one name server to answer. Two of them stay below the 5 s after which resolvers ask again.
pub const DNS_TRY_DEADLINE: Duration = Duration::from_secs(2);
/// Name servers asked, or times that the only one is asked, before a query fails.
pub const DNS_TRIES: usize = 2;
/// Name servers read from resolv.conf, as in glibc.
pub const DNS_SERVERS_MAX: usize = 3;
/// Wrong packets that a socket may receive while it waits for an answer. More is an attempt to guess the id.
pub const DNS_WRONG_ANSWERS_MAX: usize = 16;
/// Answers of name servers remembered for one pod: about 128 KB when full. Never shared among pods, since a pod with
/// rights over its own network namespace can forge what is received there.
pub const DNS_CACHE_ENTRIES_MAX: usize = 256;
/// Longest time that such an answer is remembered.
pub const DNS_CACHE_TTL_MAX: Duration = Duration::from_secs(300);
