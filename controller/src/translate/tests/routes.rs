//! Routes of the Gateway API.

use weft_proto::route as proto;
use weft_proto::route::condition::Kind;
use weft_proto::route::filter::Kind as FilterKind;
use weft_proto::route::http_action::Outcome;
use weft_proto::route::path_condition::Kind as Path;
use weft_proto::route::weighted_backend::Target;

use crate::translate::{Settings, Translator};

use super::policies::refused;
use super::{WEB, decoded, message, translated, waypoint, with};

fn service(namespace: &str, name: &str, labels: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{{labels}}}}}\n\
         spec: {{ports: [{{name: http, port: 80}}, {{name: grpc, port: 90}}]}}\n---\n"
    )
}

/// Three services of the shop and one of another namespace.
fn services() -> String {
    let shop = ["web", "v1", "v2"].map(|name| service("shop", name, ""));
    shop.concat() + &service("bank", "pay", "")
}

/// A route of `kind` in the shop, made in a January.
fn route(kind: &str, name: &str, day: usize, spec: &str) -> String {
    in_namespace("shop", kind, name, day, spec)
}

fn in_namespace(namespace: &str, kind: &str, name: &str, day: usize, spec: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\n\
         metadata: {{name: {name}, namespace: {namespace}, creationTimestamp: '2026-01-0{day}T00:00:00Z'}}\n\
         spec: {spec}\n---\n"
    )
}

const PARENT: &str = "parentRefs: [{group: '', kind: Service, name: web, namespace: shop}]";

fn world(routes: &[String]) -> Translator {
    with(&services(), routes)
}

fn sets(routes: &[String]) -> Vec<proto::RouteSet> {
    decoded(&world(routes)).routes.remove(WEB).map(|table| table.sets).unwrap_or_default()
}

/// The one set's routes.
fn http(routes: &[String]) -> proto::HttpRoutes {
    let mut sets = sets(routes);
    assert_eq!(sets.len(), 1, "{sets:#?}");
    sets.remove(0).http.unwrap()
}

fn paths(http: &proto::HttpRoutes) -> Vec<String> {
    let path = |condition: &proto::Condition| match condition.kind.as_ref()? {
        Kind::Path(path) => Some(match path.kind.as_ref()? {
            Path::Exact(text) => format!("={text}"),
            Path::ElementPrefix(text) => text.clone(),
            Path::TextPrefix(text) => format!("{text}..."),
            Path::Regex(text) => format!("~{text}"),
        }),
        _ => None,
    };
    http.rules
        .iter()
        .map(|rule| rule.conditions.iter().find_map(path).unwrap_or_default())
        .collect()
}

/// Weight and host of each backend, or the reason why there is none.
fn backends(action: &proto::HttpAction) -> Vec<(u32, String)> {
    let Some(Outcome::Forward(forward)) = &action.outcome else { return Vec::new() };
    let target = |target: &Option<Target>| match target {
        Some(Target::To(to)) => format!("{}:{}", to.hostname.split('.').next().unwrap(), to.port),
        Some(Target::Invalid(reason)) => reason.clone(),
        None => panic!("a backend without a target"),
    };
    forward.backends.iter().map(|it| (it.weight, target(&it.target))).collect()
}

#[test]
fn weighted_backends_become_shares() {
    let spec = format!(
        "{{{PARENT}, rules: [{{backendRefs: [{{name: v1, port: 80, weight: 95}}, {{name: v2, port: 80, weight: 5}}]}}]}}"
    );
    let found = http(&[route("HTTPRoute", "r", 1, &spec)]);
    assert_eq!(paths(&found), ["/"]);
    assert_eq!(backends(&found.actions[0]), [(95, "v1:80".into()), (5, "v2:80".into())]);
    let origin = found.actions[0].origin.as_ref().unwrap();
    assert_eq!((&*origin.kind, &*origin.namespace, &*origin.name), ("HTTPRoute", "shop", "r"));
}

