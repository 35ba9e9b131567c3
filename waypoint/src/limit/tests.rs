//! What the service is asked, and what its answers mean.

use http::HeaderMap;
use weft_core::identity::SpiffeId;
use weft_core::testing::identity;
use weft_proto::route as wire;
use weft_proto::route::limit_entry::Value as WireValue;

use super::*;
use crate::limits;

fn entry(key: &str, value: WireValue) -> wire::LimitEntry {
    wire::LimitEntry { key: key.into(), value: Some(value) }
}

fn of(attribute: wire::LimitAttribute) -> WireValue {
    WireValue::Attribute(attribute.into())
}

fn message(descriptors: Vec<Vec<wire::LimitEntry>>) -> wire::GlobalRateLimit {
    let descriptors = descriptors.into_iter().map(|entries| wire::LimitDescriptor { entries });
    wire::GlobalRateLimit {
        provider: "limiter".into(),
        hostname: "limiter.shop".into(),
        port: 8081,
        domain: "shop".into(),
        descriptors: descriptors.collect(),
        ..Default::default()
    }
}

/// Descriptors as the service reads them: keys and values.
fn asked(limit: &GlobalLimit, headers: &HeaderMap) -> Option<Vec<Vec<(String, String)>>> {
    let source: SpiffeId = identity("shop", "client");
    let counted = Counted {
        source: &source,
        address: "::ffff:10.0.0.7".parse().unwrap(),
        method: "GET",
        path: "/cart",
        headers,
        service: "web.shop",
    };
    let bytes = limit.question(&counted)?;
    let request = proto::RateLimitRequest::decode(&bytes[5..]).unwrap();
    assert_eq!((&*request.domain, request.hits_addend), ("shop", 0));
    let pairs = |it: proto::RateLimitDescriptor| {
        it.entries.into_iter().map(|entry| (entry.key, entry.value)).collect()
    };
    Some(request.descriptors.into_iter().map(pairs).collect())
}

#[test]
fn descriptors_are_made_of_requests_and_left_out_where_something_lacks() {
    use wire::LimitAttribute as Of;
    let limit = GlobalLimit::decode(&message(vec![
        vec![
            entry("generic_key", WireValue::Literal("free".into())),
            entry("user", WireValue::Header("x-user".into())),
        ],
        vec![
            entry("source_principal", of(Of::SourcePrincipal)),
            entry("source_namespace", of(Of::SourceNamespace)),
            entry("remote_address", of(Of::RemoteAddress)),
        ],
        vec![
            entry("path", of(Of::Path)),
            entry("method", of(Of::Method)),
            entry("destination_service", of(Of::DestinationService)),
        ],
    ]))
    .unwrap();
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let always = [
        vec![
            pair("source_principal", &identity("shop", "client").to_string()),
            pair("source_namespace", "shop"),
            pair("remote_address", "10.0.0.7"),
        ],
        vec![pair("path", "/cart"), pair("method", "GET"), pair("destination_service", "web.shop")],
    ];
    let mut headers = HeaderMap::new();
    assert_eq!(asked(&limit, &headers).unwrap(), always);
    headers.insert("x-user", "".parse().unwrap());
    assert_eq!(asked(&limit, &headers).unwrap(), always);
    headers.insert("x-user", "eve".parse().unwrap());
    let with = asked(&limit, &headers).unwrap();
    assert_eq!(with[0], [pair("generic_key", "free"), pair("user", "eve")]);
    assert_eq!(with[1..], always);
}

#[test]
fn nobody_is_asked_where_no_descriptor_can_be_made() {
    let later = wire::LimitEntry { key: "a".into(), value: None };
    let unknown = entry("a", WireValue::Attribute(99));
    let absent = entry("a", WireValue::Header("x-user".into()));
    for one in [later, unknown, absent] {
        let limit = GlobalLimit::decode(&message(vec![vec![one]])).unwrap();
        assert_eq!(asked(&limit, &HeaderMap::new()), None);
    }
}

#[test]
fn long_values_are_cut_rather_than_left_out() {
    let entries = vec![entry("user", WireValue::Header("x-user".into()))];
    let limit = GlobalLimit::decode(&message(vec![entries])).unwrap();
    let long = format!("x{}", "ä".repeat(limits::LIMIT_VALUE_BYTES_MAX));
    let value = HeaderValue::from_bytes(long.as_bytes()).unwrap();
    let asked = asked(&limit, &HeaderMap::from_iter([("x-user".parse().unwrap(), value)])).unwrap();
    assert_eq!(asked[0][0].1.len(), limits::LIMIT_VALUE_BYTES_MAX - 1);
}

#[test]
fn answers_say_whether_to_go_on_and_nothing_about_framing() {
    let header = |key: &str, value: &str| proto::HeaderValue {
        key: key.into(),
        value: value.into(),
        raw_value: Vec::new(),
    };
    let mut answer = proto::RateLimitResponse {
        overall_code: Code::Ok.into(),
        response_headers_to_add: vec![header("x-left", "3"), header("content-length", "0")],
        request_headers_to_add: vec![header("x-tier", "free"), header("host", "other")],
        raw_body: b"slow down".to_vec(),
    };
    let change = |name: &'static str, value: &'static str| {
        HeaderChange::Append(name.parse().unwrap(), HeaderValue::from_static(value))
    };
    assert_eq!(
        verdict(&answer.encode_to_vec()).unwrap(),
        Verdict::Under {
            request: vec![change("x-tier", "free")],
            response: vec![change("x-left", "3")]
        }
    );
    answer.overall_code = Code::OverLimit.into();
    assert_eq!(
        verdict(&answer.encode_to_vec()).unwrap(),
        Verdict::Over { headers: vec![change("x-left", "3")], body: "slow down".into() }
    );
    for code in [0, 7] {
        answer.overall_code = code;
        assert!(verdict(&answer.encode_to_vec()).is_err());
    }
    assert!(verdict(b"\xff").is_err());
}

#[test]
fn what_is_said_for_failures_and_defaults_holds() {
    let open = GlobalLimit::decode(&message(vec![])).unwrap();
    assert_eq!((open.refusal, open.timeout), (None, limits::LIMITER_TIMEOUT));
    let closed =
        wire::GlobalRateLimit { fails_closed: true, timeout_ms: 60_000, ..message(vec![]) };
    let closed = GlobalLimit::decode(&closed).unwrap();
    assert_eq!(closed.refusal, Some(StatusCode::INTERNAL_SERVER_ERROR));
    assert_eq!(closed.timeout, limits::LIMITER_TIMEOUT_MAX);
    for bad in [
        wire::GlobalRateLimit { port: 0, ..message(vec![]) },
        wire::GlobalRateLimit { hostname: String::new(), ..message(vec![]) },
        wire::GlobalRateLimit { domain: String::new(), ..message(vec![]) },
        wire::GlobalRateLimit { status_on_error: 101, ..message(vec![]) },
        message(vec![vec![]]),
    ] {
        assert!(GlobalLimit::decode(&bad).is_err(), "{bad:?}");
    }
}
