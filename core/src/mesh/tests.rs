use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use weft_proto::workload as proto;

use super::testing::*;
use super::*;

fn store_with(updates: Vec<Update>) -> (Store, Arc<Snapshot>) {
    let mut store = Store::new(&StoreSettings::default());
    assert_eq!(store.apply(updates), []);
    let snapshot = store.reader().load();
    (store, snapshot)
}

fn uid_at(snapshot: &Snapshot, address: &str) -> Option<String> {
    snapshot.workload_at("", ip(address)).map(|it| it.uid.to_string())
}

#[test]
fn pod_is_preferred_at_an_address_and_then_hbone() {
    let mut entry = pod("entry", "10.0.0.1");
    entry.uid = "Kubernetes/networking.istio.io/WorkloadEntry/default/a".into();
    let mut plain = pod("a-plain", "10.0.0.1");
    plain.tunnel_protocol = 0;
    let hbone = pod("b-hbone", "10.0.0.1");
    let all = [put_workload(entry), put_workload(plain), put_workload(hbone)];
    let (mut store, snapshot) = store_with(all.to_vec());
    assert_eq!(uid_at(&snapshot, "10.0.0.1").unwrap(), "Kubernetes//Pod/default/b-hbone");
    store.apply(vec![remove_address("Kubernetes//Pod/default/b-hbone")]);
    store.apply(vec![remove_address("Kubernetes//Pod/default/a-plain")]);
    let left = uid_at(&store.reader().load(), "10.0.0.1").unwrap();
    assert!(left.contains("WorkloadEntry"), "{left}");
}

#[test]
fn workload_on_the_host_network_is_not_found_by_address() {
    let mut host = pod("host", "10.0.0.1");
    host.network_mode = proto::NetworkMode::HostNetwork.into();
    let (_, snapshot) = store_with(vec![put_workload(host)]);
    assert_eq!(uid_at(&snapshot, "10.0.0.1"), None);
    assert!(snapshot.pod("Kubernetes", "default", "host").is_some());
}

#[test]
fn mapped_address_means_the_ipv4_address() {
    let (_, snapshot) = store_with(vec![put_workload(pod("a", "::ffff:10.0.0.1"))]);
    assert!(uid_at(&snapshot, "10.0.0.1").is_some());
    assert!(uid_at(&snapshot, "::ffff:10.0.0.1").is_some());
}

#[test]
fn vip_goes_to_own_namespace_then_canonical_then_first_and_respects_visibility() {
    let mut canonical = service("b", "x.example", &["240.0.0.1"], &[]);
    canonical.canonical = true;
    let mut private = service("0", "x.example", &["240.0.0.1"], &[]);
    private.visibility = proto::Visibility::Namespace.into();
    let other = service("a", "x.example", &["240.0.0.1"], &[]);
    let (mut store, snapshot) =
        store_with(vec![put_service(canonical), put_service(private), put_service(other)]);
    let at = |snapshot: &Snapshot, client| {
        snapshot.service_at("", ip("240.0.0.1"), client).map(|it| it.namespace.to_string())
    };
    assert_eq!(at(&snapshot, "a").unwrap(), "a");
    assert_eq!(at(&snapshot, "client").unwrap(), "b");
    assert_eq!(at(&snapshot, "0").unwrap(), "0");
    store.apply(vec![remove_address("b/x.example")]);
    let snapshot = store.reader().load();
    assert_eq!(at(&snapshot, "client").unwrap(), "a");
    store.apply(vec![remove_address("a/x.example")]);
    assert_eq!(at(&store.reader().load(), "client"), None);
}

#[test]
fn block_of_addresses_goes_by_own_namespace_then_longest_prefix() {
    let (mut store, snapshot) = store_with(vec![
        put_service(service("a", "wide", &["10.0.0.0/8"], &[])),
        put_service(service("b", "narrow", &["10.1.0.0/16"], &[])),
        put_service(service("b", "exact", &["10.1.0.1"], &[])),
        put_service(service("c", "v6", &["fd00::/8"], &[])),
    ]);
    let at = |snapshot: &Snapshot, address, client| {
        snapshot.service_at("", ip(address), client).map(|it| it.hostname.to_string())
    };
    assert_eq!(at(&snapshot, "10.1.2.3", "client").unwrap(), "narrow");
    assert_eq!(at(&snapshot, "10.1.2.3", "a").unwrap(), "wide");
    assert_eq!(at(&snapshot, "10.2.2.3", "b").unwrap(), "wide");
    assert_eq!(at(&snapshot, "10.1.0.1", "a").unwrap(), "exact");
    assert_eq!(at(&snapshot, "fd00::1", "a").unwrap(), "v6");
    assert_eq!(at(&snapshot, "11.0.0.1", "a"), None);
    store.apply(vec![remove_address("b/narrow")]);
    assert_eq!(at(&store.reader().load(), "10.1.2.3", "client").unwrap(), "wide");
}

