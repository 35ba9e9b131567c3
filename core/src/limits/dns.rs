//! The DNS proxy of a pod.

use std::time::Duration;

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
