//! Policies for backends from their bytes to a choice, and what of a request the choice looks at.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message as _;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;
use weft_proto::route as proto;
use weft_waypoint::balance::{
    Cluster, EndpointSpec, HashCookie, HashKey, Outcome, PickContext, Place, Settings, TlsMode,
    decode,
};
use weft_waypoint::retry::grpc_timeout;
use weft_waypoint::session::{Carrier, EndpointTag, Scope, Session, SessionCookie};

/// One policy. Whatever it says, its settings can be carried out: somebody is chosen as long as nobody failed, and TLS that
/// it asks for doesn't fall away.
pub fn backend_policy(data: &[u8]) {
    let message = proto::BackendPolicy::decode(data).ok();
    let own = message.as_ref().map(|it| format!("{}/{}", it.namespace, it.hostname));
    let Ok(found) = decode(own.as_deref().unwrap_or("demo/web"), data) else {
        return;
    };
    assert!(found.problems.iter().all(|it| !it.reason.is_empty()));
    let message = message.expect("it was decoded");
    let asks = message.settings.as_ref().and_then(|it| it.tls.as_ref());
    let wants_tls = asks.is_some_and(|tls| tls.mode() != proto::TlsMode::Disabled);
    if wants_tls && !message.ports.contains_key(&0) {
        assert!(found.policy.settings(0, None).tls.is_some());
    }
    let subsets = message.subsets.keys().map(|name| Some(name.as_str())).take(4);
    for subset in subsets.chain([None]) {
        for port in [80, 443, 90] {
            carry_out(found.policy.settings(port, subset));
        }
    }
}

fn carry_out(settings: &Arc<Settings>) {
    if let Some(tls) = &settings.tls {
        assert!(!matches!(&tls.mode, TlsMode::Unavailable(reason) if reason.is_empty()));
    }
    let now = Instant::now();
    let home =
        Place { region: "eu".into(), zone: "a".into(), subzone: "1".into(), ..Place::default() };
    let cluster = Cluster::new(Arc::clone(settings), home.clone(), now);
    let spec = |id: &str, weight| EndpointSpec {
        id: id.into(),
        weight,
        place: home.clone(),
        is_healthy: true,
    };
    cluster.set_endpoints(vec![spec("a", 1), spec("b", u32::MAX)], now);
    let mut rng = StdRng::seed_from_u64(1);
    for turn in 0..8 {
        let now = now + Duration::from_secs(turn * 5);
        let hash = (turn % 2 == 0).then_some(turn);
        let context = PickContext { hash, tried: &[], is_anywhere: turn == 3, now };
        let Ok(picked) = cluster.pick(&context, &mut rng) else {
            // Shares may leave the endpoints' own locality out; failures may leave everybody out.
            continue;
        };
        assert!(matches!(&**picked.id(), "a" | "b"));
        (0..3).for_each(|_| picked.report(Outcome::Reset, now));
        let _permits = (cluster.admit_request(), cluster.admit_retry(), cluster.admit_rate(now));
    }
    assert_eq!(cluster.counts().requests, 0);
}

/// A line of a cookie header, one of a query and one of `grpc-timeout`: keys are found or not, and the same twice.
pub fn affinity(data: &[u8]) {
    let mut lines = data.splitn(3, |byte| *byte == b'\n');
    let (cookies, query, timeout) = (lines.next(), lines.next(), lines.next());
    let mut headers = HeaderMap::new();
    if let Some(value) = cookies.and_then(|line| HeaderValue::from_bytes(line).ok()) {
        headers.append(http::header::COOKIE, value);
    }
    let query = query.map(String::from_utf8_lossy).unwrap_or_default();
    let cookie = HashCookie {
        name: "sid".into(),
        path: Box::default(),
        ttl: None,
        attributes: Box::default(),
    };
    let header = HeaderName::from_static("cookie");
    for key in [HashKey::Cookie(cookie), HashKey::Query("q".into()), HashKey::Header(header)] {
        let found = key.hash(&headers, &query, None);
        assert_eq!(found, key.hash(&headers, &query, None));
    }
    session(&headers);
    if let Some(time) = timeout.and_then(grpc_timeout::parse) {
        let written = grpc_timeout::format(time);
        let read = grpc_timeout::parse(written.as_bytes()).expect("what was written is read");
        assert!(read >= time && written.len() <= 9, "{written}");
    }
}

/// Whatever a client says, the answer to it is a session that it can go on with.
fn session(headers: &HeaderMap) {
    let cookie = SessionCookie {
        name: "sid".into(),
        path: None,
        is_permanent: true,
        attributes: Box::default(),
    };
    let limit = Some(Duration::from_secs(60));
    let session = Session {
        scope: Scope::of("demo"),
        carrier: Carrier::Cookie(cookie),
        absolute: limit,
        idle: limit,
    };
    let now = Duration::from_secs(1_700_000_000);
    let asked = session.asked(headers, now);
    let endpoint = EndpointTag::of("demo/web", "a");
    let (_, told) = session.answer(asked.as_ref(), endpoint, "/", now).expect("a cookie");
    let next = HeaderMap::from_iter([(http::header::COOKIE, told)]);
    assert_eq!(session.asked(&next, now).expect("what was told").endpoint, endpoint);
}
