//! Every bound of the shared data path, with its derivation. A bound that only one file needs still lives here,
//! so that one page answers "how much can a stranger make us hold, and for how long".

use std::time::Duration;

/// SPIFFE ID specification, section 2.3: a trust domain has at most 255 bytes.
pub const TRUST_DOMAIN_BYTES_MAX: usize = 255;
/// Kubernetes: an object's name is a DNS subdomain of at most 253 bytes.
pub const NAME_BYTES_MAX: usize = 253;

/// Time to reach a peer over TCP. A round trip of 1 s with two lost SYNs (1 s + 2 s) still fits.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

// ---- Discovery client ----------------------------------------------------------------------------------------------

/// Largest discovery response, bytes. A stock control plane sends the whole mesh in one: 100,000 workloads of 2 KiB.
pub const XDS_MESSAGE_BYTES_MAX: usize = 200 << 20;
/// Requests that wait to be sent: the first one of each type and an acknowledgement each fit several times.
pub const XDS_REQUESTS_QUEUED_MAX: usize = 32;
/// Time to read the token and to reach the control plane: TCP 5 s and TLS 5 s, each with its own deadline inside.
pub const XDS_CONNECT_DEADLINE: Duration = Duration::from_secs(15);
/// Time for a stream to be accepted. A stock control plane accepts with its first response, which waits while it limits
/// concurrent pushes.
pub const XDS_OPEN_DEADLINE: Duration = Duration::from_secs(60);
/// Time for a request to be taken. Only a peer that stopped reading takes longer.
pub const XDS_SEND_DEADLINE: Duration = Duration::from_secs(10);
/// First wait before a reconnect.
pub const XDS_BACKOFF_MIN: Duration = Duration::from_millis(10);
/// Longest wait before a reconnect. 10 ms doubles to it in eleven attempts, within half a minute.
pub const XDS_BACKOFF_MAX: Duration = Duration::from_secs(15);
/// Changes in one response up to which they are applied on an async thread: as many take some 20 ms in a debug build,
/// decoding included, which bounds from above how long one thread serves nothing else.
pub const XDS_INLINE_CHANGES_MAX: usize = 256;
/// Rejections that one refusal lists, the rest is counted: 64 of 300 bytes stay well below any header or message bound.
pub const XDS_REJECTIONS_LISTED_MAX: usize = 64;
/// Longest bearer or join token, bytes. Kubernetes' own are about 1 KiB.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;
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
/// What TLS enciphers before the socket has to take some of it, bytes: the largest frame that is sent, which is at most
/// one read of an application's socket, so that a frame leaves by one system call; and as much again.
pub const TLS_WRITE_BYTES_MAX: usize = 2 * READ_BYTES_MAX;
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
/// Longest file of roots, bytes: the bundle above with 4 KiB a root.
pub const ROOTS_FILE_BYTES_MAX: u64 = 512 * 1024;

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
// ---- HBONE, relay, accept loop ----

/// HTTP/2 stream window, bytes: the most that one tunnel may have in flight towards us. 1 MiB fills 8 Gb/s at a
/// round trip of 1 ms, and 160 Mb/s at 50 ms.
pub const HBONE_STREAM_WINDOW: u32 = 4 << 20;
/// Tunnels that one client opens on a connection; Istio's ztunnel has the same number.
pub const HBONE_CLIENT_STREAMS_MAX: u32 = 100;
/// HTTP/2 connection window, bytes: a full stream window for each tunnel, so that however many tunnels stall, the
/// next still has its own window. It bounds what one peer makes us hold: about what 100 plain TCP connections
/// would pin in the kernel at the default `tcp_rmem` (6 MB each) divided by six.
pub const HBONE_CONNECTION_WINDOW: u32 = HBONE_STREAM_WINDOW * HBONE_CLIENT_STREAMS_MAX;
/// Largest frame that we take, bytes. Four TLS records: the 9 bytes of header vanish, and a neighbour waits for at
/// most 64 KiB of somebody else's data.
pub const HBONE_FRAME_BYTES_MAX: u32 = 64 << 10;
/// Concurrent tunnels that a server grants on one connection: twice what known clients use.
pub const HBONE_SERVER_STREAMS_MAX: u32 = 200;
/// Decoded header list, bytes. A CONNECT of the mesh has about 600.
pub const HBONE_HEADER_LIST_BYTES_MAX: u32 = 16 << 10;
/// Header fields of one CONNECT. The mesh sends six.
pub const HBONE_HEADER_FIELDS_MAX: usize = 64;
/// Streams that a peer reset before we accepted them (CVE-2023-44487): more than this at once ends the connection.
pub const HBONE_PENDING_ACCEPT_RESETS_MAX: usize = 20;
/// Streams that we reset and still remember, so that late frames for them are no protocol error.
pub const HBONE_RESET_STREAMS_MAX: usize = 50;
/// Stream errors that a peer may cause in the life of a connection.
pub const HBONE_LOCAL_ERROR_RESETS_MAX: usize = 256;
/// Bytes that one tunnel may have queued for sending. Two relay buffers of the largest size: one on the wire, one
/// being filled.
pub const HBONE_SEND_BUFFER_BYTES_MAX: usize = 512 << 10;
/// Overhead that undrained small DATA frames may add up to on one connection, bytes; beyond it h2 ends the whole
/// connection, neighbours included. h2 charges up to 256 bytes a frame, so this is 205 000 frames or more, about
/// 27 MB; a reader who stalls on 10-byte messages until its window is full uses half of it.
pub const HBONE_DATA_FRAME_BUDGET: usize = HBONE_CONNECTION_WINDOW as usize / 2;
/// From the end of TLS to the end of the HTTP/2 preface.
pub const HBONE_HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// From CONNECT to its reply: the peer's own connect deadline (5 s), its policy look-up and a margin.
pub const HBONE_REPLY_DEADLINE: Duration = Duration::from_secs(10);
/// From the end of the HTTP/2 handshake to the first CONNECT. Clients connect because they have one to send.
pub const HBONE_FIRST_TUNNEL_DEADLINE: Duration = Duration::from_secs(10);
/// A server ends a connection that had no tunnel for so long. Twice the client's time, so that the client, which
/// knows whether it is about to use it, goes first.
pub const HBONE_SERVER_IDLE_MAX: Duration = Duration::from_secs(600);
/// Silence after which a PING is sent; Istio's ztunnel has the same number.
pub const HBONE_PING_AFTER: Duration = Duration::from_secs(10);
/// Further silence after which the connection is dead.
pub const HBONE_PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Time that tunnel handlers get to notice that their connection ended, and to write their records.
pub const HBONE_HANDLERS_END_DEADLINE: Duration = Duration::from_secs(5);
/// Time that a last GOAWAY may take to leave.
pub const HBONE_GOODBYE_DEADLINE: Duration = Duration::from_secs(1);

