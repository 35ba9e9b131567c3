//! TLS: handshakes, chains, roots.

use std::time::Duration;

use super::READ_BYTES_MAX;

/// Time for a TLS handshake, from its first byte to its last. Two round trips of 1 s, a lost packet on each (1 s
/// more) and the signing still fit; a peer that says nothing holds its permit no longer than that.
pub const TLS_DEADLINE: Duration = Duration::from_secs(5);
/// What TLS enciphers before the socket has to take some of it, bytes: the largest frame that is sent, which is at most
/// one read of an application's socket, so that a frame leaves by one system call; and as much again.
pub const TLS_WRITE_BYTES_MAX: usize = 2 * READ_BYTES_MAX;
/// Longest leaf certificate that is read, bytes. One with a single mesh identity has under 1 KiB; the rest is room
/// for long names, RSA keys and extensions. rustls itself bounds the whole chain by 64 KiB.
pub const LEAF_BYTES_MAX: usize = 16 * 1024;
/// Client configurations kept by a workload's certificate, one for each set of expected peers: what one workload
/// calls within a certificate's life. Each weighs some KiB; the least recently used goes.
pub const CLIENT_CONFIGS_MAX: usize = 128;
/// Sessions that a client configuration keeps for resumption; rustls spreads them over servers, 8 each.
pub const CLIENT_SESSIONS_MAX: usize = 256;
/// Certificates of one chain: a leaf and its intermediates. Real ones have two or three.
pub const CHAIN_CERTIFICATES_MAX: usize = 10;
/// Roots of one bundle: a federation of some tens of meshes, each in the middle of a rotation.
pub const ROOT_CERTIFICATES_MAX: usize = 128;
/// Longest file of roots, bytes: the bundle above with 4 KiB a root.
pub const ROOTS_FILE_BYTES_MAX: u64 = 512 * 1024;
