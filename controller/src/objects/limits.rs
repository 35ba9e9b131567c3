//! Bounds of what objects may hold, with their derivations.

/// Certificates of one ConfigMap, bytes: what systems trust of their own takes 250 KiB.
pub const CA_BYTES_MAX: usize = 256 << 10;
/// The same of all ConfigMaps together that a BackendTLSPolicy names.
pub const TRUST_BYTES_MAX: usize = 512 << 10;
/// The same in all settings of a service, of which each has its own copy: a third of the longest message that proxies take.
pub const TRUST_COPIES_BYTES_MAX: usize = 64 << 20;
/// A client's chain of a Secret, bytes: ten certificates of 4,096-bit RSA keys take 25 KiB.
pub const CHAIN_BYTES_MAX: usize = 64 << 10;
/// A private key of a Secret, bytes: one of 16,384 bits takes 13 KiB.
pub const KEY_BYTES_MAX: usize = 16 << 10;
/// Revoked certificates of a Secret, bytes: 6,000 of them.
pub const REVOKED_BYTES_MAX: usize = 256 << 10;
