//! What a resumed handshake may and may not do.

use std::time::Duration;

use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{ADDRESS, client_id, expected, link, server_id, shake, shake_at};
use crate::clock;
use crate::identity::{ExpectedPeers, SpiffeId, TrustDomains};
use crate::testing::{Leaf, TestCa, identity};
use crate::tls::{PeerFault, TlsError, accept, connect_to};

#[tokio::test]
async fn second_handshake_is_resumed_and_names_the_same_peers() {
    let ca = TestCa::root("root");
    let (client, server) = (ca.workload(&client_id()), ca.workload(&server_id()));
    let mut kinds = Vec::new();
    for _ in 0..4 {
        let (kind, seen_server, seen_client) = shake(&client, &server).await.unwrap();
        assert_eq!((seen_server.identity, seen_client.identity), (server_id(), client_id()));
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
    assert_eq!(shake(&client, &renewed_server).await.unwrap().0, HandshakeKind::Full);
    assert_eq!(shake(&client, &renewed_server).await.unwrap().0, HandshakeKind::Resumed);
    let renewed_client = ca.workload(&client_id());
    assert_eq!(shake(&renewed_client, &renewed_server).await.unwrap().0, HandshakeKind::Full);
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
    let (_, refused) =
        Box::pin(shake_at(&client, now, &server, later, &expected())).await.unwrap_err();
    assert!(expired(client_id(), refused));

    let (client, server) = (ca.workload(&client_id()), short(&server_id()));
    shake(&client, &server).await.unwrap();
    let (refused, _) =
        Box::pin(shake_at(&client, later, &server, now, &expected())).await.unwrap_err();
    assert!(expired(server_id(), refused));
}

#[tokio::test]
async fn session_with_one_peer_is_no_way_to_another() {
    let ca = TestCa::root("root");
    let (client, server) = (ca.workload(&client_id()), ca.workload(&server_id()));
    shake(&client, &server).await.unwrap();
    let other = ExpectedPeers::one(identity("shop", "admin"));
    let now = clock::now();
    let (refused, _) = Box::pin(shake_at(&client, now, &server, now, &other)).await.unwrap_err();
    assert!(matches!(refused, Some(TlsError::Peer(PeerFault::Unexpected { .. }))));
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
