//! Virtual services and subsets.

use weft_proto::route as proto;
use weft_proto::route::condition::Kind;
use weft_proto::route::connection_condition::Kind as ConnectionKind;
use weft_proto::route::filter::Kind as FilterKind;
use weft_proto::route::http_action::Outcome;
use weft_proto::route::path_condition::Kind as Path;
use weft_proto::route::path_rewrite::Kind as NewPath;
use weft_proto::route::text_match::Kind as Text;
use weft_proto::route::weighted_backend::Target;

use crate::translate::Translator;

use super::policies::refused;
use super::{WEB, decoded, message, with};

const SERVICES: &str = r"
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{name: http, port: 80}, {name: grpc, port: 90}]}
---
apiVersion: v1
kind: Service
metadata: {name: other, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec: {host: web, subsets: [{name: v1, labels: {version: v1}}], trafficPolicy: {connectionPool: {}}}
---
";

fn object(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {spec}\n---\n"
    )
}

fn world(objects: &[String]) -> Translator {
    with(SERVICES, objects)
}

fn sets(objects: &[String]) -> Vec<proto::RouteSet> {
    decoded(&world(objects)).routes.remove(WEB).map(|table| table.sets).unwrap_or_default()
}

/// The rules of a virtual service of the shop for `web`, as its table has them.
fn http(rules: &str) -> proto::HttpRoutes {
    let mut sets = sets(&[object("shop", "vs", &format!("{{hosts: [web], http: [{rules}]}}"))]);
    assert_eq!(sets.len(), 1, "{sets:#?}");
    sets.remove(0).http.unwrap()
}

const TO_WEB: &str = "route: [{destination: {host: web}}]";

/// Hosts of the action's backends with their weights, or the reason why there is none.
fn backends(action: &proto::HttpAction) -> Vec<(u32, String)> {
    let Some(Outcome::Forward(forward)) = &action.outcome else { return Vec::new() };
    let target = |target: &Option<Target>| match target {
        Some(Target::To(to)) => {
            let subset = to.subset.as_ref().map(|it| format!("/{}", it.name)).unwrap_or_default();
            format!("{}:{}{subset}", to.hostname.split('.').next().unwrap(), to.port)
        }
        Some(Target::Invalid(reason)) => reason.clone(),
        None => panic!("a backend without a target"),
    };
    forward.backends.iter().map(|it| (it.weight, target(&it.target))).collect()
}

#[test]
fn rules_keep_their_order_and_alternatives_share_an_action() {
    let found = http(&format!(
        "{{match: [{{uri: {{prefix: /b}}}}, {{uri: {{exact: /a}}}}], {TO_WEB}}}, {{match: [{{uri: {{exact: /b/exact}}}}], {TO_WEB}}}, {{{TO_WEB}}}"
    ));
    let actions: Vec<u32> = found.rules.iter().map(|rule| rule.action).collect();
    assert_eq!(actions, [0, 0, 1, 2]);
    let first = &found.rules[0].conditions[0];
    assert!(
        matches!(&first.kind, Some(Kind::Path(it)) if it.kind == Some(Path::TextPrefix("/b".into())))
    );
    assert!(found.rules[3].conditions.is_empty());
    assert_eq!(found.actions[2].origin.as_ref().unwrap().index, 2);
}

