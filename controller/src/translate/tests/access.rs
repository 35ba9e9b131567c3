//! Who may do what with a service: from YAML to what a waypoint reads.

use prost::Message;
use weft_core::seal;
use weft_proto::contract::type_url;
use weft_proto::route as proto;
use weft_proto::route::access_matcher::Kind;
use weft_proto::route::text_match::Kind as Text;

use crate::objects::{self, KeySource};
use crate::translate::{FetchedKeys, Settings, Translator};

use super::{added, mesh_config, message, translated, waypoint};

const HOST: &str = "shop/stock.shop.svc.cluster.local";

/// A service behind a waypoint.
fn shop() -> String {
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {istio.io/use-waypoint: wp}}\n---\n";
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: stock, namespace: shop}\nspec: {clusterIP: 10.96.0.9, ports: [{name: http, port: 80}]}\n---\n";
    [namespace, service, &waypoint("shop", "wp", "", "Same")].concat()
}

fn policy(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n---\n"
    )
}

fn authentication(spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: jwt, namespace: shop}}\nspec: {spec}\n---\n"
    )
}

fn access(translator: &Translator, name: &str) -> Option<proto::AccessPolicy> {
    let resources = translator.resources();
    let (_, resource) =
        resources.iter().find(|((of, own), _)| *of == type_url::ACCESS_POLICY && **own == *name)?;
    let bytes = seal::open(resource).expect("a whole seal");
    Some(proto::AccessPolicy::decode(bytes).unwrap())
}

fn of(yaml: &str) -> proto::AccessPolicy {
    let translator = translated(Settings::standalone(), &(shop() + yaml));
    access(&translator, HOST).expect("a policy for each service of a waypoint")
}

fn exact(text: &str) -> proto::TextMatch {
    proto::TextMatch { kind: Some(Text::Exact(text.into())), ignore_case: false }
}

fn names(policies: &[proto::Policy]) -> Vec<&str> {
    policies.iter().map(|policy| &*policy.name).collect()
}

const TO_STOCK: &str = "targetRefs: [{group: '', kind: Service, name: stock}]";

#[test]
fn service_of_a_waypoint_has_a_policy_and_others_have_none() {
    let found = of("");
    assert_eq!((&*found.namespace, &*found.hostname), ("shop", "stock.shop.svc.cluster.local"));
    assert!(found.allow.is_empty() && found.deny.is_empty() && found.unusable.is_empty());
    let without = shop().replace("istio.io/use-waypoint: wp", "");
    assert_eq!(access(&translated(Settings::standalone(), &without), HOST), None);
}

#[test]
fn policies_of_service_waypoint_and_class_are_gathered_by_action() {
    let gateway = "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: wp}]";
    let class = "targetRefs: [{group: gateway.networking.k8s.io, kind: GatewayClass, name: istio-waypoint}]";
    let found = of(&[
        policy("a", "shop", &format!("{{{TO_STOCK}, rules: [{{}}]}}")),
        policy("d", "shop", &format!("{{{gateway}, action: DENY, rules: [{{}}]}}")),
        policy("u", "istio-system", &format!("{{{class}, action: AUDIT, rules: [{{}}]}}")),
        // Not for this service, not at a waypoint, not where its class counts.
        policy("x", "shop", "{targetRefs: [{group: '', kind: Service, name: other}]}"),
        policy("y", "shop", "{selector: {matchLabels: {a: b}}}"),
        policy("z", "shop", &format!("{{{class}}}")),
    ]
    .concat());
    assert_eq!(names(&found.allow), ["ns[shop]-policy[a]"]);
    assert_eq!(names(&found.deny), ["ns[shop]-policy[d]"]);
    assert_eq!(names(&found.audit), ["ns[istio-system]-policy[u]"]);
    assert_eq!(found.allow[0].rules, [proto::AccessRule::default()]);
}

