//! From what users write to who may do what: the controller's translation and the waypoint's verdicts together.

use http::{HeaderMap, Request};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use weft_controller::objects::{self, KeySource, Kind, ObjectChange, Pool};
use weft_controller::translate::{FetchedKeys, Settings, Translator};
use weft_core::identity::SpiffeId;
use weft_proto::contract::type_url;
use weft_waypoint::access::{Access, AccessRequest, Level, Step, Verdict, path};

const PAGE: &str = include_str!("../../../docs/access.md");
const ISSUER: &str = "https://accounts.example.com";
const NOW: u64 = 1_800_000_000;

/// All YAML of the page, translated; the issuer's keys have been fetched.
fn stock(key: &EncodingKey) -> Access {
    let blocks = PAGE.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let yaml = blocks.collect::<Vec<_>>().join("---\n");
    let mut pool = Pool::default();
    let changes = yaml.split("---\n").map(|text| {
        let header = objects::header(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let kind = Kind::of(&header.api_version, &header.kind).expect("a known kind");
        let object = objects::read(kind, text, &mut pool);
        let object = object.unwrap_or_else(|error| panic!("{error}: {text}"));
        ObjectChange { key: object.key(), object: Some(object) }
    });
    let mut translator = Translator::new(Settings::standalone());
    translator.apply(changes.collect());
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

/// A request of a service account of the shop, with a token's claims if it has one: the verdict in words.
fn ask(access: &Access, who: &str, method: &str, raw: &str, token: Option<&str>) -> String {
    let Ok(path) = path::normalise(raw, access.level()) else {
        return "400".to_owned();
    };
    let mut request = Request::builder().method(method).uri("/");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let (parts, ()) = request.body(()).expect("a request").into_parts();
    let authenticated = match access.authenticate(&parts, NOW) {
        Ok(authenticated) => authenticated,
        Err(refusal) => return format!("401 {refusal}"),
    };
    let source: SpiffeId =
        format!("spiffe://cluster.local/ns/shop/sa/{who}").parse().expect("an identity");
    let address = std::net::IpAddr::from([10, 0, 0, 1]);
    let asked = AccessRequest {
        source: Some(&source),
        source_ip: address,
        remote_ip: address,
        destination_ip: address,
        destination_port: 80,
        method,
        host: "stock",
        path: &path,
        headers: &HeaderMap::new(),
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
    let pair = rcgen::KeyPair::generate().expect("a key");
    let key = EncodingKey::from_ec_der(&pair.serialize_der());
    let access = stock(&key);
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
        assert_eq!(ask(&access, who, method, path, token), expected, "{who} {method} {path}");
    }
}
