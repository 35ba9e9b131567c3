//! Signs leaves.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType,
};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use weft_core::clock;
use weft_core::identity::SpiffeId;

use super::root::{pem_of, random_serial};
use super::{CaError, Root};
use crate::serving_limits::{BACKDATE_MAX, LEAF_TTL_DEFAULT, LEAF_TTL_MAX, LEAF_TTL_MIN};

/// A leaf is backdated by at most this share of its validity. A client renews at half of the whole interval, which
/// for a leaf of one minute, backdated by two, would lie before the leaf was signed.
const BACKDATE_SHARE: u32 = 10;

/// A signed leaf and what verifies it.
#[derive(Debug, Clone)]
pub struct IssuedChain {
    /// Leaf first, then intermediates; no roots.
    pub chain: Vec<CertificateDer<'static>>,
    /// When the leaf expires.
    pub not_after: SystemTime,
}

/// The mesh's certificate authority.
pub struct Authority {
    root: Root,
    ttl_default: Duration,
    roots_pem: Arc<str>,
    anchor: CertificateDer<'static>,
}

impl Authority {
    /// An authority over `root`, whose leaves are valid for `ttl_default` or for what a request names, if that is less.
    ///
    /// Signs a leaf on trial and verifies it as a peer would, so that files which don't belong together are noticed
    /// now and not by every node later.
    pub fn new(root: Root, ttl_default: Duration) -> Result<Self, CaError> {
        let roots_pem = root.roots.iter().map(pem_of).collect::<String>().into();
        let leaf = match trial_leaf(&root) {
            // Nothing can be signed any more, but roots and status are still served.
            Err(CaError::SignerExpired) => None,
            other => Some(other?),
        };
        let verifies = |anchor: &&CertificateDer<'static>| {
            leaf.as_ref().is_none_or(|leaf| verifies(leaf, anchor))
        };
        let Some(anchor) = root.roots.iter().find(verifies).cloned() else {
            return Err(CaError::Signing(
                "a leaf of this authority verifies against none of its own roots; \
                 look at ca-cert.pem, cert-chain.pem and root-cert.pem"
                    .into(),
            ));
        };
        Ok(Self { root, ttl_default, roots_pem, anchor })
    }

    /// Signs a workload's certificate: exactly one name, the identity. `None` asks for the default validity.
    pub fn sign(
        &self,
        identity: &SpiffeId,
        key: &impl PublicKeyData,
        ttl: Option<Duration>,
    ) -> Result<IssuedChain, CaError> {
        sign_names(&self.root, vec![uri(identity)?], key, ttl.unwrap_or(self.ttl_default))
    }

    /// Signs a certificate by which the controller itself is recognised, for host names and addresses besides its
    /// identity.
    pub fn sign_server(
        &self,
        identity: &SpiffeId,
        names: &[String],
        key: &impl PublicKeyData,
        ttl: Duration,
    ) -> Result<IssuedChain, CaError> {
        let mut sans = vec![uri(identity)?];
        for name in names {
            sans.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into().map_err(signing)?),
            });
        }
        sign_names(&self.root, sans, key, ttl)
    }

    /// Reads a request's validity in seconds: 0 means the operator's. A longer one than that is cut to it: every stock
    /// proxy asks for 24 h, and refusing them all would be no way to shorten the life of certificates.
    pub fn validity(&self, seconds: i64) -> Result<Option<Duration>, CaError> {
        if seconds == 0 {
            return Ok(None);
        }
        let asked = u64::try_from(seconds).ok().map(Duration::from_secs);
        match asked {
            Some(ttl) if (LEAF_TTL_MIN..=LEAF_TTL_MAX).contains(&ttl) => {
                Ok(Some(ttl.min(self.ttl_default)))
            }
            _ => Err(CaError::Validity {
                asked_seconds: seconds,
                min_seconds: LEAF_TTL_MIN.as_secs(),
                max_seconds: LEAF_TTL_MAX.as_secs(),
            }),
        }
    }

    /// PEM bundle of the mesh's roots.
    pub fn roots_pem(&self) -> &Arc<str> {
        &self.roots_pem
    }

    /// The root that verifies what is signed now, and that join tokens pin.
    pub fn anchor(&self) -> &CertificateDer<'static> {
        &self.anchor
    }

    /// When the first of the roots expires.
    pub fn roots_not_after(&self) -> SystemTime {
        self.root.roots_not_after
    }
}

impl IssuedChain {
    /// PEM texts as the certificate service answers: leaf, intermediates, and last the roots.
    pub fn to_pem(&self, roots: &str) -> Vec<String> {
        let mut texts: Vec<_> = self.chain.iter().map(pem_of).collect();
        texts.push(roots.to_owned());
        texts
    }
}

fn sign_names(
    root: &Root,
    names: Vec<SanType>,
    key: &impl PublicKeyData,
    ttl: Duration,
) -> Result<IssuedChain, CaError> {
    let now = clock::now();
    let not_after = (now + ttl).min(root.signer_not_after);
    if not_after <= now {
        return Err(CaError::SignerExpired);
    }
    let mut params = CertificateParams::default();
    // Without a subject the names become critical (RFC 5280 section 4.1.2.6), so no reader can skip them.
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = names;
    params.not_before = (now - BACKDATE_MAX.min(ttl / BACKDATE_SHARE)).into();
    params.not_after = not_after.into();
    params.serial_number = Some(random_serial());
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let leaf = params.signed_by(key, &root.issuer).map_err(signing)?;
    let mut chain = vec![leaf.der().clone()];
    chain.extend(root.intermediates.iter().cloned());
    Ok(IssuedChain { chain, not_after })
}

fn trial_leaf(root: &Root) -> Result<IssuedChain, CaError> {
    let key = KeyPair::generate().map_err(signing)?;
    let names = vec![SanType::DnsName("trial.invalid".try_into().map_err(signing)?)];
    sign_names(root, names, &key, LEAF_TTL_DEFAULT)
}

/// Whether a peer that trusts `anchor` alone would accept the chain.
fn verifies(issued: &IssuedChain, anchor: &CertificateDer<'static>) -> bool {
    let mut roots = RootCertStore::empty();
    if roots.add(anchor.clone()).is_err() {
        return false;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let Ok(verifier) = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build()
    else {
        return false;
    };
    let Some((leaf, between)) = issued.chain.split_first() else {
        return false;
    };
    let since = clock::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    verifier.verify_client_cert(leaf, between, UnixTime::since_unix_epoch(since)).is_ok()
}

fn uri(identity: &SpiffeId) -> Result<SanType, CaError> {
    Ok(SanType::URI(identity.as_str().try_into().map_err(signing)?))
}

fn signing(error: rcgen::Error) -> CaError {
    CaError::Signing(error.to_string())
}
