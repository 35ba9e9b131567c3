//! Who is sent what, and when.

use std::collections::HashMap;

use tempfile::tempdir;
use tonic::Code;
use weft_controller::tokens::Component::{Agent, Ztunnel};
use weft_controller::xds::TypeStatus;
use weft_proto::contract::type_url;
use weft_proto::discovery::DeltaDiscoveryRequest;

use crate::mesh::{Mesh, change, pod, policy, removal, service, until, workload, workload_name};
use crate::stream::{ADDRESS, Load, Stream, load_all};

fn none() -> HashMap<String, String> {
    HashMap::new()
}

#[tokio::test]
async fn new_client_gets_everything_once_in_bounded_messages() {
    let folder = tempdir().unwrap();
    let mut objects: Vec<_> = (0..9_000).map(|index| workload(index, "node2", "v1")).collect();
    objects.push(service());
    let mesh = Mesh::start(folder.path(), objects).await;
    let load = load_all(&mesh, ADDRESS, &none()).await;
    assert_eq!((load.resources.len(), load.removed.len()), (9_001, 0));
    assert!((2..=4).contains(&load.messages), "{} messages", load.messages);
}

#[tokio::test]
async fn empty_type_is_answered_so_that_a_client_becomes_ready() {
    let folder = tempdir().unwrap();
    let mesh = Mesh::start(folder.path(), Vec::new()).await;
    let load = load_all(&mesh, type_url::AUTHORIZATION, &none()).await;
    assert_eq!((load.messages, load.resources.len()), (1, 0));
}

#[tokio::test]
async fn later_changes_arrive_as_differences() {
    let folder = tempdir().unwrap();
    let first = [workload(0, "node2", "v1"), workload(1, "node2", "v1"), service()];
    let mesh = Mesh::start(folder.path(), first.to_vec()).await;
    let mut stream = Stream::open(&mesh, Ztunnel, "node1").await;
    stream.subscribe(ADDRESS, &none()).await;
    let before = stream.take_load().await;
    assert_eq!(before.resources.len(), 3);

    // The same content again is no change; a removal of what isn't there neither.
    mesh.feed(vec![workload(0, "node2", "v1"), removal(&workload(7, "n", "v1"))]).await;
    mesh.feed(vec![workload(1, "node2", "v2"), workload(2, "node1", "v1"), removal(&first[0])])
        .await;
    let mut after = Load::default();
    stream.take_until(&mut after, |load| !load.removed.is_empty()).await;
    assert_eq!(after.names(), [workload_name(1), workload_name(2)]);
    assert_eq!(after.removed, [workload_name(0)]);
    assert_ne!(before.resources[&workload_name(1)], after.resources[&workload_name(1)]);
}

#[tokio::test]
async fn returning_client_gets_only_differences_and_removals() {
    let folder = tempdir().unwrap();
    let objects: Vec<_> = (0..50).map(|index| workload(index, "node2", "v1")).collect();
    let mesh = Mesh::start(folder.path(), objects.clone()).await;
    let known: HashMap<_, _> =
        load_all(&mesh, ADDRESS, &none()).await.resources.into_iter().collect();

    mesh.feed(vec![workload(3, "node2", "v2"), removal(&objects[4]), workload(50, "node2", "v1")])
        .await;
    let mut again = Load::default();
    until("the change is in", async || {
        again = load_all(&mesh, ADDRESS, &known).await;
        !again.removed.is_empty()
    })
    .await;
    assert_eq!(again.names(), [workload_name(3), workload_name(50)]);
    assert_eq!(again.removed, [workload_name(4)]);
}

#[tokio::test]
async fn restart_keeps_root_and_versions() {
    let folder = tempdir().unwrap();
    let objects: Vec<_> = (0..20).map(|index| workload(index, "node2", "v1")).collect();
    let first = Mesh::start(folder.path(), objects.clone()).await;
    let known: HashMap<_, _> =
        load_all(&first, ADDRESS, &none()).await.resources.into_iter().collect();
    let (roots, token) = (first.roots_pem.clone(), first.token(Ztunnel, "node1"));
    first.stop().await;

    // Read in another order, without one of them.
    let mut reordered = objects[1..].to_vec();
    reordered.reverse();
    let second = Mesh::start(folder.path(), reordered).await;
    assert_eq!(second.roots_pem, roots);
    let mut stream = Stream::open_with(&second, &token).await.unwrap();
    stream.subscribe(ADDRESS, &known).await;
    let load = stream.take_load().await;
    assert_eq!((load.resources.len(), load.removed.as_slice()), (0, [workload_name(0)].as_slice()));
}

