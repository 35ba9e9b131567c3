//! Authorisation policies and peer authentications.

use weft_proto::security::string_match::MatchType;
use weft_proto::security::{Action, Authorization, Clause, Match, Rule, Scope, StringMatch};

use crate::translate::{DefaultMtls, Settings};

use super::{decoded, message, standalone, translated};

fn policy(namespace: &str, spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: p, namespace: {namespace}}}\nspec: {spec}\n---\n"
    )
}

fn converted(spec: &str) -> Option<Authorization> {
    standalone(&policy("shop", spec)).policies.into_values().next()
}

fn text(match_type: MatchType) -> StringMatch {
    StringMatch { match_type: Some(match_type) }
}

fn rules(spec: &str) -> Vec<Rule> {
    converted(spec).unwrap().rules
}

fn clauses(clauses: impl IntoIterator<Item = Vec<Match>>) -> Rule {
    Rule { clauses: clauses.into_iter().map(|matches| Clause { matches }).collect() }
}

#[test]
fn scope_and_action_follow_selector_and_namespace() {
    let of = |namespace: &str, spec: &str| {
        let found = standalone(&policy(namespace, spec)).policies.into_values().next().unwrap();
        (found.scope(), found.action())
    };
    assert_eq!(of("shop", "{}"), (Scope::Namespace, Action::Allow));
    assert_eq!(of("istio-system", "{action: DENY}"), (Scope::Global, Action::Deny));
    assert_eq!(
        of("shop", "{selector: {matchLabels: {a: b}}}"),
        (Scope::WorkloadSelector, Action::Allow)
    );
    assert_eq!(of("shop", "{selector: {}}"), (Scope::Namespace, Action::Allow));
}

#[test]
fn every_l4_field_is_converted() {
    let built = rules(
        r#"
  action: ALLOW
  rules:
  - from:
    - source:
        principals: ["cluster.local/ns/a/sa/b", "cluster.local/*", "*/sa/b", "*"]
        notNamespaces: [x]
        ipBlocks: [10.0.0.0/8]
    - source: {serviceAccounts: [other/sa1, sa2]}
    to:
    - operation: {ports: ["80", "443"], notPorts: ["22"]}
    when:
    - {key: source.ip, values: ["fd00::/8"], notValues: ["fd00::1"]}
    - {key: destination.port, values: ["80"]}
"#,
    );
    let account = |namespace: &str, name: &str| weft_proto::security::ServiceAccountMatch {
        namespace: namespace.into(),
        service_account: name.into(),
    };
    let block = |address: Vec<u8>, length| weft_proto::security::Address { address, length };
    let v6 = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets().to_vec();
    let from = vec![
        Match {
            principals: vec![
                text(MatchType::Exact("cluster.local/ns/a/sa/b".into())),
                text(MatchType::Prefix("cluster.local/".into())),
                text(MatchType::Suffix("/sa/b".into())),
                text(MatchType::Presence(())),
            ],
            not_namespaces: vec![text(MatchType::Exact("x".into()))],
            source_ips: vec![block(vec![10, 0, 0, 0], 8)],
            ..Match::default()
        },
        Match {
            service_accounts: vec![account("other", "sa1"), account("shop", "sa2")],
            ..Match::default()
        },
    ];
    let to = vec![Match {
        destination_ports: vec![80, 443],
        not_destination_ports: vec![22],
        ..Match::default()
    }];
    let ip = vec![Match {
        source_ips: vec![block(v6("fd00::"), 8)],
        not_source_ips: vec![block(v6("fd00::1"), 128)],
        ..Match::default()
    }];
    let port = vec![Match { destination_ports: vec![80], ..Match::default() }];
    assert_eq!(built, [clauses([from, to, ip, port])]);
}

#[test]
fn empty_rule_matches_everything_and_no_rules_match_nothing() {
    assert_eq!(rules("{rules: [{}]}"), [Rule::default()]);
    assert!(rules("{action: DENY}").is_empty());
}

