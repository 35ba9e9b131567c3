//! The discovery client.

use std::time::Duration;

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