#[test]
fn every_field_of_a_rule_is_translated() {
    let spec = format!(
        r#"
  {TO_STOCK}
  rules:
  - from:
    - source:
        namespaces: [a]
        notPrincipals: ['*/sa/x']
        trustDomains: [cluster.local]
        ipBlocks: [10.0.0.0/8]
        remoteIpBlocks: [203.0.113.0/24]
        requestPrincipals: ['iss/*']
    - source: {{serviceAccounts: [x.y, b/z]}}
    to:
    - operation:
        hosts: ['*.Example.com']
        notMethods: [DELETE]
        ports: ['80']
        paths: [/a, '/b/*', '/c/{{*}}/{{**}}']
    when:
    - {{key: 'request.headers[X-A]', values: ['*', '*/*']}}
    - {{key: 'request.auth.claims[a][b]', notValues: [v]}}
    - {{key: remote.ip, values: [203.0.113.9]}}
    - {{key: connection.sni, values: [s]}}
    - {{key: source.serviceAccount, values: [w]}}
"#
    );
    let found = of(&policy("a", "shop", &spec));
    let rule = &found.allow[0].rules[0];
    let kinds = |all: &[proto::AccessMatcher]| {
        let name = |it: &proto::AccessMatcher| {
            let kind = format!("{:?}", it.kind.as_ref().expect("a known kind"));
            let name = kind.split('(').next().unwrap_or_default().to_owned();
            if it.negated { format!("!{name}") } else { name }
        };
        all.iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(
        kinds(&rule.from[0].all),
        [
            "!SourcePrincipal",
            "SourceNamespace",
            "SourceTrustDomain",
            "SourceIp",
            "RemoteIp",
            "RequestPrincipal"
        ]
    );
    let account = |namespace: &str, name: &str| proto::AccountMatch {
        namespace: namespace.into(),
        name: name.into(),
    };
    let accounts = proto::AccountValues { values: vec![account("shop", "x.y"), account("b", "z")] };
    assert_eq!(rule.from[1].all[0].kind, Some(Kind::SourceAccount(accounts)));
    assert_eq!(kinds(&rule.to[0].all), ["Host", "DestinationPort", "!Method", "Path"]);
    assert_eq!(kinds(&rule.when), ["Header", "!Claim", "RemoteIp", "ServerName", "SourceAccount"]);
    let Some(Kind::Host(hosts)) = &rule.to[0].all[0].kind else { panic!("{rule:?}") };
    assert_eq!(hosts.values[0].kind, Some(Text::Suffix(".example.com".into())));
    assert!(hosts.values[0].ignore_case);
    let Some(Kind::Header(header)) = &rule.when[0].kind else { panic!("{rule:?}") };
    assert_eq!(header.name, "x-a");
    assert_eq!(header.values[1].kind, Some(Text::Suffix("/*".into())));
}

#[test]
fn principals_of_the_own_trust_domain_mean_its_aliases_too() {
    let rules =
        "rules: [{from: [{source: {principals: [cluster.local/ns/a/sa/b, other/ns/a/sa/b]}}]}]";
    let spec = format!("{{{TO_STOCK}, {rules}}}");
    let found =
        of(&(policy("a", "shop", &spec) + &mesh_config("trustDomainAliases: [old.example]")));
    let matcher = &found.allow[0].rules[0].from[0].all[0];
    let Some(Kind::SourcePrincipal(texts)) = &matcher.kind else { panic!("{matcher:?}") };
    let expected = ["cluster.local/ns/a/sa/b", "old.example/ns/a/sa/b", "other/ns/a/sa/b"];
    assert_eq!(texts.values, expected.map(exact));
}

#[test]
fn checkers_and_normalisation_come_from_the_mesh_configuration() {
    let config = "pathNormalization: {normalization: MERGE_SLASHES}\nenableTracing: true\nextensionProviders:\n- name: ask\n  envoyExtAuthzHttp:\n    service: auth/Authz.auth.svc.cluster.local\n    port: 8000\n    timeout: 1.5s\n    failOpen: true\n    statusOnError: '503'\n    pathPrefix: /check\n    includeRequestHeadersInCheck: [x-user, 'x-a-*']\n    includeRequestBodyInCheck: {maxRequestBytes: 100, allowPartialMessage: true}\n    headersToUpstreamOnAllow: [x-ok]\n- name: grpc\n  envoyExtAuthzGrpc: {service: authz.auth.svc.cluster.local, port: 9000, clearRouteCache: true}\n- name: trace\n  opentelemetry: {service: a, port: 4317}\n- name: bad\n  envoyExtAuthzGrpc: {service: a b, port: 1}";
    let custom = |name: &str, provider: &str| {
        let spec = format!(
            "{{{TO_STOCK}, action: CUSTOM, provider: {{name: {provider}}}, rules: [{{}}]}}"
        );
        policy(name, "shop", &spec)
    };
    let yaml = shop()
        + &mesh_config(config)
        + &[custom("c1", "ask"), custom("c2", "grpc"), custom("c3", "bad"), custom("c4", "none")]
            .concat();
    let translator = translated(Settings::standalone(), &yaml);
    let found = access(&translator, HOST).unwrap();
    assert_eq!(found.normalisation(), proto::PathNormalisation::MergeSlashes);
    let checker = found.custom[0].checker.as_ref().unwrap();
    assert_eq!(
        (&*checker.namespace, &*checker.hostname, checker.port),
        ("auth", "authz.auth.svc.cluster.local", 8000)
    );
    assert_eq!((checker.timeout_ms, checker.fail_open, checker.status_on_error), (1500, true, 503));
    assert_eq!(
        checker.body.as_ref().map(|body| (body.max_bytes, body.allow_partial)),
        Some((100, true))
    );
    assert!(matches!(checker.protocol, Some(proto::checker::Protocol::Http(_))));
    let grpc = found.custom[1].checker.as_ref().unwrap();
    assert_eq!(grpc.protocol, Some(proto::checker::Protocol::Grpc(proto::GrpcCheck {})));
    assert!(found.custom[2].checker.is_none() && found.custom[3].checker.is_none());
    let status = |name: &str| message(&translator, &format!("AuthorizationPolicy shop/{name}"));
    assert!(status("c1").starts_with("WaypointAccepted=true/Accepted"), "{}", status("c1"));
    for name in ["c3", "c4"] {
        assert!(
            status(name).starts_with("WaypointAccepted=false/Invalid [\"spec.provider.name\"]")
        );
    }
    let status = message(&translator, "ConfigMap istio-system/istio");
    assert!(status.contains("weft.io/Accepted=false/PartiallyInvalid"), "{status}");
    assert!(status.contains("data.mesh.extensionProviders[grpc].clearRouteCache"), "{status}");
}

#[test]
fn status_says_for_each_target_whether_anybody_enforces_the_policy() {
    let gateway =
        |name: &str| format!("{{group: gateway.networking.k8s.io, kind: Gateway, name: {name}}}");
    let plain = "apiVersion: v1\nkind: Service\nmetadata: {name: plain, namespace: shop, labels: {istio.io/use-waypoint: none}}\nspec: {}\n---\n";
    let foreign = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: shop}\nspec: {gatewayClassName: nginx, listeners: [{name: a, port: 80, protocol: HTTP}]}\n---\n";
    let table = [
        ("{group: '', kind: Service, name: stock}".to_owned(), "true/Accepted"),
        ("{group: '', kind: Service, name: absent}".to_owned(), "false/TargetNotFound"),
        ("{group: '', kind: Service, name: plain}".to_owned(), "false/AncestorNotBound"),
        (gateway("wp"), "true/Accepted"),
        (gateway("edge"), "false/AncestorNotBound"),
        (gateway("absent"), "false/TargetNotFound"),
        (
            "{group: gateway.networking.k8s.io, kind: GatewayClass, name: istio-waypoint}"
                .to_owned(),
            "false/Invalid",
        ),
    ];
    for (target, expected) in table {
        let yaml =
            shop() + plain + foreign + &policy("p", "shop", &format!("{{targetRefs: [{target}]}}"));
        let status =
            message(&translated(Settings::standalone(), &yaml), "AuthorizationPolicy shop/p");
        assert!(status.starts_with(&format!("WaypointAccepted={expected}")), "{target}: {status}");
    }
}