#[test]
fn allow_loses_the_whole_rule_that_asks_for_l7() {
    let spec = r#"
  rules:
  - from: [{source: {namespaces: [a]}}]
    to: [{operation: {methods: [GET], ports: ["80"]}}]
  - from: [{source: {namespaces: [b]}}]
  - when: [{key: "request.headers[x]", values: [y]}]
"#;
    let b = Match { namespaces: vec![text(MatchType::Exact("b".into()))], ..Match::default() };
    assert_eq!(rules(spec), [clauses([vec![b]])]);
    let translator = translated(Settings::standalone(), &policy("shop", spec));
    let message = message(&translator, "AuthorizationPolicy shop/p");
    assert!(message.contains("ZtunnelAccepted=false/UnsupportedValue"), "{message}");
    assert!(message.contains("spec.rules[0].to[0].operation.methods"), "{message}");
    assert!(message.contains("spec.rules[2].when[0].key"), "{message}");
}

#[test]
fn deny_loses_only_the_l7_part_and_never_denies_less() {
    let a = Match { namespaces: vec![text(MatchType::Exact("a".into()))], ..Match::default() };
    let mixed = r#"
  action: DENY
  rules:
  - from: [{source: {namespaces: [a], requestPrincipals: ["*"]}}]
    to: [{operation: {methods: [GET]}}]
"#;
    assert_eq!(rules(mixed), [clauses([vec![a.clone()]])]);
    // One alternative of which nothing is left makes the clause hold for everything.
    let alternative = r#"
  action: DENY
  rules:
  - from: [{source: {namespaces: [a]}}]
    to: [{operation: {methods: [GET]}}, {operation: {ports: ["80"]}}]
"#;
    assert_eq!(rules(alternative), [clauses([vec![a]])]);
    let only = "{action: DENY, rules: [{to: [{operation: {paths: [/x]}}]}]}";
    assert_eq!(rules(only), [Rule::default()]);
}

#[test]
fn policies_that_l4_cannot_carry_out_are_not_sent() {
    for spec in [
        "{action: CUSTOM, provider: {name: x}, rules: [{}]}",
        "{action: AUDIT, rules: [{}]}",
        "{targetRefs: [{kind: Service, group: '', name: web}]}",
    ] {
        assert_eq!(converted(spec), None, "{spec}");
    }
    let dry = policy("shop", "{}")
        .replace("{name: p,", "{name: p, annotations: {istio.io/dry-run: 'true'},");
    assert!(standalone(&dry).policies.is_empty());
    let sends = Settings { sends_dry_run: true, ..Settings::standalone() };
    assert!(decoded(&translated(sends, &dry)).policies["shop/p"].dry_run);
}

#[test]
fn misspelt_or_empty_matchers_refuse_the_policy() {
    for (spec, field) in [
        (
            "{rules: [{from: [{source: {principal: [a]}}]}]}",
            "spec.rules[0].from[0].source.principal",
        ),
        ("{rule: []}", "spec.rule"),
        ("{rules: [{from: }]}", "spec.rules[0].from"),
        ("{rules: [null]}", "spec.rules[0]"),
        ("{rules: [{from: [null]}]}", "spec.rules[0].from[0]"),
        ("{rules: [{from: [{source: null}]}]}", "spec.rules[0].from[0].source"),
        ("{rules: [{from: []}]}", "spec.rules[0].from"),
        ("{rules: [{from: [{source: {}}]}]}", "spec.rules[0].from[0].source"),
        ("{rules: [{to: [{operation: {ports: []}}]}]}", "spec.rules[0].to[0].operation.ports"),
        (
            "{rules: [{to: [{operation: {ports: ['0']}}]}]}",
            "spec.rules[0].to[0].operation.ports[0]",
        ),
        (
            "{rules: [{from: [{source: {ipBlocks: ['10.0.0.1/8']}}]}]}",
            "spec.rules[0].from[0].source.ipBlocks[0]",
        ),
        (
            "{rules: [{from: [{source: {principals: ['spiffe://x/ns/a/sa/b']}}]}]}",
            "spec.rules[0].from[0].source.principals[0]",
        ),
        (
            "{rules: [{from: [{source: {principals: ['a*b']}}]}]}",
            "spec.rules[0].from[0].source.principals[0]",
        ),
        (
            "{rules: [{from: [{source: {serviceAccounts: [a/b/c]}}]}]}",
            "spec.rules[0].from[0].source.serviceAccounts[0]",
        ),
        ("{rules: [{when: [{key: source.prinzipal, values: [a]}]}]}", "spec.rules[0].when[0].key"),
        ("{rules: [{when: [{key: source.ip}]}]}", "spec.rules[0].when[0]"),
        ("{selector: }", "spec.selector"),
        ("{selector: {matchLabels: {'a b': c}}}", "spec.selector.matchLabels.a b"),
        ("{selector: {matchExpressions: []}}", "spec.selector.matchExpressions"),
        ("{action: PERMIT}", "spec.action"),
        ("", "spec"),
    ] {
        let error = refused(&policy("shop", spec));
        assert_eq!(error.field.as_deref(), Some(field), "{spec}: {error}");
        assert_eq!(error.line, Some(4), "{spec}: {error}");
    }
    let outside = policy("shop", "{}").replace("spec:", "rules: []\nspec:");
    assert_eq!(refused(&outside).field.as_deref(), Some("rules"));
}

