//! From what users write to how endpoints are treated: the controller's translation and the waypoint's engine together.
#![expect(clippy::unwrap_used, reason = "a test, helpers included")]

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;
use weft_controller::translate::{ConditionStatus, Translator};
use weft_proto::contract::type_url;
use weft_waypoint::balance::{
    Algorithm, Balancer, Cluster, EndpointSpec, HashKey, Outcome, PickContext, Place, Policy,
    TlsMode, decode,
};
use weft_waypoint::session::Carrier;

use super::support::{objects, translated};

const PAGE: &str = include_str!("../../../../docs/resilience.md");

const ENTRY: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: bank, namespace: shop}
spec: {hosts: [api.bank.example], ports: [{number: 443, name: tls}], resolution: DNS}
";

/// The documents between the page's fences.
fn documents() -> Vec<&'static str> {
    let behind = PAGE.split("```yaml\n").skip(1);
    let blocks = behind.map(|text| text.split("```").next().unwrap());
    blocks.flat_map(|block| block.split("---\n")).collect()
}

fn policy(translator: &Translator, name: &str) -> Policy {
    let resources = translator.resources();
    let bytes = resources.get(&(type_url::BACKEND_POLICY, name.into())).expect("a policy");
    let decoded = decode(name, bytes).unwrap();
    assert_eq!(decoded.problems, []);
    decoded.policy
}

#[test]
fn yaml_of_the_page_on_resilience_does_what_it_says() {
    let all = documents();
    let [.., bank, _retries] = all[..] else { panic!("documents") };
    assert!(bank.contains("api.bank.example"));
    let translator = translated(objects([&all[..], &[ENTRY]].concat()));
    let statuses = translator.statuses();
    // There is no waypoint on the page.
    let is_bad = |it: &&ConditionStatus| !it.status && it.kind != "ResolvedWaypoints";
    let bad: Vec<_> = statuses.iter().flat_map(|it| &it.conditions).filter(is_bad).collect();
    assert!(bad.is_empty(), "{bad:?}");

    let web = policy(&translator, "shop/web.shop.svc.cluster.local");
    let all = web.settings(80, None);
    assert_eq!(all.balancer, Balancer::default());
    assert_eq!(all.warmup.unwrap().duration, Duration::from_secs(60));
    assert_eq!((all.pool.connections_max, all.pool.requests_max), (Some(100), Some(200)));
    assert_eq!(all.pool.connect_timeout, Duration::from_secs(2));
    let rate = all.rate_limit.unwrap();
    assert_eq!((rate.burst, rate.tokens, rate.interval), (200, 100, Duration::from_secs(1)));
    assert_eq!(web.settings(80, Some("v2")).pool.requests_max, Some(20));
    assert_eq!(web.settings(80, Some("v2")).outlier, all.outlier);
    let port = web.settings(90, None);
    let Balancer::Hash(hash) = &port.balancer else { panic!("{port:?}") };
    assert!(matches!(&hash.key, Some(HashKey::Cookie(cookie)) if &*cookie.name == "sid"));
    assert_eq!(hash.algorithm, Algorithm::Maglev { size: 65_537 });
    assert!(port.outlier.is_none() && port.pool.requests_max.is_none());

    let cart = policy(&translator, "shop/cart.shop.svc.cluster.local");
    let limit = cart.settings(80, None).global_limit.clone().unwrap();
    assert_eq!(&*limit.target.hostname, "limiter.shop.svc.cluster.local");
    assert_eq!((limit.target.port, limit.timeout), (8081, Duration::from_millis(50)));
    assert_eq!(limit.refusal, None);
    let stock = policy(&translator, "shop/stock.shop.svc.cluster.local");
    let session = stock.settings(80, None).session.clone().unwrap();
    assert!(matches!(&session.carrier, Carrier::Cookie(cookie) if &*cookie.name == "stock"));

    let bank = policy(&translator, "shop/api.bank.example");
    let tls = bank.settings(443, None).tls.clone().unwrap();
    assert_eq!(tls.mode, TlsMode::Simple);
    assert_eq!(tls.ca_file.as_deref(), Some("/etc/bank/ca.pem"));
}

#[test]
fn endpoint_that_fails_is_ejected_and_returns_as_the_page_says() {
    let [rule, service, ..] = documents()[..] else { panic!("no documents") };
    let web = policy(&translated(objects([rule, service])), "shop/web.shop.svc.cluster.local");
    let mut now = Instant::now();
    let mut rng = StdRng::seed_from_u64(1);
    let cluster = Cluster::new(Arc::clone(web.settings(80, None)), Place::default(), now);
    let spec = |id: &str| EndpointSpec {
        id: id.into(),
        weight: 1,
        place: Place::default(),
        is_healthy: true,
    };
    cluster.set_endpoints(vec![spec("good"), spec("bad")], now);
    let mut takers = |now| {
        let context = PickContext { hash: None, tried: &[], is_anywhere: false, now };
        let mut bad = 0;
        for _ in 0..100 {
            let picked = cluster.pick(&context, &mut rng).unwrap();
            let is_bad = &**picked.id() == "bad";
            bad += usize::from(is_bad);
            picked.report(Outcome::Status(if is_bad { 500 } else { 200 }), now);
        }
        bad
    };
    // Three errors in succession, and no request more.
    assert_eq!(takers(now), 3);
    assert_eq!(takers(now), 0);
    now += Duration::from_secs(16);
    assert_eq!(takers(now), 3);
    assert_eq!(cluster.counts().ejections_total, 2);
}
