//! Leaf certificates: proper, and each wrong in one way.

use rcgen::{CustomExtension, ExtendedKeyUsagePurpose, KeyUsagePurpose};
use weft_core::testing::{Leaf, TestCa, identity};

use crate::Seed;

const URI: u8 = 0x86;
const DNS: u8 = 0x82;
const DIRECTORY_NAME: u8 = 0xa4;

pub(crate) fn leaves() -> Vec<Seed> {
    let proper = || Leaf::of(&identity("demo", "web"));
    let own = proper().uris.remove(0);
    let uris =
        |uris: &[&str]| Leaf { uris: uris.iter().map(|&it| it.to_owned()).collect(), ..proper() };
    let ca = TestCa::root("root");
    let der = |leaf: &Leaf| ca.issue(leaf).chain.first().expect("a leaf").to_vec();
    let id = b"spiffe://cluster.local/ns/demo/sa/web";
    let with_nul = [&id[..], b"\0.example"].concat();
    let proper_der = der(&proper());
    let half = proper_der.iter().copied().take(proper_der.len() / 2).collect();
    let trailing = [&proper_der[..], b"\0"].concat();
    vec![
        ("proper", proper_der),
        ("truncated", half),
        ("byte-after-the-end", trailing),
        ("length-of-4-gigabytes", vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0x30, 0x80]),
        ("indefinite-length", vec![0x30, 0x80, 0x30, 0x80, 0x30, 0x80, 0, 0]),
        ("names-of-other-kinds", der(&Leaf { dns_names: vec!["web.demo".into()], ..proper() })),
        ("two-uris", der(&uris(&[&own, "spiffe://cluster.local/ns/demo/sa/admin"]))),
        ("same-uri-twice", der(&uris(&[&own, &own]))),
        ("no-uri", der(&uris(&[]))),
        ("web-uri", der(&uris(&["https://example.org/"]))),
        ("authority", der(&Leaf { is_ca: true, ..proper() })),
        (
            "signs-certificates",
            der(&Leaf { key_usages: vec![KeyUsagePurpose::KeyCertSign], ..proper() }),
        ),
        (
            "signs-code",
            der(&Leaf { usages: vec![ExtendedKeyUsagePurpose::CodeSigning], ..proper() }),
        ),
        ("no-usages", der(&Leaf { key_usages: vec![], usages: vec![], ..proper() })),
        ("nul-in-uri", der(&raw_names(&[(URI, &with_nul)]))),
        ("not-ascii-in-uri", der(&raw_names(&[(URI, b"spiffe://cluster.local/ns/\xff/sa/web")]))),
        ("empty-uri", der(&raw_names(&[(URI, b"")]))),
        ("dns-then-uri", der(&raw_names(&[(DNS, id), (URI, id)]))),
        ("broken-directory-name", der(&raw_names(&[(DIRECTORY_NAME, b"\x30\x7f"), (URI, id)]))),
        ("names-twice", der(&Leaf { extensions: raw_names(&[(URI, id)]).extensions, ..proper() })),
    ]
}

/// A subject alternative name of raw entries: tag and content, each under 128 bytes.
fn raw_names(names: &[(u8, &[u8])]) -> Leaf {
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).expect("a short form");
    let entries = names.iter().flat_map(|(tag, content)| {
        [*tag, length(content)].into_iter().chain(content.iter().copied())
    });
    let entries: Vec<u8> = entries.collect();
    let der = [&[0x30, 0x81, length(&entries)], &entries[..]].concat();
    let extension = CustomExtension::from_oid_content(&[2, 5, 29, 17], der);
    let leaf = Leaf::of(&identity("demo", "web"));
    Leaf { uris: Vec::new(), extensions: vec![extension], ..leaf }
}
