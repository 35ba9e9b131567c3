use proptest::prelude::*;
use rcgen::{CustomExtension, ExtendedKeyUsagePurpose, KeyUsagePurpose};

use super::*;
use crate::testing::{Leaf, TestCa, identity};

fn read(leaf: &Leaf) -> Result<PeerCertificate, CertificateError> {
    let issued = TestCa::root("root").issue(leaf);
    PeerCertificate::from_leaf(&issued.chain[0])
}

fn proper() -> Leaf {
    Leaf::of(&identity("shop", "cart"))
}

/// A subject alternative name of raw entries: tag and content, each under 128 bytes.
fn raw_names(names: &[(u8, &[u8])]) -> Leaf {
    let mut entries = Vec::new();
    for (tag, content) in names {
        entries.push(*tag);
        entries.push(u8::try_from(content.len()).unwrap());
        entries.extend_from_slice(content);
    }
    let mut der = vec![0x30, 0x82];
    der.extend_from_slice(&u16::try_from(entries.len()).unwrap().to_be_bytes());
    der.extend(entries);
    let extension = CustomExtension::from_oid_content(&[2, 5, 29, 17], der);
    Leaf { uris: Vec::new(), extensions: vec![extension], ..proper() }
}

const URI: u8 = 0x86;
const DNS: u8 = 0x82;

#[test]
fn proper_leaf_is_read() {
    let leaf = proper();
    let peer = read(&leaf).unwrap();
    assert_eq!(peer.identity, identity("shop", "cart"));
    assert!(peer.is_valid_at(leaf.not_before + Duration::from_secs(1)));
    assert!(!peer.is_valid_at(leaf.not_before - Duration::from_secs(2)));
    assert!(!peer.is_valid_at(leaf.not_after + Duration::from_secs(2)));
    assert!(peer.serial.bytes().all(|byte| byte.is_ascii_hexdigit()) && !peer.serial.is_empty());
}

#[test]
fn names_of_other_kinds_do_not_matter() {
    let leaf = Leaf { dns_names: vec!["cart.shop.svc".to_owned()], ..proper() };
    assert_eq!(read(&leaf).unwrap().identity, identity("shop", "cart"));
}

#[test]
fn anything_but_one_uri_name_is_refused() {
    let one = proper().uris.remove(0);
    let with = |uris: Vec<String>| read(&Leaf { uris, ..proper() });
    assert_eq!(with(vec![]), Err(CertificateError::NoIdentity));
    let two = vec![one.clone(), "spiffe://cluster.local/ns/shop/sa/admin".to_owned()];
    assert_eq!(with(two), Err(CertificateError::SeveralIdentities(2)));
    assert_eq!(with(vec![one.clone(), one.clone()]), Err(CertificateError::SeveralIdentities(2)));
    let web = vec![one, "https://example.org/".to_owned()];
    assert_eq!(with(web), Err(CertificateError::SeveralIdentities(2)));
    let dns_only = Leaf { dns_names: vec!["a.b".to_owned()], uris: vec![], ..proper() };
    assert_eq!(read(&dns_only), Err(CertificateError::NoIdentity));
}

#[test]
fn odd_bytes_in_a_name_are_refused() {
    let id = b"spiffe://cluster.local/ns/shop/sa/cart";
    assert_eq!(read(&raw_names(&[(URI, id)])).unwrap().identity, identity("shop", "cart"));
    for content in [
        &b"spiffe://cluster.local/ns/shop/sa/cart\0"[..],
        b"spiffe://cluster.local/ns/shop/sa/cart\0.evil",
        "spiffe://cluster.local/ns/shop/sa/c\u{430}rt".as_bytes(),
        b"spiffe://cluster.local/ns/shop/sa/\xff\xfe",
        b"spiffe://cluster.local/ns/shop/sa/cart ",
        b"spiffe://CLUSTER.local/ns/shop/sa/cart",
        b"",
    ] {
        assert!(read(&raw_names(&[(URI, content)])).is_err(), "{content:?}");
    }
    // A DNS name that is no text spoils the certificate, too: who writes that has no good reason.
    let mixed = raw_names(&[(URI, id), (DNS, b"\xff\xff")]);
    assert_eq!(read(&mixed), Err(CertificateError::Malformed("a name of another encoding")));
}

#[test]
fn thousands_of_names_are_counted_or_refused() {
    let id = b"spiffe://cluster.local/ns/shop/sa/cart";
    let mut names = vec![(DNS, &b"a.b"[..]); 2_000];
    names.push((URI, id));
    assert!(read(&raw_names(&names)).is_ok());
    let uris = vec![(URI, &b"a:b"[..]); 2_000];
    assert_eq!(read(&raw_names(&uris)), Err(CertificateError::SeveralIdentities(2_000)));
    let many = vec![(DNS, &b"a.b"[..]); 10_000];
    assert!(matches!(read(&raw_names(&many)), Err(CertificateError::TooLong(_))));
}

#[test]
fn authority_is_no_workload() {
    let leaf = Leaf { is_ca: true, ..proper() };
    assert_eq!(read(&leaf), Err(CertificateError::Authority));
}

#[test]
fn certificate_for_something_else_than_tls_is_refused() {
    let only = |usage| read(&Leaf { usages: vec![usage], ..proper() });
    assert_eq!(only(ExtendedKeyUsagePurpose::CodeSigning), Err(CertificateError::Usage));
    assert!(only(ExtendedKeyUsagePurpose::ClientAuth).is_ok());
    assert!(only(ExtendedKeyUsagePurpose::ServerAuth).is_ok());
    assert!(read(&Leaf { usages: vec![], ..proper() }).is_ok());
    let key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    assert_eq!(read(&Leaf { key_usages, ..proper() }), Err(CertificateError::Usage));
}

#[test]
fn rubbish_is_refused() {
    for bytes in [vec![], vec![0x30], vec![0; 100], vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff]] {
        assert!(PeerCertificate::from_leaf(&bytes.into()).is_err());
    }
    let mut longer = TestCa::root("root").issue(&proper()).chain[0].to_vec();
    longer.push(0);
    assert_eq!(
        PeerCertificate::from_leaf(&longer.into()),
        Err(CertificateError::Malformed("bytes after its end"))
    );
}

proptest! {
    #[test]
    fn damaged_certificate_never_panics(position in 0_usize..400, value: u8, cut in 0_usize..600) {
        let mut bytes = TestCa::root("root").issue(&proper()).chain[0].to_vec();
        let length = bytes.len();
        bytes[position % length] = value;
        bytes.truncate(cut.max(position + 1));
        let _ = PeerCertificate::from_leaf(&bytes.into());
    }
}
