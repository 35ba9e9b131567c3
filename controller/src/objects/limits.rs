//! Bounds of what objects may hold, with their derivations.

/// Certificates of one ConfigMap, bytes: what systems trust of their own takes 250 KiB.
pub const CA_BYTES_MAX: usize = 256 << 10;
/// The same of all ConfigMaps together that a BackendTLSPolicy names.
pub const TRUST_BYTES_MAX: usize = 512 << 10;
/// The same in all settings of a service, of which each has its own copy: a third of the longest message that proxies take.
pub const TRUST_COPIES_BYTES_MAX: usize = 64 << 20;
