//! Protocol buffers of the control plane.

use prost::Message as _;
use weft_proto::contract::type_url;
use weft_proto::discovery::{DeltaDiscoveryResponse, Resource};
use weft_proto::security::string_match::MatchType;
use weft_proto::security::{self, Authorization, Clause, Match, Rule, StringMatch};
use weft_proto::workload::{
    self, Address, NetworkAddress, Port, PortList, Service, Workload, gateway_address,
};

use crate::Seed;

const UNKNOWN: i32 = 77;
/// Field 99, varint 1: of no version that we know.
pub(crate) const UNKNOWN_FIELD: &[u8] = &[0x98, 0x06, 0x01];

fn pod() -> Workload {
    let ports = vec![Port { service_port: 80, target_port: 8080, app_protocol: 1 }];
    Workload {
        uid: "Kubernetes//Pod/demo/cart".into(),
        name: "cart".into(),
        namespace: "demo".into(),
        addresses: vec![vec![10, 0, 0, 2]],
        tunnel_protocol: 1,
        services: [("demo/web.demo.svc.cluster.local".into(), PortList { ports })].into(),
        ..Default::default()
    }
}

fn service() -> Service {
    Service {
        name: "cart".into(),
        namespace: "demo".into(),
        hostname: "cart.demo.svc.cluster.local".into(),
        addresses: vec![NetworkAddress { address: vec![10, 1, 0, 2], ..Default::default() }],
        ports: vec![Port { service_port: 80, target_port: 8080, app_protocol: 0 }],
        ..Default::default()
    }
}