#[test]
fn attribute_of_envoys_filters_is_reported_and_not_understood_by_waypoints() {
    let rules = "rules: [{when: [{key: experimental.envoy.filters.a, values: [b]}]}, {}]";
    let yaml = shop() + &policy("p", "shop", &format!("{{{TO_STOCK}, {rules}}}"));
    let translator = translated(Settings::standalone(), &yaml);
    let found = access(&translator, HOST).unwrap();
    assert_eq!(found.allow[0].rules[0].when, [proto::AccessMatcher::default()]);
    let status = message(&translator, "AuthorizationPolicy shop/p");
    let expected = "WaypointAccepted=false/PartiallyInvalid [\"spec.rules[0].when[0].key\"]";
    assert!(status.starts_with(expected), "{status}");
}

const INLINE: &str =
    r#"{"keys":[{"kty":"EC","crv":"P-256","x":"a","y":"b","kid":"1","d":"secret"}]}"#;

#[test]
fn issuers_are_translated_with_their_keys_and_without_private_parts() {
    let spec = format!(
        r#"
  {TO_STOCK}
  jwtRules:
  - issuer: https://issuer.example
    audiences: [a]
    jwks: '{INLINE}'
    fromHeaders: [{{name: X-Token, prefix: 'Jwt '}}]
    fromParams: [t]
    fromCookies: [c]
    outputPayloadToHeader: x-payload
    outputClaimToHeaders: [{{header: X-Team, claim: org.team}}]
    forwardOriginalToken: true
    timeout: 2s
    spaceDelimitedClaims: [roles]
"#
    );
    let found = of(&authentication(&spec));
    let expected = proto::JwtProvider {
        issuer: "https://issuer.example".into(),
        audiences: vec!["a".into()],
        keys: r#"{"keys":[{"crv":"P-256","kid":"1","kty":"EC","x":"a","y":"b"}]}"#.into(),
        headers: vec![proto::JwtHeader { name: "x-token".into(), prefix: "Jwt ".into() }],
        params: vec!["t".into()],
        cookies: vec!["c".into()],
        forward: true,
        payload_header: "x-payload".into(),
        claim_headers: vec![proto::ClaimHeader {
            header: "x-team".into(),
            claim: vec!["org".into(), "team".into()],
        }],
        space_delimited: vec!["roles".into()],
        origin: "shop/jwt".into(),
    };
    assert_eq!(found.providers, [expected]);
}

