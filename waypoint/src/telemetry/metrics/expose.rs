//! The metrics as a scrape shows them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::Table;
use super::cells::Family;
use super::histogram::Histogram;

#[derive(Debug)]
pub(super) struct RequestCollector(pub(super) Arc<Table>);

impl Collector for RequestCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let cells = &self.0.cells;
        counters(&mut encoder, "istio_requests", "Requests", &cells.requests)?;
        let help = "Time from a request's first byte to its response's last, milliseconds";
        let name = "istio_request_duration_milliseconds";
        histograms(&mut encoder, name, help, &cells.duration)?;
        let (name, help) = ("istio_request_bytes", "Bytes of requests' bodies");
        histograms(&mut encoder, name, help, &cells.request_bytes)?;
        let (name, help) = ("istio_response_bytes", "Bytes of responses' bodies");
        histograms(&mut encoder, name, help, &cells.response_bytes)?;
        let (name, help) = ("istio_request_messages", "gRPC messages of requests");
        counters(&mut encoder, name, help, &cells.request_messages)?;
        let (name, help) = ("istio_response_messages", "gRPC messages of responses");
        counters(&mut encoder, name, help, &cells.response_messages)?;
        let overflowed = ConstCounter::new(self.0.overflowed.load(Ordering::Relaxed));
        let help = "Requests counted without their parties, since there were too many series";
        let name = "weft_request_series_overflowed";
        let kind = overflowed.metric_type();
        overflowed.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
        // Whoever reads this scrape has the last value of what leaves now.
        self.0.evict();
        Ok(())
    }
}

fn counters(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    family: &Family<AtomicU64>,
) -> fmt::Result {
    let mut descriptor = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, cell) in family.read() {
        let value = ConstCounter::new(cell.load(Ordering::Relaxed));
        value.encode(descriptor.encode_family(&labels)?)?;
    }
    Ok(())
}

fn histograms(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    family: &Family<Histogram>,
) -> fmt::Result {
    let mut descriptor = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (labels, cell) in family.read() {
        let values = cell.read();
        let mut metric = descriptor.encode_family(&labels)?;
        metric.encode_histogram::<NoLabelSet>(values.sum, values.count, &values.buckets, None)?;
    }
    Ok(())
}
