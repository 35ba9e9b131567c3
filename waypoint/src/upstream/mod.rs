//! Towards backends: which endpoint, over which connection, with which identity.
//!
//! ```text
//!  endpoint ─▶ shelf: an idle HTTP/1.1 connection, or a shared HTTP/2 one ─▶ exchange
//!                 └─ none: dial ─▶ HBONE tunnel from the pool (or plain TCP) ─▶ HTTP on it
//! ```
//!
//! Connections to applications stay open across requests, also where they lie in tunnels. Each worker thread has its
//! own; nothing is shared between threads on the way of a request.

mod backends;
mod checking;
mod connection;
mod dial;
mod endpoint;
mod names;
mod origination;
mod shelf;

pub(crate) use backends::{Backend, Backends, Held, Listed, Wanted};
pub(crate) use checking::{ByName, ToCollector};
pub(crate) use connection::{Exchange, Piece, RequestBody, SendError};
pub(crate) use dial::{DialError, Dialer, Io};
pub(crate) use endpoint::{Endpoint, EndpointError, endpoint};
pub(crate) use names::Names;
pub(crate) use origination::Origin;
pub(crate) use shelf::{Shelf, Spoken, TakeError, Way};