#[tokio::test]
async fn refusal_is_recorded_by_name_until_a_good_version_is_taken() {
    let folder = tempdir().unwrap();
    let mesh =
        Mesh::start(folder.path(), vec![policy("good"), policy("bad"), policy("bad2")]).await;
    let mut stream = Stream::open(&mesh, Ztunnel, "node1").await;
    stream.subscribe(type_url::AUTHORIZATION, &none()).await;
    let response = stream.next().await;
    stream.nack(&response, "default/bad: no such action; default/bad2: nor this; and 3 more").await;
    let refused = async || {
        let client = mesh.status().await.clients.remove(0);
        client.types[type_url::AUTHORIZATION].clone()
    };
    until("the refusal shows", async || refused().await.rejects == 1).await;
    let status = refused().await;
    let refused_names = |status: &TypeStatus| {
        status.refused.iter().map(|it| format!("{}|{}", it.name, it.reason)).collect::<Vec<_>>()
    };
    let both = ["default/bad|no such action", "default/bad2|nor this"];
    assert_eq!(refused_names(&status), both);
    assert!(!status.is_in_sync());
    assert!(mesh.get("/metrics").await.1.contains("pilot_total_xds_rejects 1"));

    // It is not sent again as it is; a new version is, and clears the refusal.
    let good = |name| change(type_url::AUTHORIZATION, name, Some(vec![10, 1, b'x']));
    mesh.feed(vec![good("default/bad"), good("default/bad2")]).await;
    let next = stream.take().await;
    assert_eq!(next.resources.len(), 2);
    until("the refusal is gone", async || refused().await.is_in_sync()).await;
}

#[tokio::test]
async fn client_that_does_not_read_delays_nobody() {
    let folder = tempdir().unwrap();
    let objects: Vec<_> = (0..20_000).map(|index| workload(index, "node2", "v1")).collect();
    let mesh = Mesh::start(folder.path(), objects).await;
    let mut stuck = Stream::open(&mesh, Ztunnel, "node2").await;
    stuck.subscribe(ADDRESS, &none()).await;

    let mut stream = Stream::open(&mesh, Ztunnel, "node1").await;
    stream.subscribe(ADDRESS, &none()).await;
    assert_eq!(stream.take_load().await.resources.len(), 20_000);
    for round in 0..20 {
        mesh.feed(vec![workload(round, "node1", "v2")]).await;
        let mut load = Load::default();
        stream.take_until(&mut load, |load| !load.resources.is_empty()).await;
        assert_eq!(load.names(), [workload_name(round)]);
    }
    // And the stuck one finds the latest of everything when it reads on.
    let mut load = Load::default();
    stuck.take_until(&mut load, |load| load.resources.len() == 20_000).await;
    let latest = load_all(&mesh, ADDRESS, &none()).await;
    stuck.take_until(&mut load, |load| load.resources == latest.resources).await;
}

#[tokio::test]
async fn agent_is_told_of_its_own_nodes_pods_alone() {
    let folder = tempdir().unwrap();
    let objects = vec![pod("a1", "node1"), pod("a2", "node1"), pod("b1", "node2")];
    let mesh = Mesh::start(folder.path(), objects).await;
    let mut agent = Stream::open(&mesh, Agent, "node1").await;
    // Asking by name, or claiming to know it, does not open another node's pods.
    agent
        .send(DeltaDiscoveryRequest {
            type_url: type_url::ENROLLED_POD.into(),
            resource_names_subscribe: vec!["b1".into()],
            initial_resource_versions: [("b1".to_owned(), "1".to_owned())].into(),
            ..Default::default()
        })
        .await;
    let load = agent.take_load().await;
    assert_eq!((load.names(), load.removed.clone()), (vec!["a1", "a2"], vec!["b1".to_owned()]));

    // A pod that moves away is removed here; changes elsewhere are not mentioned.
    mesh.feed(vec![pod("b2", "node2"), pod("a2", "node2"), pod("a3", "node1")]).await;
    mesh.feed(vec![removal(&pod("b1", "")), removal(&pod("a1", ""))]).await;
    let mut later = Load::default();
    agent.take_until(&mut later, |load| load.removed.len() == 2).await;
    assert_eq!(
        (later.names(), later.removed.clone()),
        (vec!["a3"], vec!["a2".to_owned(), "a1".to_owned()])
    );
}

