//! Metrics of the parts that aren't traffic. Each part gets the handle it needs and nothing else.

use std::fmt;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric, LabelSetEncoder,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};

use super::labels::{Reporter, label};
use super::process;
use super::registry::Registry;
use crate::clock;

/// One label whose values are fixed words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Word(&'static str, &'static str);

impl EncodeLabelSet for Word {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        label(encoder, self.0, self.1)
    }
}

/// Sockets that are open for pods' connections.
#[derive(Debug, Clone)]
pub struct SocketMetrics(Family<Word, Gauge>);

impl SocketMetrics {
    /// Adds the gauge to `registry`.
    pub fn new(registry: &mut Registry) -> Self {
        let open = Family::default();
        registry.metrics().register("istio_tcp_sockets_open", "Open sockets", open.clone());
        Self(open)
    }

    /// Counts a socket until the guard is dropped.
    pub fn open(&self, reporter: Reporter) -> OpenSocket {
        let gauge = self.0.get_or_create_owned(&Word("reporter", reporter.as_str()));
        gauge.inc();
        OpenSocket(gauge)
    }
}

/// A socket that is counted as open.
#[derive(Debug)]
pub struct OpenSocket(Gauge);

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Why a connection to the controller ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XdsTermination {
    /// It couldn't be made.
    ConnectionError,
    /// The stream failed.
    Error,
    /// The controller asked to connect again.
    Reconnect,
    /// The stream ended in order.
    Complete,
}

/// What the discovery client receives.
#[derive(Debug, Clone)]
pub struct XdsMetrics {
    terminations: Family<Word, Counter>,
    messages: Family<Word, Counter>,
    message_bytes: Family<Word, Counter>,
}

impl XdsMetrics {
    /// Adds the counters to `registry`.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            terminations: Family::default(),
            messages: Family::default(),
            message_bytes: Family::default(),
        };
        for (name, help, family) in [
            (
                "istio_xds_connection_terminations",
                "Ended connections to the controller",
                &metrics.terminations,
            ),
            ("istio_xds_message", "Messages of the controller", &metrics.messages),
            ("istio_xds_message_bytes", "Bytes of those messages", &metrics.message_bytes),
        ] {
            registry.metrics().register(name, help, family.clone());
        }
        metrics
    }

    /// Counts an ended connection.
    pub fn terminated(&self, reason: XdsTermination) {
        let reason = match reason {
            XdsTermination::ConnectionError => "ConnectionError",
            XdsTermination::Error => "Error",
            XdsTermination::Reconnect => "Reconnect",
            XdsTermination::Complete => "Complete",
        };
        self.terminations.get_or_create(&Word("reason", reason)).inc();
    }

    /// Counts a message of `bytes`. The type is one that the client asked for, so it is a constant of the program.
    pub fn received(&self, type_url: &'static str, bytes: u64) {
        self.messages.get_or_create(&Word("url", type_url)).inc();
        self.message_bytes.get_or_create(&Word("url", type_url)).inc_by(bytes);
    }
}

/// The pods that a node proxy serves.
#[derive(Debug, Clone)]
pub struct ProxyMetrics {
    /// Pods served.
    pub active: Gauge,
    /// Pods whose listeners couldn't be made yet.
    pub pending: Gauge,
    /// Pods begun.
    pub started: Counter,
    /// Pods left.
    pub stopped: Counter,
}

impl ProxyMetrics {
    /// Adds the figures to `registry`.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            active: Gauge::default(),
            pending: Gauge::default(),
            started: Counter::default(),
            stopped: Counter::default(),
        };
        let target = registry.metrics();
        let name = "workload_manager_active_proxy_count";
        target.register(name, "Pods served", metrics.active.clone());
        let name = "workload_manager_pending_proxy_count";
        target.register(name, "Pods whose listeners couldn't be made yet", metrics.pending.clone());
        let name = "workload_manager_proxies_started";
        target.register(name, "Pods begun", metrics.started.clone());
        let name = "workload_manager_proxies_stopped";
        target.register(name, "Pods left", metrics.stopped.clone());
        metrics
    }
}

/// How many certificates are in which state.
#[derive(Debug, Clone, Copy, Default)]
pub struct CertificateStates {
    /// Usable.
    pub available: u64,
    /// Asked for the first time.
    pub initializing: u64,
    /// Neither usable nor obtainable.
    pub unavailable: u64,
    /// When the first of the usable ones expires.
    pub expires_first: Option<SystemTime>,
}

/// What the certificate store does.
#[derive(Debug, Clone)]
pub struct CertificateMetrics(Family<Word, Counter>);

