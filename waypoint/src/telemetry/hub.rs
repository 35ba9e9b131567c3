//! All telemetry of a process in one place: policies come in, and each request is told to whom it concerns.
//!
//! ```text
//!  TelemetryPolicy ──Hub::understand──▶ Arc<Told>, kept beside the service
//!  request begins ───Told::begin──────▶ ServerSpan, if the service is traced
//!  request ends ─────Hub::request─────▶ metrics, lines, spans
//! ```

use std::sync::Arc;

use http::HeaderMap;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use weft_core::telemetry::{ByteTotals, ConnectionMetrics, LogLines, ResponseFlag, TrafficMetrics};

use super::access_log::AccessLog;
use super::metrics::{self, RequestMetrics, View};
use super::policy::{self, CollectorAddress, PolicyError, Tracing};
use super::record::{ConnectionRecord, RequestRecord};
use super::trace::{
    Collector, Dial, Exporter, Origin, ServerSpan, SpanMetrics, SpanQueue, Tracer, WeakSpanQueue,
};

/// What a process tells, and how.
pub struct Hub {
    parts: HubParts,
    /// Queues in use. Services with equal collectors share one, and its exporter ends with the last of them.
    queues: Mutex<Vec<(CollectorAddress, WeakSpanQueue)>>,
}

/// What a hub is made of.
pub struct HubParts {
    /// Metrics of requests.
    pub metrics: RequestMetrics,
    /// Metrics of connections that aren't HTTP.
    pub connections: TrafficMetrics,
    /// Where lines of access logs go.
    pub lines: LogLines,
    /// What becomes of spans.
    pub spans: SpanMetrics,
    /// What every span of this waypoint says.
    pub origin: Arc<Origin>,
    /// Where exporters run: not among the workers.
    pub runtime: Handle,
    /// How a collector is reached.
    pub dialler: Dialler,
    /// Looks a variable of this process up, for tags of spans.
    pub environment: Environment,
}

/// Gives what opens connections to a collector.
pub type Dialler = Box<dyn Fn(&CollectorAddress) -> Arc<dyn Dial> + Send + Sync>;
/// Looks a variable up.
pub type Environment = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What is told of one service's requests. The default: metrics as usual, no log, no traces.
#[derive(Debug, Default)]
pub struct Told {
    logs: Vec<AccessLog>,
    view: Option<Arc<View>>,
    tracer: Option<Arc<Tracer>>,
    /// Where its spans go, for who asks.
    traced: Option<Traced>,
}

/// Where spans of a service go, for who asks: no value of a header is in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Traced {
    /// `host:port`
    pub collector: String,
    /// Names of the headers that it is sent.
    pub headers: Vec<String>,
    /// Of how many requests, in percent.
    pub percent: f64,
}

impl Told {
    /// Begins the span of a request with these headers, if its service is traced.
    pub fn begin(&self, headers: &HeaderMap) -> Option<ServerSpan> {
        self.tracer.as_ref().map(|tracer| tracer.begin(headers))
    }

    /// Its access logs.
    pub fn logs(&self) -> &[AccessLog] {
        &self.logs
    }

    /// Whether metrics differ from the usual ones.
    pub fn changes_metrics(&self) -> bool {
        self.view.is_some()
    }

    /// Where spans go.
    pub fn traced(&self) -> Option<&Traced> {
        self.traced.as_ref()
    }

    /// Whether requests have lines: if not, nothing needs to be kept for them.
    pub fn has_logs(&self) -> bool {
        !self.logs.is_empty()
    }
}

impl Hub {
    /// From its parts.
    pub fn new(parts: HubParts) -> Self {
        Self { parts, queues: Mutex::default() }
    }

    /// Understands a policy; with it, a sentence for each part that can't be.
    pub fn understand(&self, bytes: &[u8]) -> Result<(Told, Vec<String>), PolicyError> {
        let decoded = policy::decode(bytes, &*self.parts.environment)?;
        let telemetry = decoded.telemetry;
        let traced = telemetry.tracing.as_ref().map(Traced::of);
        let tracer = telemetry.tracing.map(|tracing| {
            let queue = self.queue(&tracing.collector);
            Arc::new(tracing.tracer(Arc::clone(&self.parts.origin), queue))
        });
        let told = Told { logs: telemetry.logs, view: telemetry.view, tracer, traced };
        Ok((told, decoded.problems))
    }

    /// Tells of a request that has ended. It never waits.
    pub fn request(&self, told: &Told, record: &RequestRecord<'_>, span: Option<ServerSpan>) {
        self.parts.metrics.record(record, told.view.as_ref());
        told.logs.iter().for_each(|log| log.request(record, &self.parts.lines));
        if let Some(span) = span {
            span.finish(record);
        }
    }

    /// Counts a connection as opened, until what is returned is given to [`Self::connection`] or dropped. `bytes` is read
    /// at every scrape until then.
    pub fn opened(
        &self,
        record: &ConnectionRecord<'_>,
        bytes: Arc<dyn ByteTotals>,
    ) -> ConnectionMetrics {
        self.parts.connections.open(metrics::connection_labels(record), bytes)
    }

