//! The HTTP/2 settings of both ends. Every number is in `limits`, with its derivation.

use std::time::Duration;

use crate::limits;

/// When to ask whether a silent peer is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepaliveSettings {
    /// Silence after which a PING is sent. Any byte received counts as a sign of life, so none is sent while data
    /// flows.
    pub after: Duration,
    /// Further silence after which the connection is dead.
    pub timeout: Duration,
}

impl Default for KeepaliveSettings {
    fn default() -> Self {
        Self { after: limits::HBONE_PING_AFTER, timeout: limits::HBONE_PING_TIMEOUT }
    }
}

pub(super) fn client() -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(limits::HBONE_STREAM_WINDOW)
        .initial_connection_window_size(limits::HBONE_CONNECTION_WINDOW)
        .max_frame_size(limits::HBONE_FRAME_BYTES_MAX)
        .max_header_list_size(limits::HBONE_HEADER_LIST_BYTES_MAX)
        // Until the peer's SETTINGS are there. It refuses what is beyond its own number, which is safe to retry.
        .initial_max_send_streams(limits::HBONE_CLIENT_STREAMS_MAX as usize)
        .max_concurrent_reset_streams(limits::HBONE_RESET_STREAMS_MAX)
        .max_pending_accept_reset_streams(limits::HBONE_PENDING_ACCEPT_RESETS_MAX)
        .max_local_error_reset_streams(Some(limits::HBONE_LOCAL_ERROR_RESETS_MAX))
        .max_send_buffer_size(limits::HBONE_SEND_BUFFER_BYTES_MAX)
        .data_frame_budget(limits::HBONE_DATA_FRAME_BUDGET);
    builder
}

pub(super) fn server() -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(limits::HBONE_STREAM_WINDOW)
        .initial_connection_window_size(limits::HBONE_CONNECTION_WINDOW)
        .max_frame_size(limits::HBONE_FRAME_BYTES_MAX)
        .max_header_list_size(limits::HBONE_HEADER_LIST_BYTES_MAX)
        .max_concurrent_streams(limits::HBONE_SERVER_STREAMS_MAX)
        .max_concurrent_reset_streams(limits::HBONE_RESET_STREAMS_MAX)
        .max_pending_accept_reset_streams(limits::HBONE_PENDING_ACCEPT_RESETS_MAX)
        .max_local_error_reset_streams(Some(limits::HBONE_LOCAL_ERROR_RESETS_MAX))
        .max_send_buffer_size(limits::HBONE_SEND_BUFFER_BYTES_MAX)
        .data_frame_budget(limits::HBONE_DATA_FRAME_BUDGET);
    builder
}
