//! Policies for backends, and parts of requests by which endpoints are chosen.

use prost::Message as _;
use weft_proto::route as proto;
use weft_proto::route::consistent_hash::{Algorithm, Key};
use weft_proto::route::load_balancer::Kind;

use crate::Seed;

/// Policies, sound and not.
pub(crate) fn policies() -> Vec<Seed> {
    let mut cut = policy(settings()).encode_to_vec();
    cut.truncate(cut.len() / 2);
    let hash = |key, algorithm| {
        let hash = proto::ConsistentHash { key: Some(key), algorithm: Some(algorithm) };
        let balancer =
            proto::LoadBalancer { kind: Some(Kind::ConsistentHash(hash)), ..Default::default() };
        policy(proto::BackendSettings { load_balancer: Some(balancer), ..settings() })
    };
    let header = |name: &str| Key::Header(name.to_owned());
    let ring = |size_min| Algorithm::Ring(proto::RingHash { size_min });
    let maglev = |table_size| Algorithm::Maglev(proto::Maglev { table_size });
    let tls = proto::UpstreamTls { mode: 77, ..Default::default() };
    let odd = proto::BackendSettings { tls: Some(tls), ..settings() };
    vec![
        ("empty", Vec::new()),
        ("sound", policy(settings()).encode_to_vec()),
        ("cut-short", cut),
        ("tls-of-a-later-version", policy(odd).encode_to_vec()),
        ("ring-too-large", hash(header("x-user"), ring(u64::MAX)).encode_to_vec()),
        ("maglev-of-no-prime", hash(header("x-user"), maglev(65_536)).encode_to_vec()),
        ("header-that-is-none", hash(header("x user"), maglev(0)).encode_to_vec()),
        ("times-without-end", policy(endless()).encode_to_vec()),
    ]
}

fn policy(settings: proto::BackendSettings) -> proto::BackendPolicy {
    let of_subset =
        proto::SubsetSettings { settings: Some(settings.clone()), ports: Default::default() };
    proto::BackendPolicy {
        namespace: "demo".into(),
        hostname: "web".into(),
        settings: Some(settings.clone()),
        ports: [(443, settings)].into(),
        subsets: [("v1".into(), of_subset)].into(),
        ..Default::default()
    }
}

fn settings() -> proto::BackendSettings {
    let list = proto::Distribute {
        from: "eu/*".into(),
        to: [("eu/a/*".into(), 80), ("us".into(), 20)].into(),
    };
    let locality = proto::LocalityBalancing { distribute: vec![list], ..Default::default() };
    let warmup = proto::Warmup { duration_ms: 30_000, ..Default::default() };
    proto::BackendSettings {
        load_balancer: Some(proto::LoadBalancer {
            kind: Some(Kind::RoundRobin(proto::RoundRobin {})),
            warmup: Some(warmup),
            locality: Some(locality),
        }),
        connection_pool: Some(proto::ConnectionPool { requests_max: 5, ..Default::default() }),
        outlier_detection: Some(proto::OutlierDetection {
            consecutive_5xx: Some(2),
            ejected_percent_max: Some(100),
            ..Default::default()
        }),
        retry_budget: Some(proto::RetryBudget::default()),
        tls: Some(proto::UpstreamTls { mode: 1, ..Default::default() }),
        rate_limit: Some(proto::RateLimit { burst: 2, tokens: 1, interval_ms: 1_000 }),
        ..Default::default()
    }
}

/// Every number as large as it gets.
fn endless() -> proto::BackendSettings {
    let warmup = proto::Warmup {
        duration_ms: u64::MAX,
        aggression_thousandths: u32::MAX,
        percent_min: Some(u32::MAX),
    };
    proto::BackendSettings {
        load_balancer: Some(proto::LoadBalancer {
            kind: Some(Kind::LeastRequest(proto::LeastRequest { choices: u32::MAX })),
            warmup: Some(warmup),
            locality: None,
        }),
        outlier_detection: Some(proto::OutlierDetection {
            consecutive_5xx: Some(1),
            interval_ms: u64::MAX,
            base_ejection_ms: u64::MAX,
            ejection_max_ms: u64::MAX,
            ejected_percent_max: Some(u32::MAX),
            healthy_percent_min: u32::MAX,
            error_statuses: vec![proto::StatusRange { first: u32::MAX, last: 0 }],
            ..Default::default()
        }),
        rate_limit: Some(proto::RateLimit {
            burst: u32::MAX,
            tokens: u32::MAX,
            interval_ms: u64::MAX,
        }),
        ..Default::default()
    }
}

/// Cookies, a query and a time limit, a line each.
pub(crate) fn requests() -> Vec<Seed> {
    let texts: [(&str, &[u8]); 7] = [
        ("empty", b""),
        ("all-three", b"a=b; sid=7\nq=1&r=2\n100m"),
        ("cookie-in-quotes", b"sid=\"7\"\n\n1S"),
        ("cookie-without-a-value", b"sid=; sid\nq\n0n"),
        ("name-that-ends-alike", b"xsid=1;sidx=2\nqq=1&q=\n99999999H"),
        ("too-many-digits", b"sid=1\nq=1\n123456789m"),
        ("not-text", b"sid=\xff\xfe\nq=%ff\xff\n1\xffm"),
    ];
    texts.into_iter().map(|(name, text)| (name, text.to_vec())).collect()
}