#[test]
fn endpoints_wait_for_their_service() {
    let workload = behind(pod("a", "10.0.0.1"), "default/web", &[]);
    let (mut store, snapshot) = store_with(vec![put_workload(workload)]);
    assert_eq!(snapshot.staged().count(), 1);
    store.apply(vec![put_service(service("default", "web", &[], &[(80, 8080)]))]);
    let snapshot = store.reader().load();
    assert_eq!(snapshot.staged().count(), 0);
    let web = snapshot.service("default", "web").unwrap();
    assert_eq!(snapshot.endpoints(web).count(), 1);
    store.apply(vec![remove_address("default/web")]);
    assert_eq!(store.reader().load().staged().count(), 1);
    store.apply(vec![remove_address("Kubernetes//Pod/default/a")]);
    assert_eq!(*store.reader().load(), *Store::new(&StoreSettings::default()).reader().load());
}

#[test]
fn unhealthy_endpoint_counts_only_where_the_service_says_so() {
    let mut sick = behind(pod("a", "10.0.0.1"), "default/web", &[]);
    sick.status = proto::WorkloadStatus::Unhealthy.into();
    let mut web = service("default", "web", &[], &[(80, 8080)]);
    let (mut store, snapshot) = store_with(vec![put_workload(sick), put_service(web.clone())]);
    assert_eq!(snapshot.endpoints(snapshot.service("default", "web").unwrap()).count(), 0);
    web.load_balancing = Some(proto::LoadBalancing { health_policy: 1, ..Default::default() });
    store.apply(vec![put_service(web)]);
    let snapshot = store.reader().load();
    assert_eq!(snapshot.endpoints(snapshot.service("default", "web").unwrap()).count(), 1);
}

#[test]
fn unknown_enum_values_reject_nothing_and_open_nothing() {
    let mut workload = behind(pod("a", "10.0.0.1"), "default/web", &[]);
    workload.tunnel_protocol = 99;
    workload.workload_type = 99;
    workload.status = 99;
    workload.network_mode = 99;
    workload.application_tunnel = Some(proto::ApplicationTunnel { protocol: 99, port: 1 });
    workload.waypoint = Some(proto::GatewayAddress::default());
    let mut web = service("default", "web", &["240.0.0.1"], &[(80, 8080)]);
    web.ports[0].app_protocol = 99;
    web.visibility = 99;
    web.ip_families = 99;
    web.load_balancing =
        Some(proto::LoadBalancing { routing_preference: vec![99], mode: 99, health_policy: 99 });
    let (_, snapshot) = store_with(vec![put_workload(workload), put_service(web)]);
    let workload = snapshot.workload_at("", ip("10.0.0.1")).unwrap();
    assert_eq!(workload.tunnel_protocol, TunnelProtocol::Unreachable);
    assert_eq!(workload.status, WorkloadStatus::Unhealthy);
    assert_eq!(workload.application_tunnel.unwrap().protocol, AppTunnelProtocol::Unknown);
    let waypoint = waypoint_of_workload(&snapshot, workload, workload, &mut rand::rng());
    assert!(matches!(waypoint, Err(ResolveError::UnknownWaypoint { .. })), "{waypoint:?}");
    let web = snapshot.service("default", "web").unwrap();
    assert_eq!(web.ports[0].app_protocol, AppProtocol::Unknown);
    assert_eq!(web.visibility, Visibility::Namespace);
    assert_eq!(web.mode(), LoadBalancingMode::Random);
}

#[test]
fn legacy_tunnel_is_unreachable_rather_than_plaintext() {
    let mut workload = behind(pod("a", "10.0.0.1"), "default/web", &[]);
    workload.tunnel_protocol = proto::TunnelProtocol::LegacyIstioMtls.into();
    let web = service("default", "web", &[], &[(80, 8080)]);
    let (_, snapshot) = store_with(vec![put_workload(workload), put_service(web)]);
    let source = snapshot.workload_at("", ip("10.0.0.1")).unwrap();
    let web = snapshot.service("default", "web").unwrap();
    let chosen = load_balance(&snapshot, web, 80, source, &mut rand::rng());
    assert!(matches!(chosen, Err(BalanceError::NoHealthyUpstream { .. })), "{chosen:?}");
}