pub(super) fn refused(document: &str) -> crate::objects::ReadError {
    let text = document.trim_end_matches("---\n");
    let header = crate::objects::header(text).unwrap();
    let kind = crate::objects::Kind::of(&header.api_version, &header.kind).unwrap();
    crate::objects::read(kind, text, &mut crate::objects::Pool::default()).unwrap_err()
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop, labels: {app: web}}\nspec: {}\nstatus: {podIP: 10.0.0.1}\n---\n";

fn peer(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n---\n"
    )
}

/// The policies that the pod lists, and the converted policy if there is one.
fn listed(default_mtls: DefaultMtls, peers: &str) -> (Vec<String>, Option<Vec<Rule>>) {
    let settings = Settings { default_mtls, ..Settings::standalone() };
    let mut found = decoded(&translated(settings, &format!("{POD}{peers}")));
    let listed = found.workloads.remove("Kubernetes//Pod/shop/web").unwrap().authorization_policies;
    for name in &listed {
        assert!(found.policies.contains_key(name), "{name} is listed and not sent");
    }
    let own = found.policies.remove("shop/converted_peer_authentication_own");
    (listed, own.map(|policy| policy.rules))
}

const STATIC: &str = "istio-system/istio_converted_static_strict";
const OWN: &str = "shop/converted_peer_authentication_own";

#[test]
fn selector_policies_of_own_and_root_namespace_are_listed() {
    let selector = "{selector: {matchLabels: {app: web}}}";
    let other = "{selector: {matchLabels: {app: other}}}";
    let yaml = [
        POD,
        &policy("shop", selector),
        &policy("istio-system", selector).replace("name: p", "name: q"),
        &policy("elsewhere", selector),
        &policy("shop", other).replace("name: p", "name: r"),
        &policy("shop", "{}").replace("name: p", "name: s"),
    ]
    .concat();
    let found = standalone(&yaml);
    let pod = &found.workloads["Kubernetes//Pod/shop/web"];
    assert_eq!(pod.authorization_policies, ["istio-system/q", "shop/p"]);
}

#[test]
fn narrower_peer_authentication_wins() {
    let (strict, permissive) = ("{mtls: {mode: STRICT}}", "{mtls: {mode: PERMISSIVE}}");
    let own = |mode: &str| {
        peer(
            "own",
            "shop",
            &format!("{{selector: {{matchLabels: {{app: web}}}}, mtls: {{mode: {mode}}}}}"),
        )
    };
    let root = |spec| peer("root", "istio-system", spec);
    let ns = |spec| peer("ns", "shop", spec);
    let cases = [
        (String::new(), false),
        (root(strict), true),
        (root(strict) + &ns(permissive), false),
        (root(permissive) + &ns(strict), true),
        (root(strict) + &ns("{}"), true),
        (root(strict) + &ns("{mtls: {mode: DISABLE}}"), false),
        (ns(strict) + &own("PERMISSIVE"), false),
        (ns(strict) + &own("DISABLE"), false),
        (ns(permissive) + &own("STRICT"), true),
        (ns(strict) + &own("UNSET"), true),
        (peer("e", "elsewhere", strict), false),
    ];
    for (peers, is_strict) in cases {
        let expected = if is_strict { vec![STATIC.to_owned()] } else { vec![] };
        assert_eq!(listed(DefaultMtls::Permissive, &peers), (expected, None), "{peers}");
    }
}

