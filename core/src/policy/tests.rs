use prost::Message;
use weft_proto::security as proto;
use weft_proto::security::string_match::MatchType;

use super::*;
use crate::identity::SpiffeId;
use crate::mesh::testing::{ip, ip_bytes, pod, put_policy, put_workload};
use crate::mesh::{Snapshot, Store, StoreSettings, Update};

pub(super) const DENY: i32 = 1;
pub(super) const ALLOW: i32 = 0;
pub(super) const GLOBAL: i32 = 0;
pub(super) const NAMESPACE: i32 = 1;
pub(super) const SELECTOR: i32 = 2;

pub(super) fn exact(text: &str) -> proto::StringMatch {
    proto::StringMatch { match_type: Some(MatchType::Exact(text.into())) }
}

pub(super) fn prefix(text: &str) -> proto::StringMatch {
    proto::StringMatch { match_type: Some(MatchType::Prefix(text.into())) }
}

pub(super) fn suffix(text: &str) -> proto::StringMatch {
    proto::StringMatch { match_type: Some(MatchType::Suffix(text.into())) }
}

pub(super) fn presence() -> proto::StringMatch {
    proto::StringMatch { match_type: Some(MatchType::Presence(())) }
}

pub(super) fn block(text: &str) -> proto::Address {
    let (address, length) = text.split_once('/').unwrap();
    proto::Address { address: ip_bytes(address), length: length.parse().unwrap() }
}

pub(super) fn account(namespace: &str, service_account: &str) -> proto::ServiceAccountMatch {
    proto::ServiceAccountMatch {
        namespace: namespace.into(),
        service_account: service_account.into(),
    }
}

pub(super) fn rule(matches: Vec<proto::Match>) -> proto::Rule {
    let clauses = matches.into_iter().map(|one| proto::Clause { matches: vec![one] }).collect();
    proto::Rule { clauses }
}

/// A policy `<namespace>/p`.
pub(super) fn policy(
    namespace: &str,
    scope: i32,
    action: i32,
    rules: Vec<proto::Rule>,
) -> proto::Authorization {
    proto::Authorization {
        name: "p".into(),
        namespace: namespace.into(),
        scope,
        action,
        rules,
        ..Default::default()
    }
}

fn named(name: &str, mut policy: proto::Authorization) -> proto::Authorization {
    policy.name = name.into();
    policy
}

pub(super) fn raw(name: &str, bytes: Vec<u8>) -> Update {
    Update::Authorization { name: name.into(), resource: Some(bytes.into()) }
}

/// A mesh with one pod `default/app` that names `policies`.
pub(super) fn mesh(names: &[&str], policies: &[proto::Authorization]) -> Store {
    let mut store = Store::new(&StoreSettings::default());
    let mut app = pod("app", "10.0.0.1");
    app.authorization_policies = names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(store.apply(vec![put_workload(app)]), []);
    assert_eq!(store.apply(policies.iter().map(put_policy).collect()), []);
    store
}

/// A connection from 10.1.2.3 to port 8080 of the pod.
pub(super) fn verdict_in(snapshot: &Snapshot, identity: Option<&str>) -> Verdict {
    let identity: Option<SpiffeId> = identity.map(|text| text.parse().unwrap());
    let connection = Connection {
        source_identity: identity.as_ref(),
        source_ip: ip("10.1.2.3"),
        destination: "10.0.0.1:8080".parse().unwrap(),
    };
    let workload = snapshot.pod("Kubernetes", "default", "app").unwrap();
    evaluate(snapshot, workload, &connection)
}

fn verdict(store: &Store, identity: Option<&str>) -> Verdict {
    verdict_in(&store.reader().load(), identity)
}

pub(super) const CLIENT: Option<&str> = Some("spiffe://td/ns/shop/sa/web.front");

pub(super) fn matching(field: impl FnOnce(&mut proto::Match)) -> proto::Match {
    let mut one = proto::Match::default();
    field(&mut one);
    one
}

