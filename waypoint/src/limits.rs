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

// ---- Sessions (session) --------------------------------------------------------------------------------------------

/// A session's longest age, milliseconds: four hundred days, beyond which browsers keep no cookie (RFC 6265bis).
pub const SESSION_MS_MAX: u64 = 400 * 86_400_000;

// ---- Limits that services count (limit) ----------------------------------------------------------------------------

/// Longest time that such a service has, where nothing else is set: Envoy's 20 ms would be spent on the handshake of the first
/// connection through the mesh, so that it never came about.
pub const LIMITER_TIMEOUT: Duration = Duration::from_millis(100);
/// The longest that can be set: every request waits for it.
pub const LIMITER_TIMEOUT_MAX: Duration = weft_proto::contract::limit::TIMEOUT_MAX;
/// Descriptors of one request, and entries of one. Envoy's users have five.
pub const LIMIT_DESCRIPTORS_MAX: usize = weft_proto::contract::limit::DESCRIPTORS_MAX;
/// See above.
pub const LIMIT_ENTRIES_MAX: usize = weft_proto::contract::limit::ENTRIES_MAX;
/// What of a value is sent, bytes. All that begin alike are counted together then; leaving such a descriptor out would let
/// clients escape their limit.
pub const LIMIT_VALUE_BYTES_MAX: usize = 1_024;

// ---- Matching ------------------------------------------------------------------------------------------------------

/// Values of one header name are compared as one text. Up to this many bytes they are joined without taking memory.
pub const JOINED_BYTES_STACK: usize = 1_024;
/// Length of a decoded query parameter that is compared by a regular expression, without taking memory.
pub const QUERY_BYTES_STACK: usize = 1_024;

// ---- HTTP ----------------------------------------------------------------------------------------------------------

