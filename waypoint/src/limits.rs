//! Every bound of the waypoint, with its derivation.

// ---- Route tables (route::decode) --------------------------------------------------------------------------------

/// Rules of one table. The Gateway API allows 16 rules of 64 matches a route; that is sixteen such routes merged, or a
/// VirtualService far beyond what anybody writes. At about 200 bytes a rule a table stays below 4 MiB.
pub const RULES_MAX: usize = 16_384;
/// Conditions of one rule: the Gateway API's 16 headers and 16 query parameters, path, method, hosts, callers, and room
/// for VirtualService's negated headers.
pub const CONDITIONS_MAX: usize = 64;
/// Actions, backends of an action, filters of an action, and entries of any list inside of them.
pub const LIST_MAX: usize = 1_024;
/// Sets of one table: one for the ports of each namespace that has routes of its own.
pub const SETS_MAX: usize = 4_096;
/// Length of a text that is compared: the Gateway API has 1,024 for paths and 4,096 for header values.
pub const TEXT_BYTES_MAX: usize = 4_096;
/// Body of a direct response: VirtualService's own bound.
pub const DIRECT_BODY_BYTES_MAX: usize = 1 << 20;
/// Regular expressions of one table. Each costs some 20 KiB compiled, so that a table stays below 20 MiB.
pub const PATTERNS_MAX: usize = 1_000;
/// Compiled size of one regular expression, bytes: a pattern of 4,096 plain characters takes a quarter of it.
pub const PATTERN_COMPILED_BYTES_MAX: usize = 256 << 10;
/// Scratch memory of one regular expression and thread, bytes. Where it is too little, matching is slower and still
/// linear.
pub const PATTERN_CACHE_BYTES_MAX: usize = 256 << 10;
/// Nested groups of a regular expression: people write three.
pub const PATTERN_NESTING_MAX: u32 = 50;
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
