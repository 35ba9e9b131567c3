//! The DNS proxy's counters, a pod's service each.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::labels::{UNKNOWN, label};
use super::registry::Registry;
use crate::limits;

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
        target.register("istio_dns_requests", "Queries of pods", metrics.requests.clone());
        let help = "Queries passed on to a name server";
        target.register("istio_dns_upstream_requests", help, metrics.upstream_requests.clone());
        let help = "Queries that no name server answered";
        target.register("istio_dns_upstream_failures", help, metrics.upstream_failures.clone());
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
        DnsClientMetrics { dns: self.clone(), service: name(service), revision: name(revision) }
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
        DnsLabels { query_type, protocol, service, revision }
    }

    /// Counts a query of the pod.
    pub fn request(&self, query_type: QueryType, protocol: DnsProtocol) {
        self.dns.requests.get_or_create(&self.labels(query_type, protocol)).inc();
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
                self.dns.upstream_duration.get_or_create(&labels).observe(took.as_secs_f64());
            }
            None => {
                self.dns.upstream_failures.get_or_create(&labels).inc();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::registry::{Build, Exposition};
    use super::*;

    #[test]
    fn pods_beyond_the_bound_share_one_name() {
        let mut registry = Registry::new(&Build::default());
        let dns = DnsMetrics::new(&mut registry);
        for n in 0..limits::DNS_SERIES_MAX + 5 {
            let client = dns.client(&format!("s{n}").into(), &"v1".into());
            client.request(QueryType::A, DnsProtocol::Udp);
        }
        let text = registry.encode(Exposition::Text).unwrap();
        let lines = text.lines().filter(|l| l.starts_with("istio_dns_requests_total{"));
        assert_eq!(lines.count(), limits::DNS_SERIES_MAX + 1);
        assert!(text.lines().any(|l| l.contains(r#"service="unknown""#) && l.ends_with(" 5")));
    }
}