#[test]
fn rules_of_several_routes_stand_in_the_specifications_order() {
    let rule =
        |matches: &str| format!("{{matches: [{matches}], backendRefs: [{{name: v1, port: 80}}]}}");
    let old = [
        rule("{path: {value: /a}}, {path: {value: /a/b/}}"),
        rule("{path: {value: /a}, headers: [{name: x, value: y}]}"),
        rule("{path: {value: /a}, method: GET}"),
        rule("{path: {type: RegularExpression, value: '/z[0-9]'}}"),
    ];
    let new = [
        rule("{path: {type: Exact, value: /a}}"),
        rule("{path: {value: /a}, queryParams: [{name: q, value: '1'}]}"),
        rule(
            "{path: {value: /a}, headers: [{name: x, value: y}, {name: z, value: y}, {name: Z, value: n}]}",
        ),
        rule("{}"),
        rule("{path: {value: /a}}"),
    ];
    let spec = |rules: &[String]| format!("{{{PARENT}, rules: [{}]}}", rules.join(", "));
    let found = http(&[
        route("HTTPRoute", "new", 2, &spec(&new)),
        route("HTTPRoute", "old", 1, &spec(&old)),
    ]);
    let wanted = ["=/a", "~/z[0-9]", "/a/b/", "/a", "/a", "/a", "/a", "/a", "/a", "/"];
    assert_eq!(paths(&found), wanted);
    let asked: Vec<_> = found.rules.iter().map(|rule| rule.conditions.len()).collect();
    // Method, then two headers, then one, then the query, then the older route's, then the newer's.
    assert_eq!(asked, [1, 1, 1, 2, 3, 2, 2, 1, 1, 1]);
    let origin = |rule: &proto::HttpRule| {
        found.actions[rule.action as usize].origin.as_ref().unwrap().name.clone()
    };
    assert_eq!((origin(&found.rules[7]), origin(&found.rules[8])), ("old".into(), "new".into()));
}

#[test]
fn routes_of_other_namespaces_count_for_their_own_callers_alone() {
    let spec = |backend: &str| format!("{{{PARENT}, rules: [{{backendRefs: [{backend}]}}]}}");
    let found = sets(&[
        route("HTTPRoute", "producer", 1, &spec("{name: v1, port: 80}")),
        in_namespace("bank", "HTTPRoute", "consumer", 2, &spec("{name: pay, port: 90}")),
    ]);
    let callers: Vec<_> = found.iter().map(|set| set.source_namespaces.clone()).collect();
    assert_eq!(callers, [vec!["bank".to_owned()], vec![]]);
    let to = |set: &proto::RouteSet| backends(&set.http.as_ref().unwrap().actions[0]);
    assert_eq!(to(&found[0]), [(1, "pay:90".into())]);
    assert_eq!(to(&found[1]), [(1, "v1:80".into())]);
}

#[test]
fn parent_port_confines_a_route() {
    let spec = |more: &str, to: &str| {
        format!(
            "{{parentRefs: [{{group: '', kind: Service, name: web{more}}}], rules: [{{backendRefs: [{{name: {to}, port: 80}}]}}]}}"
        )
    };
    let found = sets(&[
        route("HTTPRoute", "all", 1, &spec("", "v1")),
        route("HTTPRoute", "one", 2, &spec(", port: 90", "v2")),
        route("HTTPRoute", "named", 3, &spec(", sectionName: http", "v2")),
        route("HTTPRoute", "absent", 4, &spec(", port: 91", "v2")),
    ]);
    let ports: Vec<_> = found
        .iter()
        .map(|set| (set.ports.clone(), set.http.as_ref().unwrap().rules.len()))
        .collect();
    assert_eq!(ports, [(vec![90], 2), (vec![80], 2)]);
    let world = world(&[route("HTTPRoute", "absent", 4, &spec(", port: 91", "v2"))]);
    assert!(message(&world, "HTTPRoute shop/absent").contains("Accepted=false/NoMatchingParent"));
    assert_eq!(decoded(&world).routes.len(), 0);
}

