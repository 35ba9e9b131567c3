//! One signing: a fresh key, its request, and the check of what comes back.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::string::Ia5String;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::time::timeout;

use super::{Authority, CertError};
use crate::identity::SpiffeId;
use crate::limits;
use crate::tls::WorkloadCertificate;

/// Obtains a certificate of `identity` that is valid by `wall`.
pub(super) async fn obtain(
    authority: &dyn Authority,
    identity: SpiffeId,
    ttl: Duration,
    wall: impl Fn() -> SystemTime,
) -> Result<Arc<WorkloadCertificate>, CertError> {
    // A fresh key each time: one that leaked is worth no more than the certificate it came with.
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let csr = signing_request(&identity, &key)?;
    let signed =
        timeout(limits::CERT_SIGN_DEADLINE, authority.sign(&identity, csr, ttl)).await.map_err(
            |_| CertError::Unreachable(format!("nothing within {:?}", limits::CERT_SIGN_DEADLINE)),
        )??;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let certificate = WorkloadCertificate::new(identity, key, signed.chain, signed.roots)?;
    let now = wall();
    if !certificate.is_valid_at(now) {
        return Err(CertError::Clock);
    }
    if let Err(error) = certificate.leads_to_own_roots(now) {
        // Peers judge by their own roots, so this may still work, and nothing better is at hand.
        tracing::warn!(
            identity = %certificate.identity(), %error,
            "the CA's chain does not lead to the roots that it sent; check its root bundle"
        );
    }
    Ok(Arc::new(certificate))
}

/// PKCS#10 with an empty subject and one URI name.
fn signing_request(identity: &SpiffeId, key: &KeyPair) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(identity.as_str())?)];
    params.serialize_request(key)?.pem()
}