#[test]
fn bad_resource_is_rejected_by_name_and_the_last_good_one_stays() {
    let good = pod("a", "10.0.0.1");
    let (mut store, _) = store_with(vec![put_workload(good.clone())]);
    let mut bad_address = good.clone();
    bad_address.addresses = vec![vec![1, 2, 3]];
    let mut bad_identity = good.clone();
    bad_identity.service_account = "not a name".into();
    let mut bad_port = good.clone();
    bad_port.waypoint = Some(gateway_at("10.0.0.9"));
    bad_port.waypoint.as_mut().unwrap().hbone_mtls_port = 70_000;
    let garbage =
        Update::Address { name: good.uid.as_str().into(), resource: Some("\u{1}".into()) };
    let nothing = Update::Address { name: good.uid.as_str().into(), resource: Some("".into()) };
    let Update::Address { resource, .. } = put_workload(pod("b", "10.0.0.2")) else { panic!() };
    let misnamed = Update::Address { name: good.uid.as_str().into(), resource };
    for bad in [
        put_workload(bad_address),
        put_workload(bad_identity),
        put_workload(bad_port),
        garbage,
        nothing,
        misnamed,
    ] {
        let rejections = store.apply(vec![bad.clone(), put_workload(pod("other", "10.0.0.3"))]);
        assert_eq!(rejections.len(), 1, "{bad:?}");
        assert_eq!(*rejections[0].name, *good.uid);
        let snapshot = store.reader().load();
        assert_eq!(uid_at(&snapshot, "10.0.0.1").as_deref(), Some(&*good.uid));
        assert!(uid_at(&snapshot, "10.0.0.3").is_some(), "the good one of the push was held up");
    }
}

#[test]
fn local_workloads_follow_the_node() {
    let settings = StoreSettings { local_node: Some("n1".into()), ..StoreSettings::default() };
    let mut store = Store::new(&settings);
    let mut workload = pod("a", "10.0.0.1");
    workload.node = "n1".into();
    store.apply(vec![put_workload(workload.clone()), put_workload(pod("b", "10.0.0.2"))]);
    assert_eq!(store.reader().load().local_workloads().count(), 1);
    workload.node = "n2".into();
    store.apply(vec![put_workload(workload)]);
    assert_eq!(store.reader().load().local_workloads().count(), 0);
}

#[test]
fn waypoint_is_found_by_address_and_by_name_and_expects_its_identities() {
    let mut instance = behind(pod("waypoint-1", "10.0.0.9"), "default/waypoint", &[]);
    instance.service_account = "waypoint".into();
    let mut waypoint = service("default", "waypoint", &["240.0.0.9"], &[(15008, 15008)]);
    waypoint.subject_alt_names = vec!["spiffe://td/ns/a/sa/b".into(), "dns.example".into()];
    let mut web = service("default", "web", &["240.0.0.1"], &[(80, 0)]);
    let source = pod("client", "10.0.0.1");
    let (mut store, _) = store_with(vec![
        put_workload(instance),
        put_service(waypoint),
        put_workload(source.clone()),
    ]);
    for (gateway, by_service) in [
        (gateway_at("10.0.0.9"), false),
        (gateway_at("240.0.0.9"), true),
        (gateway_named("default", "waypoint"), true),
    ] {
        web.waypoint = Some(gateway);
        store.apply(vec![put_service(web.clone())]);
        let snapshot = store.reader().load();
        let source = snapshot.workload(&source.uid).unwrap();
        let web = snapshot.service("default", "web").unwrap();
        let found = waypoint_of_service(&snapshot, web, source, &mut rand::rng());
        let upstream = found.unwrap().unwrap();
        assert_eq!((&*upstream.workload.name, upstream.port), ("waypoint-1", 15008));
        assert_eq!(upstream.service.is_some(), by_service);
        let san = "spiffe://td/ns/a/sa/b".parse().unwrap();
        assert_eq!(upstream.expected_peers().contains(&san), by_service);
        assert!(upstream.expected_peers().contains(&upstream.workload.identity));
    }
    web.waypoint = Some(gateway_named("default", "nowhere"));
    store.apply(vec![put_service(web)]);
    let snapshot = store.reader().load();
    let source = snapshot.workload(&source.uid).unwrap();
    let web = snapshot.service("default", "web").unwrap();
    let found = waypoint_of_service(&snapshot, web, source, &mut rand::rng());
    assert!(matches!(found, Err(ResolveError::UnknownWaypoint { .. })), "{found:?}");
}

