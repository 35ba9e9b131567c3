//! What an operator sees of a waypoint's traffic: metrics, the access log and traces.
//!
//! ```text
//!                     ┌─▶ metrics::RequestMetrics ──▶ core's Registry ──▶ /stats/prometheus
//!  RequestRecord ─────┼─▶ access_log::AccessLog ────▶ core's LogLines ──▶ standard output
//!  ConnectionRecord   └─▶ trace::ServerSpan ────────▶ trace::Exporter ──▶ a collector (OTLP)
//! ```
//!
//! The request loop fills one record a request and hands it to the [`Hub`], which tells each; none of them keeps it.
//!
//! Invariants: no label of a metric is a text of a peer's choice; no line of the log can be forged by a value in it;
//! nothing here makes a request wait.

pub mod access_log;
mod flags;
mod hub;
pub mod metrics;
pub mod policy;
mod record;
mod share;
pub mod trace;

pub use flags::ResponseFlags;
pub use hub::{Dialler, Environment, Hub, HubParts, Told, Traced};
pub use record::{
    ConnectionRecord, Downstream, Http, Parties, RequestProtocol, RequestRecord, Sizes, Stream,
    Upstream,
};
pub use share::Share;