/// What is read of a tunnel at once while it isn't known yet what is spoken in it: a request's head, as a rule.
pub const LOOK_BYTES: usize = 4 << 10;
/// HTTP/1.1 that may be held back until it is known whether more comes at once: one frame of a tunnel.
pub const HELD_BYTES_MAX: usize = weft_core::limits::HBONE_FRAME_BYTES_MAX as usize;
/// Header fields of a message: Envoy's number. Browsers and gateways send some 30.
pub const HEADER_FIELDS_MAX: usize = 100;
/// Decoded header list of an HTTP/2 message, bytes; Envoy's 60 KiB. Beyond it: 431.
pub const HEADER_LIST_BYTES_MAX: u32 = 60 << 10;
/// Head of an HTTP/1.1 request, bytes: as much as HTTP/2 may have.
pub const HEAD_BYTES_MAX: usize = 60 << 10;
/// Buffer of an HTTP/1.1 connection to an application, bytes; the head of a response has to fit.
pub const UPSTREAM_BUFFER_BYTES: usize = 64 << 10;
/// HTTP/2 stream window inside a tunnel, bytes.
pub const HTTP2_STREAM_WINDOW: u32 = 1 << 20;
/// HTTP/2 connection window inside a tunnel, bytes: sixteen streams that stall leave room for the next.
pub const HTTP2_CONNECTION_WINDOW: u32 = 16 << 20;
/// Concurrent requests on one HTTP/2 connection of a client.
pub const HTTP2_STREAMS_MAX: u32 = 1_000;
/// Streams that a client reset before we looked at them (CVE-2023-44487): more at once ends the connection.
pub const HTTP2_PENDING_RESETS_MAX: usize = 50;
/// Requests on one HTTP/2 connection to an application. Further ones get another connection.
pub const UPSTREAM_STREAMS_MAX: usize = 100;
/// Idle connections to one endpoint that a worker keeps.
pub const UPSTREAM_IDLE_MAX: usize = 256;
/// An idle connection to an application goes after this.
pub const UPSTREAM_IDLE_TIME: Duration = Duration::from_secs(60);
/// An answer of the resolver, at longest.
pub const NAME_DEADLINE: Duration = Duration::from_secs(5);
/// How long an answer holds.
pub const NAME_TIME: Duration = Duration::from_secs(30);
/// How long a failure holds: a second, so that a resolver in trouble isn't asked for every connection.
pub const NAME_FAILURE_TIME: Duration = Duration::from_secs(1);
/// Names that are remembered. A wildcard's are the clients' choice; at some 400 bytes each they take 1.6 MB.
pub const NAMES_MAX: usize = 4_096;
/// Addresses of one name. An answer over UDP holds some thirty.
pub const NAME_ADDRESSES_MAX: usize = 64;
/// Addresses of one name that are tried for one connection.
pub const NAME_ADDRESSES_TRIED: usize = 4;
/// A handshake with an endpoint for which TLS is asked.
pub const UPSTREAM_TLS_DEADLINE: Duration = Duration::from_secs(10);
/// A file of certificates, a key or revocations, bytes: the roots that systems trust take 250 KiB.
pub const UPSTREAM_TLS_FILE_BYTES_MAX: u64 = 1 << 20;
/// Files are read again after this, for the next connection: certificates are renewed hours before they end.
pub const UPSTREAM_TLS_FILES_TIME: Duration = Duration::from_secs(60);
/// Settings that a thread keeps ready, each some 200 KiB with the system's roots. Beyond that they are made again.
pub const UPSTREAM_TLS_CONTEXTS_MAX: usize = 64;
/// How often idle connections are looked through.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// From a request's first byte to the end of its head.
pub const REQUEST_HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// A client's connection without a request; Envoy's hour.
pub const DOWNSTREAM_IDLE_MAX: Duration = Duration::from_secs(3_600);
/// Silence within a message that has an end to come to: a request's body, a response that says how long it is, and a response
/// that its client doesn't read. Envoy's `stream_idle_timeout`.
pub const MESSAGE_SILENCE_MAX: Duration = Duration::from_secs(300);
/// Bytes of a request's body of declared length that have to come in that time: 55 a second, a hundredth of what the slowest
/// phones send. What has a length is there to be sent; whoever sends it byte by byte does so on purpose.
pub const BODY_BYTES_MIN: u64 = 16 << 10;
/// Silence within a response without a declared length: what follows a log or watches something may be quiet for long. An hour,
/// as Istio has it for connections that aren't HTTP.
pub const STREAM_SILENCE_MAX: Duration = Duration::from_secs(3_600);
/// Silence within gRPC, events and upgraded connections. None: they live on being quiet, Istio turns Envoy's bound off for
/// them, and peers that are gone are noticed by the connections below.
pub const LIVE_SILENCE_MAX: Duration = Duration::ZERO;
/// The age at which an exchange counts as long: from then on it is told of changes of policies. Nine requests of ten are over.
pub const VIGIL_FIRST_LOOK: Duration = Duration::from_secs(1);
/// How often an exchange is looked at that nothing bounds.
pub const VIGIL_INTERVAL_MAX: Duration = Duration::from_secs(86_400);
/// A request's body that nobody wants any more, until its end: then the connection can carry another request.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// From a request to the head of its response where no timeout is set: none would leave stuck requests, and clients who
/// never finish a body, for ever.
pub const RESPONSE_HEAD_DEADLINE: Duration = Duration::from_secs(3_600);
/// What of a request's body is kept for another attempt, bytes. Larger requests are sent once.
pub const REPLAY_BYTES_MAX: usize = 64 << 10;
/// A client that says nothing is given this long before the application is asked whether it speaks first.
pub const SNIFF_HEAD_START: Duration = Duration::from_millis(50);
/// Bytes that are looked at to tell what is spoken.
pub const SNIFF_BYTES_MAX: usize = 16 << 10;
/// Bytes of a TLS client's first message that are looked at for the name of a server: those of browsers with post-quantum keys
/// take 2 KiB, and Envoy looks at as many.
pub const CLIENT_HELLO_BYTES_MAX: usize = 16 << 10;
/// How long that message is waited for. A client that hasn't sent it by then names no server.
pub const CLIENT_HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// Copies of requests under way on one worker.
pub const MIRRORS_MAX: usize = 1_024;
/// From the beginning of a copy to the end of its response.
pub const MIRROR_DEADLINE: Duration = Duration::from_secs(30);
/// Connections of other proxies. Each has a caller's workload behind it.
pub const CONNECTIONS_MAX: usize = 20_000;
/// How long connections of clients that aren't in use stay open after a drain was announced; Envoy's
/// `terminationDrainDuration`.
pub const DRAIN_IDLE_GRACE: Duration = Duration::from_secs(5);
/// How long new connections are taken after the signal to end, unless the mesh hears earlier that this instance leaves. A
/// change reaches a mesh of 1,000 nodes within a second; Envoy as Istio runs it listens for five.
pub const DRAIN_NOTICE_MAX: Duration = Duration::from_secs(5);
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
/// Buffer of each direction of a connection that isn't HTTP, bytes.
pub const TCP_BUFFER: usize = 16 << 10;
/// Ports of services on which the application speaks first, that are remembered.
pub const SERVER_FIRST_MAX: usize = 10_000;
// ---- Endpoints (balance) ---------------------------------------------------------------------------------------------

