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

pub use backends::{Backend, Backends, Wanted};
pub use checking::{ByName, ToCollector};
pub use connection::{Exchange, One, Piece, RequestBody, SendError};
pub use dial::{DialError, Dialer, Io};
pub use endpoint::{Endpoint, EndpointError, endpoint};
pub use names::Names;
pub use origination::Origin;
pub use shelf::{Shelf, Spoken, TakeError, Way};