#[test]
fn each_condition_holds_for_exactly_what_it_says() {
    // (condition, holds for the client, holds for plaintext)
    let table: Vec<(proto::Match, bool, bool)> = vec![
        (matching(|it| it.namespaces = vec![exact("shop")]), true, false),
        (matching(|it| it.namespaces = vec![exact("shops")]), false, false),
        (matching(|it| it.namespaces = vec![exact("x"), prefix("sh")]), true, false),
        (matching(|it| it.not_namespaces = vec![exact("shop")]), false, true),
        (matching(|it| it.not_namespaces = vec![exact("x")]), true, true),
        (matching(|it| it.principals = vec![exact("td/ns/shop/sa/web.front")]), true, false),
        (matching(|it| it.principals = vec![exact("td/ns/shop/sa/webxfront")]), false, false),
        (matching(|it| it.principals = vec![prefix("td/ns/shop/")]), true, false),
        (matching(|it| it.principals = vec![suffix("/sa/web.front")]), true, false),
        (
            matching(|it| it.principals = vec![suffix("spiffe://td/ns/shop/sa/web.front")]),
            false,
            false,
        ),
        (matching(|it| it.principals = vec![presence()]), true, false),
        (matching(|it| it.not_principals = vec![presence()]), false, true),
        (matching(|it| it.service_accounts = vec![account("shop", "web.front")]), true, false),
        (matching(|it| it.service_accounts = vec![account("shop", "web-front")]), false, false),
        (matching(|it| it.not_service_accounts = vec![account("shop", "web.front")]), false, true),
        (matching(|it| it.source_ips = vec![block("10.1.0.0/16")]), true, true),
        (matching(|it| it.source_ips = vec![block("10.1.99.99/16")]), true, true),
        (matching(|it| it.source_ips = vec![block("10.2.0.0/16")]), false, false),
        (matching(|it| it.source_ips = vec![block("::/0")]), false, false),
        (matching(|it| it.source_ips = vec![block("::ffff:10.1.0.0/112")]), true, true),
        (matching(|it| it.not_source_ips = vec![block("10.1.2.3/32")]), false, false),
        (matching(|it| it.destination_ips = vec![block("10.0.0.1/32")]), true, true),
        (matching(|it| it.not_destination_ips = vec![block("10.0.0.0/31")]), false, false),
        (matching(|it| it.destination_ports = vec![1, 8080]), true, true),
        (matching(|it| it.destination_ports = vec![80]), false, false),
        (matching(|it| it.not_destination_ports = vec![80]), true, true),
        (matching(|it| it.not_destination_ports = vec![8080]), false, false),
        // Fields of one match are joined by AND.
        (
            matching(|it| {
                it.namespaces = vec![exact("shop")];
                it.destination_ports = vec![80];
            }),
            false,
            false,
        ),
        (
            matching(|it| {
                it.namespaces = vec![prefix("s")];
                it.not_namespaces = vec![exact("shop")];
            }),
            false,
            false,
        ),
        // Nothing to hold.
        (proto::Match::default(), false, false),
    ];
    for (condition, for_client, for_plaintext) in table {
        let rules = vec![rule(vec![condition.clone()])];
        let store = mesh(&[], &[policy("default", NAMESPACE, ALLOW, rules)]);
        assert_eq!(verdict(&store, CLIENT).is_allowed(), for_client, "{condition:?}");
        assert_eq!(verdict(&store, None).is_allowed(), for_plaintext, "{condition:?} plaintext");
        // The rules of a policy mean the same whatever its action.
        let rules = vec![rule(vec![condition.clone()])];
        let store = mesh(&[], &[policy("default", NAMESPACE, DENY, rules)]);
        assert_eq!(verdict(&store, CLIENT).is_allowed(), !for_client, "deny {condition:?}");
    }
}

