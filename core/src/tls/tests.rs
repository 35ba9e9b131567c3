use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::handshake::{accept_by, connect_by};
use super::*;
use crate::clock;
use crate::identity::{ExpectedPeers, SpiffeId, TrustDomains};
use crate::limits;
use crate::testing::{Leaf, TestCa, identity};
use crate::x509::PeerCertificate;

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

type Shaken =
    Result<(HandshakeKind, PeerCertificate, PeerCertificate), (Option<TlsError>, Option<TlsError>)>;

/// Both ends of a handshake between our own client and server; a byte crosses, so that the ticket arrives.
async fn shake(client: &Arc<WorkloadCertificate>, server: &Arc<WorkloadCertificate>) -> Shaken {
    Box::pin(shake_at(client, clock::now(), server, clock::now(), &expected())).await
}

async fn shake_at(
    client: &Arc<WorkloadCertificate>,
    client_time: SystemTime,
    server: &Arc<WorkloadCertificate>,
    server_time: SystemTime,
    expected: &ExpectedPeers,
) -> Shaken {
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
    let (dialled, accepted) =
        tokio::join!(connect_to(&client, &expected, ADDRESS, near), accept(&server, &domains, far));
    let (near, seen_server) = dialled.unwrap();
    let (_far, seen_client) = accepted.unwrap();
    assert_eq!((seen_server.identity, seen_client.identity), (server_id(), client_id()));
    let connection = near.get_ref().1;
    assert_eq!(connection.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(connection.alpn_protocol(), Some(&b"h2"[..]));
    let suite = connection.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, rustls::CipherSuite::TLS13_AES_256_GCM_SHA384);
    let group = connection.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519);
}

#[tokio::test]
async fn peer_that_just_closes_is_told_of_in_plain_words() {
    let ca = TestCa::root("root");
    let (client, server) = (ca.workload(&client_id()), ca.workload(&server_id()));
    let (near, far) = link();
    let (expected, domains) = (expected(), TrustDomains::default());
    let (dialled, accepted) =
        tokio::join!(connect_to(&client, &expected, ADDRESS, near), accept(&server, &domains, far));
    // Dropped without a shutdown, as the kernel closes the sockets of a process that died.
    drop(dialled.unwrap());
    let error = accepted.unwrap().0.read_u8().await.unwrap_err();
    assert!(error.to_string().contains("close_notify"), "rustls says otherwise now: {error}");
    let plain = in_plain_words(error);
    assert_eq!(plain.to_string(), "the peer closed the connection without ending TLS");
    assert_eq!(plain.kind(), std::io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn intermediate_is_accepted() {
    let root = TestCa::root("root");
    let (one, other) = (root.intermediate("one"), root.intermediate("two").intermediate("three"));
    let (client, server) = (one.workload(&client_id()), other.workload(&server_id()));
    assert!(client.leads_to_own_roots(clock::now()).is_ok());
    assert!(shake(&client, &server).await.is_ok());
}

#[tokio::test]
async fn connect_works_over_tcp() {
    let ca = TestCa::root("root");
    let (client, server) = (ca.workload(&client_id()), ca.workload(&server_id()));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
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

mod refusals;
mod resumption;

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
    assert!(matches!(error, Some(ChainError::Key(rustls::Error::InconsistentKeys(_)))));
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
    assert!(shown.contains("sa/cart") && !shown.to_lowercase().contains("key"), "{shown}");
}

#[tokio::test]
async fn handshake_costs_a_connections_task_little_memory() {
    let ca = TestCa::root("root");
    let workload = ca.workload(&client_id());
    let (expected, domains) = (expected(), TrustDomains::default());
    let (near, far) = link();
    assert!(size_of_val(&connect_to(&workload, &expected, ADDRESS, near)) < 512);
    assert!(size_of_val(&accept(&workload, &domains, far)) < 512);
}
