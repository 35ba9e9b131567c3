//! From what users write to where a request goes: the controller's translation and the waypoint's engine together.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde_json::{Map, Value};
use weft_proto::contract::type_url;
use weft_waypoint::route::{Outcome, Preflight, Request, Source, Table, Target, decode};

use super::support::{objects, translated};

const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: v1, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: v2, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
";

/// The table of `web`. What the controller writes, the waypoint understands without a remark.
fn table(yaml: &str) -> Table {
    let documents = [SERVICES, yaml].join("\n---\n");
    let documents = documents.split("\n---\n").filter(|text| !text.trim().is_empty());
    let translator = translated(objects(documents));
    let resources = translator.resources();
    let name = "shop/web.shop.svc.cluster.local";
    let bytes = resources.get(&(type_url::ROUTE_TABLE, name.into())).expect("a table");
    let decoded = decode(name, bytes).expect("it is understood");
    assert_eq!(decoded.problems, []);
    decoded.table
}

fn http_route(namespace: &str, rules: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r-{namespace}, namespace: {namespace}}}\n\
         spec: {{parentRefs: [{{group: '', kind: Service, name: web, namespace: shop}}], rules: [{rules}]}}\n"
    )
}

fn virtual_service(rules: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: vs, namespace: shop}}\n\
         spec: {{hosts: [web], http: [{rules}]}}\n"
    )
}

#[derive(Default)]
struct Call {
    method: &'static str,
    uri: &'static str,
    headers: &'static [(&'static str, &'static str)],
    namespace: Option<&'static str>,
    claims: Map<String, Value>,
    labels: BTreeMap<String, String>,
}

fn get(uri: &'static str) -> Call {
    Call { method: "GET", uri, ..Call::default() }
}

/// What becomes of a request that draws `random`: the backend with the path and the authority that it sees, or the answer.
fn ask_with(table: &Table, call: &Call, random: u64) -> String {
    let uri: Uri = call.uri.parse().expect("a URI");
    let pairs = call
        .headers
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    let headers: HeaderMap = pairs.collect();
    let request = Request {
        method: call.method,
        scheme: "http",
        authority: uri.authority().map_or("web", |authority| authority.as_str()),
        path: uri.path(),
        query: uri.query().unwrap_or_default(),
        headers: &headers,
        port: 80,
        source: Source { principal: None, namespace: call.namespace, labels: Some(&call.labels) },
        claims: Some(&call.claims),
    };
    let Some(set) = table.select(80, call.namespace) else {
        return "the service".to_owned();
    };
    let Some(found) = set.http.as_ref().and_then(|http| http.find(&request)) else {
        return "404".to_owned();
    };
    let filters = &found.action.filters;
    if let Some(cors) = &filters.cors
        && let Preflight::Answer(answer) = cors.preflight(&request)
    {
        let origin = answer.get("access-control-allow-origin");
        return format!("200 {:?}", origin.map(|it| it.to_str().expect("a text")));
    }
    match &found.action.outcome {
        Outcome::Forward(forward) => match forward.backends.choose(random).map(|it| &it.target) {
            Some(Target::To(to)) => {
                let name = to.hostname.split('.').next().unwrap_or_default();
                let path = filters.path.as_ref();
                let path =
                    path.map_or(request.path.to_owned(), |it| it.apply(request.path, found.span));
                let host = filters
                    .authority
                    .as_ref()
                    .map(|it| format!(" {}", it.to_str().expect("a text")));
                format!("{name} {path}{}", host.unwrap_or_default())
            }
            Some(Target::Invalid(_)) | None => "500".to_owned(),
        },
        Outcome::Redirect(redirect) => {
            format!("{} {}", redirect.status.as_u16(), redirect.location(&request, found.span))
        }
        Outcome::Direct(direct) => direct.status.as_u16().to_string(),
        Outcome::Broken => "500".to_owned(),
    }
}

fn ask(table: &Table, call: &Call) -> String {
    ask_with(table, call, 0)
}

