//! The process itself: descriptors, memory, and its tokio runtimes.

use std::fmt;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::runtime::{Handle, RuntimeMetrics as RuntimeFigures};

use super::registry::Registry;

#[derive(Debug)]
pub(super) struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, value) in [
            ("process_open_fds", "Open file descriptors", open_fds()),
            ("process_max_fds", "Most file descriptors allowed", max_fds()),
            ("process_resident_memory_bytes", "Resident memory, bytes", resident_bytes()),
        ] {
            if let Some(value) = value {
                gauge(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?, value)?;
            }
        }
        Ok(())
    }
}

fn open_fds() -> Option<u64> {
    // Linux 6.2 and later report the count as the directory's size, which costs one call however many there are.
    let size = std::fs::metadata("/proc/self/fd").ok()?.len();
    if size > 0 {
        return Some(size);
    }
    u64::try_from(std::fs::read_dir("/proc/self/fd").ok()?.count()).ok()
}

fn max_fds() -> Option<u64> {
    getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft)
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The basic figures of the runtimes that carry traffic, one thread each.
#[derive(Debug)]
pub struct RuntimeMetrics(Vec<Handle>);

impl RuntimeMetrics {
    /// Adds the figures of `workers` to `registry`; their places are their numbers.
    pub fn register(registry: &mut Registry, workers: &[Handle]) {
        registry.collector(Self(workers.to_vec()));
    }
}

impl Collector for RuntimeMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let metrics: Vec<_> = self.0.iter().map(Handle::metrics).collect();
        let sum = |of: fn(&RuntimeFigures) -> usize| metrics.iter().map(of).sum();
        for (name, help, value) in [
            ("tokio_num_workers", "Worker threads", metrics.len()),
            (
                "tokio_num_alive_tasks",
                "Tasks that haven't ended",
                sum(RuntimeFigures::num_alive_tasks),
            ),
            (
                "tokio_global_queue_depth",
                "Tasks from other threads that wait",
                sum(RuntimeFigures::global_queue_depth),
            ),
        ] {
            let value = u64::try_from(value).unwrap_or(u64::MAX);
            gauge(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?, value)?;
        }
        let name = "tokio_worker_total_busy_duration_seconds";
        let mut family =
            encoder.encode_descriptor(name, "Time spent busy", None, MetricType::Gauge)?;
        for (number, worker) in metrics.iter().enumerate() {
            let seconds = worker.worker_total_busy_duration(0).as_secs_f64();
            ConstGauge::new(seconds).encode(family.encode_family(&worker_label(number))?)?;
        }
        for (name, help, of) in [
            (
                "tokio_worker_park_count",
                "Times a worker went to sleep",
                (|worker| worker.worker_park_count(0)) as fn(&RuntimeFigures) -> u64,
            ),
            ("tokio_worker_park_unpark_count", "Times a worker went to sleep or woke", |worker| {
                worker.worker_park_unpark_count(0)
            }),
        ] {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (number, worker) in metrics.iter().enumerate() {
                gauge(family.encode_family(&worker_label(number))?, of(worker))?;
            }
        }
        Ok(())
    }
}

fn worker_label(worker: usize) -> [(&'static str, String); 1] {
    [("worker", worker.to_string())]
}

fn gauge(encoder: MetricEncoder<'_>, value: u64) -> fmt::Result {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(encoder)
}

/// Seconds as a gauge, for points in time and durations.
pub(super) fn seconds(encoder: MetricEncoder<'_>, value: Duration) -> fmt::Result {
    ConstGauge::new(value.as_secs_f64()).encode(encoder)
}

#[cfg(test)]
mod tests {
    use super::super::registry::{Build, Exposition};
    use super::*;

    #[tokio::test]
    async fn every_worker_is_shown() {
        let mut registry = Registry::new(&Build::default());
        let workers = [Handle::current(), Handle::current()];
        RuntimeMetrics::register(&mut registry, &workers);
        let text = registry.encode(Exposition::Text).unwrap();
        assert!(text.contains("tokio_num_workers 2\n"));
        assert!(text.contains(r#"tokio_worker_park_count{worker="1"}"#));
        assert!(text.contains(r#"tokio_worker_total_busy_duration_seconds{worker="0"}"#));
    }
}
