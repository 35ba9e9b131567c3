//! Metrics and the log.

use std::time::Duration;

/// Traffic series that a process keeps. A node of 250 pods that each talk with 16 others in both directions makes
/// 8,000; at about 300 bytes each that is 2.5 MB. What exceeds it is counted under `unknown` parties.
pub const TRAFFIC_SERIES_MAX: usize = 8192;
/// A series without connections goes away after this time: two scrape intervals of the slowest sensible
/// Prometheus (5 min), so its last value has been read.
pub const TRAFFIC_SERIES_IDLE: Duration = Duration::from_secs(600);
/// A full table is searched for idle series at most this often, so that a flood of new pairs stays cheap.
pub const TRAFFIC_EVICTION_INTERVAL: Duration = Duration::from_secs(10);
/// Workloads that have their own name in the DNS counters: four times the pods of a large node.
pub const DNS_SERIES_MAX: usize = 1024;
/// Log bytes that wait for standard output. At 600 bytes a line it holds 1,700 lines: a stall of about 0.1 s at the
/// highest rate of connections. What exceeds it is dropped and counted; the data path never waits.
pub const LOG_QUEUE_BYTES_MAX: usize = 1 << 20;
/// Longest log line, bytes. Longer ones are cut.
pub const LOG_LINE_BYTES_MAX: usize = 16 * 1024;
/// At exit, how long standard output may take to swallow the last lines.
pub const LOG_FLUSH_DEADLINE: Duration = Duration::from_secs(1);
