//! Secrets as users and tools write them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair};

use crate::objects::{Kind, Object, Pool, Secret, header, items, read, read_item, sniff};

use std::sync::Arc;

const CA: &str = include_str!("../ca.test.pem");
/// Stands in everything that must not be shown.
const HIDDEN: &str = "hunter2";

/// PEM of a certificate, and of its key.
fn issued() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["client.example".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn document(of: &str, data: &[(&str, &str)], text: &[(&str, &str)]) -> String {
    let line = |(name, value): &(&str, &str)| format!("{name}: {value:?}");
    let encoded: Vec<_> = data.iter().map(|(name, it)| (*name, STANDARD.encode(it))).collect();
    let data = encoded.iter().map(|(name, it)| line(&(name, it))).collect::<Vec<_>>().join(", ");
    let text = text.iter().map(line).collect::<Vec<_>>().join(", ");
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: bank, namespace: shop}}\n{of}\ndata: {{{data}}}\nstringData: {{{text}}}\n"
    )
}

fn secret(text: &str) -> Result<Arc<Secret>, String> {
    assert_eq!(header(text).unwrap().kind(), Some(Kind::Secret), "{text}");
    match read(Kind::Secret, text, &mut Pool::default()) {
        Ok(Object::Secret(secret)) => Ok(secret),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn secrets_are_read_as_istio_reads_them() {
    let (chain, key) = issued();
    let types = ["type: kubernetes.io/tls", "type: Opaque", ""];
    for of in types {
        for names in [["tls.crt", "tls.key", "ca.crt"], ["cert", "key", "cacert"]] {
            let pairs = [(names[0], &*chain), (names[1], &*key), (names[2], CA)];
            for text in [document(of, &pairs, &[]), document(of, &[], &pairs)] {
                let found = secret(&text).unwrap();
                let pair = found.pair.as_ref().unwrap();
                assert_eq!(&*pair.chain, chain.replace("\r\n", "\n"));
                let lines = |text: &str| text.lines().map(str::trim).collect::<String>();
                assert_eq!(lines(pair.key.pem()), lines(&key));
                assert_eq!(found.authorities.as_deref(), Some(CA));
            }
        }
    }
    // `stringData` counts before `data`, Istio's generic names before those of TLS, and what is empty isn't there.
    let (other, other_key) = issued();
    let text = document(
        "",
        &[("tls.crt", "x"), ("tls.key", "x"), ("cert", &chain), ("key", &key), ("cacert", "")],
        &[("key", &other_key), ("cert", &other), ("ca.crt", CA)],
    );
    let found = secret(&text).unwrap();
    assert_eq!(&*found.pair.as_ref().unwrap().chain, other.replace("\r\n", "\n"));
    assert_eq!(found.authorities.as_deref(), Some(CA));
    let only_ca = secret(&document("", &[("ca.crt", CA)], &[])).unwrap();
    assert!(only_ca.pair.is_none() && only_ca.authorities.is_some());
}

#[test]
fn secrets_of_no_use_are_passed_over() {
    for text in [
        document("type: helm.sh/release.v1", &[("ca.crt", CA)], &[]),
        document("type: kubernetes.io/service-account-token", &[("ca.crt", CA)], &[]),
        document("type: Opaque", &[("password", HIDDEN)], &[]),
        document("", &[], &[]),
    ] {
        assert_eq!(header(&text).unwrap().kind(), None, "{text}");
    }
    // One that is being broken stays in force as it was.
    let broken = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: bank\ndata: {tls.key: [";
    assert!(header(broken).is_err() && sniff(broken).key().is_some());
}

#[test]
fn what_is_wrong_with_a_secret_is_named() {
    let (chain, key) = issued();
    let (_, stranger) = issued();
    let locked = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let long = CA.repeat(600);
    let unknown = document("immutables: true", &[("ca.crt", CA)], &[]);
    let unencoded = document("", &[], &[]).replace("data: {}", "data: {ca.crt: 'a b%'}");
    let cases: Vec<(String, &str)> = vec![
        (document("", &[("tls.crt", &chain)], &[]), "data.tls.crt: is given, and tls.key isn't"),
        (document("", &[("key", &key), ("ca.crt", CA)], &[]), "data.key: is given, and cert isn't"),
        (document("", &[("ca.crt", "")], &[]), "data: has neither"),
        (document("", &[("ca.crt", "text")], &[]), "data.ca.crt: has no certificate"),
        (document("", &[], &[("ca.crt", &long)]), "stringData.ca.crt: is longer than"),
        (document("", &[("ca.crt", CA), ("ca.crl", CA)], &[]), "data.ca.crl: is no list"),
        (
            document("", &[("tls.crt", &chain), ("tls.key", &stranger)], &[]),
            "data.tls.key: isn't the key of data.tls.crt",
        ),
        (
            document("", &[("tls.crt", &chain), ("tls.key", &locked)], &[]),
            "data.tls.key: is no private key",
        ),
        (
            document("", &[("tls.crt", &chain), ("tls.key", &key.repeat(100))], &[]),
            "data.tls.key: is longer than",
        ),
        (unencoded, "data.ca.crt: is no base64"),
        (unknown, "it can't be read"),
    ];
    for (text, wanted) in cases {
        let error = secret(&text).unwrap_err();
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
}

/// Parsers like to quote what they stumble over.
#[test]
fn no_message_and_no_debug_output_shows_a_value() {
    let head = "apiVersion: v1\nkind: Secret\nmetadata: {name: bank}\n";
    for body in [
        format!("data: {HIDDEN}\nstringData: {{tls.key: x}}"),
        format!("data: {{ca.crt: x}}\nstringData: [{HIDDEN}]"),
        format!("stringData: {{tls.key: [{HIDDEN}]}}"),
        format!("stringData: {{tls.key: {{{HIDDEN}: 1}}}}"),
        format!("stringData: {{tls.key: \"{HIDDEN}\", tls.crt: \"{HIDDEN}\"}}"),
        format!("stringData: {{tls.key: {HIDDEN}, tls.key: {HIDDEN}}}"),
        format!("stringData: {{tls.key: *{HIDDEN}}}"),
        format!("stringData: {{tls.key: !!int {HIDDEN}}}"),
        format!("stringData: {{tls.key: \"\\{HIDDEN}\"}}"),
        format!("stringData: {{tls.key: {HIDDEN}"),
        format!("stringData:\n  tls.key: |\n{HIDDEN}\n more: x"),
        format!("data: {{tls.key: '{HIDDEN}%', tls.crt: x}}"),
        format!("{HIDDEN}: x\nstringData: {{tls.key: x}}"),
    ] {
        let text = format!("{head}{body}\n");
        let error = match header(&text) {
            Err(error) => error,
            Ok(_) => read(Kind::Secret, &text, &mut Pool::default()).unwrap_err(),
        };
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(HIDDEN), "{body}: {shown}");
        let list = text.replace('\n', "\n    ");
        let list = format!("apiVersion: v1\nkind: List\nitems:\n  - {}\n", list.trim_end());
        let shown = match (header(&list), items(&list)) {
            (Ok(_), Ok(items)) => {
                let read = items.into_iter().map(|(_, item)| read_item(item, &mut Pool::default()));
                read.map(|(_, object)| format!("{object:?}")).collect()
            }
            (header, items) => format!("{header:?} {:?}", items.err()),
        };
        assert!(!shown.contains(HIDDEN), "{body}: {shown}");
    }
    let (chain, key) = issued();
    let found = secret(&document("", &[("tls.crt", &chain), ("tls.key", &key)], &[])).unwrap();
    let shown = format!("{found:?}");
    assert!(shown.contains("PrivateKey(..)") && !shown.contains("PRIVATE"), "{shown}");
}
