//! Whom a handshake refuses, and how.

use std::sync::Arc;
use std::time::Duration;

use rcgen::ExtendedKeyUsagePurpose;
use rustls::{AlertDescription, ClientConfig, ServerConfig};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{ADDRESS, client_id, expected, link, server_id};
use crate::clock;
use crate::identity::{SpiffeId, TrustDomains};
use crate::limits;
use crate::testing::{Issued, Leaf, TestCa, identity};
use crate::tls::verify::WorkloadServerVerifier;
use crate::tls::{PeerFault, Side, TlsError, accept, connect_to, provider};
use crate::x509::CertificateError;

// ---- Servers that a client must refuse ----

fn raw_server(issued: Issued, alpn: &[&[u8]]) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(issued.chain, issued.key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// What our client says of that server, and the alert that the server gets for it.
async fn dial_raw(ca: &TestCa, server: Arc<ServerConfig>) -> (TlsError, Option<AlertDescription>) {
    let client = ca.workload(&client_id());
    let (near, far) = link();
    let expected = expected();
    let (dialled, accepted) = tokio::join!(
        connect_to(&client, &expected, ADDRESS, near),
        TlsAcceptor::from(server).accept(far)
    );
    (dialled.expect_err("client refuses"), accepted.err().and_then(alert))
}

fn alert(error: std::io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

type IsIt = fn(&PeerFault) -> bool;

#[tokio::test]
async fn client_refuses_every_wrong_server_with_an_alert() {
    let ca = TestCa::root("root");
    let proper = Leaf::of(&server_id());
    let cases: [(&str, Leaf, IsIt); 3] = [
        (
            "wrong SAN",
            Leaf::of(&identity("shop", "admin")),
            |fault| matches!(fault, PeerFault::Unexpected { presented, .. } if *presented == identity("shop", "admin")),
        ),
        (
            "two URI SANs",
            Leaf { uris: vec![server_id().to_string(), client_id().to_string()], ..proper.clone() },
            |fault| *fault == PeerFault::Certificate(CertificateError::SeveralIdentities(2)),
        ),
        ("no URI SAN", Leaf::of_controller(&["payment.shop.svc"]), |fault| {
            *fault == PeerFault::Certificate(CertificateError::NoIdentity)
        }),
    ];
    for (name, leaf, is_it) in cases {
        let (error, alert) = dial_raw(&ca, raw_server(ca.issue(&leaf), &[b"h2"])).await;
        assert!(matches!(&error, TlsError::Peer(fault) if is_it(fault)), "{name}: {error}");
        assert_eq!(error.side(), Side::Peer);
        assert_eq!(alert, Some(AlertDescription::CertificateUnknown), "{name}");
    }
}

#[tokio::test]
async fn client_refuses_every_untrusted_server_with_an_alert() {
    let ca = TestCa::root("root");
    let proper = Leaf::of(&server_id());
    let hour = Duration::from_secs(3600);
    let now = clock::now();
    let client_only = vec![ExtendedKeyUsagePurpose::ClientAuth];
    for (name, issued, wanted) in [
        (
            "expired",
            ca.issue(&proper.clone().valid(now - 2 * hour, now - hour)),
            AlertDescription::CertificateExpired,
        ),
        (
            "not yet valid",
            ca.issue(&proper.clone().valid(now + hour, now + 2 * hour)),
            AlertDescription::CertificateExpired,
        ),
        (
            "other CA of the same name",
            TestCa::root("root").issue(&proper),
            AlertDescription::DecryptError,
        ),
        ("other CA", TestCa::root("evil").issue(&proper), AlertDescription::UnknownCA),
        (
            "leaf as CA",
            ca.issue(&Leaf { is_ca: true, ..proper.clone() }),
            AlertDescription::CertificateUnknown,
        ),
        (
            "only a client",
            ca.issue(&Leaf { usages: client_only, ..proper.clone() }),
            AlertDescription::UnsupportedCertificate,
        ),
        ("self-signed", self_signed(&proper), AlertDescription::UnknownCA),
    ] {
        let (error, alert) = dial_raw(&ca, raw_server(issued, &[b"h2"])).await;
        assert!(matches!(error, TlsError::Peer(PeerFault::Untrusted(_))), "{name}: {error}");
        assert_eq!(alert, Some(wanted), "{name}: {error}");
    }
}

/// The leaf of a workload that was signed by another workload, whose own certificate is proper.
#[tokio::test]
async fn workload_cannot_sign_for_another() {
    let ca = TestCa::root("root");
    let forged = ca.sign_as_workload(&Leaf::of(&client_id()), &Leaf::of(&server_id()));
    let (error, _) = dial_raw(&ca, raw_server(forged, &[b"h2"])).await;
    assert!(matches!(error, TlsError::Peer(PeerFault::Untrusted(_))), "{error}");
}

fn self_signed(leaf: &Leaf) -> Issued {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = leaf.params().self_signed(&key).unwrap();
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    Issued { chain: vec![certificate.der().clone()], key }
}

#[tokio::test]
async fn server_without_http2_is_refused() {
    let ca = TestCa::root("root");
    for alpn in [&[&b"http/1.1"[..]][..], &[]] {
        let issued = ca.issue(&Leaf::of(&server_id()));
        let (error, _) = dial_raw(&ca, raw_server(issued, alpn)).await;
        let is_it = matches!(
            error,
            TlsError::Peer(PeerFault::NotHttp2)
                | TlsError::RefusedByPeer(AlertDescription::NoApplicationProtocol)
        );
        assert!(is_it, "{error}");
    }
}

// ---- Clients that a server must refuse ----

fn raw_client(ca: &TestCa, issued: Option<Issued>, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let roots = Arc::clone(ca.workload(&client_id()).roots());
    let verifier = WorkloadServerVerifier::new(roots, expected());
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match issued {
        Some(issued) => builder.with_client_auth_cert(issued.chain, issued.key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// What our server says of that client, and the alert that the client gets for it.
async fn accept_raw(
    ca: &TestCa,
    client: Arc<ClientConfig>,
) -> (TlsError, Option<AlertDescription>) {
    let server = ca.workload(&server_id());
    let (near, far) = link();
    let domains = TrustDomains::default();
    let dial = async {
        let mut stream =
            TlsConnector::from(client).connect(ServerName::from(ADDRESS), near).await?;
        stream.read_u8().await
    };
    let (dialled, accepted) = tokio::join!(dial, accept(&server, &domains, far));
    (accepted.expect_err("server refuses"), dialled.err().and_then(alert))
}

#[tokio::test]
async fn server_refuses_every_wrong_client_with_an_alert() {
    let ca = TestCa::root("root");
    let proper = Leaf::of(&client_id());
    let foreign: SpiffeId = "spiffe://elsewhere/ns/shop/sa/cart".parse().unwrap();
    let now = clock::now();
    let hour = Duration::from_secs(3600);
    let two = vec![client_id().to_string(), server_id().to_string()];
    let server_only = vec![ExtendedKeyUsagePurpose::ServerAuth];
    for (name, issued, wanted) in [
        (
            "foreign trust domain",
            Some(ca.issue(&Leaf::of(&foreign))),
            AlertDescription::CertificateUnknown,
        ),
        (
            "two URI SANs",
            Some(ca.issue(&Leaf { uris: two, ..proper.clone() })),
            AlertDescription::CertificateUnknown,
        ),
        (
            "expired",
            Some(ca.issue(&proper.clone().valid(now - 2 * hour, now - hour))),
            AlertDescription::CertificateExpired,
        ),
        ("self-signed", Some(self_signed(&proper)), AlertDescription::UnknownCA),
        ("other CA", Some(TestCa::root("evil").issue(&proper)), AlertDescription::UnknownCA),
        (
            "leaf as CA",
            Some(ca.issue(&Leaf { is_ca: true, ..proper.clone() })),
            AlertDescription::CertificateUnknown,
        ),
        (
            "only a server",
            Some(ca.issue(&Leaf { usages: server_only, ..proper.clone() })),
            AlertDescription::UnsupportedCertificate,
        ),
        ("no certificate", None, AlertDescription::CertificateRequired),
    ] {
        let (error, alert) = accept_raw(&ca, raw_client(&ca, issued, &[b"h2"])).await;
        assert!(matches!(error, TlsError::Peer(_)), "{name}: {error:?}");
        assert_eq!(alert, Some(wanted), "{name}: {error}");
    }
}

#[tokio::test]
async fn client_without_http2_is_refused() {
    let ca = TestCa::root("root");
    for alpn in [&[&b"http/1.1"[..]][..], &[]] {
        let client = raw_client(&ca, Some(ca.issue(&Leaf::of(&client_id()))), alpn);
        let (error, _) = accept_raw(&ca, client).await;
        assert!(matches!(error, TlsError::Peer(PeerFault::NotHttp2)), "{error}");
    }
}

#[tokio::test]
async fn alias_of_the_trust_domain_is_accepted() {
    let ca = TestCa::root("root");
    let foreign: SpiffeId = "spiffe://old.example/ns/shop/sa/cart".parse().unwrap();
    let (client, server) = (ca.workload(&foreign), ca.workload(&server_id()));
    let (near, far) = link();
    let own = TrustDomains::default();
    let with_alias = TrustDomains::new(own.own().clone(), [foreign.trust_domain().clone()]);
    let expected = expected();
    let (_dialled, accepted) = tokio::join!(
        connect_to(&client, &expected, ADDRESS, near),
        accept(&server, &with_alias, far)
    );
    assert_eq!(accepted.unwrap().1.identity, foreign);
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let ca = TestCa::root("root");
    let server = ca.workload(&server_id());
    let (mut near, far) = link();
    // RFC 5246, section 7.4.1.2: version 3.3, 32 random bytes, no session, one suite
    // (ECDHE-ECDSA-AES128-GCM-SHA256), no compression, and the signature algorithms and groups it needs.
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
    hello.extend([0, 16, 0, 13, 0, 4, 0, 2, 4, 3, 0, 10, 0, 4, 0, 2, 0, 23]);
    let length = u8::try_from(hello.len()).unwrap();
    let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(hello);
    near.write_all(&record).await.unwrap();
    let error = accept(&server, &TrustDomains::default(), far).await.err().unwrap();
    assert!(matches!(error, TlsError::Protocol(rustls::Error::PeerIncompatible(_))), "{error:?}");
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).await.unwrap();
    // A fatal alert, protocol_version (70).
    assert_eq!((answer[0], &answer[5..]), (21, &[2, 70][..]));
}

#[tokio::test(start_paused = true)]
async fn silent_peer_meets_the_deadline() {
    let ca = TestCa::root("root");
    let (client, server) = (ca.workload(&client_id()), ca.workload(&server_id()));
    let start = tokio::time::Instant::now();
    let (near, _far) = link();
    let error = connect_to(&client, &expected(), ADDRESS, near).await.err().unwrap();
    assert!(matches!(error, TlsError::Deadline));
    let (_near, far) = link();
    let error = accept(&server, &TrustDomains::default(), far).await.err().unwrap();
    assert!(matches!(error, TlsError::Deadline));
    assert_eq!(start.elapsed(), limits::TLS_DEADLINE * 2);
}

#[tokio::test]
async fn own_expired_certificate_starts_no_handshake() {
    let ca = TestCa::root("root");
    let now = clock::now();
    let leaf =
        Leaf::of(&client_id()).valid(now - Duration::from_secs(100), now - Duration::from_secs(10));
    let expired = ca.workload_with(&client_id(), &leaf);
    let (near, mut far) = link();
    let error = connect_to(&expired, &expected(), ADDRESS, near).await.err().unwrap();
    assert_eq!(error.side(), Side::Local);
    let mut sent = Vec::new();
    far.read_to_end(&mut sent).await.unwrap();
    assert!(sent.is_empty());
}
