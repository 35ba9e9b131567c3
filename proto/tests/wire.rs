//! Bytes as stock peers read and write them. A number that is wrong on both of our own ends is found by nothing else:
//! each would understand the other, and a stock proxy would take a policy for one that says nothing.

use prost::Message;
use weft_proto::ratelimit::rate_limit_descriptor::Entry;
use weft_proto::ratelimit::rate_limit_response::Code;
use weft_proto::ratelimit::{RateLimitDescriptor, RateLimitRequest, RateLimitResponse};
use weft_proto::security::string_match::MatchType;
use weft_proto::security::{Action, Authorization, Clause, Match, Rule, Scope, StringMatch};

#[test]
fn policy_has_the_bytes_that_a_stock_proxy_reads() {
    let nobody = StringMatch { match_type: Some(MatchType::Presence(())) };
    let only = Match { not_principals: vec![nobody], ..Match::default() };
    let policy = Authorization {
        name: "a".into(),
        namespace: "b".into(),
        scope: Scope::WorkloadSelector.into(),
        action: Action::Deny.into(),
        rules: vec![Rule { clauses: vec![Clause { matches: vec![only] }] }],
        ..Authorization::default()
    };
    let bytes = [
        &[0x0a, 1, b'a'][..], // name = 1
        &[0x12, 1, b'b'],     // namespace = 2
        &[0x18, 2],           // scope = 3: WORKLOAD_SELECTOR
        &[0x20, 1],           // action = 4: DENY
        &[0x2a, 8],           // rules = 5
        &[0x0a, 6],           // clauses = 1
        &[0x12, 4],           // matches = 2
        &[0x22, 2],           // not_principals = 4
        &[0x22, 0],           // presence = 4
    ]
    .concat();
    assert_eq!(policy.encode_to_vec(), bytes);
    assert_eq!(Authorization::decode(&*bytes).unwrap(), policy);
}

#[test]
fn question_for_a_limiter_has_the_bytes_that_a_stock_one_reads() {
    let entry = Entry { key: "k".into(), value: "v".into() };
    let question = RateLimitRequest {
        domain: "d".into(),
        descriptors: vec![RateLimitDescriptor { entries: vec![entry] }],
        hits_addend: 2,
    };
    let bytes = [
        &[0x0a, 1, b'd'][..], // domain = 1
        &[0x12, 8],           // descriptors = 2
        &[0x0a, 6],           // entries = 1
        &[0x0a, 1, b'k'],     // key = 1
        &[0x12, 1, b'v'],     // value = 2
        &[0x18, 2],           // hits_addend = 3
    ]
    .concat();
    assert_eq!(question.encode_to_vec(), bytes);
    let answer = [
        &[0x08, 2][..],                           // overall_code = 1: OVER_LIMIT
        &[0x12, 2, 8, 2],                         // statuses = 2, which nobody here reads
        &[0x1a, 6, 0x0a, 1, b'a', 0x12, 1, b'b'], // response_headers_to_add = 3: key = 1, value = 2
        &[0x22, 6, 0x0a, 1, b'c', 0x1a, 1, b'd'], // request_headers_to_add = 4: raw_value = 3
        &[0x2a, 1, b'e'],                         // raw_body = 5
    ]
    .concat();
    let answer = RateLimitResponse::decode(&*answer).unwrap();
    assert_eq!(answer.overall_code(), Code::OverLimit);
    assert_eq!(answer.response_headers_to_add[0].value, "b");
    assert_eq!(answer.request_headers_to_add[0].raw_value, b"d");
    assert_eq!(answer.raw_body, b"e");
}
