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
