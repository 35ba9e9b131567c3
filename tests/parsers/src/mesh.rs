//! Workloads and services, one by one and as a push of the control plane.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use weft_core::mesh::{Snapshot, Store, StoreSettings, Update, load_balance};
use weft_core::xds::{Change, Handler, Rejected};
use weft_proto::contract::type_url;
use weft_proto::discovery::DeltaDiscoveryResponse;
use weft_proto::workload as proto;

/// The name by which the control plane would send the content.
pub(crate) fn name_of(message: &proto::Address) -> String {
    match &message.r#type {
        Some(proto::address::Type::Workload(workload)) => workload.uid.clone(),
        Some(proto::address::Type::Service(service)) => {
            format!("{}/{}", service.namespace, service.hostname)
        }
        None => String::new(),
    }
}

pub(crate) fn put(message: &proto::Address) -> Update {
    Update::Address {
        name: name_of(message).into(),
        resource: Some(message.encode_to_vec().into()),
    }
}

/// A pod and a service in front of it, at addresses that an input may claim too.
fn neighbours() -> [proto::Address; 2] {
    let key = "demo/web.demo.svc.cluster.local".to_owned();
    let port = proto::Port { service_port: 80, target_port: 8080, app_protocol: 0 };
    let workload = proto::Workload {
        uid: "Kubernetes//Pod/demo/web".to_owned(),
        name: "web".to_owned(),
        namespace: "demo".to_owned(),
        addresses: vec![vec![10, 0, 0, 1]],
        tunnel_protocol: proto::TunnelProtocol::Hbone.into(),
        services: [(key, proto::PortList { ports: vec![port] })].into(),
        ..Default::default()
    };
    let vip = proto::NetworkAddress { address: vec![10, 1, 0, 1], ..Default::default() };
    let service = proto::Service {
        name: "web".to_owned(),
        namespace: "demo".to_owned(),
        hostname: "web.demo.svc.cluster.local".to_owned(),
        addresses: vec![vip],
        ports: vec![port],
        ..Default::default()
    };
    [
        proto::Address { r#type: Some(proto::address::Type::Workload(workload)) },
        proto::Address { r#type: Some(proto::address::Type::Service(service)) },
    ]
}

/// One workload or service. It is taken whole or changes nothing, comes after or before others to the same effect, and
/// leaves no trace once it is removed.
pub fn address(data: &[u8]) {
    let message = proto::Address::decode(data).ok();
    let name: Arc<str> = message.as_ref().map_or_else(String::new, name_of).into();
    let neighbours = neighbours();
    if neighbours.iter().any(|known| *name_of(known) == *name) {
        return;
    }
    let known = || neighbours.iter().map(put);
    let resource = Bytes::copy_from_slice(data);
    let update = Update::Address { name: Arc::clone(&name), resource: Some(resource) };

    let mut store = Store::new(&StoreSettings::default());
    assert_eq!(store.apply(known().collect()), []);
    let before = store.reader().load();
    let rejections = store.apply(vec![update.clone()]);
    let after = store.reader().load();
    if rejections.is_empty() {
        let message = message.expect("only a valid message is taken");
        check_taken(&after, &message, &name);
    } else {
        assert_eq!(rejections.iter().map(|it| &it.name).collect::<Vec<_>>(), [&name]);
        assert_eq!(before, after, "a rejected resource changed something");
    }
    store.apply(vec![update.clone()]);
    assert_eq!(store.reader().load().version(), after.version(), "repeating is no change");

    let mut other_order = Store::new(&StoreSettings::default());
    other_order.apply([update].into_iter().chain(known()).collect());
    assert_eq!(other_order.reader().load(), after, "the order decided");

    store.apply(vec![Update::Address { name, resource: None }]);
    assert_eq!(store.reader().load(), before, "a removed resource left a trace");
}

fn check_taken(snapshot: &Snapshot, message: &proto::Address, name: &str) {
    match &message.r#type {
        Some(proto::address::Type::Workload(message)) => {
            let workload = snapshot.workload(name).expect("taken");
            assert_eq!(workload.addresses.len(), message.addresses.len());
            assert_eq!(workload.identity.namespace(), message.namespace);
            assert_eq!(workload.services.len(), message.services.len());
        }
        Some(proto::address::Type::Service(message)) => {
            let service = snapshot.service_with_key(name).expect("taken");
            assert_eq!(service.vips.len(), message.addresses.len());
            assert_eq!(service.ports.len(), message.ports.len());
        }
        None => panic!("neither kind was taken"),
    }
    exercise(snapshot);
}

/// Everything that is looked up on the path; none of it may panic, whatever the control plane says.
fn exercise(snapshot: &Snapshot) {
    let Some(source) = snapshot.workload("Kubernetes//Pod/demo/web") else {
        return;
    };
    for service in snapshot.services() {
        let ports = service.ports.iter().map(|port| port.service_port);
        for port in ports.take(4).chain([80]) {
            let mut rng = StdRng::seed_from_u64(0);
            let _ = load_balance(snapshot, service, port, source, &mut rng);
        }
        for vip in service.vips.iter().take(4) {
            let found = snapshot.service_at(&vip.network, vip.block.addr(), &service.namespace);
            assert!(found.is_some(), "{} has an address at which it is not found", service.key);
        }
    }
    for workload in snapshot.workloads() {
        for address in workload.addresses.iter().take(4) {
            let _ = snapshot.workload_at(&workload.network, *address);
            let _ = snapshot.service_at(&workload.network, *address, &workload.namespace);
        }
    }
    for ip in [IpAddr::from([0_u8; 4]), IpAddr::from([255_u8; 16])] {
        let _ = snapshot.service_at("", ip, "demo");
    }
}

/// One response of delta discovery, for the store. Applied at once or resource by resource it comes to the same, and
/// what is rejected was in it.
pub fn discovery(data: &[u8]) {
    let Ok(response) = DeltaDiscoveryResponse::decode(data) else {
        return;
    };
    let type_url = response.type_url.clone();
    let changes = changes(response);
    let names: BTreeSet<_> = changes.iter().map(|change| Arc::clone(&change.name)).collect();

    let mut at_once = Store::new(&StoreSettings::default());
    let empty = at_once.reader().load();
    let rejected = apply(&mut at_once, &type_url, changes.clone());
    assert!(rejected.iter().all(|it| names.contains(&it.name) && !it.reason.is_empty()));
    let snapshot = at_once.reader().load();
    if ![type_url::ADDRESS, type_url::AUTHORIZATION].contains(&&*type_url) {
        assert_eq!(rejected.len(), changes.len());
        assert_eq!(snapshot, empty, "resources of type {type_url} changed something");
    }
    exercise(&snapshot);

    let mut one_by_one = Store::new(&StoreSettings::default());
    let mut rejected_singly = Vec::new();
    for change in changes.clone() {
        rejected_singly.extend(apply(&mut one_by_one, &type_url, vec![change]));
    }
    assert_eq!(rejected, rejected_singly);
    assert_eq!(one_by_one.reader().load(), snapshot);
}

/// The store as the client sees it; its own method of that name takes updates.
fn apply(store: &mut Store, type_url: &str, changes: Vec<Change>) -> Vec<Rejected> {
    Handler::apply(store, type_url, changes)
}

/// As the client hands them over: removals first, content of another type as content that can't be decoded.
fn changes(response: DeltaDiscoveryResponse) -> Vec<Change> {
    let type_url = response.type_url;
    let removed = response.removed_resources.into_iter().map(|name| Change {
        name: name.into(),
        version: String::new(),
        resource: None,
    });
    let put = response.resources.into_iter().map(|resource| {
        let content = resource.resource.filter(|any| any.type_url == type_url);
        Change {
            name: resource.name.into(),
            version: resource.version,
            resource: Some(content.map_or_else(Bytes::new, |any| any.value.into())),
        }
    });
    removed.chain(put).collect()
}
