mod world;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use weft_core::hbone::{Authority, ConnectError, HboneError};
use weft_core::relay::{self, End, RelaySettings};
use weft_core::telemetry::{Build, Exposition, Registry, ResponseFlag, TrafficMetrics};
use weft_core::testing::identity;
use weft_proto::workload as proto;

use self::world::{Conduct, GATEWAY, World, eventually, far_identity, gateway_at};
use self::world::{gateway_identity, mesh, ports, service, socket, workload};
use crate::error::ConnectionError;
use crate::record::Record;
use crate::resolve::{Path, Question, Route};

/// Relays a client's connection as the proxy would; the client's end, and the record when it is over.
async fn connected(world: &World) -> (TcpStream, JoinHandle<Record>) {
    let (client, accepted) = socket().await;
    let (opened, record) = world.open().await;
    let (mut downstream, mut upstream) = (End::from(accepted), End::from(opened.unwrap()));
    let relaying = tokio::spawn(async move {
        let settings = RelaySettings::default();
        relay::join(&mut downstream, &mut upstream, &record.counters, &settings).await.unwrap();
        record
    });
    (client, relaying)
}

/// Says it all and hears it all.
async fn say(mut client: TcpStream, text: &str) -> String {
    client.write_all(text.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = String::new();
    client.read_to_string(&mut heard).await.unwrap();
    heard
}

async fn refused(world: &World) -> (ConnectionError, Record) {
    let (opened, record) = world.open().await;
    (opened.unwrap_err(), record)
}

#[tokio::test]
async fn bytes_flow_both_ways_and_each_end_by_itself() {
    let world = World::new();
    let (mut client, relaying) = connected(&world).await;
    // The far side speaks first, before anything of the client.
    let mut greeting = [0; 6];
    client.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"hello ");
    client.write_all(b"the secret word").await.unwrap();
    client.shutdown().await.unwrap();
    // The answer comes after the client's end, whose direction alone was over.
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "you said the secret word");
    let totals = relaying.await.unwrap().counters.totals();
    assert_eq!((totals.received, totals.sent), (15, 30));
    eventually("all ends", || world.beyond.open.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn gateway_is_told_the_service_and_carries_tls_only() {
    let world = World::new();
    let (client, relaying) = connected(&world).await;
    say(client, "the secret word").await;
    relaying.await.unwrap();
    let outer = world.beyond.outer.lock().pop().unwrap();
    let inner = world.beyond.inner.lock().pop().unwrap();
    let name = Authority::Name { host: "remote.shop".parse().unwrap(), port: 80 };
    assert_eq!((&outer.authority, &inner.authority), (&name, &name));
    // Only the far side, which can't tell by an address, hears which network the call comes from.
    assert_eq!(outer.forwarded_network, None);
    assert_eq!(inner.forwarded_network.as_deref(), Some("here"));
    assert_eq!((&outer.traceparent, &outer.forwarded), (&inner.traceparent, &inner.forwarded));
    assert_eq!(inner.baggage.canonical_name.as_deref(), Some("client"));
    let callers = world.beyond.callers.lock().clone();
    assert_eq!(callers.into_iter().collect::<Vec<_>>(), [identity("shop", "client")]);
    let carried = world.beyond.carried.lock();
    // A handshake record of TLS (RFC 8446, section 5.1).
    assert_eq!(carried.first(), Some(&22));
    let holds = |text: &[u8]| carried.windows(text.len()).any(|at| at == text);
    assert!(!holds(b"the secret word") && !holds(b"PRI * HTTP/2.0"));
}

#[tokio::test]
async fn outer_connection_is_shared_and_each_inner_one_is_chosen_anew() {
    let world = World::new();
    let (first, second) = (connected(&world).await, connected(&world).await);
    assert_eq!(world.beyond.outer_connections.load(SeqCst), 1);
    assert_eq!(world.beyond.inner_connections.load(SeqCst), 2);
    assert_eq!(world.beyond.outer.lock().len(), 2);
    for (client, relaying) in [first, second] {
        assert_eq!(say(client, "it").await, "hello you said it");
        relaying.await.unwrap();
    }
    eventually("all ends", || world.beyond.open.load(SeqCst) == 0).await;
    // Nothing of the inner ones is left; the outer one takes the next.
    let (_client, _relaying) = connected(&world).await;
    assert_eq!(world.beyond.outer_connections.load(SeqCst), 1);
    assert_eq!(world.pool.counters().connections.load(SeqCst), 1);
}

#[tokio::test]
async fn tunnel_that_is_dropped_ends_at_the_far_side() {
    let world = World::new();
    let (opened, _record) = world.open().await;
    let stream = opened.unwrap();
    eventually("open", || world.beyond.open.load(SeqCst) == 1).await;
    drop(stream);
    eventually("end", || world.beyond.open.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn gateway_that_is_somebody_else_is_given_nothing() {
    let world = World::new();
    *world.beyond.gateway_shows.lock() = far_identity();
    let (error, record) = refused(&world).await;
    let is_tls =
        matches!(&error, ConnectionError::Tunnel(HboneError::Connect(ConnectError::Tls { .. })));
    assert!(is_tls, "{error}");
    assert_eq!(error.flag(), ResponseFlag::TlsFailure);
    assert_eq!((world.beyond.outer.lock().len(), record.destination.identity), (0, None));
}

#[tokio::test]
async fn far_side_that_is_somebody_else_is_given_nothing() {
    let world = World::new();
    // The gateway itself, which is trusted with the outer tunnel, is none of the service.
    for other in [gateway_identity(), identity("other", "remote")] {
        *world.beyond.far_shows.lock() = other;
        let (error, record) = refused(&world).await;
        assert!(matches!(error, ConnectionError::InnerTls(_)), "{error}");
        assert_eq!(error.flag(), ResponseFlag::TlsFailure);
        assert_eq!((world.beyond.inner.lock().len(), record.destination.identity), (0, None));
    }
    eventually("all ends", || world.beyond.open.load(SeqCst) == 0).await;
    // The gateway's connection isn't to blame.
    *world.beyond.far_shows.lock() = far_identity();
    assert!(world.open().await.0.is_ok());
    assert_eq!(world.beyond.outer_connections.load(SeqCst), 1);
}

#[tokio::test]
async fn refusals_of_either_end_are_passed_on() {
    let world = World::new();
    let status = |error: &ConnectionError| match error {
        ConnectionError::Tunnel(HboneError::Status(status)) => Some(*status),
        _ => None,
    };
    *world.beyond.conduct.lock() = Conduct::Refuse(StatusCode::SERVICE_UNAVAILABLE);
    let (error, record) = refused(&world).await;
    assert_eq!(status(&error), Some(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(record.destination.identity, None);
    *world.beyond.conduct.lock() = Conduct::Forward;
    *world.beyond.far_answers.lock() = StatusCode::UNAUTHORIZED;
    let (error, record) = refused(&world).await;
    assert_eq!(status(&error), Some(StatusCode::UNAUTHORIZED));
    assert_eq!(record.destination.identity, Some(far_identity()));
}

#[tokio::test(start_paused = true)]
async fn gateway_that_swallows_everything_is_waited_for_no_longer_than_for_tls() {
    let world = World::new();
    *world.beyond.conduct.lock() = Conduct::Swallow;
    let started = tokio::time::Instant::now();
    let (error, _record) = refused(&world).await;
    assert!(matches!(error, ConnectionError::InnerTls(_)), "{error}");
    assert!(started.elapsed() <= 2 * weft_core::limits::TLS_DEADLINE);
}

#[tokio::test]
async fn metrics_and_log_say_who_answered() {
    let mut registry = registry();
    let metrics = TrafficMetrics::new(&mut registry);
    let world = World::new();
    let (_stream, mut record) = world.open().await;
    let log = record.log();
    assert_eq!(log.destination.address, GATEWAY.parse().ok());
    assert_eq!(log.destination.workload, Some("remote-v2"));
    assert_eq!(log.destination.namespace, Some("shop"));
    assert_eq!(log.destination.identity, Some(far_identity().as_str()));
    assert_eq!(log.hbone_address.unwrap().to_string(), "remote.shop:80");
    record.open(&metrics);
    let text = registry.encode(Exposition::Text).unwrap();
    for label in [
        "reporter=\"source\"",
        "destination_workload=\"remote-v2\"",
        "destination_canonical_service=\"remote\"",
        "destination_cluster=\"cluster-there\"",
        "destination_service=\"remote.shop\"",
        "destination_principal=\"spiffe://cluster.local/ns/shop/sa/remote\"",
        "connection_security_policy=\"mutual_tls\"",
    ] {
        assert!(text.contains(label), "{label} in {text}");
    }
}

#[tokio::test]
async fn far_side_without_baggage_goes_by_what_the_mesh_knows() {
    let world = World::new();
    *world.beyond.far_has_baggage.lock() = false;
    let (_stream, record) = world.open().await;
    let workload = record.destination.workload.unwrap();
    assert_eq!(&*workload.workload_name, "remote-of-all");
    assert_eq!(workload.identity, far_identity());
}

#[tokio::test]
async fn gateway_that_is_away_is_counted() {
    let mut registry = registry();
    let metrics = TrafficMetrics::new(&mut registry);
    let world = World::new();
    *world.beyond.conduct.lock() = Conduct::Away;
    let (error, record) = refused(&world).await;
    assert_eq!(error.flag(), ResponseFlag::Connect);
    assert!(error.to_string().contains(GATEWAY), "{error}");
    record.close(&metrics, &Err(error));
    let text = registry.encode(Exposition::Text).unwrap();
    let failed = text.lines().find(|line| line.starts_with("istio_tcp_connections_failed_total{"));
    let failed = failed.unwrap_or_else(|| panic!("{text}"));
    assert!(failed.contains("destination_service=\"remote.shop\"") && failed.ends_with(" 1"));
}

fn registry() -> Registry {
    Registry::new(&Build { component: "ztunnel".to_owned(), tag: "test".to_owned() })
}

/// The way to `remote.shop`, or its name in the mesh where it is none between networks.
fn way(changes: &[proto::address::Type]) -> Result<Route, ConnectionError> {
    let changes: Vec<_> =
        changes.iter().map(|it| proto::Address { r#type: Some(it.clone()) }).collect();
    let snapshot = mesh(&changes);
    let source: &Arc<_> = snapshot.workload("client").unwrap();
    let destination = world::VIP.parse().unwrap();
    let question =
        Question { snapshot: &snapshot, source, destination, is_local: &|_| false, unreached: &[] };
    question.resolve(&mut rand::rng())
}

#[test]
fn far_side_is_one_of_the_service_and_the_gateway_is_itself() {
    let route = way(&[]).unwrap();
    assert_eq!(&*route.destination.unwrap().uid, "remote");
    let Path::DoubleHbone { outer, inner, authority } = route.path else { panic!() };
    assert_eq!(outer.address.to_string(), GATEWAY);
    assert_eq!(outer.expected.iter().collect::<Vec<_>>(), [&gateway_identity()]);
    assert_eq!(inner.iter().collect::<Vec<_>>(), [&far_identity()]);
    assert_eq!(authority.to_string(), "remote.shop:80");
}

#[test]
fn waypoint_of_another_network_is_one_of_its_own_service() {
    use proto::address::Type;
    let waypoint = identity("shop", "waypoint");
    let mut instance = proto::Workload {
        network: "there".to_owned(),
        network_gateway: Some(gateway_at([10, 9, 9, 9])),
        addresses: Vec::new(),
        ..workload("shop", "waypoint", [0; 4])
    };
    let ports = proto::PortList { ports: ports() };
    instance.services.insert("shop/waypoint.shop".to_owned(), ports);
    let named =
        proto::NamespacedHostname { namespace: "shop".into(), hostname: "waypoint.shop".into() };
    let behind = proto::Service {
        waypoint: Some(proto::GatewayAddress {
            destination: Some(proto::gateway_address::Destination::Hostname(named)),
            hbone_mtls_port: 80,
        }),
        ..service("remote", [10, 96, 0, 1], &[&far_identity()])
    };
    let its_own = service("waypoint", [10, 96, 0, 2], &[&waypoint]);
    let route =
        way(&[Type::Workload(instance), Type::Service(behind), Type::Service(its_own)]).unwrap();
    let Path::DoubleHbone { inner, authority, .. } = route.path else { panic!() };
    assert_eq!(inner.iter().collect::<Vec<_>>(), [&waypoint]);
    assert_eq!(authority.to_string(), "remote.shop:80");
}

#[test]
fn service_without_names_of_its_own_is_not_trusted_through_a_gateway() {
    let nameless = proto::address::Type::Service(service("remote", [10, 96, 0, 1], &[]));
    let error = way(&[nameless]).unwrap_err();
    assert!(matches!(error, ConnectionError::NobodyExpected(_)), "{error}");
    assert_eq!(error.flag(), ResponseFlag::IdentityError);
}

#[test]
fn workload_of_another_network_without_a_gateway_is_not_reached() {
    let mut lost = proto::Workload {
        network: "there".to_owned(),
        ..workload("shop", "remote", [10, 0, 0, 9])
    };
    let ports = proto::PortList { ports: ports() };
    lost.services.insert("shop/remote.shop".to_owned(), ports);
    let outcome = way(&[proto::address::Type::Workload(lost)]);
    assert!(outcome.is_err(), "{outcome:?}");
}