fn of_workload(workload: Workload) -> Address {
    Address { r#type: Some(workload::address::Type::Workload(workload)) }
}

fn of_service(service: Service) -> Address {
    Address { r#type: Some(workload::address::Type::Service(service)) }
}

pub(crate) fn addresses() -> Vec<Seed> {
    let whole = of_workload(pod()).encode_to_vec();
    let truncated = whole.iter().copied().take(whole.len() - 3).collect();
    let broken = [
        ("truncated", truncated),
        ("length-past-the-end", vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        ("neither-kind", UNKNOWN_FIELD.to_vec()),
        ("empty", vec![]),
    ];
    let workloads =
        workloads().into_iter().map(|(name, it)| (name, of_workload(it).encode_to_vec()));
    let services = services().into_iter().map(|(name, it)| (name, of_service(it).encode_to_vec()));
    workloads.chain(services).chain(broken).collect()
}

fn gateway() -> workload::GatewayAddress {
    let address = NetworkAddress { address: vec![10, 0, 0, 9], ..Default::default() };
    let destination = Some(gateway_address::Destination::Address(address));
    workload::GatewayAddress { destination, hbone_mtls_port: 15008 }
}

fn workloads() -> Vec<(&'static str, Workload)> {
    let nowhere = workload::GatewayAddress { destination: None, ..gateway() };
    let unknown = Workload {
        tunnel_protocol: UNKNOWN,
        workload_type: UNKNOWN,
        status: UNKNOWN,
        network_mode: UNKNOWN,
        ..pod()
    };
    let at = |addresses| Workload { addresses, ..pod() };
    vec![
        ("pod", pod()),
        ("unknown-enums", unknown),
        ("address-of-5-bytes", at(vec![vec![1; 5]])),
        ("neighbours-address", at(vec![vec![10, 0, 0, 1]])),
        ("address-twice", at(vec![vec![10, 0, 0, 2]; 2])),
        ("no-identity", Workload { namespace: "De/mo".into(), ..pod() }),
        ("capacity-largest", Workload { capacity: Some(u32::MAX), ..pod() }),
        ("waypoint", Workload { waypoint: Some(gateway()), ..pod() }),
        ("gateway-without-an-address", Workload { network_gateway: Some(nowhere), ..pod() }),
    ]
}

fn services() -> Vec<(&'static str, Service)> {
    let at = |address: &[u8], length| {
        let address = NetworkAddress { address: address.into(), length, ..Default::default() };
        Service { addresses: vec![address], ..service() }
    };
    let offers = |port, times| {
        let port = Port { service_port: port, ..Default::default() };
        Service { ports: vec![port; times], ..service() }
    };
    let waypoint = workload::WeightedWaypoint { destination: Some(gateway()), weight: u32::MAX };
    let balancing = workload::LoadBalancing {
        routing_preference: vec![1, 2, UNKNOWN],
        mode: 2,
        health_policy: 1,
    };
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 0, 1];
    vec![
        ("service", service()),
        ("port-65536", offers(65536, 1)),
        ("same-port-twice", offers(80, 2)),
        ("weighted-waypoints", Service { weighted_waypoints: vec![waypoint; 3], ..service() }),
        ("unknown-preference", Service { load_balancing: Some(balancing), ..service() }),
        ("neighbours-virtual-address", at(&[10, 1, 0, 1], None)),
        ("block", at(&[10, 1, 2, 3], Some(24))),
        ("block-of-everything", at(&[0; 16], Some(0))),
        ("prefix-33-of-ipv4", at(&[10, 1, 0, 1], Some(33))),
        ("prefix-largest", at(&[0; 16], Some(u32::MAX))),
        ("ipv4-mapped-block", at(&mapped, Some(104))),
    ]
}

pub(crate) fn discovery() -> Vec<Seed> {
    let resource = |name: &str, type_url: &str, value: Vec<u8>| Resource {
        name: name.into(),
        version: "1".into(),
        resource: Some(prost_types::Any { type_url: type_url.into(), value }),
        ..Default::default()
    };
    let response = |type_url: &str, resources: Vec<Resource>, removed: &[&str]| {
        DeltaDiscoveryResponse {
            type_url: type_url.into(),
            nonce: "n".into(),
            resources,
            removed_resources: removed.iter().map(|&it| it.into()).collect(),
            ..Default::default()
        }
        .encode_to_vec()
    };
    let pod = || resource(&pod().uid, type_url::ADDRESS, of_workload(pod()).encode_to_vec());
    let service = || {
        let name = "demo/cart.demo.svc.cluster.local";
        resource(name, type_url::ADDRESS, of_service(service()).encode_to_vec())
    };
    let policy =
        || resource("demo/policy", type_url::AUTHORIZATION, authorization().encode_to_vec());
    let broken = resource("broken", type_url::ADDRESS, vec![0x0a, 0x7f]);
    vec![
        ("addresses", response(type_url::ADDRESS, vec![pod(), service()], &[])),
        ("policy", response(type_url::AUTHORIZATION, vec![policy()], &["demo/old"])),
        ("good-and-bad", response(type_url::ADDRESS, vec![broken, pod()], &[])),
        ("removed-and-put", response(type_url::ADDRESS, vec![pod()], &[&pod().name, ""])),
        ("twice-in-one-response", response(type_url::ADDRESS, vec![pod(), pod()], &["x", "x"])),
        (
            "another-name",
            response(type_url::ADDRESS, vec![Resource { name: "x".into(), ..pod() }], &[]),
        ),
        ("content-of-another-type", response(type_url::ADDRESS, vec![policy()], &[])),
        (
            "policy-without-content",
            response(type_url::AUTHORIZATION, vec![Resource { resource: None, ..policy() }], &[]),
        ),
        ("unknown-type", response("type.googleapis.com/x", vec![pod()], &["y"])),
        ("empty", vec![]),
        ("length-past-the-end", vec![0x12, 0xff, 0xff, 0xff, 0x7f]),
    ]
}

fn authorization() -> Authorization {
    let string = |one| StringMatch { match_type: Some(one) };
    let one = Match {
        namespaces: vec![string(MatchType::Exact("demo".into()))],
        not_principals: vec![string(MatchType::Suffix("/admin".into()))],
        destination_ports: vec![80],
        ..Default::default()
    };
    rule(one)
}

fn rule(one: Match) -> Authorization {
    Authorization {
        name: "policy".into(),
        namespace: "demo".into(),
        scope: 1,
        rules: vec![Rule { clauses: vec![Clause { matches: vec![one] }] }],
        ..Default::default()
    }
}

/// A rule of raw bytes around the innermost message.
fn rule_of(one: &[u8]) -> Vec<u8> {
    let nest = |tag: u8, inner: &[u8]| {
        let length = u8::try_from(inner.len()).expect("a short message");
        [&[tag, length], inner].concat()
    };
    let rules = nest(0x2a, &nest(0x12, &nest(0x12, one)));
    [Authorization { rules: vec![], ..authorization() }.encode_to_vec(), rules].concat()
}

pub(crate) fn policies() -> Vec<Seed> {
    let block = |address: &[u8], length| security::Address { address: address.into(), length };
    let from = |blocks| rule(Match { source_ips: blocks, ..Default::default() }).encode_to_vec();
    let strings = |one| {
        let string = StringMatch { match_type: one };
        rule(Match { principals: vec![string], ..Default::default() }).encode_to_vec()
    };
    let policy = |change: fn(&mut Authorization)| {
        let mut policy = authorization();
        change(&mut policy);
        policy.encode_to_vec()
    };
    let account = security::ServiceAccountMatch { namespace: "demo".into(), ..Default::default() };
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 0];
    let whole = authorization().encode_to_vec();
    let truncated = whole.iter().copied().take(whole.len() - 2).collect();
    vec![
        ("allow", whole),
        ("deny", policy(|it| it.action = 1)),
        ("dry-run", policy(|it| it.dry_run = true)),
        ("mesh-wide", policy(|it| it.scope = 0)),
        ("selected", policy(|it| it.scope = 2)),
        ("no-rules", policy(|it| it.rules.clear())),
        ("empty-rule", policy(|it| it.rules = vec![Rule::default()])),
        ("empty-clause", policy(|it| it.rules = vec![Rule { clauses: vec![Clause::default()] }])),
        ("empty-match", rule(Match::default()).encode_to_vec()),
        ("unknown-scope", policy(|it| it.scope = UNKNOWN)),
        ("unknown-action", policy(|it| it.action = UNKNOWN)),
        ("negative-scope", policy(|it| it.scope = -1)),
        ("unknown-condition", rule_of(UNKNOWN_FIELD)),
        ("unknown-condition-beside-a-known", rule_of(&[&[0x48, 80], UNKNOWN_FIELD].concat())),
        (
            "unknown-field-outside-rules",
            [authorization().encode_to_vec(), UNKNOWN_FIELD.into()].concat(),
        ),
        ("group-in-a-match", rule_of(&[0x9b, 0x06, 0x9c, 0x06])),
        ("no-comparison", strings(None)),
        ("empty-prefix", strings(Some(MatchType::Prefix(String::new())))),
        ("presence", strings(Some(MatchType::Presence(())))),
        ("block", from(vec![block(&[10, 0, 0, 0], 8)])),
        ("mapped-block", from(vec![block(&mapped, 104)])),
        ("mapped-block-wider-than-ipv4", from(vec![block(&mapped, 95)])),
        ("everything", from(vec![block(&[0; 4], 0), block(&[0; 16], 0)])),
        ("prefix-33-of-ipv4", from(vec![block(&[10, 0, 0, 0], 33)])),
        ("prefix-264", from(vec![block(&[10, 0, 0, 0], 264)])),
        ("address-of-3-bytes", from(vec![block(&[10, 0, 0], 8)])),
        (
            "port-65616",
            rule(Match { destination_ports: vec![65616], ..Default::default() }).encode_to_vec(),
        ),
        (
            "half-an-account",
            rule(Match { service_accounts: vec![account], ..Default::default() }).encode_to_vec(),
        ),
        ("truncated", truncated),
        ("root-namespace-truncated", vec![0x12, 12, b'i', b's']),
        ("scope-then-garbage", vec![0x18, 2, 0x2a, 0x7f]),
        ("empty", vec![]),
    ]
}