#[test]
fn rules_are_alternatives_clauses_are_not_and_emptiness_is_as_documented() {
    let yes = || matching(|it| it.destination_ports = vec![8080]);
    let no = || matching(|it| it.destination_ports = vec![1]);
    let clause = |matches: Vec<proto::Match>| proto::Clause { matches };
    let table: Vec<(Vec<proto::Rule>, bool)> = vec![
        (vec![], false),
        (vec![proto::Rule { clauses: vec![] }], true),
        (vec![proto::Rule { clauses: vec![clause(vec![])] }], true),
        (vec![rule(vec![yes(), no()])], false),
        (vec![rule(vec![yes(), yes()])], true),
        (vec![rule(vec![no()]), rule(vec![yes()])], true),
        (vec![proto::Rule { clauses: vec![clause(vec![no(), yes()])] }], true),
        (vec![proto::Rule { clauses: vec![clause(vec![yes()]), clause(vec![])] }], true),
    ];
    for (rules, matches) in table {
        let store = mesh(&[], &[policy("default", NAMESPACE, DENY, rules.clone())]);
        assert_eq!(verdict(&store, CLIENT).is_allowed(), !matches, "{rules:?}");
    }
}

#[test]
fn deny_comes_before_allow_and_allow_before_the_default() {
    let all = || vec![proto::Rule::default()];
    let none = Vec::new;
    let by = |policy: &str| Some(PolicyName::new(policy));
    let allow = |policy| Verdict::Allow { policy, dry_run: None };
    let deny = |reason| Verdict::Deny { reason, dry_run: None };
    let table = [
        (vec![], allow(None)),
        (
            vec![
                policy("default", NAMESPACE, DENY, all()),
                policy("istio-system", GLOBAL, ALLOW, all()),
            ],
            deny(Denial::Policy(PolicyName::new("default/p"))),
        ),
        (
            vec![policy("default", NAMESPACE, ALLOW, none())],
            deny(Denial::NoMatch(PolicyName::new("default/p"))),
        ),
        (vec![policy("default", NAMESPACE, DENY, none())], allow(None)),
        (
            vec![
                policy("default", NAMESPACE, ALLOW, none()),
                policy("istio-system", GLOBAL, ALLOW, all()),
            ],
            allow(by("istio-system/p")),
        ),
        // In force elsewhere.
        (vec![policy("other", NAMESPACE, DENY, all())], allow(None)),
        (vec![policy("default", SELECTOR, DENY, all())], allow(None)),
    ];
    for (policies, expected) in table {
        assert_eq!(verdict(&mesh(&[], &policies), CLIENT), expected, "{policies:?}");
    }
    let selected = mesh(&["default/p"], &[policy("default", SELECTOR, DENY, all())]);
    assert_eq!(verdict(&selected, CLIENT), deny(Denial::Policy(PolicyName::new("default/p"))));
}

#[test]
fn strict_mutual_tls_denies_plaintext_alone() {
    let rules = vec![rule(vec![matching(|it| it.not_principals = vec![presence()])])];
    let strict =
        named("istio_converted_static_strict", policy("istio-system", SELECTOR, DENY, rules));
    let store = mesh(&["istio-system/istio_converted_static_strict"], &[strict]);
    assert!(verdict(&store, CLIENT).is_allowed());
    assert!(!verdict(&store, None).is_allowed());
}

#[test]
fn dry_run_is_reported_and_never_enforced() {
    let all = || vec![proto::Rule::default()];
    let dry = |action, rules| proto::Authorization {
        dry_run: true,
        ..named("dry", policy("default", NAMESPACE, action, rules))
    };
    let dry_name = PolicyName::new("default/dry");
    let enforced = policy("default", NAMESPACE, ALLOW, all());
    let table = [
        (vec![dry(DENY, all())], Some(DryRun::WouldDeny(Some(dry_name.clone())))),
        (vec![dry(DENY, vec![])], None),
        (vec![dry(ALLOW, all())], Some(DryRun::WouldAllow(dry_name))),
        (vec![dry(ALLOW, vec![])], Some(DryRun::WouldDeny(None))),
        (vec![dry(ALLOW, vec![]), enforced], None),
    ];
    for (policies, expected) in table {
        match verdict(&mesh(&[], &policies), CLIENT) {
            Verdict::Allow { dry_run, .. } => assert_eq!(dry_run, expected, "{policies:?}"),
            verdict => panic!("{policies:?} was enforced: {verdict:?}"),
        }
    }
}

#[test]
fn undecodable_dry_run_is_rejected_and_not_enforced() {
    let mut broken = policy("default", NAMESPACE, 99, vec![]);
    broken.dry_run = true;
    let mut store = mesh(&[], &[]);
    assert_eq!(store.apply(vec![put_policy(&broken)]).len(), 1);
    assert!(verdict(&store, CLIENT).is_allowed());
}