#[test]
fn references_that_lead_nowhere_keep_their_share_and_are_named() {
    let refs = [
        ("{name: v1, port: 80}", "v1:80", ""),
        ("{name: none, port: 80}", "there is no Service shop/none", "BackendNotFound"),
        ("{name: v1, port: 81}", "Service shop/v1 has no port 81", "BackendNotFound"),
        ("{name: v1}", "which port of shop/v1 is meant isn't said", "BackendNotFound"),
        (
            "{name: pay, namespace: bank, port: 80}",
            "no ReferenceGrant in bank permits it to refer to bank/pay",
            "RefNotPermitted",
        ),
        (
            "{group: x.io, kind: Pool, name: p}",
            "shop/p is a x.io; backends are Services and Hostnames",
            "InvalidKind",
        ),
    ];
    for (reference, target, reason) in refs {
        let spec = format!("{{{PARENT}, rules: [{{backendRefs: [{reference}]}}]}}");
        let routes = [route("HTTPRoute", "r", 1, &spec)];
        assert_eq!(backends(&http(&routes).actions[0]), [(1, target.to_owned())]);
        let status = message(&world(&routes), "HTTPRoute shop/r");
        let wanted = match reason {
            "" => "ResolvedRefs=true/ResolvedRefs".to_owned(),
            reason => format!("ResolvedRefs=false/{reason} [\"spec.rules[0].backendRefs[0]\"]"),
        };
        assert!(status.contains(&wanted), "{status}");
        assert!(status.contains("Accepted=true/Accepted"), "{status}");
    }
}

#[test]
fn grant_permits_what_it_names() {
    let spec = format!(
        "{{{PARENT}, rules: [{{backendRefs: [{{name: pay, namespace: bank, port: 80}}]}}]}}"
    );
    let granted = |kind: &str, from: &str, only: &str| {
        let grant = format!(
            "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {{name: g, namespace: bank}}\n\
             spec: {{from: [{{group: gateway.networking.k8s.io, kind: {kind}, namespace: {from}}}], to: [{{group: '', kind: Service{only}}}]}}\n---\n"
        );
        let found = http(&[route("HTTPRoute", "r", 1, &spec), grant]);
        backends(&found.actions[0])[0].1 == "pay:80"
    };
    assert!(granted("HTTPRoute", "shop", "") && granted("HTTPRoute", "shop", ", name: pay"));
    assert!(!granted("HTTPRoute", "shop", ", name: other"));
    assert!(!granted("HTTPRoute", "app", "") && !granted("GRPCRoute", "shop", ""));
}

#[test]
fn consumer_may_send_to_the_service_that_it_asked_for() {
    let spec = format!(
        "{{{PARENT}, rules: [{{backendRefs: [{{name: web, namespace: shop, port: 80}}]}}]}}"
    );
    let found = http(&[in_namespace("bank", "HTTPRoute", "r", 1, &spec)]);
    assert_eq!(backends(&found.actions[0]), [(1, "web:80".into())]);
}

#[test]
fn kinds_are_never_merged_and_the_older_one_counts() {
    let spec = format!("{{{PARENT}, rules: [{{backendRefs: [{{name: v1, port: 80}}]}}]}}");
    let routes = [route("GRPCRoute", "young", 2, &spec), route("HTTPRoute", "old", 1, &spec)];
    assert_eq!(http(&routes).actions[0].origin.as_ref().unwrap().name, "old");
    let world = world(&routes);
    assert!(message(&world, "HTTPRoute shop/old").contains("Accepted=true/Accepted"));
    let young = message(&world, "GRPCRoute shop/young");
    assert!(young.contains("Accepted=false/Conflicted") && young.contains("shop/old"), "{young}");
}

#[test]
fn grpc_methods_stand_by_the_length_of_their_names() {
    let spec = format!(
        "{{{PARENT}, rules: [{{matches: [{{method: {{service: a.B}}}}, {{method: {{method: Ping}}}}, {{headers: [{{name: x, value: y}}]}}, {{method: {{service: a.B, method: Get}}}}]}}]}}"
    );
    let found = http(&[route("GRPCRoute", "r", 1, &spec)]);
    let asked =
        |rule: &proto::HttpRule| match rule.conditions.first().and_then(|it| it.kind.clone()) {
            Some(Kind::Grpc(grpc)) => (grpc.service.is_some(), grpc.method.is_some()),
            _ => (false, false),
        };
    let asked: Vec<_> = found.rules.iter().map(asked).collect();
    assert_eq!(asked, [(true, true), (true, false), (false, true), (false, false)]);
}