#[test]
fn default_mode_of_the_mesh_holds_where_nothing_is_said() {
    assert_eq!(listed(DefaultMtls::Strict, "").0, [STATIC]);
    assert!(
        listed(DefaultMtls::Strict, &peer("ns", "shop", "{mtls: {mode: PERMISSIVE}}")).0.is_empty()
    );
    assert!(listed(DefaultMtls::Permissive, "").0.is_empty());
}

#[test]
fn oldest_peer_authentication_of_a_level_wins() {
    let dated = |name: &str, date: &str, mode: &str| {
        peer(name, "shop", &format!("{{mtls: {{mode: {mode}}}}}"))
            .replace("metadata: {", &format!("metadata: {{creationTimestamp: '{date}', "))
    };
    let newer = dated("a", "2026-02-01T00:00:00Z", "PERMISSIVE");
    let older = dated("b", "2026-01-01T00:00:00Z", "STRICT");
    assert_eq!(listed(DefaultMtls::Permissive, &format!("{newer}{older}")).0, [STATIC]);
    let translator = translated(Settings::standalone(), &format!("{newer}{older}"));
    assert!(message(&translator, "PeerAuthentication shop/a").contains("false/Conflict"));
    assert!(message(&translator, "PeerAuthentication shop/b").contains("true/Accepted"));
}

#[test]
fn single_ports_make_a_policy_of_their_own() {
    let no_identity =
        Match { not_principals: vec![text(MatchType::Presence(()))], ..Match::default() };
    let spec = |mode: &str, ports: &str| {
        peer(
            "own",
            "shop",
            &format!(
                "{{selector: {{matchLabels: {{app: web}}}}, mtls: {{mode: {mode}}}, portLevelMtls: {{{ports}}}}}"
            ),
        )
    };
    let ports = "8080: {mode: STRICT}, 9090: {mode: STRICT}, 7070: {mode: PERMISSIVE}, 6060: {}";
    let port = |port| vec![Match { destination_ports: vec![port], ..no_identity.clone() }];
    let per_port = vec![clauses([port(8080)]), clauses([port(9090)])];
    assert_eq!(
        listed(DefaultMtls::Permissive, &spec("PERMISSIVE", ports)),
        (vec![OWN.to_owned()], Some(per_port.clone()))
    );
    let elsewhere = vec![Match { not_destination_ports: vec![7070], ..Match::default() }];
    let except = vec![clauses([elsewhere, vec![no_identity.clone()]])];
    assert_eq!(
        listed(DefaultMtls::Permissive, &spec("STRICT", ports)),
        (vec![OWN.to_owned()], Some(except.clone()))
    );
    // Without a word of its own it goes by the namespace's.
    let strict = peer("ns", "shop", "{mtls: {mode: STRICT}}");
    assert_eq!(
        listed(DefaultMtls::Permissive, &(strict.clone() + &spec("UNSET", ports))),
        (vec![OWN.to_owned()], Some(except))
    );
    assert_eq!(
        listed(DefaultMtls::Permissive, &spec("UNSET", ports)),
        (vec![OWN.to_owned()], Some(per_port))
    );
    // Ports that say what holds anyway need no policy.
    assert_eq!(
        listed(DefaultMtls::Permissive, &(strict + &spec("STRICT", "8080: {mode: STRICT}"))),
        (vec![STATIC.to_owned()], None)
    );
}

#[test]
fn ports_without_selector_are_refused() {
    let error = refused(&peer("p", "shop", "{portLevelMtls: {8080: {mode: STRICT}}}"));
    assert_eq!((error.field.as_deref(), error.line), (Some("spec.portLevelMtls"), Some(4)));
}

#[test]
fn static_policy_is_sent_with_the_first_peer_authentication() {
    assert!(standalone(POD).policies.is_empty());
    let found = standalone(&peer("ns", "elsewhere", "{mtls: {mode: PERMISSIVE}}"));
    let policy = &found.policies[STATIC];
    assert_eq!((policy.scope(), policy.action()), (Scope::WorkloadSelector, Action::Deny));
}
