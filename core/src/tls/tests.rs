use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::ExtendedKeyUsagePurpose;
use rustls::{AlertDescription, ClientConfig, HandshakeKind, ServerConfig};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::handshake::{accept_by, connect_by};
use super::verify::WorkloadServerVerifier;
use super::*;
use crate::clock;
use crate::identity::{ExpectedPeers, SpiffeId, TrustDomains};
use crate::limits;
use crate::testing::{Issued, Leaf, TestCa, identity};
use crate::x509::{CertificateError, PeerCertificate};

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

fn client_id() -> SpiffeId {
    identity("shop", "cart")
}

fn server_id() -> SpiffeId {
    identity("shop", "payment")
}

fn expected() -> ExpectedPeers {
    ExpectedPeers::one(server_id())
}

fn link() -> (DuplexStream, DuplexStream) {
    duplex(64 * 1024)
}

/// Both ends of a handshake between our own client and server; a byte crosses, so that the ticket arrives.
async fn shake(
    client: &Arc<WorkloadCertificate>,
    server: &Arc<WorkloadCertificate>,
) -> Result<(HandshakeKind, PeerCertificate, PeerCertificate), (Option<TlsError>, Option<TlsError>)>
{
    shake_at(client, clock::now(), server, clock::now(), &expected()).await
}

async fn shake_at(
    client: &Arc<WorkloadCertificate>,
    client_time: SystemTime,
    server: &Arc<WorkloadCertificate>,
    server_time: SystemTime,
    expected: &ExpectedPeers,
) -> Result<(HandshakeKind, PeerCertificate, PeerCertificate), (Option<TlsError>, Option<TlsError>)>
{
    let (near, far) = link();
    let domains = TrustDomains::default();
    let (dialled, accepted) = tokio::join!(
        connect_by(|| client_time, client, expected, ADDRESS, near),
        accept_by(|| server_time, server, &domains, far),
    );
    match (dialled, accepted) {
        (Ok((mut near, server_seen)), Ok((mut far, client_seen))) => {
            far.write_all(b"x").await.unwrap();
            assert_eq!(near.read_u8().await.unwrap(), b'x');
            let kind = near.get_ref().1.handshake_kind().unwrap();
            assert_eq!(far.get_ref().1.handshake_kind().unwrap(), kind);
            Ok((kind, server_seen, client_seen))
        }
        (dialled, accepted) => Err((dialled.err(), accepted.err())),
    }
}

#[tokio::test]
async fn workloads_of_one_mesh_know_each_other() {
    let ca = TestCa::root("root");
    let (client, server) = (ca.workload(&client_id()), ca.workload(&server_id()));
    let (near, far) = link();
    let (expected, domains) = (expected(), TrustDomains::default());
    let (dialled, accepted) = tokio::join!(
        connect_to(&client, &expected, ADDRESS, near),
        accept(&server, &domains, far)
    );
    let (near, seen_server) = dialled.unwrap();
    let (_far, seen_client) = accepted.unwrap();
    assert_eq!(
        (seen_server.identity, seen_client.identity),
        (server_id(), client_id())
    );
    let connection = near.get_ref().1;
    assert_eq!(
        connection.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );
    assert_eq!(connection.alpn_protocol(), Some(&b"h2"[..]));
    let suite = connection.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, rustls::CipherSuite::TLS13_AES_256_GCM_SHA384);
    let group = connection.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519);
}

#[tokio::test]
async fn intermediate_is_accepted() {
    let root = TestCa::root("root");
    let (one, other) = (
        root.intermediate("one"),
        root.intermediate("two").intermediate("three"),
    );
    let (client, server) = (one.workload(&client_id()), other.workload(&server_id()));
    assert!(client.leads_to_own_roots(clock::now()).is_ok());
    assert!(shake(&client, &server).await.is_ok());
}

#[tokio::test]
async fn connect_works_over_tcp() {
    let ca = TestCa::root("root");
    let (client, server) = (ca.workload(&client_id()), ca.workload(&server_id()));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    let (tcp, accepted) = tokio::join!(socket.connect(address), listener.accept());
    let (expected, domains) = (expected(), TrustDomains::default());
    let (dialled, accepted) = tokio::join!(
        connect(&client, &expected, tcp.unwrap()),
        accept(&server, &domains, accepted.unwrap().0)
    );
    assert_eq!(dialled.unwrap().1.identity, server_id());
    assert_eq!(accepted.unwrap().1.identity, client_id());
}

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
    (
        dialled.err().expect("client refuses"),
        accepted.err().and_then(alert),
    )
}