#[test]
fn every_kind_of_match_is_converted() {
    let found = http(&format!(
        "{{match: [{{uri: {{regex: '/a/[0-9]+'}}, scheme: {{exact: http}}, method: {{regex: 'GET|PUT'}}, authority: {{prefix: web}}, port: 80, \
          sourceLabels: {{app: client}}, sourceNamespace: shop, headers: {{X-A: {{exact: b}}, x-c: {{}}, '@request.auth.claims[realm][role]': {{exact: admin}}}}, \
          withoutHeaders: {{x-d: {{prefix: e}}}}, queryParams: {{q: {{exact: '1'}}}}}}], {TO_WEB}}}"
    ));
    let kinds: Vec<_> =
        found.rules[0].conditions.iter().map(|it| it.kind.as_ref().unwrap()).collect();
    assert!(matches!(kinds[0], Kind::Path(_)) && matches!(kinds[1], Kind::Scheme(_)));
    assert!(matches!(kinds[2], Kind::Method(_)) && matches!(kinds[3], Kind::Authority(_)));
    assert!(matches!(kinds[4], Kind::Ports(ports) if ports.ports == [80]));
    let Kind::Source(source) = kinds[5] else { panic!("{:?}", kinds[5]) };
    assert_eq!(
        (&*source.namespaces, source.labels["app"].as_str()),
        (&["shop".to_owned()][..], "client")
    );
    let names: Vec<_> = kinds[6..9]
        .iter()
        .map(|kind| match kind {
            Kind::Header(it) => {
                (it.name.as_str(), it.value.as_ref().unwrap().kind.clone().unwrap())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let present = Text::Present(proto::Present {});
    assert_eq!(names[..2], [("x-a", Text::Exact("b".into())), ("x-c", present)]);
    assert_eq!(names[2].0, "x-d");
    let negated: Vec<_> = found.rules[0].conditions.iter().map(|it| it.negated).collect();
    assert_eq!(negated.iter().position(|it| *it), Some(8));
    assert!(matches!(kinds[9], Kind::Claim(it) if it.path == ["realm", "role"]));
    assert!(matches!(kinds[10], Kind::Query(it) if it.name == "q"));
    assert_eq!(kinds.len(), 11);
}

#[test]
fn subsets_carry_their_labels_and_unknown_ones_answer_500() {
    let found = http(
        "{route: [{destination: {host: web, subset: v1, port: {number: 80}}, weight: 95}, {destination: {host: web, subset: v9}, weight: 5}]}",
    );
    let backends = backends(&found.actions[0]);
    assert_eq!(backends[0], (95, "web:80/v1".into()));
    assert_eq!(
        backends[1],
        (5, "no DestinationRule of web.shop.svc.cluster.local has the subset v9".into())
    );
    let Some(Outcome::Forward(forward)) = &found.actions[0].outcome else { unreachable!() };
    let Some(Target::To(to)) = &forward.backends[0].target else { unreachable!() };
    assert_eq!(to.subset.as_ref().unwrap().labels["version"], "v1");
    let rule = message(&world(&[]), "DestinationRule shop/web");
    assert!(rule.contains("WaypointAccepted=true/Accepted [] it counts for web.shop"), "{rule}");
}

#[test]
fn filters_timeouts_and_retries_are_converted() {
    let found = http(&format!(
        "{{{TO_WEB}, timeout: 10s, retries: {{attempts: 3, perTryTimeout: 2s, retryOn: 'gateway-error,503,unavailable', backoff: 50ms}}, \
          rewrite: {{uri: /new, authority: new.example}}, fault: {{delay: {{percentage: {{value: 0.1}}, fixedDelay: 100ms}}, abort: {{percentage: {{value: 5}}, httpStatus: 500}}}}, \
          mirror: {{host: other}}, mirrorPercentage: {{value: 0.5}}, corsPolicy: {{allowOrigins: [{{exact: a}}], maxAge: 1h}}, \
          headers: {{request: {{set: {{x-a: b}}}}, response: {{remove: [x-c]}}}}}}"
    ));
    let action = &found.actions[0];
    let Some(Outcome::Forward(forward)) = &action.outcome else { panic!("not forwarded") };
    assert_eq!((forward.request_timeout_ms, forward.attempt_timeout_ms), (10_000, 2_000));
    let retry = forward.retry.as_ref().unwrap();
    assert_eq!((retry.retries, retry.backoff_base_ms), (3, 50));
    assert_eq!(retry.on, [i32::from(proto::RetryOn::GatewayError)]);
    assert_eq!((&*retry.http_codes, &*retry.grpc_codes), (&[503][..], &[14][..]));
    let kinds: Vec<_> = action.filters.iter().filter_map(|it| it.kind.as_ref()).collect();
    let [
        FilterKind::RequestHeaders(_),
        FilterKind::ResponseHeaders(_),
        FilterKind::Rewrite(rewrite),
        FilterKind::Mirror(mirror),
        FilterKind::Cors(cors),
        FilterKind::Fault(fault),
    ] = kinds[..]
    else {
        panic!("{kinds:?}")
    };
    assert_eq!(rewrite.path.as_ref().unwrap().kind, Some(NewPath::Prefix("/new".into())));
    assert_eq!(mirror.share, Some(proto::Fraction { numerator: 5_000, denominator: 1_000_000 }));
    assert_eq!((cors.max_age_s, cors.forwards_unmatched_preflights), (Some(3_600), true));
    let delay = fault.delay.as_ref().unwrap();
    assert_eq!((delay.share.unwrap().numerator, delay.delay_ms), (1_000, 100));
    // What a rewrite replaces where nothing is asked of the path: the slash at its start.
    assert!(
        matches!(&found.rules[0].conditions[0].kind, Some(Kind::Path(it)) if it.kind == Some(Path::TextPrefix("/".into())))
    );
}

#[test]
fn faults_without_a_share_are_none_and_zero_retries_are_none() {
    let found = http(&format!(
        "{{{TO_WEB}, retries: {{attempts: 0}}, fault: {{abort: {{httpStatus: 503}}}}}}, {{{TO_WEB}}}"
    ));
    let Some(FilterKind::Fault(fault)) = &found.actions[0].filters[0].kind else { panic!() };
    assert_eq!(fault.abort.as_ref().unwrap().share.unwrap().numerator, 0);
    let retry = |at: usize| match &found.actions[at].outcome {
        Some(Outcome::Forward(forward)) => forward.retry.as_ref().map(|retry| retry.retries),
        other => panic!("{other:?}"),
    };
    assert_eq!((retry(0), retry(1)), (Some(0), None));
}

#[test]
fn redirects_and_direct_responses_are_outcomes() {
    use weft_proto::route::redirect::Port;
    let found = http(
        "{redirect: {uri: /new, authority: new.example, derivePort: FROM_REQUEST_PORT}}, {directResponse: {status: 404, body: {string: none}}}",
    );
    let Some(Outcome::Redirect(redirect)) = &found.actions[0].outcome else { panic!() };
    assert_eq!((redirect.status, &*redirect.authority), (301, "new.example"));
    assert_eq!(redirect.port, Some(Port::PortFrom(proto::PortSource::Request.into())));
    let Some(Outcome::Direct(direct)) = &found.actions[1].outcome else { panic!() };
    assert_eq!((direct.status, &*direct.body), (404, &b"none"[..]));
}

#[test]
fn delegate_adds_its_matches_and_inherits_what_it_does_not_say() {
    let root = format!(
        "{{hosts: [web], http: [{{match: [{{uri: {{prefix: /a}}}}], timeout: 3s, delegate: {{name: team, namespace: team}}}}, {{{TO_WEB}}}]}}"
    );
    let team = "{http: [{match: [{uri: {prefix: /a/b}, method: {exact: GET}}], timeout: 1s, route: [{destination: {host: other.shop.svc.cluster.local}}]}, {route: [{destination: {host: web.shop.svc.cluster.local}}]}]}";
    let sets = sets(&[object("shop", "root", &root), object("team", "team", team)]);
    let found = sets[0].http.clone().unwrap();
    let prefixes = |rule: &proto::HttpRule| {
        let paths = rule.conditions.iter().filter_map(|it| match &it.kind {
            Some(Kind::Path(proto::PathCondition {
                kind: Some(Path::TextPrefix(text)), ..
            })) => Some(text.clone()),
            _ => None,
        });
        paths.collect::<Vec<_>>()
    };
    let prefixes: Vec<_> = found.rules.iter().map(prefixes).collect();
    assert_eq!(prefixes, [vec!["/a/b".to_owned(), "/a".to_owned()], vec!["/a".to_owned()], vec![]]);
    let timeout = |at: usize| match &found.actions[at].outcome {
        Some(Outcome::Forward(forward)) => forward.request_timeout_ms,
        other => panic!("{other:?}"),
    };
    assert_eq!([timeout(0), timeout(1), timeout(2)], [1_000, 3_000, 0]);
    assert_eq!(found.actions[0].origin.as_ref().unwrap().name, "team");
    let alone = world(&[object("shop", "root", &root)]);
    assert!(
        message(&alone, "VirtualService shop/root").contains("ResolvedRefs=false/DelegateNotFound")
    );
}

#[test]
fn audience_follows_namespace_and_export() {
    let spec = |more: &str| {
        format!("{{hosts: [web.shop.svc.cluster.local], {more} http: [{{{TO_WEB}}}]}}")
    };
    let callers = |namespace: &str, more: &str| {
        let sets = sets(&[object(namespace, "vs", &spec(more))]);
        sets.iter().map(|set| set.source_namespaces.join(",")).collect::<Vec<_>>()
    };
    assert_eq!(callers("shop", ""), [""]);
    assert_eq!(callers("shop", "exportTo: ['*'],"), [""]);
    assert_eq!(callers("shop", "exportTo: [., app],"), ["app", "shop"]);
    assert_eq!(callers("app", ""), ["app"]);
    assert_eq!(callers("app", "exportTo: [.],"), ["app"]);
    assert!(callers("app", "exportTo: [shop],").is_empty());
}

#[test]
fn nearer_host_counts_before_a_wildcard_and_gateways_are_not_the_meshs() {
    let spec = |host: &str, more: &str| {
        format!("{{hosts: ['{host}'], {more} http: [{{name: r, {TO_WEB}}}]}}")
    };
    let names = |objects: &[String]| {
        let sets = sets(objects);
        let actions =
            sets.iter().filter_map(|set| set.http.as_ref()).flat_map(|http| &http.actions);
        actions.map(|it| it.origin.as_ref().unwrap().name.clone()).collect::<Vec<_>>()
    };
    let wide = object("shop", "wide", &spec("*.shop.svc.cluster.local", ""));
    let near = object("shop", "near", &spec("web", ""));
    assert_eq!(names(&[wide.clone(), near]), ["near"]);
    assert_eq!(names(&[wide]), ["wide"]);
    assert!(
        names(&[object("shop", "edge", &spec("web", "gateways: [istio-ingress/gw],"))]).is_empty()
    );
    assert_eq!(names(&[object("shop", "both", &spec("web", "gateways: [mesh, gw],"))]), ["both"]);
}

#[test]
fn routes_of_the_gateway_api_count_before_virtual_services() {
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r, namespace: shop}\n\
        spec: {parentRefs: [{group: '', kind: Service, name: web, port: 80}], rules: [{backendRefs: [{name: web, port: 80}]}]}\n---\n";
    let spec = format!("{{hosts: [web], http: [{{{TO_WEB}}}]}}");
    let objects = [route.to_owned(), object("shop", "vs", &spec)];
    let kinds: Vec<_> = sets(&objects)
        .iter()
        .map(|set| {
            (
                set.ports.clone(),
                set.http.as_ref().unwrap().actions[0].origin.as_ref().unwrap().kind.clone(),
            )
        })
        .collect();
    assert_eq!(kinds, [(vec![80], "HTTPRoute".into()), (vec![90], "VirtualService".into())]);
    let status = message(&world(&objects), "VirtualService shop/vs");
    assert!(status.contains("WaypointAccepted=true/PartiallyConflicted"), "{status}");
}

#[test]
fn connections_are_routed_by_name_port_and_address() {
    let spec = "{hosts: [web], tls: [{match: [{sniHosts: ['*.web.example']}], route: [{destination: {host: web}}]}], \
        tcp: [{match: [{port: 90, destinationSubnets: [10.0.0.0/8]}], route: [{destination: {host: other}, weight: 1}, {destination: {host: web}, weight: 3}]}]}";
    let set = sets(&[object("shop", "vs", spec)]).remove(0);
    assert!(set.http.is_none());
    let tls = &set.tls.as_ref().unwrap().rules[0];
    assert!(
        matches!(&tls.conditions[0].kind, Some(ConnectionKind::ServerNames(it)) if it.hosts == ["*.web.example"])
    );
    let tcp = &set.tcp.as_ref().unwrap().rules[0];
    assert_eq!((tcp.conditions.len(), tcp.backends.len()), (2, 2));
    assert_eq!(tls.backends[0].weight, 1);
}

#[test]
fn rate_limited_answers_are_retried_and_headers_without_names_are_named_as_ignored() {
    let retries = |on: &str| {
        let spec = format!(
            "{{hosts: [web], http: [{{{TO_WEB}, retries: {{attempts: 2, retryOn: '{on}'}}}}]}}"
        );
        let world = world(&[object("shop", "vs", &spec)]);
        let found = decoded(&world);
        let http = found.routes[WEB].sets[0].http.clone().unwrap();
        let Some(Outcome::Forward(forward)) = &http.actions[0].outcome else {
            panic!("not forwarded")
        };
        (forward.retry.clone().unwrap(), message(&world, "VirtualService shop/vs"))
    };
    let (retry, status) = retries("envoy-ratelimited");
    assert_eq!(retry.on, [i32::from(proto::RetryOn::RateLimited)]);
    assert!(!status.contains("FieldsHonoured=false"), "{status}");
    // Alone it asks for nothing, and not for the defaults.
    let (retry, status) = retries("retriable-headers");
    assert!(retry.on.is_empty() && retry.http_codes.is_empty() && retry.grpc_codes.is_empty());
    let named = "spec.http[0].retries.retryOn (retriable-headers)";
    assert!(status.contains("FieldsHonoured=false") && status.contains(named), "{status}");
}

#[test]
fn bad_virtual_services_are_refused_with_field_and_line() {
    for (rule, field) in [
        ("{match: [{uri: {exact: /a, prefix: /b}}], ROUTE}", "match[0].uri"),
        ("{match: [{uri: {regex: '('}}], ROUTE}", "match[0].uri.regex"),
        ("{match: [{url: {exact: /a}}], ROUTE}", "match[0].url"),
        ("{match: [{headers: {'a b': {}}}], ROUTE}", "match[0].headers.a b"),
        (
            "{match: [{headers: {'@request.auth.claims': {}}}], ROUTE}",
            "match[0].headers.@request.auth.claims",
        ),
        ("{ROUTE, redirect: {uri: /a}}", ""),
        ("{}", ""),
        ("{route: [{destination: {host: a}, weight: 0}, {destination: {host: b}}]}", "route"),
        ("{route: [{destination: {host: 'a b'}}]}", "route[0].destination.host"),
        ("{ROUTE, timeout: soon}", "timeout"),
        ("{ROUTE, retries: {attempts: 1, retryOn: 'always'}}", "retries.retryOn"),
        (
            "{ROUTE, fault: {abort: {percentage: {value: 101}, httpStatus: 500}}}",
            "fault.abort.percentage.value",
        ),
        ("{ROUTE, fault: {abort: {grpcStatus: BUSY}}}", "fault.abort.grpcStatus"),
        ("{ROUTE, headers: {request: {set: {x: '%REQ(y)%'}}}}", "headers.request.set.x"),
        ("{ROUTE, headers: {response: {remove: [connection]}}}", "headers.response.remove[0]"),
        ("{ROUTE, rewrite: {uri: '/a?b'}}", "rewrite.uri"),
        (
            "{ROUTE, rewrite: {uriRegexRewrite: {match: '/(a)', rewrite: '/\\2'}}}",
            "rewrite.uriRegexRewrite.rewrite",
        ),
        ("{redirect: {redirectCode: 200}}", "redirect.redirectCode"),
        ("{directResponse: {status: 99}}", "directResponse.status"),
        ("{ROUTE, corsPolicy: {allowMethods: ['A B']}}", "corsPolicy.allowMethods"),
    ] {
        let rule = rule.replace("ROUTE", "route: [{destination: {host: web}}]");
        let error = refused(&object("shop", "vs", &format!("{{hosts: [web], http: [{rule}]}}")));
        let separator = if field.is_empty() { "" } else { "." };
        assert_eq!(error.field, Some(format!("spec.http[0]{separator}{field}")), "{rule}: {error}");
        assert_eq!(error.line, Some(4), "{rule}: {error}");
    }
}

#[test]
fn rules_beyond_what_a_table_holds_are_refused_and_said() {
    let matches = |path: &str| {
        let all: Vec<_> = (0..200).map(|at| format!("{{uri: {{exact: /{path}{at}}}}}")).collect();
        all.join(", ")
    };
    let root = format!(
        "{{hosts: [web], http: [{{match: [{}], delegate: {{name: team}}}}]}}",
        matches("a")
    );
    let team = format!(
        "{{http: [{{match: [{}], route: [{{destination: {{host: web}}}}]}}]}}",
        matches("b")
    );
    let world = world(&[object("shop", "root", &root), object("shop", "team", &team)]);
    assert_eq!(decoded(&world).routes.len(), 0);
    let status = message(&world, "VirtualService shop/root");
    assert!(status.contains("WaypointAccepted=false/UnsupportedValue"), "{status}");
}

#[test]
fn host_that_nobody_has_is_said() {
    let spec = format!("{{hosts: [nobody], http: [{{{TO_WEB}}}]}}");
    let status = message(&world(&[object("shop", "vs", &spec)]), "VirtualService shop/vs");
    assert!(
        status.contains("WaypointAccepted=false/NoMatchingHost [\"spec.hosts[0]\"]"),
        "{status}"
    );
}
