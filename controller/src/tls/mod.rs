//! The controller's listening side: one port, TLS 1.3, HTTP/2.

mod listener;
mod serving;

pub use listener::{Connection, PeerAddress, listen};
pub use serving::{ServingCertificate, ServingError};