fn alert(error: std::io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

#[tokio::test]
async fn client_refuses_every_wrong_server_with_an_alert() {
    let ca = TestCa::root("root");
    let proper = Leaf::of(&server_id());
    let hour = Duration::from_secs(3600);
    let now = clock::now();
    let own_words: [(&str, Leaf, fn(&PeerFault) -> bool); 3] = [
        (
            "wrong SAN",
            Leaf::of(&identity("shop", "admin")),
            |fault| matches!(fault, PeerFault::Unexpected { presented, .. } if *presented == identity("shop", "admin")),
        ),
        (
            "two URI SANs",
            Leaf {
                uris: vec![server_id().to_string(), client_id().to_string()],
                ..proper.clone()
            },
            |fault| *fault == PeerFault::Certificate(CertificateError::SeveralIdentities(2)),
        ),
        (
            "no URI SAN",
            Leaf::of_controller(&["payment.shop.svc"]),
            |fault| *fault == PeerFault::Certificate(CertificateError::NoIdentity),
        ),
    ];
    for (name, leaf, is_it) in own_words {
        let (error, alert) = dial_raw(&ca, raw_server(ca.issue(&leaf), &[b"h2"])).await;
        assert!(
            matches!(&error, TlsError::Peer(fault) if is_it(fault)),
            "{name}: {error}"
        );
        assert_eq!(error.side(), Side::Peer);
        assert_eq!(alert, Some(AlertDescription::CertificateUnknown), "{name}");
    }
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
            "other CA",
            TestCa::root("root").issue(&proper),
            AlertDescription::DecryptError,
        ),
        (
            "other CA's name",
            TestCa::root("evil").issue(&proper),
            AlertDescription::UnknownCA,
        ),
        (
            "leaf as CA",
            ca.issue(&Leaf {
                is_ca: true,
                ..proper.clone()
            }),
            AlertDescription::CertificateUnknown,
        ),
        (
            "only a client",
            ca.issue(&Leaf {
                usages: client_only,
                ..proper.clone()
            }),
            AlertDescription::UnsupportedCertificate,
        ),
        (
            "self-signed",
            self_signed(&proper),
            AlertDescription::UnknownCA,
        ),
    ] {
        let (error, alert) = dial_raw(&ca, raw_server(issued, &[b"h2"])).await;
        assert!(
            matches!(error, TlsError::Peer(PeerFault::Untrusted(_))),
            "{name}: {error}"
        );
        assert_eq!(alert, Some(wanted), "{name}: {error}");
    }
}

/// The leaf of a workload that was signed by another workload, whose own certificate is proper.
#[tokio::test]
async fn workload_cannot_sign_for_another() {
    let ca = TestCa::root("root");
    let forged = ca.sign_as_workload(&Leaf::of(&client_id()), &Leaf::of(&server_id()));
    let (error, _) = dial_raw(&ca, raw_server(forged, &[b"h2"])).await;
    assert!(
        matches!(error, TlsError::Peer(PeerFault::Untrusted(_))),
        "{error}"
    );
}

