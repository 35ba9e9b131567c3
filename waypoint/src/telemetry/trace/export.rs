//! The way of spans to a collector, off the requests' path.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::sync::mpsc;
use tokio::time::{self, Instant};
use weft_core::telemetry::Registry;
use weft_proto::opentelemetry::collector::trace::v1::ExportTraceServiceRequest;
use weft_proto::opentelemetry::common::v1::InstrumentationScope;
use weft_proto::opentelemetry::resource::v1::Resource;
use weft_proto::opentelemetry::trace::v1::{ResourceSpans, ScopeSpans, Span};

use super::collector::Collector;
use super::tags::Origin;
use crate::limits;

/// Where requests put their spans. It never waits.
#[derive(Debug, Clone)]
pub struct SpanQueue {
    spans: mpsc::Sender<Span>,
    metrics: SpanMetrics,
}

/// A queue that ends once nobody else holds it.
#[derive(Debug, Clone)]
pub struct WeakSpanQueue {
    spans: mpsc::WeakSender<Span>,
    metrics: SpanMetrics,
}

/// Sends the spans of a queue. [`Exporter::run`] it until the queue's last clone is gone.
#[derive(Debug)]
pub struct Exporter {
    spans: mpsc::Receiver<Span>,
    collector: Collector,
    origin: Arc<Origin>,
    metrics: SpanMetrics,
}

/// What becomes of spans.
#[derive(Debug, Clone)]
pub struct SpanMetrics {
    spans: Family<ResultLabel, Counter>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

impl SpanMetrics {
    /// Adds the counter to `registry`.
    pub fn new(registry: &mut Registry) -> Self {
        let spans = Family::default();
        let help =
            "Spans of traces: taken by a collector, refused by it, or dropped for want of room";
        registry.metrics().register("weft_trace_spans", help, spans.clone());
        Self { spans, dropped: Arc::default() }
    }

    /// Spans that found no room.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn count(&self, result: &'static str, spans: u64) {
        if spans > 0 {
            self.spans.get_or_create(&ResultLabel { result }).inc_by(spans);
        }
    }
}

impl SpanQueue {
    /// A queue and what empties it into `collector`.
    pub fn new(
        collector: Collector,
        origin: Arc<Origin>,
        metrics: SpanMetrics,
    ) -> (Self, Exporter) {
        let (sender, spans) = mpsc::channel(limits::SPAN_QUEUE_MAX);
        let exporter = Exporter { spans, collector, origin, metrics: metrics.clone() };
        (Self { spans: sender, metrics }, exporter)
    }

    /// The same without keeping its exporter going.
    pub fn downgrade(&self) -> WeakSpanQueue {
        WeakSpanQueue { spans: self.spans.downgrade(), metrics: self.metrics.clone() }
    }

    /// Hands in a span; without room it is dropped and counted.
    pub fn push(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            self.metrics.dropped.fetch_add(1, Ordering::Relaxed);
            self.metrics.count("dropped", 1);
        }
    }
}

impl WeakSpanQueue {
    /// The queue, if somebody else still holds it.
    pub fn upgrade(&self) -> Option<SpanQueue> {
        let spans = self.spans.upgrade()?;
        Some(SpanQueue { spans, metrics: self.metrics.clone() })
    }
}

impl Exporter {
    /// Sends batches until the queue's last clone is gone. Spans that a collector doesn't take aren't kept for it: those that
    /// come later are worth more.
    pub async fn run(mut self) {
        let mut failures = 0_u32;
        loop {
            let mut batch = Vec::with_capacity(64);
            if self.gather(&mut batch).await == 0 {
                return;
            }
            let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
            match self.collector.export(self.request(batch)).await {
                Ok(rejected) => {
                    failures = 0;
                    let rejected = rejected.min(count);
                    self.metrics.count("exported", count - rejected);
                    self.metrics.count("failed", rejected);
                }
                Err(error) => {
                    self.metrics.count("failed", count);
                    if failures == 0 {
                        let at = self.collector.authority();
                        tracing::warn!(target: "trace", collector = at, %error, "spans can't be sent");
                    }
                    failures = failures.saturating_add(1);
                    time::sleep(pause(failures)).await;
                }
            }
        }
    }

    /// Waits for a first span and then for a full batch, but not for long. How many there are; 0 at the end.
    pub(super) async fn gather(&mut self, batch: &mut Vec<Span>) -> usize {
        if self.spans.recv_many(batch, limits::SPAN_BATCH_MAX).await == 0 {
            return 0;
        }
        let until = Instant::now() + limits::SPAN_GATHER;
        while batch.len() < limits::SPAN_BATCH_MAX {
            let room = limits::SPAN_BATCH_MAX - batch.len();
            match time::timeout_at(until, self.spans.recv_many(batch, room)).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        batch.len()
    }

    fn request(&self, spans: Vec<Span>) -> ExportTraceServiceRequest {
        let scope = InstrumentationScope {
            name: "weft-waypoint".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let resource = Resource { attributes: self.origin.resource() };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
        let resource_spans = vec![ResourceSpans { resource: Some(resource), scope_spans }];
        ExportTraceServiceRequest { resource_spans }
    }
}

/// Twice as long after each failure, and not all waypoints at once.
fn pause(failures: u32) -> Duration {
    let longest = limits::SPAN_PAUSE_MIN.saturating_mul(1 << failures.min(10).saturating_sub(1));
    longest.min(limits::SPAN_PAUSE_MAX).mul_f64(rand::random_range(0.5..1.0))
}
