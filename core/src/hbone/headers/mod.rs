//! The headers of a CONNECT. Parsers of remote bytes: total, bounded, without indexing.
//!
//! Only [`Authority`] decides anything, and a malformed one refuses the request. The others feed telemetry: a
//! malformed one is ignored, and none is ever taken for an identity.

mod authority;
mod baggage;
mod forwarded;
mod host;
mod traceparent;

pub use authority::{Authority, AuthorityError};
pub use baggage::{Baggage, WorkloadKind, WorkloadName};
pub use forwarded::Forwarded;
pub use host::HostName;
pub use traceparent::TraceParent;
