//! What an operator can see: metrics, the access log and the process's own log.
//!
//! ```text
//!  connection ──▶ ConnectionMetrics ─┐                     ┌─▶ /metrics
//!  xds, dns, certificates, proxies ──┴─▶ Registry (scrape) ┘
//!  connection ──▶ AccessLog ─┐
//!  tracing events ───────────┴─▶ format ──▶ lossy writer ──▶ standard output
//! ```
//!
//! Names, labels and log keys are those of Istio's ztunnel, since dashboards, Kiali and scripts read them.
//!
//! Invariants: no label value comes from a peer (invariant 9), only from the mesh's own configuration or from a
//! fixed list; the data path never waits for standard output or for a scrape.

mod access_log;
mod components;
mod dns;
mod labels;
mod log_format;
mod log_writer;
mod logging;
mod process;
mod registry;
mod timestamp;
mod traffic;

pub use access_log::{AccessLog, Direction, EarlyFailure, Endpoint};
pub use components::{
    CertificateMetrics, CertificateStates, OpenSocket, ProxyMetrics, SocketMetrics, XdsMetrics,
    XdsTermination,
};
pub use dns::{DnsClientMetrics, DnsMetrics, DnsProtocol, QueryType};
pub use labels::{
    Edge, Party, Reporter, ResponseFlag, Security, ServiceLabels, SharedParty, TrafficLabels, label,
};
pub use log_writer::LogLines;
pub use logging::{LogControl, LogError, LogFormat, LogGuard, LogSettings, init};
pub use process::RuntimeMetrics;
pub use registry::{Build, Exposition, Registry};
pub use timestamp::{Civil, rfc3339};
pub use traffic::{ByteTotals, ConnectionMetrics, TrafficMetrics};