impl CertificateMetrics {
    /// Adds the figures to `registry`. `states` is asked at every scrape.
    pub fn new(
        registry: &mut Registry,
        states: impl Fn() -> CertificateStates + Send + Sync + 'static,
    ) -> Self {
        let requests = Family::default();
        let help = "Answers of the certificate authority";
        registry.metrics().register("weft_certificate_requests", help, requests.clone());
        registry.collector(CertificateCollector(Box::new(states)));
        Self(requests)
    }

    /// Counts an issued certificate.
    pub fn issued(&self) {
        self.0.get_or_create(&Word("result", "issued")).inc();
    }

    /// Counts a request that failed.
    pub fn failed(&self) {
        self.0.get_or_create(&Word("result", "failed")).inc();
    }
}

struct CertificateCollector(Box<dyn Fn() -> CertificateStates + Send + Sync>);

impl fmt::Debug for CertificateCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificateCollector")
    }
}

impl Collector for CertificateCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let states = (self.0)();
        let (name, help) = ("weft_certificates", "Certificates of workloads");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (state, count) in [
            ("available", states.available),
            ("initializing", states.initializing),
            ("unavailable", states.unavailable),
        ] {
            let gauge = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
            gauge.encode(family.encode_family(&Word("state", state))?)?;
        }
        let Some(expires_first) = states.expires_first else {
            return Ok(());
        };
        let name = "weft_certificate_expiry_seconds";
        let help = "Time until the first certificate expires; 0 if it has";
        let left = expires_first.duration_since(clock::now()).unwrap_or_default();
        process::seconds(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?, left)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::dns::{DnsMetrics, DnsProtocol, QueryType};
    use super::super::registry::{Build, Exposition};
    use super::*;

    fn text(registry: &Registry) -> String {
        registry.encode(Exposition::Text).unwrap()
    }

    #[test]
    fn socket_is_counted_while_its_guard_lives() {
        let mut registry = Registry::new(&Build::default());
        let sockets = SocketMetrics::new(&mut registry);
        let open = sockets.open(Reporter::Source);
        assert!(text(&registry).contains("istio_tcp_sockets_open{reporter=\"source\"} 1\n"));
        drop(open);
        assert!(text(&registry).contains("istio_tcp_sockets_open{reporter=\"source\"} 0\n"));
    }

    #[test]
    fn names_are_those_that_dashboards_read() {
        let mut registry = Registry::new(&Build::default());
        let xds = XdsMetrics::new(&mut registry);
        xds.received("type.googleapis.com/istio.workload.Address", 120);
        xds.terminated(XdsTermination::Reconnect);
        let proxies = ProxyMetrics::new(&mut registry);
        proxies.active.set(3);
        proxies.started.inc_by(4);
        let dns = DnsMetrics::new(&mut registry).client(&"web".into(), &"v1".into());
        dns.request(QueryType::A, DnsProtocol::Udp);
        dns.upstream(QueryType::A, DnsProtocol::Udp, Some(Duration::from_millis(2)));
        dns.upstream(QueryType::Other, DnsProtocol::Tcp, None);
        let text = text(&registry);
        for line in [
            r#"istio_xds_message_total{url="type.googleapis.com/istio.workload.Address"} 1"#,
            r#"istio_xds_message_bytes_total{url="type.googleapis.com/istio.workload.Address"} 120"#,
            r#"istio_xds_connection_terminations_total{reason="Reconnect"} 1"#,
            "workload_manager_active_proxy_count 3",
            "workload_manager_pending_proxy_count 0",
            "workload_manager_proxies_started_total 4",
            "workload_manager_proxies_stopped_total 0",
            concat!(
                r#"istio_dns_requests_total{request_query_type="A",request_protocol="udp","#,
                r#"source_canonical_service="web",source_canonical_revision="v1"} 1"#
            ),
            concat!(
                r#"istio_dns_upstream_failures_total{request_query_type="OTHER",request_protocol="tcp","#,
                r#"source_canonical_service="web",source_canonical_revision="v1"} 1"#
            ),
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        let bucket = text.lines().find(|l| {
            l.starts_with("istio_dns_upstream_request_duration_seconds_bucket{le=\"0.01\"")
        });
        assert!(bucket.unwrap().ends_with(" 1"));
    }

    #[test]
    fn first_expiry_is_shown() {
        let mut registry = Registry::new(&Build::default());
        let metrics = CertificateMetrics::new(&mut registry, || CertificateStates {
            available: 2,
            expires_first: Some(clock::now() + Duration::from_secs(1000)),
            ..CertificateStates::default()
        });
        metrics.issued();
        let text = text(&registry);
        assert!(text.contains("weft_certificates{state=\"available\"} 2\n"));
        assert!(text.contains("weft_certificate_expiry_seconds 9"));
        assert!(text.contains("weft_certificate_requests_total{result=\"issued\"} 1\n"));
    }
}
