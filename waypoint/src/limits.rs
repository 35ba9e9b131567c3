//! Every bound of the waypoint, with its derivation.

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

// ---- Endpoints (balance) ---------------------------------------------------------------------------------------------

pub use weft_proto::contract::backend::{
    BACKEND_SETTINGS_MAX, LOCALITIES_MAX, MAGLEV_SIZE_MAX, RING_SIZE_MAX,
};

/// Endpoints that one request is compared with at most: two are nearly as good as all, more only cost.
pub const CHOICES_MAX: u32 = 10;
