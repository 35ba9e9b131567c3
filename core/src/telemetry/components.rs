//! Metrics of the parts that aren't traffic. Each part gets the handle it needs and nothing else.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric, LabelSetEncoder,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;

use super::labels::{Reporter, UNKNOWN, label};
use super::process;
use super::registry::Registry;
use crate::{clock, limits};

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
        registry
            .metrics()
            .register("istio_tcp_sockets_open", "Open sockets", open.clone());
        Self(open)
    }

    /// Counts a socket until the guard is dropped.
    pub fn open(&self, reporter: Reporter) -> OpenSocket {
        let gauge = self
            .0
            .get_or_create_owned(&Word("reporter", reporter.as_str()));
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
            (
                "istio_xds_message",
                "Messages of the controller",
                &metrics.messages,
            ),
            (
                "istio_xds_message_bytes",
                "Bytes of those messages",
                &metrics.message_bytes,
            ),
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
        self.terminations
            .get_or_create(&Word("reason", reason))
            .inc();
    }

    /// Counts a message of `bytes`. The type is one that the client asked for, so it is a constant of the program.
    pub fn received(&self, type_url: &'static str, bytes: u64) {
        self.messages.get_or_create(&Word("url", type_url)).inc();
        self.message_bytes
            .get_or_create(&Word("url", type_url))
            .inc_by(bytes);
    }
}

/// The record types that have their own name in the counters; a client may ask for 65,536.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "they are the DNS record types of these names")]
pub enum QueryType {
    A,
    Aaaa,
    Cname,
    Mx,
    Ns,
    Ptr,
    Soa,
    Srv,
    Svcb,
    Https,
    Txt,
    Other,
}

impl QueryType {
    fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
            Self::Mx => "MX",
            Self::Ns => "NS",
            Self::Ptr => "PTR",
            Self::Soa => "SOA",
            Self::Srv => "SRV",
            Self::Svcb => "SVCB",
            Self::Https => "HTTPS",
            Self::Txt => "TXT",
            Self::Other => "OTHER",
        }
    }
}

/// How a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "they are the protocols of these names")]
pub enum DnsProtocol {
    Udp,
    Tcp,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct DnsLabels {
    query_type: QueryType,
    protocol: DnsProtocol,
    service: Arc<str>,
    revision: Arc<str>,
}

impl EncodeLabelSet for DnsLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            DnsProtocol::Udp => "udp",
            DnsProtocol::Tcp => "tcp",
        };
        label(encoder, "request_query_type", self.query_type.as_str())?;
        label(encoder, "request_protocol", protocol)?;
        label(encoder, "source_canonical_service", &self.service)?;
        label(encoder, "source_canonical_revision", &self.revision)
    }
}

/// Canonical service and revision.
type Services = HashSet<(Arc<str>, Arc<str>)>;

type NewHistogram = fn() -> Histogram;

fn upstream_histogram() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.01, 0.1, 1.0, 5.0])
}

/// The DNS proxy's counters.
#[derive(Debug, Clone)]
pub struct DnsMetrics {
    requests: Family<DnsLabels, Counter>,
    upstream_requests: Family<DnsLabels, Counter>,
    upstream_failures: Family<DnsLabels, Counter>,
    upstream_duration: Family<DnsLabels, Histogram, NewHistogram>,
    known: Arc<Mutex<Services>>,
}

impl DnsMetrics {
    /// Adds the counters to `registry`.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            upstream_requests: Family::default(),
            upstream_failures: Family::default(),
            upstream_duration: Family::new_with_constructor(upstream_histogram as NewHistogram),
            known: Arc::default(),
        };
        let target = registry.metrics();
        target.register(
            "istio_dns_requests",
            "Queries of pods",
            metrics.requests.clone(),
        );
        let help = "Queries passed on to a name server";
        target.register(
            "istio_dns_upstream_requests",
            help,
            metrics.upstream_requests.clone(),
        );
        let help = "Queries that no name server answered";
        target.register(
            "istio_dns_upstream_failures",
            help,
            metrics.upstream_failures.clone(),
        );
        let help = "Time until a name server answered";
        let name = "istio_dns_upstream_request_duration_seconds";
        target.register(name, help, metrics.upstream_duration.clone());
        metrics
    }

    /// The counters of one pod's queries. Beyond [`limits::DNS_SERIES_MAX`] services, the pod is `unknown`.
    pub fn client(&self, service: &Arc<str>, revision: &Arc<str>) -> DnsClientMetrics {
        let pair = (Arc::clone(service), Arc::clone(revision));
        let mut known = self.known.lock();
        let has_name = known.contains(&pair) || known.len() < limits::DNS_SERIES_MAX;
        if has_name {
            known.insert(pair);
        }
        drop(known);
        let unknown: Arc<str> = UNKNOWN.into();
        let name = |text: &Arc<str>| Arc::clone(if has_name { text } else { &unknown });
        DnsClientMetrics {
            dns: self.clone(),
            service: name(service),
            revision: name(revision),
        }
    }
}

/// The DNS counters of one pod.
#[derive(Debug, Clone)]
pub struct DnsClientMetrics {
    dns: DnsMetrics,
    service: Arc<str>,
    revision: Arc<str>,
}

impl DnsClientMetrics {
    fn labels(&self, query_type: QueryType, protocol: DnsProtocol) -> DnsLabels {
        let (service, revision) = (Arc::clone(&self.service), Arc::clone(&self.revision));
        DnsLabels {
            query_type,
            protocol,
            service,
            revision,
        }
    }

    /// Counts a query of the pod.
    pub fn request(&self, query_type: QueryType, protocol: DnsProtocol) {
        self.dns
            .requests
            .get_or_create(&self.labels(query_type, protocol))
            .inc();
    }

    /// Counts a query that was passed on, and how long its answer took; `None` if there was none.
    pub fn upstream(
        &self,
        query_type: QueryType,
        protocol: DnsProtocol,
        answered: Option<Duration>,
    ) {
        let labels = self.labels(query_type, protocol);
        self.dns.upstream_requests.get_or_create(&labels).inc();
        match answered {
            Some(took) => {
                self.dns
                    .upstream_duration
                    .get_or_create(&labels)
                    .observe(took.as_secs_f64());
            }
            None => {
                self.dns.upstream_failures.get_or_create(&labels).inc();
            }
        }
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
        target.register(
            name,
            "Pods whose listeners couldn't be made yet",
            metrics.pending.clone(),
        );
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
        registry
            .metrics()
            .register("weft_certificate_requests", help, requests.clone());
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
        let left = expires_first
            .duration_since(clock::now())
            .unwrap_or_default();
        process::seconds(
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?,
            left,
        )
    }
}

#[cfg(test)]
mod tests {
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
        dns.upstream(
            QueryType::A,
            DnsProtocol::Udp,
            Some(Duration::from_millis(2)),
        );
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
    fn pods_beyond_the_bound_share_one_name() {
        let mut registry = Registry::new(&Build::default());
        let dns = DnsMetrics::new(&mut registry);
        for n in 0..limits::DNS_SERIES_MAX + 5 {
            let client = dns.client(&format!("s{n}").into(), &"v1".into());
            client.request(QueryType::A, DnsProtocol::Udp);
        }
        let text = text(&registry);
        let lines = text
            .lines()
            .filter(|l| l.starts_with("istio_dns_requests_total{"));
        assert_eq!(lines.count(), limits::DNS_SERIES_MAX + 1);
        assert!(
            text.lines()
                .any(|l| l.contains(r#"service="unknown""#) && l.ends_with(" 5"))
        );
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