/// TCP, TLS and HTTP/2 together, each with a deadline of its own of 5 s, and a certificate look-up. A net under
/// them, so that a capability without deadlines can't strand those who wait.
pub const POOL_CONNECT_DEADLINE: Duration = Duration::from_secs(20);
/// A connection without tunnels leaves the pool after this; Istio's ztunnel has the same number.
pub const POOL_IDLE_MAX: Duration = Duration::from_secs(300);
/// The same beside another one without tunnels: after a peak one spare is enough, and each takes some 60 kB.
pub const POOL_SURPLUS_IDLE_MAX: Duration = Duration::from_secs(5);
/// Connections from one source to one peer: 25 600 tunnels, near the number of local ports towards one address.
pub const POOL_CONNECTIONS_PER_PEER_MAX: usize = 256;
/// Connections of one pool. An idle one costs about 60 kB with its TLS state: 250 MB at worst.
pub const POOL_CONNECTIONS_MAX: usize = 4096;
/// A connection that refused a stream gets no new ones for this long.
pub const POOL_REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// Connections that one request for a tunnel tries, the first included. Nothing of the user has been sent before
/// the reply, so that another attempt repeats nothing.
pub const POOL_OPEN_ATTEMPTS: usize = 3;

/// Connects that one request for a tunnel waits for before it gives up. Those who wait are spread over connects
/// that will have room for them, so that one is the rule; more are needed only if others overtake.
pub const POOL_CHECKOUT_ROUNDS: usize = 8;

/// W3C Baggage, section 3.3.2: a list of 8192 bytes and 64 members is always propagated; more is ignored.
pub const BAGGAGE_BYTES_MAX: usize = 8192;
/// See [`BAGGAGE_BYTES_MAX`].
pub const BAGGAGE_MEMBERS_MAX: usize = 64;
/// One baggage value, bytes: a Kubernetes name, or a namespaced host name of as many.
pub const BAGGAGE_VALUE_BYTES_MAX: usize = NAME_BYTES_MAX;
/// `Forwarded`, bytes: an address and a host name need less than 330.
pub const FORWARDED_BYTES_MAX: usize = 512;

/// First read of a socket, bytes: a request or a line of a chatty protocol.
pub const READ_BYTES_MIN: usize = 2 << 10;
/// Largest read of a socket, bytes. Beyond it the cost of a system call no longer shows.
pub const READ_BYTES_MAX: usize = 256 << 10;
/// Bytes that a direction between two sockets copies before it takes a pipe: below it, making the pipe costs more
/// than the copies that it saves.
pub const SPLICE_AFTER_BYTES: u64 = 64 << 10;
/// Capacity of such a pipe, bytes.
pub const SPLICE_PIPE_BYTES: i32 = 256 << 10;
/// Pipes of the whole process: 256 times 256 KiB is the kernel's default `pipe-user-pages-soft` of 64 MiB. Directions
/// beyond it copy.
pub const SPLICE_PIPES_MAX: usize = 256;
/// A direction without data for so long gives its pipe back.
pub const SPLICE_PIPE_IDLE: Duration = Duration::from_secs(1);
/// A connection of which one direction ended is closed when the other moves nothing for so long.
pub const HALF_CLOSE_IDLE_MAX: Duration = Duration::from_secs(60);

/// Connections waiting to be accepted: a burst of as many SYNs as arrive in the 10 ms that a busy thread may take,
/// at 100 000 connections a second. `net.core.somaxconn` caps it.
pub const LISTEN_BACKLOG: i32 = 1024;
/// First pause after a failed accept.
pub const ACCEPT_BACKOFF_MIN: Duration = Duration::from_millis(5);
/// Longest pause after failed accepts: descriptors come back when connections end, which is noticed within a second.
pub const ACCEPT_BACKOFF_MAX: Duration = Duration::from_secs(1);
/// TCP keepalive: silence before the first probe. Istio's ztunnel has the same three numbers.
pub const TCP_KEEPALIVE_TIME: Duration = Duration::from_secs(180);
/// TCP keepalive: between probes.
pub const TCP_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(180);
/// TCP keepalive: lost probes that end a connection.
pub const TCP_KEEPALIVE_PROBES: u32 = 9;

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