#[test]
fn filters_become_the_tables() {
    let filters = "[{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}], remove: [c]}}, \
        {type: URLRewrite, urlRewrite: {hostname: new.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}, \
        {type: RequestMirror, requestMirror: {backendRef: {name: v2, port: 80}, percent: 10}}, \
        {type: CORS, cors: {allowOrigins: ['https://*.example', '*'], allowMethods: [GET]}}]";
    let spec = format!(
        "{{{PARENT}, rules: [{{name: one, matches: [{{path: {{value: /old}}}}], filters: {filters}, timeouts: {{request: 10s, backendRequest: 2s}}, retry: {{attempts: 3, codes: [503], backoff: 100ms}}, backendRefs: [{{name: v1, port: 80}}]}}]}}"
    );
    let found = http(&[route("HTTPRoute", "r", 1, &spec)]);
    let action = &found.actions[0];
    assert_eq!(action.origin.as_ref().unwrap().rule, "one");
    let kinds: Vec<_> = action.filters.iter().filter_map(|it| it.kind.as_ref()).collect();
    let [
        FilterKind::RequestHeaders(headers),
        FilterKind::Rewrite(rewrite),
        FilterKind::Mirror(mirror),
        FilterKind::Cors(cors),
    ] = kinds[..]
    else {
        panic!("{kinds:?}")
    };
    assert_eq!((&*headers.set[0].name, &*headers.remove[0]), ("a", "c"));
    assert_eq!(rewrite.authority, "new.example");
    assert_eq!(mirror.share, Some(proto::Fraction { numerator: 10, denominator: 100 }));
    assert_eq!(cors.max_age_s, Some(5));
    let origin = cors.allow_origins[0].kind.clone();
    assert_eq!(origin, Some(proto::text_match::Kind::Regex(r"https://[^/:]+\.example".into())));
    let Some(Outcome::Forward(forward)) = &action.outcome else { panic!("not forwarded") };
    assert_eq!((forward.request_timeout_ms, forward.attempt_timeout_ms), (10_000, 2_000));
    let retry = forward.retry.as_ref().unwrap();
    assert_eq!((retry.retries, &*retry.http_codes, retry.backoff_base_ms), (3, &[503][..], 100));
}

#[test]
fn redirect_names_the_port_as_the_specification_says() {
    use weft_proto::route::redirect::Port;
    let found = |redirect: &str| {
        let spec = format!(
            "{{{PARENT}, rules: [{{filters: [{{type: RequestRedirect, requestRedirect: {redirect}}}]}}]}}"
        );
        match http(&[route("HTTPRoute", "r", 1, &spec)]).actions.remove(0).outcome {
            Some(Outcome::Redirect(redirect)) => redirect,
            other => panic!("{other:?}"),
        }
    };
    let source = |source: proto::PortSource| Some(Port::PortFrom(source.into()));
    let plain = found("{hostname: a.example}");
    assert_eq!((plain.status, plain.port), (302, source(proto::PortSource::Request)));
    let secure = found("{scheme: https, statusCode: 301}");
    assert_eq!((secure.status, secure.port), (301, source(proto::PortSource::Scheme)));
    assert_eq!(found("{port: 8443}").port, Some(Port::Number(8443)));
}

#[test]
fn filter_that_is_not_carried_out_answers_500_and_is_named() {
    let extension = "{filters: [{type: ExtensionRef, extensionRef: {group: x, kind: Y, name: z}}], backendRefs: [{name: v1, port: 80}]}";
    let sound = "{backendRefs: [{name: v1, port: 80}]}";
    let spec = |rules: &str| format!("{{{PARENT}, rules: [{rules}]}}");
    let only = [route("HTTPRoute", "r", 1, &spec(extension))];
    let found = backends(&http(&only).actions[0]);
    assert!(found[0].1.contains("ExtensionRef"), "{found:?}");
    let status = message(&world(&only), "HTTPRoute shop/r");
    assert!(status.contains("Accepted=false/UnsupportedValue [\"spec.rules[0].filters[0]\"]"));
    let both = [route("HTTPRoute", "r", 1, &spec(&format!("{sound}, {extension}")))];
    let status = message(&world(&both), "HTTPRoute shop/r");
    assert!(status.contains("Accepted=true/Accepted") && status.contains("PartiallyInvalid=true"));
}

