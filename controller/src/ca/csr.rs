//! Reads a signing request (PKCS #10, RFC 2986): all that is taken from it is a public key whose owner signed it.
//!
//! Names and extensions of the request are not even looked at: the identity comes from elsewhere.

use rcgen::SubjectPublicKeyInfo;
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_NIST_EC_P384, OID_PKCS1_SHA1WITHRSA, OID_SHA1_WITH_RSA, OID_SIG_ED25519,
};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo as ParsedKey;

use super::CaError;
use crate::serving_limits::CSR_BYTES_MAX;

/// Shortest RSA key, bits (NIST SP 800-131A).
const RSA_BITS_MIN: usize = 2048;

/// The public key of a PEM request, once its signature by that key is verified (proof of possession) and the key is
/// strong enough: P-256, P-384, Ed25519, or RSA of at least 2048 bits.
pub fn verified_public_key(pem: &str) -> Result<SubjectPublicKeyInfo, CaError> {
    if pem.len() > CSR_BYTES_MAX {
        return Err(refusal("is too long"));
    }
    let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| refusal("is not PEM"))?;
    let (rest, request) =
        X509CertificationRequest::from_der(&der).map_err(|_| refusal("can't be decoded"))?;
    if !rest.is_empty() {
        return Err(refusal("has bytes after its end"));
    }
    let key = &request.certification_request_info.subject_pki;
    check_key(key)?;
    let algorithm = &request.signature_algorithm.algorithm;
    if *algorithm == OID_PKCS1_SHA1WITHRSA || *algorithm == OID_SHA1_WITH_RSA {
        return Err(refusal("is signed with SHA-1"));
    }
    request.verify_signature().map_err(|_| refusal("is not signed by its own key"))?;
    SubjectPublicKeyInfo::from_der(key.raw).map_err(|_| refusal("has a key of an unknown form"))
}

fn check_key(key: &ParsedKey<'_>) -> Result<(), CaError> {
    let accepted = match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => rsa.key_size() >= RSA_BITS_MIN,
        Ok(PublicKey::EC(_)) => key
            .algorithm
            .parameters
            .as_ref()
            .and_then(|parameters| parameters.as_oid().ok())
            .is_some_and(|curve| curve == OID_EC_P256 || curve == OID_NIST_EC_P384),
        _ => key.algorithm.algorithm == OID_SIG_ED25519,
    };
    if accepted {
        return Ok(());
    }
    Err(refusal("must have a P-256, P-384 or Ed25519 key, or RSA of at least 2048 bits"))
}

fn refusal(reason: &str) -> CaError {
    CaError::Request(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PublicKeyData, RsaKeySize};

    use super::*;

    fn request(key: &KeyPair) -> String {
        let params = CertificateParams::new(["ignored.example".to_owned()]).unwrap();
        params.serialize_request(key).unwrap().pem().unwrap()
    }

    #[test]
    fn usual_keys_are_accepted() {
        let mut keys: Vec<_> =
            [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519]
                .into_iter()
                .map(|algorithm| KeyPair::generate_for(algorithm).unwrap())
                .collect();
        keys.push(KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap());
        for key in keys {
            let accepted = verified_public_key(&request(&key)).unwrap();
            assert_eq!(accepted.der_bytes(), key.der_bytes());
        }
    }

    #[test]
    fn other_curves_are_refused() {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
        let refusal = verified_public_key(&request(&key)).unwrap_err();
        assert!(refusal.to_string().contains("P-256"), "{refusal}");
    }

    #[test]
    fn request_signed_by_another_key_is_refused() {
        // The key is swapped for another one of the same length; the signature stays.
        let (mine, theirs) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let params = CertificateParams::new(Vec::new()).unwrap();
        let mut der = params.serialize_request(&mine).unwrap().der().to_vec();
        let own = mine.public_key_raw();
        let at = der.windows(own.len()).position(|window| window == own).unwrap();
        der[at..at + own.len()].copy_from_slice(theirs.public_key_raw());
        let refusal = verified_public_key(&to_pem(&der)).unwrap_err();
        assert!(refusal.to_string().contains("own key"), "{refusal}");
    }

    #[test]
    fn garbage_is_refused_at_every_length() {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(Vec::new()).unwrap();
        let der = params.serialize_request(&key).unwrap().der().to_vec();
        for end in 0..der.len() {
            assert!(verified_public_key(&to_pem(&der[..end])).is_err(), "{end}");
        }
        let trailing = [der.as_slice(), &[0]].concat();
        assert!(verified_public_key(&to_pem(&trailing)).is_err());
        assert!(verified_public_key("").is_err());
        assert!(verified_public_key(&"-".repeat(CSR_BYTES_MAX + 1)).is_err());
    }

    fn to_pem(der: &[u8]) -> String {
        use base64::Engine;
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n")
    }
}
