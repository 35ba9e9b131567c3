//! The admin, metrics and readiness servers.

use std::time::Duration;

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
