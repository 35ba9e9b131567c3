//! From what users write to who may do what: the controller's translation and the waypoint's verdicts together.

use http::Request;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use weft_controller::objects::KeySource;
use weft_controller::translate::FetchedKeys;
use weft_core::identity::SpiffeId;
use weft_proto::contract::type_url;
use weft_waypoint::access::{Access, AccessRequest, Level, Step, Verdict, path};

use super::support::{objects, translated};

const PAGE: &str = include_str!("../../../../docs/access.md");
const ISSUER: &str = "https://accounts.example.com";
const NOW: u64 = 1_800_000_000;

/// The page's blocks of YAML.
fn page() -> String {
    let blocks = PAGE.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.collect::<Vec<_>>().join("---\n")
}

/// Documents, translated; the issuer's keys have been fetched.
fn stock(yaml: &str, key: &EncodingKey) -> Access {
    let mut translator = translated(objects(yaml.split("---\n")));
    let jwk = Jwk::from_encoding_key(key, Algorithm::ES256).expect("a key");
    let keys = Some(json!({ "keys": [jwk] }).to_string().into());
    let source = KeySource::Uri(format!("{ISSUER}/keys").into());
    assert!(translator.key_sources().contains_key(&source));
    translator.set_keys(source, FetchedKeys { keys, error: None });
    let name = "shop/stock.shop.svc.cluster.local";
    let resources = translator.resources();
    let bytes = resources.get(&(type_url::ACCESS_POLICY, name.into())).expect("a policy");
    let access = Access::decode(name, bytes);
    assert_eq!(access.problems(), [""; 0]);
    access
}

fn signing_key() -> EncodingKey {
    let pair = rcgen::KeyPair::generate().expect("a key");
    EncodingKey::from_ec_der(&pair.serialize_der())
}

/// A request of a workload, with a token if it has one.
#[derive(Clone, Copy)]
struct Call<'a> {
    /// Namespace and service account.
    who: (&'a str, &'a str),
    method: &'a str,
    path: &'a str,
    host: &'a str,
    header: Option<(&'static str, &'static str)>,
    token: Option<&'a str>,
    ip: [u8; 4],
}

fn call<'a>(who: (&'a str, &'a str), method: &'a str, path: &'a str) -> Call<'a> {
    Call { who, method, path, host: "stock", header: None, token: None, ip: [10, 0, 0, 1] }
}

/// The verdict in words.
fn ask(access: &Access, call: Call<'_>) -> String {
    let Ok(path) = path::normalise(call.path, access.level()) else {
        return "400".to_owned();
    };
    let mut request = Request::builder().method(call.method).uri("/");
    if let Some(token) = call.token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    if let Some((name, value)) = call.header {
        request = request.header(name, value);
    }
    let (parts, ()) = request.body(()).expect("a request").into_parts();
    let authenticated = match access.authenticate(&parts, NOW) {
        Ok(authenticated) => authenticated,
        Err(refusal) => return format!("401 {refusal}"),
    };
    let (namespace, account) = call.who;
    let source: SpiffeId =
        format!("spiffe://cluster.local/ns/{namespace}/sa/{account}").parse().expect("an identity");
    let asked = AccessRequest {
        source: Some(&source),
        source_ip: call.ip.into(),
        remote_ip: call.ip.into(),
        destination_ip: [10, 96, 0, 9].into(),
        destination_port: 80,
        method: call.method,
        host: call.host,
        path: &path,
        headers: &parts.headers,
        authenticated: authenticated.as_ref(),
        sni: None,
    };
    match access.evaluate(&asked, Step::default(), &mut Vec::new()) {
        Verdict::Allow => "allow".to_owned(),
        Verdict::Deny(denial) => denial.to_string(),
        Verdict::Check { checker, .. } => format!("check {}", checker.name),
    }
}

#[test]
fn yaml_of_the_page_means_what_it_says() {
    let key = signing_key();
    let access = stock(&page(), &key);
    assert_eq!(access.level(), Level::MergeSlashes);
    let names: Vec<_> = access.token_headers().iter().map(http::HeaderName::as_str).collect();
    assert_eq!(names, ["x-user"]);
    let token = |audience: &str, groups: &[&str]| {
        let claims = json!({"iss": ISSUER, "sub": "alice", "aud": audience, "groups": groups, "exp": NOW + 60});
        jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &key).expect("a token")
    };
    let (admin, plain) = (token("stock", &["admins", "all"]), token("stock", &["all"]));
    let other = token("other", &["admins"]);
    let none = "rbac_access_denied_matched_policy[none]";
    let table: [(&str, &str, &str, Option<&str>, &str); 13] = [
        ("web", "GET", "/stock", None, "allow"),
        ("web", "GET", "/stock/7", None, "allow"),
        ("web", "GET", "/stock//7", None, "allow"),
        ("web", "GET", "/stock/7/parts", None, none),
        ("web", "POST", "/stock", None, none),
        ("other", "GET", "/stock", None, none),
        (
            "web",
            "GET",
            "/stock/../admin",
            Some(&admin),
            "rbac_access_denied_matched_policy[ns[shop]-policy[no-admin]-rule[0]]",
        ),
        ("web", "GET", "/stock/..%2fadmin", None, "400"),
        ("other", "DELETE", "/stock/7", Some(&admin), "allow"),
        ("other", "DELETE", "/stock/7", Some(&plain), none),
        ("other", "DELETE", "/stock/7", None, none),
        ("web", "GET", "/stock", Some(&other), "401 Audiences in Jwt are not allowed"),
        ("web", "GET", "/stock/export", None, "check gatekeeper"),
    ];
    for (who, method, path, token, expected) in table {
        let call = Call { token, ..call(("shop", who), method, path) };
        assert_eq!(ask(&access, call), expected, "{who} {method} {path}");
    }
}