#[test]
fn rule_without_backends_answers_500() {
    let spec = format!("{{{PARENT}, rules: [{{}}]}}");
    assert_eq!(backends(&http(&[route("HTTPRoute", "r", 1, &spec)]).actions[0]), []);
    assert_eq!(paths(&http(&[route("HTTPRoute", "r", 1, &format!("{{{PARENT}}}"))])), ["/"]);
}

#[test]
fn waypoints_routes_count_where_the_service_has_none() {
    let bound = "istio.io/use-waypoint: wp";
    let of_gateway = "{parentRefs: [{name: wp}], hostnames: [web.shop], rules: [{backendRefs: [{name: v1, port: 80}]}]}";
    let of_service = "{parentRefs: [{group: '', kind: Service, name: web, port: 90}], rules: [{backendRefs: [{name: v2, port: 80}]}]}";
    let yaml = waypoint("shop", "wp", "", "Same")
        + &service("shop", "web", bound)
        + &service("shop", "v1", "")
        + &service("shop", "v2", "")
        + &route("HTTPRoute", "g", 1, of_gateway)
        + &route("HTTPRoute", "s", 1, of_service)
        + &in_namespace(
            "bank",
            "HTTPRoute",
            "far",
            1,
            "{parentRefs: [{name: wp, namespace: shop}]}",
        );
    let translator = translated(Settings::standalone(), &yaml);
    let table = decoded(&translator).routes.remove(WEB).unwrap();
    let ports: Vec<_> = table.sets.iter().map(|set| set.ports.clone()).collect();
    assert_eq!(ports, [vec![90], vec![]]);
    let first = &table.sets[1].http.as_ref().unwrap().rules[0].conditions[0];
    assert!(matches!(&first.kind, Some(Kind::Hosts(hosts)) if hosts.hosts == ["web.shop"]));
    assert!(message(&translator, "HTTPRoute shop/g").contains("Accepted=true"));
    assert!(message(&translator, "HTTPRoute bank/far").contains("NotAllowedByListeners"));
}

#[test]
fn service_entry_takes_routes_for_each_host() {
    let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: out, namespace: shop}\n\
        spec: {hosts: [a.example, b.example], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}\n---\n";
    let spec = "{parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: out}], rules: [{backendRefs: [{group: networking.istio.io, kind: Hostname, name: B.example, port: 80}]}]}";
    let routes = [entry.to_owned(), route("HTTPRoute", "r", 1, spec)];
    let found = decoded(&world(&routes)).routes;
    let names: Vec<_> = found.keys().map(String::as_str).collect();
    assert_eq!(names, ["shop/a.example", "shop/b.example"]);
    let action = &found["shop/a.example"].sets[0].http.as_ref().unwrap().actions[0];
    assert_eq!(backends(action), [(1, "b:80".into())]);
}

#[test]
fn connections_follow_tls_and_tcp_routes_beside_http() {
    let spec = |hosts: &str, to: &str| {
        format!(
            "{{{PARENT}, {hosts} rules: [{{backendRefs: [{{name: {to}, port: 80}}, {{name: none, port: 80}}]}}]}}"
        )
    };
    let found = sets(&[
        route("TLSRoute", "wide", 1, &spec("hostnames: ['*.example', '*.b.example'],", "v1")),
        route("TLSRoute", "near", 2, &spec("hostnames: [a.example],", "v2")),
        route("TCPRoute", "tcp", 1, &spec("", "v1")),
        route("HTTPRoute", "http", 1, &spec("", "v1")),
    ]);
    assert_eq!(found.len(), 1);
    let names = |rule: &proto::ConnectionRule| match &rule.conditions[0].kind {
        Some(weft_proto::route::connection_condition::Kind::ServerNames(it)) => it.hosts.join(","),
        other => panic!("{other:?}"),
    };
    let tls = found[0].tls.as_ref().unwrap();
    let order: Vec<_> = tls.rules.iter().map(names).collect();
    assert_eq!(order, ["a.example", "*.b.example", "*.example"]);
    let tcp = found[0].tcp.as_ref().unwrap();
    assert_eq!((tcp.rules.len(), tcp.rules[0].conditions.len()), (1, 0));
    assert!(matches!(&tcp.rules[0].backends[1].target, Some(Target::Invalid(_))));
    assert!(found[0].http.is_some());
    let only = sets(&[route("TCPRoute", "tcp", 1, &spec("", "v1"))]);
    assert!(only[0].http.is_none());
}