fn self_signed(leaf: &Leaf) -> Issued {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = leaf.params().self_signed(&key).unwrap();
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    Issued {
        chain: vec![certificate.der().clone()],
        key,
    }
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
        Some(issued) => builder
            .with_client_auth_cert(issued.chain, issued.key)
            .unwrap(),
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
        let mut stream = TlsConnector::from(client)
            .connect(ServerName::from(ADDRESS), near)
            .await?;
        stream.read_u8().await
    };
    let (dialled, accepted) = tokio::join!(dial, accept(&server, &domains, far));
    (
        accepted.err().expect("server refuses"),
        dialled.err().and_then(alert),
    )
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
            Some(ca.issue(&Leaf {
                uris: two,
                ..proper.clone()
            })),
            AlertDescription::CertificateUnknown,
        ),
        (
            "expired",
            Some(ca.issue(&proper.clone().valid(now - 2 * hour, now - hour))),
            AlertDescription::CertificateExpired,
        ),
        (
            "self-signed",
            Some(self_signed(&proper)),
            AlertDescription::UnknownCA,
        ),
        (
            "other CA",
            Some(TestCa::root("evil").issue(&proper)),
            AlertDescription::UnknownCA,
        ),
        (
            "leaf as CA",
            Some(ca.issue(&Leaf {
                is_ca: true,
                ..proper.clone()
            })),
            AlertDescription::CertificateUnknown,
        ),
        (
            "only a server",
            Some(ca.issue(&Leaf {
                usages: server_only,
                ..proper.clone()
            })),
            AlertDescription::UnsupportedCertificate,
        ),
        (
            "no certificate",
            None,
            AlertDescription::CertificateRequired,
        ),
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
        assert!(
            matches!(error, TlsError::Peer(PeerFault::NotHttp2)),
            "{error}"
        );
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
    let error = accept(&server, &TrustDomains::default(), far)
        .await
        .err()
        .unwrap();
    assert!(
        matches!(
            error,
            TlsError::Protocol(rustls::Error::PeerIncompatible(_))
        ),
        "{error:?}"
    );
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
    let error = connect_to(&client, &expected(), ADDRESS, near)
        .await
        .err()
        .unwrap();
    assert!(matches!(error, TlsError::Deadline));
    let (_near, far) = link();
    let error = accept(&server, &TrustDomains::default(), far)
        .await
        .err()
        .unwrap();
    assert!(matches!(error, TlsError::Deadline));
    assert_eq!(start.elapsed(), limits::TLS_DEADLINE * 2);
}

#[tokio::test]
async fn own_expired_certificate_starts_no_handshake() {
    let ca = TestCa::root("root");
    let now = clock::now();
    let leaf = Leaf::of(&client_id()).valid(
        now - Duration::from_secs(100),
        now - Duration::from_secs(10),
    );
    let expired = ca.workload_with(&client_id(), &leaf);
    let (near, mut far) = link();
    let error = connect_to(&expired, &expected(), ADDRESS, near)
        .await
        .err()
        .unwrap();
    assert_eq!(error.side(), Side::Local);
    let mut sent = Vec::new();
    far.read_to_end(&mut sent).await.unwrap();
    assert!(sent.is_empty());
}

// ---- Resumption ----

#[tokio::test]
async fn second_handshake_is_resumed_and_names_the_same_peers() {
    let ca = TestCa::root("root");
    let (client, server) = (ca.workload(&client_id()), ca.workload(&server_id()));
    let mut kinds = Vec::new();
    for _ in 0..4 {
        let (kind, seen_server, seen_client) = shake(&client, &server).await.unwrap();
        assert_eq!(
            (seen_server.identity, seen_client.identity),
            (server_id(), client_id())
        );
        kinds.push(kind);
    }
    use HandshakeKind::{Full, Resumed};
    assert_eq!(kinds, [Full, Resumed, Resumed, Resumed]);
}

#[tokio::test]
async fn session_dies_with_either_generation() {
    let ca = TestCa::root("root");
    let (client, server) = (ca.workload(&client_id()), ca.workload(&server_id()));
    shake(&client, &server).await.unwrap();
    let renewed_server = ca.workload(&server_id());
    assert_ne!(server.generation(), renewed_server.generation());
    assert_eq!(
        shake(&client, &renewed_server).await.unwrap().0,
        HandshakeKind::Full
    );
    assert_eq!(
        shake(&client, &renewed_server).await.unwrap().0,
        HandshakeKind::Resumed
    );
    let renewed_client = ca.workload(&client_id());
    assert_eq!(
        shake(&renewed_client, &renewed_server).await.unwrap().0,
        HandshakeKind::Full
    );
}

#[tokio::test]
async fn session_does_not_outlive_the_peers_certificate() {
    let ca = TestCa::root("root");
    let now = clock::now();
    let (soon, later) = (now + Duration::from_secs(30), now + Duration::from_secs(60));
    let short = |id: &SpiffeId| {
        ca.workload_with(id, &Leaf::of(id).valid(now - Duration::from_secs(60), soon))
    };
    let expired = |id: SpiffeId, error: Option<TlsError>| matches!(error, Some(TlsError::Peer(PeerFault::Expired(who))) if who == id);

    let (client, server) = (short(&client_id()), ca.workload(&server_id()));
    shake(&client, &server).await.unwrap();
    let (_, refused) = shake_at(&client, now, &server, later, &expected())
        .await
        .unwrap_err();
    assert!(expired(client_id(), refused));

    let (client, server) = (ca.workload(&client_id()), short(&server_id()));
    shake(&client, &server).await.unwrap();
    let (refused, _) = shake_at(&client, later, &server, now, &expected())
        .await
        .unwrap_err();
    assert!(expired(server_id(), refused));
}