/// Invariant 1 of the design, its second half.
#[test]
fn policy_that_a_workload_names_and_that_has_not_arrived_holds_and_then_decides() {
    let deny = policy("default", SELECTOR, DENY, vec![proto::Rule::default()]);
    let unrelated = policy("default", SELECTOR, DENY, vec![]);
    let missing = PolicyName::new("default/p");
    for (arriving, is_allowed) in [(deny, false), (unrelated, true)] {
        let mut store = mesh(&["default/p"], &[]);
        let held = verdict(&store, CLIENT);
        assert_eq!(held, Verdict::Hold { missing: missing.clone() });
        let reason = Denial::Missing(missing.clone());
        assert_eq!(held.after_hold(), Verdict::Deny { reason, dry_run: None });
        store.apply(vec![put_policy(&arriving)]);
        assert_eq!(verdict(&store, CLIENT).is_allowed(), is_allowed);
        // Removed again while still named: it is missing again, not absent.
        store.apply(vec![Update::Authorization { name: "default/p".into(), resource: None }]);
        assert!(matches!(verdict(&store, CLIENT), Verdict::Hold { .. }));
    }
    // What is denied anyway is not held.
    let all = policy("istio-system", GLOBAL, DENY, vec![proto::Rule::default()]);
    let store = mesh(&["default/p"], &[all]);
    assert!(matches!(verdict(&store, CLIENT), Verdict::Deny { .. }));
}

#[test]
fn policies_in_force_change_exactly_when_they_do() {
    let mut store = mesh(&["default/p"], &[]);
    let in_force = |store: &Store| {
        let snapshot = store.reader().load();
        policies_in_force(&snapshot, snapshot.pod("Kubernetes", "default", "app").unwrap())
    };
    let missing = in_force(&store);
    assert_eq!(missing.missing, [PolicyName::new("default/p")]);
    store.apply(vec![put_policy(&policy("default", NAMESPACE, ALLOW, vec![]))]);
    let arrived = in_force(&store);
    assert_eq!((arrived.policies.len(), arrived.missing.len()), (1, 0), "listed once");
    store.apply(vec![put_policy(&policy("other", NAMESPACE, ALLOW, vec![]))]);
    assert_eq!(in_force(&store), arrived);
    store.apply(vec![put_policy(&policy("default", NAMESPACE, DENY, vec![]))]);
    assert_ne!(in_force(&store), arrived);
}

/// Invariant 1 of the design, its first half: each of these parts, if dropped, would let something in.
#[test]
fn policy_that_cannot_be_decoded_denies_what_it_covers_and_is_rejected_by_name() {
    let condition = |field: fn(&mut proto::Match)| {
        policy(
            "default",
            NAMESPACE,
            ALLOW,
            vec![proto::Rule::default(), rule(vec![matching(field)])],
        )
    };
    let table = [
        policy("default", NAMESPACE, 99, vec![proto::Rule::default()]),
        policy("default", 99, ALLOW, vec![proto::Rule::default()]),
        condition(|it| it.destination_ports = vec![65_536]),
        condition(|it| it.not_destination_ports = vec![80, 1 << 20]),
        condition(|it| it.source_ips = vec![proto::Address { address: vec![1, 2, 3], length: 8 }]),
        condition(|it| it.source_ips = vec![proto::Address { address: vec![0; 4], length: 33 }]),
        condition(|it| {
            it.destination_ips = vec![proto::Address { address: vec![0; 16], length: 129 }]
        }),
        condition(|it| it.not_source_ips = vec![proto::Address::default()]),
        condition(|it| it.principals = vec![proto::StringMatch { match_type: None }]),
        condition(|it| it.service_accounts = vec![account("", "a")]),
        condition(|it| it.not_service_accounts = vec![account("a", "")]),
    ];
    for broken in table {
        let good = policy("default", NAMESPACE, ALLOW, vec![proto::Rule::default()]);
        let mut store = mesh(&[], std::slice::from_ref(&good));
        assert!(verdict(&store, CLIENT).is_allowed());
        let rejections = store.apply(vec![put_policy(&broken)]);
        assert_eq!(rejections.len(), 1, "{broken:?}");
        assert_eq!(&*rejections[0].name, "default/p");
        let reason = Denial::Undecodable(PolicyName::new("default/p"));
        assert_eq!(verdict(&store, CLIENT), Verdict::Deny { reason, dry_run: None }, "{broken:?}");
        store.apply(vec![put_policy(&good)]);
        assert!(verdict(&store, CLIENT).is_allowed(), "a good one heals it");
    }
}

