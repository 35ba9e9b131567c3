//! HBONE: HTTP/2, tunnels and their headers.

use std::time::Duration;

use super::NAME_BYTES_MAX;

/// HTTP/2 stream window, bytes: the most that one tunnel may have in flight towards us. 2 MiB fill 16 Gb/s at a
/// round trip of 1 ms, and 320 Mb/s at 50 ms. The round trip includes the queues of two busy proxies: with half of it,
/// one stream was a sixth slower within one machine.
pub const HBONE_STREAM_WINDOW: u32 = 2 << 20;
/// Tunnels that one client opens on a connection; Istio's ztunnel has the same number.
pub const HBONE_CLIENT_STREAMS_MAX: u32 = 100;
/// HTTP/2 connection window, bytes: a full stream window for each tunnel, so that however many tunnels stall, the
/// next still has its own window. It bounds what one peer makes us hold: about what 100 plain TCP connections
/// would pin in the kernel at the default `tcp_rmem` (6 MB each) divided by three.
pub const HBONE_CONNECTION_WINDOW: u32 = HBONE_STREAM_WINDOW * HBONE_CLIENT_STREAMS_MAX;
/// Largest frame that we take, bytes: with its header of 9 bytes it fills four TLS records to the last byte, and a
/// neighbour waits for at most 64 KiB of somebody else's data.
pub const HBONE_FRAME_BYTES_MAX: u32 = (64 << 10) - 9;
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
/// W3C Baggage, section 3.3.2: a list of 8192 bytes and 64 members is always propagated; more is ignored.
pub const BAGGAGE_BYTES_MAX: usize = 8192;
/// See [`BAGGAGE_BYTES_MAX`].
pub const BAGGAGE_MEMBERS_MAX: usize = 64;
/// One baggage value, bytes: a Kubernetes name, or a namespaced host name of as many.
pub const BAGGAGE_VALUE_BYTES_MAX: usize = NAME_BYTES_MAX;
/// `Forwarded`, bytes: an address and a host name need less than 330.
pub const FORWARDED_BYTES_MAX: usize = 512;