#[test]
fn prefixes_of_routes_end_at_elements_and_those_of_virtual_services_anywhere() {
    let route = table(&http_route(
        "shop",
        "{matches: [{path: {value: /foo}}], backendRefs: [{name: v1, port: 80}]}",
    ));
    let virtual_service = table(&virtual_service(
        "{match: [{uri: {prefix: /foo}}], route: [{destination: {host: v1}}]}",
    ));
    for (uri, by_route, by_virtual) in [
        ("/foo", "v1 /foo", "v1 /foo"),
        ("/foo/bar", "v1 /foo/bar", "v1 /foo/bar"),
        ("/foobar", "404", "v1 /foobar"),
        ("/fo", "404", "404"),
        ("/FOO", "404", "404"),
    ] {
        assert_eq!(ask(&route, &get(uri)), by_route, "{uri}");
        assert_eq!(ask(&virtual_service, &get(uri)), by_virtual, "{uri}");
    }
}

#[test]
fn rewritten_prefixes_follow_either_specification() {
    let filter = "{type: URLRewrite, urlRewrite: {hostname: new.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new/}}}";
    let route = table(&http_route(
        "shop",
        &format!(
            "{{matches: [{{path: {{value: /old/}}}}], filters: [{filter}], backendRefs: [{{name: v1, port: 80}}]}}"
        ),
    ));
    let virtual_service = table(&virtual_service(
        "{match: [{uri: {prefix: /old}}], rewrite: {uri: /new, authority: new.example}, route: [{destination: {host: v1}}]}, \
         {rewrite: {uri: /v2}, route: [{destination: {host: v2}}]}",
    ));
    for (uri, by_route, by_virtual) in [
        ("/old", "v1 /new new.example", "v1 /new new.example"),
        ("/old/", "v1 /new/ new.example", "v1 /new/ new.example"),
        ("/old/x?q=1", "v1 /new/x new.example", "v1 /new/x new.example"),
        ("/older", "404", "v1 /newer new.example"),
        ("/x", "404", "v2 /v2x"),
    ] {
        assert_eq!(ask(&route, &get(uri)), by_route, "{uri}");
        assert_eq!(ask(&virtual_service, &get(uri)), by_virtual, "{uri}");
    }
}

#[test]
fn share_of_a_missing_backend_is_answered_500() {
    let route = table(&http_route(
        "shop",
        "{backendRefs: [{name: v1, port: 80, weight: 3}, {name: none, port: 80, weight: 1}, {name: v2, port: 80, weight: 0}]}",
    ));
    let answers: Vec<_> =
        (0..4).map(|quarter| ask_with(&route, &get("/"), quarter << 62)).collect();
    assert_eq!(answers, ["v1 /", "v1 /", "v1 /", "500"]);
}

#[test]
fn consumers_see_their_own_routes_instead_of_the_producers() {
    let both = [
        http_route("shop", "{backendRefs: [{name: v1, port: 80}]}"),
        http_route(
            "client",
            "{matches: [{path: {value: /own}}], backendRefs: [{name: web, namespace: shop, port: 80}]}",
        ),
    ];
    let table = table(&both.join("---\n"));
    let from = |namespace, uri| Call { namespace, ..get(uri) };
    assert_eq!(ask(&table, &from(Some("client"), "/own")), "web /own");
    assert_eq!(ask(&table, &from(Some("client"), "/")), "404");
    assert_eq!(ask(&table, &from(Some("shop"), "/own")), "v1 /own");
    assert_eq!(ask(&table, &from(None, "/own")), "v1 /own");
}