#[test]
fn weighted_waypoint_without_weight_is_never_chosen() {
    let mut web = service("default", "web", &[], &[(80, 80)]);
    let weighted = |address, weight| proto::WeightedWaypoint {
        destination: Some(gateway_at(address)),
        weight,
    };
    web.weighted_waypoints = vec![weighted("10.0.0.7", 0), weighted("10.0.0.8", 3)];
    web.waypoint = Some(gateway_at("10.0.0.9"));
    let pods = [pod("off", "10.0.0.7"), pod("on", "10.0.0.8"), pod("plain", "10.0.0.9")];
    let mut updates: Vec<_> = pods.into_iter().map(put_workload).collect();
    updates.push(put_service(web.clone()));
    let (mut store, snapshot) = store_with(updates);
    let name = |snapshot: &Snapshot| {
        let source = snapshot.workload_at("", ip("10.0.0.7")).unwrap();
        let web = snapshot.service("default", "web").unwrap();
        let found = waypoint_of_service(snapshot, web, source, &mut rand::rng());
        found.unwrap().unwrap().workload.name.to_string()
    };
    for _ in 0..50 {
        assert_eq!(name(&snapshot), "on");
    }
    web.weighted_waypoints = vec![weighted("10.0.0.7", 0)];
    store.apply(vec![put_service(web)]);
    assert_eq!(name(&store.reader().load()), "plain");
}

#[test]
fn target_address_keeps_the_clients_own_and_prefers_its_family() {
    let mut dual = pod("dual", "10.0.0.1");
    dual.addresses.push(ip_bytes("fd00::1"));
    let mut named = pod("named", "10.0.0.2");
    named.addresses.clear();
    named.hostname = "db.example".into();
    let (_, snapshot) = store_with(vec![put_workload(dual), put_workload(named)]);
    let dual = snapshot.pod("Kubernetes", "default", "dual").unwrap();
    let named = snapshot.pod("Kubernetes", "default", "named").unwrap();
    let target = |families, asked| target_address(dual, families, ip(asked));
    let at = |address| Some(Target::Ip(ip(address)));
    assert_eq!(target(IpFamilies::Automatic, "240.0.0.1"), at("10.0.0.1"));
    assert_eq!(target(IpFamilies::Automatic, "fd01::1"), at("fd00::1"));
    assert_eq!(target(IpFamilies::V4Only, "fd01::1"), at("10.0.0.1"));
    assert_eq!(target(IpFamilies::V4Only, "fd00::1"), at("fd00::1"));
    let host = target_address(named, IpFamilies::Automatic, IpAddr::from([1, 1, 1, 1]));
    assert_eq!(host, Some(Target::Hostname("db.example".into())));
}

#[tokio::test(start_paused = true)]
async fn reader_is_woken_by_what_it_waits_for_and_not_held_beyond_its_deadline() {
    let (mut store, _) = store_with(vec![]);
    let reader = store.reader();
    let find = |snapshot: &Arc<Snapshot>| snapshot.workload_at("", ip("10.0.0.1")).cloned();
    let late = reader.wait_for(Duration::from_secs(5), find).await;
    assert_eq!(late, Err(DeadlinePassed));
    let waiting = tokio::spawn(async move { reader.wait_for(Duration::from_secs(5), find).await });
    tokio::task::yield_now().await;
    store.apply(vec![put_workload(pod("b", "10.0.0.2"))]);
    tokio::task::yield_now().await;
    store.apply(vec![put_workload(pod("a", "10.0.0.1"))]);
    assert_eq!(&*waiting.await.unwrap().unwrap().name, "a");
}

#[test]
fn repetition_publishes_nothing() {
    let (mut store, before) = store_with(vec![put_workload(pod("a", "10.0.0.1"))]);
    store.apply(vec![put_workload(pod("a", "10.0.0.1")), remove_address("default/unknown")]);
    assert_eq!(store.reader().load().version(), before.version());
}
