//! The one choice of cryptography: suites, key exchanges and the clock that rustls sees.

use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;

use crate::clock;

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_AES_128_GCM_SHA256,
        ],
        kx_groups: key_exchange_groups(),
        ..aws_lc_rs::default_provider()
    })
});

/// The provider of every TLS connection: aws-lc, AES-256-GCM then AES-128-GCM, [`key_exchange_groups`].
pub fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

/// Key exchanges, best first: X25519, P-256, and the hybrid X25519MLKEM768 last.
///
/// The client sends a share for the first only. X25519 there is what every peer takes without a second round trip
/// and costs least. The hybrid's share would add 1.2 KiB to the first flight and its answer 1.1 KiB, for every
/// connection; so it is offered, and used with a peer that accepts nothing else (Istio's `COMPLIANCE_POLICY=pqc`),
/// at the price of one round trip more there.
pub fn key_exchange_groups() -> Vec<&'static dyn SupportedKxGroup> {
    vec![kx_group::X25519, kx_group::SECP256R1, kx_group::X25519MLKEM768]
}

/// [`clock`] as rustls wants it.
#[derive(Debug)]
pub(super) struct WallClock;

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        unix_time(clock::now())
    }
}

/// `None` before 1970, which rustls reports as a missing clock: no certificate is valid then.
pub(super) fn unix_time(time: SystemTime) -> Option<UnixTime> {
    time.duration_since(SystemTime::UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
}