#[test]
fn fetched_keys_reach_the_services_that_trust_their_issuer() {
    let spec =
        format!("{{{TO_STOCK}, jwtRules: [{{issuer: i, jwksUri: 'https://i.example/keys'}}]}}");
    let yaml = shop() + &authentication(&spec);
    let mut translator = translated(Settings::standalone(), &yaml);
    let status = |translator: &Translator| message(translator, "RequestAuthentication shop/jwt");
    let keys =
        |translator: &Translator| access(translator, HOST).unwrap().providers[0].keys.clone();
    let source = KeySource::Uri("https://i.example/keys".into());
    assert_eq!(
        translator.key_sources().into_keys().collect::<Vec<_>>(),
        std::slice::from_ref(&source)
    );
    assert_eq!(keys(&translator), "");
    assert!(
        status(&translator)
            .contains("KeysResolved=false/FetchFailed [\"spec.jwtRules[0].jwksUri\"]")
    );
    let good = FetchedKeys { keys: Some("{}".into()), error: None };
    let changes = translator.set_keys(source.clone(), good.clone());
    assert_eq!(changes.iter().map(|it| &*it.name).collect::<Vec<_>>(), [HOST]);
    assert_eq!(keys(&translator), "{}");
    assert!(status(&translator).contains("KeysResolved=true/Resolved"));
    let stale = FetchedKeys { error: Some("HTTP status 500".into()), ..good };
    assert!(translator.set_keys(source.clone(), stale).is_empty());
    assert!(status(&translator).contains("the last good keys are in use"));
    translator.set_keys(source, FetchedKeys { keys: None, error: Some("no".into()) });
    assert_eq!(keys(&translator), "");
    // Whoever asks again starts anew.
    let object = super::objects(&authentication(&spec)).remove(0);
    translator.apply(vec![objects::ObjectChange { key: object.key(), object: None }]);
    translator.apply(added([object]));
    assert!(status(&translator).contains("not fetched yet"));
}

#[test]
fn authentication_without_targets_is_reported_as_not_enforced() {
    let yaml = shop() + &authentication("{selector: {matchLabels: {a: b}}, jwtRules: []}");
    let status =
        message(&translated(Settings::standalone(), &yaml), "RequestAuthentication shop/jwt");
    assert!(
        status.starts_with("ZtunnelAccepted=false/UnsupportedValue [\"spec.selector\"]"),
        "{status}"
    );
}

