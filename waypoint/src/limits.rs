//! Every bound of the waypoint, with its derivation.

use std::time::Duration;

// ---- Route tables (route::decode) --------------------------------------------------------------------------------

pub use weft_proto::contract::route::{
    CONDITIONS_MAX, DIRECT_BODY_BYTES_MAX, LIST_MAX, PATTERN_NESTING_MAX, PATTERNS_MAX, RULES_MAX,
    SETS_MAX, TEXT_BYTES_MAX,
};

/// Compiled size of one regular expression, bytes: a pattern of 4,096 plain characters takes a quarter of it.
pub const PATTERN_COMPILED_BYTES_MAX: usize = 256 << 10;
/// Scratch memory of one regular expression and thread, bytes: a table's expressions together take 64 MiB at the very worst.
/// Where it is too little, matching is slower and still linear.
pub const PATTERN_CACHE_BYTES_MAX: usize = 64 << 10;
/// Problems that a table's report lists; the rest is counted.
pub const PROBLEMS_LISTED_MAX: usize = 64;
/// Timeouts and delays, milliseconds: a day. Whoever wants longer wants none.
pub const MILLISECONDS_MAX: u64 = 86_400_000;
/// Retries of one request. Beyond that they are load, not help.
pub const RETRIES_MAX: u32 = 25;

// ---- Matching ------------------------------------------------------------------------------------------------------

/// Values of one header name are compared as one text. Up to this many bytes they are joined without taking memory.
pub const JOINED_BYTES_STACK: usize = 1_024;
/// Length of a decoded query parameter that is compared by a regular expression, without taking memory.
pub const QUERY_BYTES_STACK: usize = 1_024;

// ---- Telemetry -----------------------------------------------------------------------------------------------------

/// Series of requests that a waypoint keeps: 1,000 services with two callers each and four outcomes a caller. A series takes
/// about 1.6 kB (its labels' text once, three histograms), so 13 MB at the very worst. What exceeds it is counted under
/// `unknown` parties.
pub const REQUEST_SERIES_MAX: usize = 8192;
/// The series are spread over this many locks. A waypoint has a few worker threads; more locks would only spread memory.
pub const METRIC_SHARDS: usize = 8;
/// A series without requests goes away after this time: two scrape intervals of the slowest sensible Prometheus (5 min).
pub const REQUEST_SERIES_IDLE: Duration = Duration::from_secs(600);
/// A full table is searched for idle series at most this often, so that a flood of new pairs stays cheap.
pub const METRIC_EVICTION_INTERVAL: Duration = Duration::from_secs(10);
/// Longest line of an access log, bytes: core's own bound of a log line.
pub const ACCESS_LINE_BYTES_MAX: usize = weft_core::limits::LOG_LINE_BYTES_MAX;
/// Longest value of one header in an access log, bytes: a line has room for three of them.
pub const ACCESS_VALUE_BYTES_MAX: usize = 4 << 10;
/// Longest format of an access log, bytes.
pub const ACCESS_FORMAT_BYTES_MAX: usize = weft_proto::contract::telemetry::FORMAT_BYTES_MAX;
/// Fields of one object of a JSON format. Istio's own has 25.
pub const ACCESS_FIELDS_MAX: usize = 256;
/// Objects within objects of a JSON format.
pub const ACCESS_NESTING_MAX: usize = 8;
/// Longest CEL expression of a filter, bytes.
pub const FILTER_BYTES_MAX: usize = weft_proto::contract::telemetry::FILTER_BYTES_MAX;
/// Levels of a filter's expression. Asking for a verdict recurses on a worker's stack of 2 MB and takes some 35 kB a level in an
/// unoptimised build; sixty were too many. People write five.
pub const FILTER_NESTING_MAX: usize = 24;
/// Opening brackets of a filter's expression. The parser stops at 96 levels, and past that it may never end.
pub const FILTER_BRACKETS_MAX: usize = 48;
/// Operators and dots of a filter's expression, of which each may be a level to its parser: eighty conditions.
pub const FILTER_OPERATORS_MAX: usize = 256;
/// Stack of the thread that reads an expression, bytes: 50 kB for each of [`FILTER_OPERATORS_MAX`] and [`FILTER_BRACKETS_MAX`]
/// levels. 2 MB don't do.
pub const FILTER_STACK_BYTES: usize = 16 << 20;
/// Spans that wait for a collector: two seconds of 1,000 sampled requests a second with one attempt each. At about 2 kB a span
/// that is 8 MB at the very worst; what exceeds it is dropped and counted.
pub const SPAN_QUEUE_MAX: usize = 4096;
/// Spans of one message: about 1 MB, a quarter of what gRPC takes by default.
pub const SPAN_BATCH_MAX: usize = 512;
/// How long spans gather for a batch. Nobody who reads traces minds.
pub const SPAN_GATHER: Duration = Duration::from_secs(1);
/// How long a collector may take for a batch: OTLP's own default.
pub const SPAN_EXPORT_DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of a collector's answer that are read: a count and a message.
pub const SPAN_ANSWER_BYTES_MAX: usize = 64 << 10;
/// The pause after a collector failed; it doubles up to the longest.
pub const SPAN_PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause.
pub const SPAN_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Attempts of one request that have a span: the first and every retry.
pub const ATTEMPT_SPANS_MAX: usize = 26;
/// Longest value of a tag that a client writes, bytes.
pub const TAG_BYTES_MAX: usize = 256;
/// Longest `tracestate` that is kept, bytes (W3C Trace Context asks for 512 at least).
pub const TRACE_STATE_BYTES_MAX: usize = 512;
