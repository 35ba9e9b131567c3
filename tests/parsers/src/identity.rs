//! Who a peer says it is.

use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use weft_core::identity::SpiffeId;
use weft_core::limits;
use weft_core::x509::PeerCertificate;

/// A SPIFFE ID. What is accepted is its own text, and its parts rebuild it.
pub fn spiffe_id(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    if let Ok(identity) = text.parse::<SpiffeId>() {
        assert_eq!(identity.as_str(), text);
        check(&identity);
    }
}

/// A leaf certificate. Whom it names stands in it, whole; the rest of what is said about it is well-formed.
pub fn leaf_certificate(data: &[u8]) {
    let Ok(peer) = PeerCertificate::from_leaf(&CertificateDer::from(data)) else {
        return;
    };
    assert!(data.len() <= limits::LEAF_BYTES_MAX);
    check(&peer.identity);
    let named = peer.identity.as_str().as_bytes();
    assert!(data.windows(named.len()).any(|window| window == named));
    assert!(peer.serial.len().is_multiple_of(2));
    assert!(peer.serial.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let is_ever_valid = peer.not_before <= peer.not_after;
    assert_eq!(peer.is_valid_at(peer.not_before), is_ever_valid);
    assert_eq!(peer.is_valid_at(peer.not_after), is_ever_valid);
    if peer.not_after < SystemTime::UNIX_EPOCH {
        assert!(!peer.is_valid_at(SystemTime::UNIX_EPOCH));
    }
}

fn check(identity: &SpiffeId) {
    let rebuilt = SpiffeId::new(
        identity.trust_domain().clone(),
        identity.namespace(),
        identity.service_account(),
    );
    assert_eq!(rebuilt.as_ref(), Ok(identity));
    assert_eq!(identity.as_str().parse().as_ref(), Ok(identity));
    assert_eq!(identity.as_str(), format!("spiffe://{}", identity.principal()));
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_allowed = |byte: u8| is_plain(byte) || b"._-/".contains(&byte);
    assert!(identity.principal().bytes().all(is_allowed), "{identity}");
}
