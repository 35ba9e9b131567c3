//! Policies from the wire.

use prost::Message;
use weft_proto::route as proto;
use weft_proto::route::consistent_hash::{Algorithm as WireAlgorithm, Key};
use weft_proto::route::load_balancer::Kind;

use super::*;

fn decoded(settings: proto::BackendSettings) -> (Settings, Vec<String>) {
    let policy = proto::BackendPolicy {
        namespace: "shop".into(),
        hostname: "web".into(),
        settings: Some(settings),
        ..proto::BackendPolicy::default()
    };
    let decoded = decode("shop/web", &policy.encode_to_vec()).unwrap();
    let problems = decoded.problems.into_iter().map(|it| it.field).collect();
    ((**decoded.policy.settings(80, None)).clone(), problems)
}

fn hashed(hash: proto::ConsistentHash) -> proto::BackendSettings {
    let load_balancer =
        proto::LoadBalancer { kind: Some(Kind::ConsistentHash(hash)), ..Default::default() };
    proto::BackendSettings { load_balancer: Some(load_balancer), ..Default::default() }
}

#[test]
fn what_is_not_said_is_the_default() {
    assert_eq!(decoded(proto::BackendSettings::default()), (Settings::default(), Vec::new()));
    let empty = proto::BackendSettings {
        load_balancer: Some(proto::LoadBalancer::default()),
        connection_pool: Some(proto::ConnectionPool::default()),
        outlier_detection: Some(proto::OutlierDetection::default()),
        retry_budget: Some(proto::RetryBudget::default()),
        ..Default::default()
    };
    let expected = Settings { outlier: Some(Outlier::default()), ..Settings::default() };
    assert_eq!(decoded(empty), (expected, Vec::new()));
}

#[test]
fn settings_are_looked_up_by_subset_and_port_and_never_merged() {
    let settings = |requests_max| proto::BackendSettings {
        connection_pool: Some(proto::ConnectionPool { requests_max, ..Default::default() }),
        ..Default::default()
    };
    let subset =
        proto::SubsetSettings { settings: Some(settings(3)), ports: [(81, settings(4))].into() };
    let policy = proto::BackendPolicy {
        namespace: "shop".into(),
        hostname: "web".into(),
        settings: Some(settings(1)),
        ports: [(81, settings(2)), (82, proto::BackendSettings::default())].into(),
        subsets: [("v1".into(), subset)].into(),
        ..Default::default()
    };
    let policy = decode("shop/web", &policy.encode_to_vec()).unwrap().policy;
    for (port, subset, requests_max) in [
        (80, None, Some(1)),
        (81, None, Some(2)),
        (82, None, None),
        (80, Some("v1"), Some(3)),
        (81, Some("v1"), Some(4)),
        (82, Some("v1"), Some(3)),
        (81, Some("v2"), Some(2)),
    ] {
        let found = policy.settings(port, subset).pool.requests_max;
        assert_eq!(found, requests_max, "{port} {subset:?}");
    }
}

#[test]
fn tls_that_is_not_understood_fails_rather_than_falls_away() {
    let tls = |mode: i32, unavailable: &str| {
        let tls =
            proto::UpstreamTls { mode, unavailable: unavailable.into(), ..Default::default() };
        let settings = proto::BackendSettings { tls: Some(tls), ..Default::default() };
        decoded(settings).0.tls.map(|it| it.mode.clone())
    };
    assert_eq!(tls(1, ""), Some(TlsMode::Simple));
    assert_eq!(tls(2, ""), Some(TlsMode::Mutual));
    assert_eq!(tls(3, ""), None);
    assert_eq!(tls(4, ""), Some(TlsMode::Mesh));
    for mode in [0, 5, -1] {
        assert!(matches!(tls(mode, ""), Some(TlsMode::Unavailable(_))), "{mode}");
    }
    assert_eq!(tls(2, "no Secret"), Some(TlsMode::Unavailable("no Secret".into())));
    assert_eq!(tls(3, "no Secret"), Some(TlsMode::Unavailable("no Secret".into())));
}

#[test]
fn sizes_are_bounded_and_tables_have_prime_lengths() {
    for (size, expected) in [(0, 65_537), (100, 101), (65_537, 65_537), (u64::MAX, 655_373)] {
        let algorithm = Some(WireAlgorithm::Maglev(proto::Maglev { table_size: size }));
        let key = Some(Key::Header("x-user".into()));
        let (settings, problems) = decoded(hashed(proto::ConsistentHash { key, algorithm }));
        let Balancer::Hash(hash) = settings.balancer else { unreachable!() };
        assert_eq!((hash.algorithm, problems.len()), (Algorithm::Maglev { size: expected }, 0));
    }
    let algorithm = Some(WireAlgorithm::Ring(proto::RingHash { size_min: u64::MAX }));
    let (settings, problems) = decoded(hashed(proto::ConsistentHash { key: None, algorithm }));
    let Balancer::Hash(hash) = settings.balancer else { unreachable!() };
    assert_eq!(hash.algorithm, Algorithm::Ring { size_min: 1 << 18 });
    assert_eq!(problems, ["settings.load_balancer.consistent_hash.key"]);
}

#[test]
fn damaged_policies_are_refused_or_understood_in_part() {
    let policy = proto::BackendPolicy { hostname: "web".into(), ..Default::default() };
    let bytes = policy.encode_to_vec();
    assert!(matches!(decode("shop/web", &bytes), Err(PolicyError::Name(name)) if name == "/web"));
    assert!(matches!(decode("/web", &[0xff; 9]), Err(PolicyError::Malformed(_))));
    let ports = (0..5_000).map(|port| (port, proto::BackendSettings::default()));
    let many = proto::BackendPolicy { ports: ports.collect(), ..policy.clone() };
    assert_eq!(decode("/web", &many.encode_to_vec()).unwrap_err(), PolicyError::TooMany(5_001));
    let odd = proto::BackendPolicy {
        ports: [(70_000, proto::BackendSettings::default())].into(),
        ..policy
    };
    let decoded = decode("/web", &odd.encode_to_vec()).unwrap();
    assert_eq!(decoded.problems[0].field, "ports[70000].");
}