    /// Tells of a connection that has ended, or never came about.
    pub fn connection(
        &self,
        told: &Told,
        record: &ConnectionRecord<'_>,
        opened: Option<ConnectionMetrics>,
    ) {
        match (opened, metrics::connection_flag(record)) {
            (Some(_), ResponseFlag::None) => {}
            (Some(opened), flag) => opened.failed(flag),
            (None, flag) => {
                self.parts.connections.failed(&metrics::connection_labels(record).flag(flag));
            }
        }
        told.logs.iter().for_each(|log| log.connection(record, &self.parts.lines));
    }

    /// The queue of a collector, with an exporter that empties it.
    fn queue(&self, address: &CollectorAddress) -> SpanQueue {
        let mut queues = self.queues.lock();
        queues.retain(|(_, queue)| queue.upgrade().is_some());
        let known = queues.iter().find(|(known, _)| known == address);
        if let Some(queue) = known.and_then(|(_, queue)| queue.upgrade()) {
            return queue;
        }
        let (queue, exporter) = self.start(address);
        queues.push((address.clone(), queue.downgrade()));
        self.parts.runtime.spawn(exporter.run());
        queue
    }

    fn start(&self, address: &CollectorAddress) -> (SpanQueue, Exporter) {
        let collector = Collector::new(
            address.authority.clone(),
            address.protocol.clone(),
            (self.parts.dialler)(address),
            address.headers.clone(),
            address.deadline,
        );
        SpanQueue::new(collector, Arc::clone(&self.parts.origin), self.parts.spans.clone())
    }
}

impl Traced {
    fn of(tracing: &Tracing) -> Self {
        let names = tracing.collector.headers.keys().map(ToString::to_string);
        Self {
            collector: tracing.collector.authority.to_string(),
            headers: names.collect(),
            percent: tracing.percent(),
        }
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("queues", &self.queues.lock().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::BoxFuture;
    use prost::Message as _;
    use weft_core::telemetry::{Build, Exposition, Registry};
    use weft_proto::route as proto;

    use super::super::record::tests::Owned;
    use super::super::trace::Io;
    use super::*;

    struct Nowhere;

    impl Dial for Nowhere {
        fn dial(&self) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
            Box::pin(std::future::pending())
        }
    }

    fn hub(dialled: &Arc<AtomicUsize>) -> (Registry, Hub) {
        let mut registry = Registry::new(&Build::default());
        let dialled = Arc::clone(dialled);
        let hub = Hub::new(HubParts {
            metrics: RequestMetrics::new(&mut registry),
            connections: TrafficMetrics::new(&mut registry),
            lines: LogLines::start(io::sink()).unwrap().0,
            spans: SpanMetrics::new(&mut registry),
            origin: Arc::default(),
            runtime: Handle::current(),
            dialler: Box::new(move |_| {
                dialled.fetch_add(1, Ordering::Relaxed);
                Arc::new(Nowhere)
            }),
            environment: Box::new(|_| None),
        });
        (registry, hub)
    }

    fn traced(host: &str) -> Vec<u8> {
        let tracing = proto::TracingRule {
            collector_host: host.into(),
            collector_port: 4317,
            share_millionths: 1_000_000,
            ..Default::default()
        };
        proto::TelemetryPolicy { tracing: Some(tracing), ..Default::default() }.encode_to_vec()
    }

    #[tokio::test]
    async fn services_with_one_collector_share_its_queue_while_any_of_them_uses_it() {
        let started = Arc::default();
        let (_registry, hub) = hub(&started);
        let told = |host: &str| hub.understand(&traced(host)).unwrap().0;
        let count = || (started.load(Ordering::Relaxed), hub.queues.lock().len());
        let (first, second, other) = (told("a"), told("a"), told("b"));
        assert_eq!(count(), (2, 2));
        drop(first);
        let third = told("a");
        assert_eq!(count(), (2, 2));
        drop((second, third));
        let again = told("a");
        assert_eq!(count(), (3, 2));
        drop((other, again));
    }

    #[tokio::test]
    async fn request_of_a_service_without_a_policy_is_counted() {
        let (registry, hub) = hub(&Arc::default());
        let (owned, told) = (Owned::new(), Told::default());
        assert!(told.begin(&owned.request).is_none() && !told.has_logs());
        hub.request(&told, &owned.request(), None);
        let text = registry.encode(Exposition::Text).unwrap();
        assert!(text.contains("istio_requests_total{reporter=\"waypoint\""));
    }

    #[tokio::test]
    async fn problems_of_a_policy_are_told_and_the_rest_counts() {
        let (_registry, hub) = hub(&Arc::default());
        let bad = proto::AccessLogRule { filter: "no".into(), ..Default::default() };
        let access_logs = vec![bad, proto::AccessLogRule::default()];
        let policy = proto::TelemetryPolicy { access_logs, ..Default::default() };
        let (told, problems) = hub.understand(&policy.encode_to_vec()).unwrap();
        assert_eq!((told.logs.len(), problems.len()), (1, 1));
        assert!(hub.understand(b"\xff").is_err());
    }
}
