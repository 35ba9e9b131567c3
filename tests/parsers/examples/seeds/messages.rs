//! Protocol buffers: of the control plane and of the node agent.

use prost::Message as _;
use weft_proto::contract::type_url;
use weft_proto::discovery::{DeltaDiscoveryResponse, Resource};
use weft_proto::security::string_match::MatchType;
use weft_proto::security::{self, Authorization, Clause, Match, Rule, StringMatch};
use weft_proto::workload::{
    self, Address, NetworkAddress, Port, PortList, Service, Workload, gateway_address,
};
use weft_proto::zds;
use weft_proto::zds::workload_request::Payload;

use crate::Seed;

const UNKNOWN: i32 = 77;
/// Field 99, varint 1: of no version that we know.
const UNKNOWN_FIELD: &[u8] = &[0x98, 0x06, 0x01];

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
    let workload = |workload| of_workload(workload).encode_to_vec();
    let service_with = |address: &[u8], length| {
        let address = NetworkAddress { address: address.into(), length, ..Default::default() };
        of_service(Service { addresses: vec![address], ..service() }).encode_to_vec()
    };
    let port = |port| Port { service_port: port, ..Default::default() };
    let gateway = workload::GatewayAddress {
        destination: Some(gateway_address::Destination::Address(NetworkAddress {
            address: vec![10, 0, 0, 9],
            ..Default::default()
        })),
        hbone_mtls_port: 15008,
    };
    let balancing = workload::LoadBalancing {
        routing_preference: vec![1, 2, UNKNOWN],
        mode: 2,
        health_policy: 1,
    };
    let whole = workload(pod());
    let truncated = whole.iter().copied().take(whole.len() - 3).collect();
    vec![
        ("pod", whole),
        ("service", of_service(service()).encode_to_vec()),
        ("truncated", truncated),
        ("length-past-the-end", vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        ("neither-kind", UNKNOWN_FIELD.to_vec()),
        ("empty", vec![]),
        ("address-of-5-bytes", workload(Workload { addresses: vec![vec![1; 5]], ..pod() })),
        ("neighbours-address", workload(Workload { addresses: vec![vec![10, 0, 0, 1]], ..pod() })),
        ("address-twice", workload(Workload { addresses: vec![vec![10, 0, 0, 2]; 2], ..pod() })),
        (
            "unknown-enums",
            workload(Workload {
                tunnel_protocol: UNKNOWN,
                workload_type: UNKNOWN,
                status: UNKNOWN,
                network_mode: UNKNOWN,
                ..pod()
            }),
        ),
        ("no-identity", workload(Workload { namespace: "De/mo".into(), ..pod() })),
        (
            "port-65536",
            of_service(Service { ports: vec![port(65536)], ..service() }).encode_to_vec(),
        ),
        (
            "same-port-twice",
            of_service(Service { ports: vec![port(80); 2], ..service() }).encode_to_vec(),
        ),
        (
            "gateways",
            workload(Workload {
                waypoint: Some(gateway.clone()),
                network_gateway: Some(workload::GatewayAddress {
                    destination: None,
                    ..gateway.clone()
                }),
                ..pod()
            }),
        ),
        (
            "weighted-waypoints",
            of_service(Service {
                waypoint: Some(gateway.clone()),
                weighted_waypoints: vec![
                    workload::WeightedWaypoint {
                        destination: Some(gateway),
                        weight: u32::MAX
                    };
                    3
                ],
                load_balancing: Some(balancing),
                ..service()
            })
            .encode_to_vec(),
        ),
        ("capacity-largest", workload(Workload { capacity: Some(u32::MAX), ..pod() })),
        ("neighbours-virtual-address", service_with(&[10, 1, 0, 1], None)),
        ("block", service_with(&[10, 1, 2, 3], Some(24))),
        ("block-of-everything", service_with(&[0; 16], Some(0))),
        ("prefix-33-of-ipv4", service_with(&[10, 1, 0, 1], Some(33))),
        ("prefix-largest", service_with(&[0; 16], Some(u32::MAX))),
        (
            "ipv4-mapped-block",
            service_with(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 0, 1], Some(104)),
        ),
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

fn request(payload: Payload) -> Vec<u8> {
    zds::WorkloadRequest { payload: Some(payload) }.encode_to_vec()
}

/// The first byte says how many descriptors come along.
pub(crate) fn zds_requests() -> Vec<Seed> {
    let with = |descriptors: u8, packet: &[u8]| [&[descriptors], packet].concat();
    let info = |name: &str| zds::WorkloadInfo {
        name: name.into(),
        namespace: "demo".into(),
        service_account: "web".into(),
    };
    let add = |uid: &str, workload_info| {
        request(Payload::Add(zds::AddWorkload { uid: uid.into(), workload_info }))
    };
    let uid = "7f3c2b1a-0000-4000-8000-000000000001";
    let usual = add(uid, Some(info("web")));
    let del = request(Payload::Del(zds::DelWorkload { uid: uid.into() }));
    let snapshot = request(Payload::SnapshotSent(zds::SnapshotSent {}));
    vec![
        ("add", with(1, &usual)),
        ("add-without-a-namespace", with(0, &usual)),
        ("add-with-two-namespaces", with(2, &usual)),
        ("add-of-an-old-agent", with(1, &add(uid, None))),
        ("keep", with(0, &request(Payload::Keep(zds::KeepWorkload { uid: uid.into() })))),
        ("del", with(0, &del)),
        ("del-with-a-namespace", with(1, &del)),
        ("snapshot-sent", with(0, &snapshot)),
        ("add-then-del-in-one", with(1, &[&usual[..], &del].concat())),
        ("no-uid", with(1, &add("", None))),
        ("uid-with-a-space", with(1, &add("a b", None))),
        ("uid-of-321-bytes", with(1, &add(&"u".repeat(321), None))),
        ("packet-over-1024-bytes", with(1, &add(uid, Some(info(&"n".repeat(1100)))))),
        ("unknown-kind", with(0, UNKNOWN_FIELD)),
        ("length-past-the-end", with(1, &[0x0a, 0x7f])),
        ("not-utf-8", with(1, &[0x0a, 3, 0x0a, 1, 0xff])),
        ("empty", with(0, &[])),
    ]
}

pub(crate) fn zds_answers() -> Vec<Seed> {
    let ack = |error: &str| {
        let ack = zds::Ack { error: error.into() };
        let payload = Some(zds::workload_response::Payload::Ack(ack));
        zds::WorkloadResponse { payload }.encode_to_vec()
    };
    let long = format!("{}\u{20ac}\u{20ac}\u{20ac}", "x".repeat(1005));
    vec![
        ("done", ack("")),
        ("failed", ack("no such pod")),
        ("long-reason-cut-in-a-character", ack(&long)),
        ("done-then-failed", [ack(""), ack("no")].concat()),
        ("unknown-kind", UNKNOWN_FIELD.to_vec()),
        ("truncated", vec![0x0a, 9, 0x0a, 5, b'n']),
        ("not-utf-8", vec![0x0a, 3, 0x0a, 1, 0xff]),
        ("empty", vec![]),
    ]
}

pub(crate) fn zds_hellos() -> Vec<Seed> {
    let hello = |version| zds::ZdsHello { version }.encode_to_vec();
    vec![
        ("first-version", hello(1)),
        ("later-version", hello(2)),
        ("largest-version", hello(i32::MAX)),
        ("negative-version", hello(-1)),
        ("no-version", hello(0)),
        ("unknown-field", [hello(1), UNKNOWN_FIELD.to_vec()].concat()),
        ("endless-varint", vec![0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("empty", vec![]),
    ]
}