#[test]
fn bad_routes_are_refused_with_field_and_line() {
    for (kind, spec, field) in [
        (
            "HTTPRoute",
            "{rules: [{matches: [{path: {value: a}}]}]}",
            "spec.rules[0].matches[0].path.value",
        ),
        (
            "HTTPRoute",
            "{rules: [{matches: [{path: {value: /a/../b}}]}]}",
            "spec.rules[0].matches[0].path.value",
        ),
        (
            "HTTPRoute",
            "{rules: [{matches: [{path: {type: RegularExpression, value: '('}}]}]}",
            "spec.rules[0].matches[0].path.value",
        ),
        ("HTTPRoute", "{rules: [{matches: [{header: []}]}]}", "spec.rules[0].matches[0].header"),
        ("HTTPRoute", "{rules: [{matches: [{method: get}]}]}", "spec.rules[0].matches[0].method"),
        (
            "HTTPRoute",
            "{rules: [{matches: [{headers: [{name: 'a b', value: c}]}]}]}",
            "spec.rules[0].matches[0].headers[0].name",
        ),
        ("HTTPRoute", "{rules: [{timeouts: {request: 1x}}]}", "spec.rules[0].timeouts.request"),
        (
            "HTTPRoute",
            "{rules: [{timeouts: {request: 1s, backendRequest: 2s}}]}",
            "spec.rules[0].timeouts.backendRequest",
        ),
        (
            "HTTPRoute",
            "{rules: [{filters: [{type: URLRewrite}]}]}",
            "spec.rules[0].filters[0].urlRewrite",
        ),
        (
            "HTTPRoute",
            "{rules: [{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Connection, value: x}]}}]}]}",
            "spec.rules[0].filters[0].requestHeaderModifier.set[0]",
        ),
        (
            "HTTPRoute",
            "{rules: [{backendRefs: [{name: v1, port: 70000}]}]}",
            "spec.rules[0].backendRefs[0].port",
        ),
        (
            "HTTPRoute",
            "{rules: [{filters: [{type: RequestRedirect, requestRedirect: {}}], backendRefs: [{name: a}]}]}",
            "spec.rules[0].backendRefs",
        ),
        ("HTTPRoute", "{parentRefs: [{name: a}, {name: a}]}", "spec.parentRefs[1]"),
        ("HTTPRoute", "{hostnames: ['a b']}", "spec.hostnames[0]"),
        ("GRPCRoute", "{rules: [{matches: [{method: {}}]}]}", "spec.rules[0].matches[0].method"),
        (
            "GRPCRoute",
            "{rules: [{filters: [{type: CORS, cors: {}}]}]}",
            "spec.rules[0].filters[0].type",
        ),
        ("TLSRoute", "{rules: []}", "spec.hostnames"),
        ("TCPRoute", "{hostnames: [a.example]}", "spec.hostnames"),
        ("TCPRoute", "{rules: []}", "spec.rules"),
        ("ReferenceGrant", "{from: [], to: [{group: ''}]}", "spec.to[0]"),
    ] {
        let error = refused(&route(kind, "r", 1, spec));
        assert_eq!(error.field.as_deref(), Some(field), "{spec}: {error}");
        assert_eq!(error.line, Some(4), "{spec}: {error}");
    }
}

#[test]
fn known_fields_that_are_not_honoured_are_said() {
    let spec = format!(
        "{{{PARENT}, useDefaultGateways: All, rules: [{{backendRefs: [{{name: v1, port: 80}}]}}]}}"
    );
    let status = message(&world(&[route("HTTPRoute", "r", 1, &spec)]), "HTTPRoute shop/r");
    let expected = "weft.io/FieldsHonoured=false/NotHonoured [\"spec.useDefaultGateways\"]";
    assert!(status.contains(expected), "{status}");
}
