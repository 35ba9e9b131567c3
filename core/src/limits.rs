//! Every bound of the shared data path, with its derivation. A bound that only one file needs still lives here,
//! so that one folder answers "how much can a stranger make us hold, and for how long". One file a concern, all under
//! `limits::`.

mod admin;
mod certs;
mod control;
mod dns;
mod hbone;
mod names;
mod pool;
mod relay;
mod socket;
mod telemetry;
mod tls;
mod xds;
mod zds;

pub use admin::*;
pub use certs::*;
pub use control::*;
pub use dns::*;
pub use hbone::*;
pub use names::*;
pub use pool::*;
pub use relay::*;
pub use socket::*;
pub use telemetry::*;
pub use tls::*;
pub use xds::*;
pub use zds::*;
