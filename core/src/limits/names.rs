//! Names.

/// SPIFFE ID specification, section 2.3: a trust domain has at most 255 bytes.
pub const TRUST_DOMAIN_BYTES_MAX: usize = 255;
/// Kubernetes: an object's name is a DNS subdomain of at most 253 bytes.
pub const NAME_BYTES_MAX: usize = 253;