#[test]
fn bytes_that_tell_no_scope_cover_what_a_control_plane_could_have_meant() {
    let garbage = || vec![0x2a, 0x7f];
    // (name, the pod's own references, is it covered)
    for (name, references, is_covered) in [
        ("default/p", vec![], true),
        ("other/p", vec![], false),
        ("other/p", vec!["other/p"], true),
        ("istio-system/p", vec![], true),
        ("no-namespace", vec![], false),
        ("no-namespace", vec!["no-namespace"], true),
    ] {
        let mut store = mesh(&references, &[]);
        assert_eq!(store.apply(vec![raw(name, garbage())]).len(), 1);
        assert_eq!(verdict(&store, CLIENT).is_allowed(), !is_covered, "{name} {references:?}");
    }
    // Broken inside its rules, a policy still tells its scope.
    let rules = vec![rule(vec![matching(|it| it.namespaces = vec![exact("shop")])])];
    let mut bytes = policy("default", SELECTOR, DENY, rules).encode_to_vec();
    *bytes.last_mut().unwrap() = 0xff;
    let mut store = mesh(&[], &[]);
    assert_eq!(store.apply(vec![raw("default/p", bytes)]).len(), 1);
    assert!(verdict(&store, CLIENT).is_allowed(), "nobody names it");
}

#[test]
fn content_under_another_name_denies() {
    let bytes = policy("other", NAMESPACE, ALLOW, vec![]).encode_to_vec();
    let mut store = mesh(&[], &[]);
    assert_eq!(store.apply(vec![raw("default/p", bytes)]).len(), 1);
    let entry = store.reader().load().policies().named("default/p").cloned().unwrap();
    assert!(matches!(
        &*entry,
        PolicyEntry::Undecodable(Undecodable { reason: PolicyError::Name(_), .. })
    ));
}

/// A condition of a later version must not vanish from a rule.
#[test]
fn unknown_field_in_a_rule_denies_and_one_beside_the_rules_is_ignored() {
    fn wrap(field: u8, inner: &[u8]) -> Vec<u8> {
        let mut bytes = vec![field << 3 | 2, u8::try_from(inner.len()).unwrap()];
        bytes.extend_from_slice(inner);
        bytes
    }
    let unknown = [15 << 3, 1];
    let port = [9 << 3, 80];
    let condition = [&port[..], &unknown].concat();
    let string = wrap(1, &[&wrap(1, b"shop")[..], &unknown].concat());
    let block = wrap(5, &[&wrap(1, &[10, 0, 0, 0])[..], &[2 << 3, 8], &unknown].concat());
    let base = policy("default", NAMESPACE, ALLOW, vec![proto::Rule::default()]).encode_to_vec();
    let in_match = |bytes: &[u8]| wrap(5, &wrap(1, &wrap(2, bytes)));
    for (what, rule, is_allowed) in [
        ("sound", in_match(&port), true),
        ("in a match", in_match(&condition), false),
        ("in a string match", in_match(&string), false),
        ("in a block", in_match(&block), false),
        ("in a clause", wrap(5, &wrap(1, &unknown)), false),
        ("in a rule", wrap(5, &unknown), false),
        ("an extension of a match", in_match(&[&port[..], &wrap(13, &[])].concat()), true),
        ("beside the rules", unknown.to_vec(), true),
    ] {
        let mut store = mesh(&[], &[]);
        let rejections = store.apply(vec![raw("default/p", [base.clone(), rule].concat())]);
        assert_eq!(rejections.is_empty(), is_allowed, "{what}: {rejections:?}");
        assert_eq!(verdict(&store, CLIENT).is_allowed(), is_allowed, "{what}");
    }
}