/// Policies of Istio's own documentation (its reference of AuthorizationPolicy and its tasks), attached to a service: spec without
/// `targetRefs`, then calls and whether each gets in.
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn policies_of_istios_documentation_decide_as_it_says() {
    let key = signing_key();
    let token = |groups: &[&str]| {
        let claims = json!({"iss": ISSUER, "sub": "alice", "aud": "stock", "groups": groups});
        jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &key).expect("a token")
    };
    let (one, two) = (token(&["group1", "group2"]), token(&["group3"]));
    let web = ("shop", "web");
    let get = |path| call(web, "GET", path);
    let table: Vec<(&str, Vec<(Call<'_>, bool)>)> = vec![
        ("", vec![(get("/"), false)]),
        ("rules: [{}]", vec![(get("/"), true)]),
        ("action: DENY\n  rules: [{}]", vec![(get("/"), false)]),
        (
            "action: DENY\n  rules: [{from: [{source: {notNamespaces: [shop]}}]}]",
            vec![(get("/"), true), (call(("dev", "web"), "GET", "/"), false)],
        ),
        (
            "rules: [{to: [{operation: {paths: [/test/*, '*/info']}}]}]",
            vec![
                (get("/test/a"), true),
                (get("/any/info"), true),
                (get("/test"), false),
                (get("/any/info/"), false),
            ],
        ),
        (
            "rules: [{to: [{operation: {methods: [GET, HEAD]}}]}]",
            vec![(get("/"), true), (call(web, "POST", "/"), false)],
        ),
        (
            "action: DENY\n  rules: [{to: [{operation: {notPaths: [/healthz]}}], from: [{source: {notRequestPrincipals: ['*']}}]}]",
            vec![
                (get("/healthz"), true),
                (get("/stock"), false),
                (Call { token: Some(&one), ..get("/stock") }, true),
            ],
        ),
        (
            "rules: [{from: [{source: {requestPrincipals: ['https://accounts.example.com/alice']}}], when: [{key: 'request.auth.claims[groups]', values: [group1]}]}]",
            vec![
                (Call { token: Some(&one), ..get("/") }, true),
                (Call { token: Some(&two), ..get("/") }, false),
                (get("/"), false),
            ],
        ),
        (
            "rules: [{when: [{key: 'request.headers[version]', values: [v1, v2]}]}]",
            vec![
                (Call { header: Some(("version", "v2")), ..get("/") }, true),
                (Call { header: Some(("version", "v3")), ..get("/") }, false),
                (get("/"), false),
            ],
        ),
        (
            "action: DENY\n  rules: [{to: [{operation: {hosts: [test.com, '*.test.com']}}]}]",
            vec![
                (Call { host: "TEST.com", ..get("/") }, false),
                (Call { host: "test.com:8080", ..get("/") }, false),
                (Call { host: "a.test.com", ..get("/") }, false),
                (Call { host: "test.com.evil", ..get("/") }, true),
            ],
        ),
        (
            "rules: [{from: [{source: {ipBlocks: [203.0.113.0/24], notIpBlocks: [203.0.113.7]}}]}]",
            vec![
                (Call { ip: [203, 0, 113, 9], ..get("/") }, true),
                (Call { ip: [203, 0, 113, 7], ..get("/") }, false),
                (get("/"), false),
            ],
        ),
        (
            "rules: [{from: [{source: {principals: ['*']}}], to: [{operation: {ports: ['80']}}]}]",
            vec![(get("/"), true)],
        ),
        (
            "rules: [{to: [{operation: {paths: ['/foo/{*}', '/bar/{**}/', '/{*}/baz/{**}/x']}}]}]",
            vec![
                (get("/foo/bar"), true),
                (get("/foo/bar/baz"), false),
                (get("/bar/a/b/"), true),
                (get("/bar/a"), false),
                (get("/q/baz/a/b/x"), true),
                (get("/q/baz/x/y"), false),
            ],
        ),
    ];
    let page = page();
    let (mesh, rest) = page.split_at(page.find("---\napiVersion: security").expect("policies"));
    let tokens = rest.split("---\n").find(|text| text.contains("kind: RequestAuthentication"));
    let tokens = tokens.expect("issuers");
    for (spec, calls) in table {
        let policy = format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: p, namespace: shop}}\n\
             spec:\n  targetRefs: [{{group: '', kind: Service, name: stock}}]\n  {spec}\n"
        );
        let access = stock(&[mesh, tokens, &policy].join("---\n"), &key);
        for (call, is_allowed) in calls {
            let verdict = ask(&access, call);
            assert_eq!(verdict == "allow", is_allowed, "{spec}: {} {verdict}", call.path);
        }
    }
}