#[test]
fn redirects_keep_what_they_do_not_name() {
    let of = |redirect: &str| {
        let filter = format!("{{type: RequestRedirect, requestRedirect: {redirect}}}");
        table(&http_route("shop", &format!("{{filters: [{filter}]}}")))
    };
    for (redirect, location) in [
        ("{hostname: a.example}", "302 http://a.example/p?q=1"),
        ("{scheme: https, statusCode: 301}", "301 https://web.shop/p?q=1"),
        ("{scheme: https, port: 8443}", "302 https://web.shop:8443/p?q=1"),
        ("{port: 8080}", "302 http://web.shop:8080/p?q=1"),
        ("{path: {type: ReplaceFullPath, replaceFullPath: /new}}", "302 http://web.shop/new?q=1"),
    ] {
        assert_eq!(ask(&of(redirect), &get("http://web.shop:80/p?q=1")), location, "{redirect}");
    }
    let by_virtual = table(&virtual_service("{redirect: {scheme: https, uri: /new}}"));
    let answer = ask(&by_virtual, &get("http://web.shop:80/p?q=1"));
    assert_eq!(answer, "301 https://web.shop/new?q=1");
}

#[test]
fn callers_are_told_apart_by_headers_claims_and_labels() {
    let table = table(&virtual_service(
        "{match: [{headers: {x-beta: {exact: 'true'}}}], route: [{destination: {host: v2}}]}, \
         {match: [{headers: {'@request.auth.claims.groups': {exact: testers}}}], route: [{destination: {host: v2}}], rewrite: {uri: /t}}, \
         {match: [{sourceLabels: {app: batch}, withoutHeaders: {x-now: {}}}], directResponse: {status: 429}}, \
         {match: [{queryParams: {debug: {exact: '1'}}, method: {exact: POST}}], fault: {abort: {percentage: {value: 100}, httpStatus: 503}}, route: [{destination: {host: v1}}]}, \
         {route: [{destination: {host: v1}}]}",
    ));
    let beta = Call { headers: &[("x-beta", "true")], ..get("/") };
    assert_eq!(ask(&table, &beta), "v2 /");
    let claims = serde_json::json!({"groups": ["users", "testers"]});
    let tester = Call { claims: claims.as_object().unwrap().clone(), ..get("/x") };
    assert_eq!(ask(&table, &tester), "v2 /tx");
    let labels = || BTreeMap::from([("app".to_owned(), "batch".to_owned())]);
    assert_eq!(ask(&table, &Call { labels: labels(), ..get("/") }), "429");
    let now = Call { labels: labels(), headers: &[("x-now", "1")], ..get("/") };
    assert_eq!(ask(&table, &now), "v1 /");
    assert_eq!(ask(&table, &get("/?debug=1")), "v1 /");
}

#[test]
fn preflight_is_answered_before_any_backend() {
    let table = table(&http_route(
        "shop",
        "{filters: [{type: CORS, cors: {allowOrigins: ['https://*.example.com']}}], backendRefs: [{name: v1, port: 80}]}",
    ));
    let preflight = |headers| Call { method: "OPTIONS", uri: "/", headers, ..Call::default() };
    let allowed =
        preflight(&[("origin", "https://a.example.com"), ("access-control-request-method", "PUT")]);
    assert_eq!(ask(&table, &allowed), "200 Some(\"https://a.example.com\")");
    let refused =
        preflight(&[("origin", "https://example.org"), ("access-control-request-method", "PUT")]);
    assert_eq!(ask(&table, &refused), "200 None");
    assert_eq!(ask(&table, &preflight(&[])), "v1 /");
}

#[test]
fn grpc_methods_are_told_apart() {
    let table = table(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {name: r, namespace: shop}\n\
         spec: {parentRefs: [{group: '', kind: Service, name: web}], rules: [\
           {matches: [{method: {service: pay.Cards, method: Charge}}], backendRefs: [{name: v1, port: 80}]}, \
           {matches: [{method: {service: pay.Cards}}], backendRefs: [{name: v2, port: 80}]}]}\n",
    );
    let post = |uri| Call { method: "POST", ..get(uri) };
    assert_eq!(ask(&table, &post("/pay.Cards/Charge")), "v1 /pay.Cards/Charge");
    assert_eq!(ask(&table, &post("/pay.Cards/Refund")), "v2 /pay.Cards/Refund");
    assert_eq!(ask(&table, &post("/pay.Bank/Charge")), "404");
}