#[tokio::test]
async fn session_with_one_peer_is_no_way_to_another() {
    let ca = TestCa::root("root");
    let (client, server) = (ca.workload(&client_id()), ca.workload(&server_id()));
    shake(&client, &server).await.unwrap();
    let other = ExpectedPeers::one(identity("shop", "admin"));
    let now = clock::now();
    let (refused, _) = shake_at(&client, now, &server, now, &other)
        .await
        .unwrap_err();
    assert!(matches!(
        refused,
        Some(TlsError::Peer(PeerFault::Unexpected { .. }))
    ));
}

#[tokio::test]
async fn session_ends_with_the_trust_in_its_domain() {
    let ca = TestCa::root("root");
    let foreign: SpiffeId = "spiffe://old.example/ns/shop/sa/cart".parse().unwrap();
    let (client, server) = (ca.workload(&foreign), ca.workload(&server_id()));
    let own = TrustDomains::default();
    let with_alias = TrustDomains::new(own.own().clone(), [foreign.trust_domain().clone()]);
    let expected = expected();
    for (domains, is_accepted) in [(&with_alias, true), (&own, false)] {
        let (near, far) = link();
        let dial = async {
            let (mut near, _) = connect_to(&client, &expected, ADDRESS, near).await.unwrap();
            near.read_u8().await.is_ok()
        };
        let serve = async {
            match accept(&server, domains, far).await {
                Ok((mut far, _)) => far.write_all(b"x").await.is_ok(),
                Err(error) => {
                    let fault =
                        matches!(error, TlsError::Peer(PeerFault::ForeignTrustDomain { .. }));
                    assert!(fault, "{error}");
                    false
                }
            }
        };
        assert_eq!(tokio::join!(dial, serve), (is_accepted, is_accepted));
    }
}

// ---- The certificate itself ----

#[test]
fn client_configurations_are_bounded() {
    let ca = TestCa::root("root");
    let client = ca.workload(&client_id());
    let first = ExpectedPeers::one(identity("shop", "first"));
    let kept = client.configs.client(&client, &first).unwrap();
    for n in 0..limits::CLIENT_CONFIGS_MAX + 20 {
        let peers = ExpectedPeers::one(identity("shop", &format!("a{n}")));
        client.configs.client(&client, &peers).unwrap();
        let again = client.configs.client(&client, &first).unwrap();
        assert!(Arc::ptr_eq(&kept, &again), "the one in use was dropped");
    }
    assert_eq!(client.configs.client_count(), limits::CLIENT_CONFIGS_MAX);
}

#[test]
fn material_that_does_not_belong_together_is_refused() {
    let ca = TestCa::root("root");
    let roots = vec![ca.root_der()];
    let issued = || ca.issue(&Leaf::of(&client_id()));
    let new = |id, key, chain, roots| WorkloadCertificate::new(id, key, chain, roots).err();

    let one = issued();
    let error = new(server_id(), one.key, one.chain, roots.clone());
    assert!(matches!(error, Some(ChainError::OtherIdentity { .. })));
    let error = new(client_id(), issued().key, issued().chain, roots.clone());
    assert!(matches!(
        error,
        Some(ChainError::Key(rustls::Error::InconsistentKeys(_)))
    ));
    let error = new(client_id(), issued().key, vec![], roots.clone());
    assert!(matches!(error, Some(ChainError::Length(0))));
    let one = issued();
    let error = new(client_id(), one.key, one.chain, vec![]);
    assert!(matches!(error, Some(ChainError::NoRoots)));
    let one = issued();
    let error = new(client_id(), one.key, one.chain, vec![vec![1, 2, 3].into()]);
    assert!(matches!(error, Some(ChainError::NoRoots)));
}

#[test]
fn certificate_as_text_is_readable_and_holds_no_key() {
    let ca = TestCa::root("root");
    let certificate = ca.workload(&client_id());
    let chain = certificates_from_pem(certificate.chain_pem().as_bytes()).unwrap();
    assert_eq!(chain, certificate.chain());
    let roots = certificates_from_pem(certificate.roots_pem().as_bytes()).unwrap();
    assert_eq!(roots, [ca.root_der()]);
    let shown = format!("{certificate:?}");
    assert!(
        shown.contains("sa/cart") && !shown.to_lowercase().contains("key"),
        "{shown}"
    );
}
