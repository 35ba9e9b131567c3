//! What the controller counts. Names are those that Istio's dashboards and Kiali read.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tonic::Code;
use weft_core::clock;
use weft_core::telemetry::LogControl;

/// A counter under its exact name.
///
/// istiod's counters lack the `_total` that OpenMetrics demands and this library appends, and dashboards ask for the
/// names as istiod has them. Exposed as gauges they keep them; `rate()` works on either.
pub type Count = Gauge<u64, AtomicU64>;

/// Seconds; up to what a full load of a large mesh may take.
const CONVERGENCE_BUCKETS: [f64; 12] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0, 5.0, 10.0, 30.0];
/// Bytes; up to the size of one response.
const SIZE_BUCKETS: [f64; 6] = [1e3, 1e4, 1e5, 2.5e5, 5e5, 1e6];

/// Short name of a resource type. A closed set: never a client's own text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TypeLabel {
    /// The type.
    pub r#type: &'static str,
}

/// Why a certificate was not issued.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CodeLabel {
    /// The gRPC status code.
    pub code: &'static str,
}

/// The program.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabel {
    component: &'static str,
    tag: &'static str,
}

/// All metrics of the controller.
pub struct Metrics {
    registry: Registry,
    /// Connected discovery clients.
    pub clients: Gauge,
    /// Responses sent.
    pub pushes: Family<TypeLabel, Count>,
    /// Bytes of resources in a response.
    pub push_bytes: Family<TypeLabel, Histogram>,
    /// From a change's entry into the log to its acknowledgement by a client, seconds.
    pub convergence: Histogram,
    /// Responses refused by clients.
    pub rejects: Count,
    /// Streams that were not admitted.
    pub streams_refused: Count,
    /// Signing requests.
    pub csr_count: Count,
    /// Certificates issued.
    pub certificates_issued: Count,
    /// Signing requests refused.
    pub csr_refused: Family<CodeLabel, Count>,
    /// When the first root expires, Unix seconds.
    pub root_expiry: Count,
    /// Open connections.
    pub connections: Gauge,
    /// Handshakes that failed or took too long.
    pub handshakes_failed: Count,
    log: Arc<OnceLock<LogControl>>,
}

impl Metrics {
    /// All at zero, and registered.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            clients: Gauge::default(),
            pushes: Family::default(),
            push_bytes: Family::new_with_constructor(|| Histogram::new(SIZE_BUCKETS)),
            convergence: Histogram::new(CONVERGENCE_BUCKETS),
            rejects: Count::default(),
            streams_refused: Count::default(),
            csr_count: Count::default(),
            certificates_issued: Count::default(),
            csr_refused: Family::default(),
            root_expiry: Count::default(),
            connections: Gauge::default(),
            handshakes_failed: Count::default(),
            log: Arc::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let to = &mut self.registry;
        to.register("pilot_xds", "Connected discovery clients", self.clients.clone());
        to.register("pilot_xds_pushes", "Responses sent", self.pushes.clone());
        let size = "Size of a response's resources";
        to.register_with_unit("pilot_xds_config_size", size, Unit::Bytes, self.push_bytes.clone());
        let convergence = "From a change to its acknowledgement, seconds";
        to.register("pilot_proxy_convergence_time", convergence, self.convergence.clone());
        to.register("pilot_total_xds_rejects", "Responses refused", self.rejects.clone());
        let refused = "Streams not admitted, by rate or by credentials";
        to.register("weft_xds_streams_refused", refused, self.streams_refused.clone());
        to.register("citadel_server_csr_count", "Signing requests", self.csr_count.clone());
        to.register(
            "citadel_server_success_cert_issuance_count",
            "Certificates issued",
            self.certificates_issued.clone(),
        );
        let refused = "Signing requests refused";
        to.register("weft_ca_csr_refused", refused, self.csr_refused.clone());
        to.register(
            "citadel_server_root_cert_expiry_timestamp",
            "When the first root expires, Unix seconds",
            self.root_expiry.clone(),
        );
        to.register("weft_connections", "Open connections", self.connections.clone());
        to.register(
            "weft_handshakes_failed",
            "Handshakes that failed or took too long",
            self.handshakes_failed.clone(),
        );
        let build = Family::<BuildLabel, Gauge>::default();
        let label = BuildLabel { component: "pilot", tag: env!("CARGO_PKG_VERSION") };
        build.get_or_create(&label).set(1);
        to.register("istio_build", "The program's version", build);
        let (started, log) = (clock::unix_seconds(), Arc::clone(&self.log));
        to.register_collector(Box::new(Process { started, log }));
    }

    /// Shows what `log` drops from now on.
    pub fn count_dropped_lines(&self, log: LogControl) {
        // A process has one log; a second would be a mistake in `main`, and the first goes on being counted.
        let _ = self.log.set(log);
    }

    /// Counts a certificate that was refused.
    pub fn count_csr_refusal(&self, code: Code) {
        let code = match code {
            Code::Unauthenticated => "unauthenticated",
            Code::PermissionDenied => "permission_denied",
            Code::InvalidArgument => "invalid_argument",
            Code::ResourceExhausted => "resource_exhausted",
            _ => "other",
        };
        self.csr_refused.get_or_create(&CodeLabel { code }).inc();
    }

    /// The exposition text (OpenMetrics 1.0).
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Figures of the process, read when asked.
#[derive(Debug)]
struct Process {
    started: u64,
    log: Arc<OnceLock<LogControl>>,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: u64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        gauge("process_start_time_seconds", "When the process started", self.started)?;
        if let Some(bytes) = resident_bytes() {
            gauge("process_resident_memory_bytes", "Resident memory", bytes)?;
        }
        if let Some(open) = open_files() {
            gauge("process_open_fds", "Open descriptors", open)?;
        }
        if let Some(log) = self.log.get() {
            let count = ConstCounter::new(log.dropped());
            let help = "Log lines dropped because standard output was slow";
            let name = "weft_log_lines_dropped";
            count.encode(encoder.encode_descriptor(name, help, None, count.metric_type())?)?;
        }
        Ok(())
    }
}

/// Resident memory of this process, bytes; `None` where the kernel does not tell.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn open_files() -> Option<u64> {
    // The folder's own descriptor is among those it lists.
    let count = std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    u64::try_from(count).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashboards_find_the_names_that_they_ask_for() {
        let metrics = Metrics::new();
        metrics.clients.inc();
        metrics.pushes.get_or_create(&TypeLabel { r#type: "address" }).inc();
        metrics.push_bytes.get_or_create(&TypeLabel { r#type: "address" }).observe(10.0);
        metrics.convergence.observe(0.02);
        let text = metrics.render().unwrap();
        for line in [
            "pilot_xds 1",
            "pilot_xds_pushes{type=\"address\"} 1",
            "pilot_proxy_convergence_time_bucket{le=\"0.025\"} 1",
            "pilot_proxy_convergence_time_count 1",
            "pilot_total_xds_rejects 0",
            "pilot_xds_config_size_bytes_bucket{le=\"1000.0\",type=\"address\"} 1",
            "citadel_server_csr_count 0",
            "citadel_server_success_cert_issuance_count 0",
            "istio_build{component=\"pilot\",tag=",
            "process_resident_memory_bytes ",
        ] {
            assert!(text.contains(line), "{line} is missing from\n{text}");
        }
    }
}