#[tokio::test]
async fn pods_of_a_node_are_for_agents() {
    let folder = tempdir().unwrap();
    let mesh = Mesh::start(folder.path(), vec![pod("a1", "node1")]).await;
    let mut proxy = Stream::open(&mesh, Ztunnel, "node1").await;
    proxy.subscribe(type_url::ENROLLED_POD, &none()).await;
    assert_eq!(proxy.try_next().await.unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test]
async fn client_that_asks_by_name_gets_what_belongs_to_it() {
    let folder = tempdir().unwrap();
    let mut objects: Vec<_> = (0..3).map(|index| workload(index, "node2", "v1")).collect();
    let mut lonely = workload(9, "node9", "v1");
    lonely.resource = lonely.resource.map(|content| {
        use prost::Message;
        let mut address = weft_proto::workload::Address::decode(content).unwrap();
        if let Some(weft_proto::workload::address::Type::Workload(workload)) = &mut address.r#type {
            workload.services.clear();
        }
        address.encode_to_vec().into()
    });
    objects.extend([service(), workload(5, "node1", "v1"), lonely]);
    let mesh = Mesh::start(folder.path(), objects).await;
    let mut stream = Stream::open(&mesh, Ztunnel, "node1").await;
    stream.subscribe_names(ADDRESS, &[]).await;
    // Nothing was asked for: only the node's own workload comes.
    assert_eq!(stream.take_load().await.names(), [workload_name(5)]);

    let ask = async |stream: &mut Stream, name: &str| {
        stream
            .send(DeltaDiscoveryRequest {
                type_url: ADDRESS.into(),
                resource_names_subscribe: vec![name.into()],
                ..Default::default()
            })
            .await;
        stream.take_load().await
    };
    let load = ask(&mut stream, "/10.0.0.9").await;
    assert_eq!(load.names(), [workload_name(9)]);
    let load = ask(&mut stream, "/10.9.9.9").await;
    assert_eq!((load.resources.len(), load.removed), (0, vec!["/10.9.9.9".to_owned()]));
    // A service by its address brings itself and its endpoints, those to come included.
    let load = ask(&mut stream, "/240.240.0.1").await;
    let names = [0, 1, 2, 5].map(workload_name);
    assert_eq!(load.names(), [&names[..], &["default/svc.example".to_owned()]].concat());
    mesh.feed(vec![workload(6, "node3", "v1"), workload(9, "node9", "v2")]).await;
    let mut later = Load::default();
    stream.take_until(&mut later, |load| load.resources.len() == 2).await;
    assert_eq!(later.names(), [workload_name(6), workload_name(9)]);
    // What was missing is sent when it comes.
    let mut missing = workload(7, "node3", "v1");
    missing.resource = workload(10 * 65_536 - 65_536 + 9 * 256 + 9, "node3", "v1").resource;
    mesh.feed(vec![missing]).await;
    let load = stream.take_load().await;
    assert_eq!(load.names(), [workload_name(7)]);
}

#[tokio::test]
async fn workloads_alone_are_served_under_their_own_type() {
    let folder = tempdir().unwrap();
    let mesh = Mesh::start(folder.path(), vec![workload(1, "node2", "v1"), service()]).await;
    let load = load_all(&mesh, type_url::WORKLOAD, &none()).await;
    assert_eq!(load.names(), [workload_name(1)]);
}

#[tokio::test]
async fn streams_without_a_good_token_are_refused() {
    let folder = tempdir().unwrap();
    let mesh = Mesh::start(folder.path(), Vec::new()).await;
    let foreign_folder = tempdir().unwrap();
    let foreign = Mesh::start_unfed(foreign_folder.path(), &[]).await;
    for token in ["", "x", &foreign.token(Ztunnel, "node1"), "eyJhbGciOiJub25lIn0.e30."] {
        let refusal = Stream::open_with(&mesh, token).await.err().unwrap();
        assert_eq!(refusal.code(), Code::Unauthenticated, "{token}");
    }
}

#[tokio::test]
async fn nobody_is_served_before_the_objects_were_read() {
    let folder = tempdir().unwrap();
    let mesh = Mesh::start_unfed(folder.path(), &[]).await;
    assert_eq!(mesh.get("/ready").await.0, 503);
    let refusal = Stream::open_with(&mesh, &mesh.token(Ztunnel, "node1")).await.err().unwrap();
    assert_eq!(refusal.code(), Code::Unavailable);
    mesh.feed(Vec::new()).await;
    mesh.until_ready().await;
    assert!(Stream::open_with(&mesh, &mesh.token(Ztunnel, "node1")).await.is_ok());
}

#[tokio::test]
async fn client_that_claims_another_node_is_refused() {
    let folder = tempdir().unwrap();
    let mesh = Mesh::start(folder.path(), Vec::new()).await;
    let mut stream = Stream::open(&mesh, Ztunnel, "node1").await;
    let text = |text: &str| prost_types::Value {
        kind: Some(prost_types::value::Kind::StringValue(text.to_owned())),
    };
    let metadata = prost_types::Struct { fields: [("NODE_NAME".to_owned(), text("node2"))].into() };
    let node = weft_proto::envoy::config::core::v3::Node {
        id: "ztunnel~1.1.1.1~a.istio-system~x".into(),
        metadata: Some(metadata),
        ..Default::default()
    };
    stream.send_raw(DeltaDiscoveryRequest { node: Some(node), ..Default::default() }).await;
    assert_eq!(stream.try_next().await.unwrap_err().code(), Code::PermissionDenied);
}