#[test]
fn waypoint_for_workloads_has_a_policy_of_its_own() {
    let gateway = "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: wp}]";
    let yaml = shop().replace("labels: {}", "labels: {istio.io/waypoint-for: all}, annotations: {ambient.istio.io/xfcc-include-client-identity: 'true'}")
        + &policy("a", "shop", &format!("{{{gateway}}}"));
    let translator = translated(Settings::standalone(), &yaml);
    let found = access(&translator, "shop/~wp").unwrap();
    assert_eq!(names(&found.allow), ["ns[shop]-policy[a]"]);
    assert!(found.forward_client_identity);
    assert_eq!(access(&translated(Settings::standalone(), &shop()), "shop/~wp"), None);
}

/// A service's own word counts before that of its waypoint's Gateway.
#[test]
fn size_of_bodies_is_said_by_the_service_or_by_its_waypoint() {
    let annotated = |text: &str| format!("annotations: {{weft.io/max-request-body: {text}}}");
    let of = |gateway: Option<&str>, service: Option<&str>| {
        let labels = gateway.map(|it| format!("labels: {{}}, {}", annotated(it)));
        let mut yaml = shop().replace("labels: {}", &labels.unwrap_or("labels: {}".to_owned()));
        if let Some(service) = service {
            let name = "kind: Service\nmetadata: {name: stock, ";
            assert!(yaml.contains(name), "{yaml}");
            yaml = yaml.replace(name, &format!("{name}{}, ", annotated(service)));
        }
        let translator = translated(Settings::standalone(), &yaml);
        let limit = access(&translator, "shop/stock.shop.svc.cluster.local")
            .unwrap()
            .request_body_bytes_max;
        (
            limit,
            message(&translator, "Service shop/stock") + &message(&translator, "Gateway shop/wp"),
        )
    };
    for (gateway, service, wanted) in [
        (None, None, 0),
        (Some("1Mi"), None, 1 << 20),
        (None, Some("2Ki"), 2048),
        (Some("1Ki"), Some("2Ki"), 2048),
        (Some("1Ki"), Some("none"), 0),
        (Some("1Ki"), Some("much"), 1024),
        (Some("much"), None, 0),
    ] {
        let (limit, status) = of(gateway, service);
        assert_eq!(limit, wanted, "{gateway:?} {service:?}");
        let is_named = status.contains("weft.io/RequestBodyLimited=false/InvalidValue");
        let is_bad = gateway == Some("much") || service == Some("much");
        assert_eq!(is_named, is_bad, "{gateway:?} {service:?}: {status}");
    }
}

#[test]
fn more_policies_than_a_waypoint_takes_deny() {
    let many: String = (0..1_100)
        .map(|at| policy(&format!("p{at}"), "shop", &format!("{{{TO_STOCK}}}")))
        .collect();
    let found = of(&many);
    assert_eq!(found.unusable, "1100 policies apply; at most 1024 are taken");
    assert!(found.allow.is_empty());
}

/// Of what an older version is unknown, the policy that stands in denies at the waypoint.
#[test]
fn unreadable_policies_deny_at_their_waypoint() {
    let mut pool = objects::Pool::default();
    let mut stand_in = |yaml: &str, kind: objects::Kind| {
        let yaml = yaml.trim_end_matches("---\n");
        assert!(objects::read(kind, yaml, &mut pool).is_err(), "{yaml}");
        let key = objects::header(yaml).unwrap().key().unwrap();
        objects::unreadable(&key, yaml, &mut pool).expect("something to stand in")
    };
    let bad = policy("p", "shop", &format!("{{{TO_STOCK}, rules: [{{unknown: 1}}]}}"));
    let bad = stand_in(&bad, objects::Kind::AuthorizationPolicy);
    let jwt = authentication(&format!("{{{TO_STOCK}, jwtRules: [{{issuer: ''}}]}}"));
    let jwt = stand_in(&jwt, objects::Kind::RequestAuthentication);
    let found = |object| {
        let mut translator = translated(Settings::standalone(), &shop());
        translator.apply(added([object]));
        access(&translator, HOST).unwrap()
    };
    assert_eq!(found(bad).deny[0].rules, [proto::AccessRule::default()]);
    assert_eq!(found(jwt).unusable, "RequestAuthentication shop/jwt can't be read");
}