pub use weft_proto::contract::backend::{
    BACKEND_SETTINGS_MAX, LOCALITIES_MAX, MAGLEV_SIZE_MAX, RING_SIZE_MAX,
};

/// Endpoints that one request is compared with at most: two are nearly as good as all, more only cost.
pub const CHOICES_MAX: u32 = 10;
/// Access policies and what authenticates requests.
pub mod access {
    use std::time::Duration;

    pub use weft_proto::contract::access::{
        CHECKED_BODY_BYTES_MAX, KEYS_BYTES_MAX, KEYS_MAX, POLICIES_MAX, PROVIDERS_MAX, RULES_MAX,
        TEXT_BYTES_MAX, VALUES_MAX,
    };

    /// Problems that a policy's report lists.
    pub const PROBLEMS_LISTED_MAX: usize = super::PROBLEMS_LISTED_MAX;
    /// A token, bytes: headers of a request are 64 KiB together, and tokens with hundreds of groups have 16.
    pub const TOKEN_BYTES_MAX: usize = 32 << 10;
    /// Tokens of one request that are verified: each costs some 50 µs of a processor.
    pub const TOKENS_MAX: usize = 8;
    /// Difference of clocks that is allowed for, seconds: Envoy's own.
    pub const CLOCK_SKEW_SECONDS: u64 = 60;
    /// Names from a token's outermost object inward.
    pub const CLAIM_DEPTH_MAX: usize = 16;
    /// Longest time that a checker has: Istio's default for one that sets none.
    pub const CHECK_TIMEOUT_MAX: Duration = Duration::from_secs(600);
    /// A checker's answer, bytes of its body: a page that says why.
    pub const CHECK_ANSWER_BYTES_MAX: usize = 64 << 10;
    /// A checker's answer over gRPC, bytes: the body and 64 KiB of headers for each direction.
    pub const CHECK_MESSAGE_BYTES_MAX: usize = 256 << 10;
    /// Headers of a checker's answer, bytes decoded: as of any answer.
    pub const CHECK_HEADER_BYTES_MAX: u32 = 64 << 10;
    /// Idle connections to a checker over HTTP/1.1: beyond them a burst's connections are closed after it.
    pub const CHECK_IDLE_MAX: usize = 16;
}
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
/// How often an endpoint is chosen anew because it went away meanwhile.
pub const PICK_ROUNDS: usize = 4;
/// From the beginning of connecting to an application to its end, where nothing else is set; Istio's 10 s.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// One read of a body, bytes: the largest frame of HTTP/2 that we grant, and pingora's buffer.
pub const PIECE_BYTES_MAX: usize = 64 << 10;

// ---- The waypoint's token (renewal) --------------------------------------------------------------------------------

/// It is renewed when a seventh of its life is left: Kubernetes replaces its own when a fifth is.
pub const TOKEN_RENEWAL_SHARE: u64 = 7;
/// How often its file is looked at: others may have replaced it by one that lasts less.
pub const TOKEN_LOOK_INTERVAL: Duration = Duration::from_secs(600);
/// Between two attempts. The shortest life that the controller gives is a minute, of which a seventh is two of these.
pub const TOKEN_RENEWAL_PAUSE: Duration = Duration::from_secs(4);
/// Of one attempt, from connecting to the answer.
pub const TOKEN_RENEWAL_DEADLINE: Duration = Duration::from_secs(10);
