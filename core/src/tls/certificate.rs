//! A workload's own certificate with its key, and the configurations made from it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use base64::Engine as _;
use rustls::RootCertStore;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::config::Configs;
use super::{provider, verify};
use crate::identity::SpiffeId;
use crate::limits;
use crate::x509::{CertificateError, PeerCertificate};

static NEXT_GENERATION: AtomicU64 = AtomicU64::new(1);

/// Why a key, a chain and roots do not make a usable certificate.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// No leaf at all, or longer than any real chain.
    #[error("chain has {0} certificates; between 1 and {max} are usable", max = limits::CHAIN_CERTIFICATES_MAX)]
    Length(usize),
    /// The leaf is no mesh certificate.
    #[error("leaf: {0}")]
    Leaf(#[from] CertificateError),
    /// The leaf is somebody else's.
    #[error("certificate of {wanted} was asked for, and one of {issued} issued")]
    OtherIdentity {
        /// Asked for.
        wanted: SpiffeId,
        /// Issued.
        issued: SpiffeId,
    },
    /// The key is unusable, or the leaf is for another.
    #[error("key: {0}")]
    Key(#[from] rustls::Error),
    /// Nothing to verify peers against.
    #[error("no usable root certificate came with the chain; check the CA's root bundle")]
    NoRoots,
}

/// A workload's certificate: immutable, with its private key, which nothing prints or hands out.
pub struct WorkloadCertificate {
    identity: SpiffeId,
    leaf: PeerCertificate,
    generation: u64,
    roots: Arc<RootCertStore>,
    roots_der: Vec<CertificateDer<'static>>,
    key: Arc<CertifiedKey>,
    pub(super) configs: Configs,
}

impl WorkloadCertificate {
    /// Puts a key, its chain (leaf first) and the roots that peers are verified against together.
    ///
    /// The leaf must name `identity` and hold `key_der`'s public key. Time is not looked at here: whether the
    /// certificate is valid is asked at each use, [`Self::is_valid_at`]. A root that cannot be read is left out,
    /// which trusts fewer peers and never more.
    pub fn new(
        identity: SpiffeId,
        key_der: PrivateKeyDer<'static>,
        chain_der: Vec<CertificateDer<'static>>,
        roots_der: Vec<CertificateDer<'static>>,
    ) -> Result<Self, ChainError> {
        let leaf_der = chain_der
            .first()
            .filter(|_| chain_der.len() <= limits::CHAIN_CERTIFICATES_MAX)
            .ok_or(ChainError::Length(chain_der.len()))?;
        let leaf = PeerCertificate::from_leaf(leaf_der)?;
        if leaf.identity != identity {
            return Err(ChainError::OtherIdentity { wanted: identity, issued: leaf.identity });
        }
        let signing_key = provider().key_provider.load_private_key(key_der)?;
        let key = CertifiedKey::new(chain_der, signing_key);
        key.keys_match()?;
        let roots = root_store(&roots_der).ok_or(ChainError::NoRoots)?;
        Ok(Self {
            identity,
            leaf,
            generation: NEXT_GENERATION.fetch_add(1, Ordering::Relaxed),
            roots: Arc::new(roots),
            roots_der,
            key: Arc::new(key),
            configs: Configs::default(),
        })
    }

    /// Whom it names.
    pub fn identity(&self) -> &SpiffeId {
        &self.identity
    }

    /// The leaf and its intermediates, in that order.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }

    /// [`Self::chain`] as PEM, for dumps.
    pub fn chain_pem(&self) -> String {
        self.chain().iter().map(certificate_pem).collect()
    }

    /// The roots that peers are verified against, as PEM.
    pub fn roots_pem(&self) -> String {
        self.roots_der.iter().map(certificate_pem).collect()
    }

    /// The roots that peers are verified against.
    pub fn roots_der(&self) -> &[CertificateDer<'static>] {
        &self.roots_der
    }

    /// Valid from.
    pub fn not_before(&self) -> SystemTime {
        self.leaf.not_before
    }

    /// Valid until.
    pub fn not_after(&self) -> SystemTime {
        self.leaf.not_after
    }

    /// Serial number, hexadecimal.
    pub fn serial(&self) -> &str {
        &self.leaf.serial
    }

    /// Different for every certificate that this process ever held: what was made with one (a tunnel, a ticket) is
    /// recognised by it.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether a peer whose clock says `time` finds it valid.
    pub fn is_valid_at(&self, time: SystemTime) -> bool {
        self.leaf.is_valid_at(time)
    }

    /// Whether its own chain leads to its own roots at `time`: if not, no peer with the same roots will take it.
    pub fn leads_to_own_roots(&self, time: SystemTime) -> Result<(), rustls::Error> {
        let (leaf, intermediates) =
            self.key.cert.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
        let now = provider::unix_time(time).ok_or(rustls::Error::FailedToGetCurrentTime)?;
        verify::check_server_chain(leaf, intermediates, &self.roots, now)
    }

    pub(super) fn roots(&self) -> &Arc<RootCertStore> {
        &self.roots
    }

    pub(super) fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }
}

impl fmt::Debug for WorkloadCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkloadCertificate")
            .field("identity", &self.identity)
            .field("serial", &self.leaf.serial)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// The readable ones of `roots`; `None` if there is none.
pub(super) fn root_store(roots: &[CertificateDer<'static>]) -> Option<RootCertStore> {
    let mut store = RootCertStore::empty();
    let kept = roots.iter().take(limits::ROOT_CERTIFICATES_MAX).cloned();
    let (used, _) = store.add_parsable_certificates(kept);
    if used < roots.len() {
        tracing::warn!(
            used,
            given = roots.len(),
            "some root certificates are unusable and left out"
        );
    }
    if used == 0 { None } else { Some(store) }
}

/// RFC 7468, section 5.1.
fn certificate_pem(certificate: &CertificateDer<'static>) -> String {
    const LINE: usize = 64;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut pem = String::with_capacity(text.len() + text.len() / LINE + 64);
    pem.push_str("-----BEGIN CERTIFICATE-----\n");
    for (position, character) in text.chars().enumerate() {
        if position > 0 && position % LINE == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem.push_str("\n-----END CERTIFICATE-----\n");
    pem
}
