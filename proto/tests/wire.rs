//! Bytes as stock peers read and write them. A number that is wrong on both of our own ends is found by nothing else:
//! each would understand the other, and a stock proxy would take a policy for one that says nothing.

use prost::Message;
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
