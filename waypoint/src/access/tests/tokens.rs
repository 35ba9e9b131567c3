//! Tokens: which hold, and what they change.

use std::sync::LazyLock;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::request::Parts;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::*;
use crate::access::jwt::Reason;

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://issuer.example";

struct Signer {
    id: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
}

static P256: LazyLock<Signer> = LazyLock::new(|| ec("p256", Algorithm::ES256));
static OTHER: LazyLock<Signer> = LazyLock::new(|| ec("p256", Algorithm::ES256));
static P384: LazyLock<Signer> = LazyLock::new(|| ec("p384", Algorithm::ES384));
static ED: LazyLock<Signer> = LazyLock::new(|| {
    let pair = signature::Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap();
    Signer { id: "ed", algorithm: Algorithm::EdDSA, key: EncodingKey::from_ed_der(pair.as_ref()) }
});
static RSA: LazyLock<Signer> = LazyLock::new(|| {
    let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
    // PKCS #1 inside PKCS #8: behind the 26 bytes of its header.
    let key = EncodingKey::from_rsa_der(&der.as_ref()[26..]);
    Signer { id: "rsa", algorithm: Algorithm::RS256, key }
});

fn ec(id: &'static str, algorithm: Algorithm) -> Signer {
    let curve = match algorithm {
        Algorithm::ES384 => &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
        _ => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
    };
    let pair = signature::EcdsaKeyPair::generate(curve).unwrap();
    let der = pair.to_pkcs8v1().unwrap();
    Signer { id, algorithm, key: EncodingKey::from_ec_der(der.as_ref()) }
}

impl Signer {
    fn jwk(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.id.into());
        serde_json::to_value(jwk).unwrap()
    }

    fn token(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.into()), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }
}

fn claims() -> Value {
    json!({"iss": ISSUER, "sub": "alice", "aud": "shop", "exp": NOW + 600, "nbf": NOW - 600})
}

fn changed(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn provider(keys: &[Value]) -> proto::JwtProvider {
    proto::JwtProvider {
        issuer: ISSUER.into(),
        keys: json!({ "keys": keys }).to_string(),
        ..proto::JwtProvider::default()
    }
}

fn trusting(providers: Vec<proto::JwtProvider>) -> Access {
    decoded(&proto::AccessPolicy { providers, ..message() })
}

fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = http::Request::builder().uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn bearing(token: &str) -> Parts {
    parts("/", &[("authorization", &format!("Bearer {token}"))])
}

fn refusal(access: &Access, token: &str) -> Option<Reason> {
    access.authenticate(&bearing(token), NOW).err().map(|refusal| refusal.reason())
}

#[test]
fn tokens_of_every_supported_algorithm_hold() {
    let signers = [&*P256, &*P384, &*ED, &*RSA];
    let access = trusting(vec![provider(&signers.map(Signer::jwk))]);
    assert_eq!(access.problems(), [""; 0]);
    for signer in signers {
        let found = access.authenticate(&bearing(&signer.token(&claims())), NOW).unwrap();
        let found = found.expect(signer.id);
        assert_eq!(found.principal().as_deref(), Some("https://issuer.example/alice"));
    }
}

#[test]
fn missing_token_is_no_fault_and_one_that_is_there_must_hold() {
    let access = trusting(vec![provider(&[P256.jwk()])]);
    assert!(access.authenticate(&parts("/", &[]), NOW).unwrap().is_none());
    let basic = parts("/", &[("authorization", "Basic eDp5")]);
    assert!(access.authenticate(&basic, NOW).unwrap().is_none());
    assert_eq!(refusal(&access, "opaque"), Some(Reason::Form));
    assert_eq!(refusal(&access, "a.b"), Some(Reason::Form));
    assert_eq!(refusal(&access, "a.b.c.d"), Some(Reason::Form));
    assert_eq!(refusal(&access, "a.b.c"), Some(Reason::Header));
    // Nobody issues tokens: they are the service's own business.
    assert!(trusting(vec![]).authenticate(&bearing("opaque"), NOW).unwrap().is_none());
}

#[test]
fn signature_issuer_audience_and_times_are_checked() {
    let audiences = vec!["shop".to_owned()];
    let trusted = proto::JwtProvider { audiences, ..provider(&[P256.jwk()]) };
    let access = trusting(vec![trusted]);
    let table = [
        (P256.token(&claims()), None),
        (P256.token(&changed("aud", json!(["other", "shop"]))), None),
        (P256.token(&changed("aud", json!("other"))), Some(Reason::Audience)),
        (P256.token(&changed("aud", json!(null))), Some(Reason::Audience)),
        (P256.token(&changed("iss", json!("https://evil.example"))), Some(Reason::IssuerUnknown)),
        (P256.token(&changed("iss", json!(7))), Some(Reason::IssuerUnknown)),
        (P256.token(&changed("exp", json!(NOW - 59))), None),
        (P256.token(&changed("exp", json!(NOW - 61))), Some(Reason::Expired)),
        (P256.token(&changed("exp", json!("never"))), Some(Reason::Time)),
        (P256.token(&changed("nbf", json!(NOW + 59))), None),
        (P256.token(&changed("nbf", json!(NOW + 61))), Some(Reason::NotYetValid)),
        // Same name, other key.
        (OTHER.token(&claims()), Some(Reason::Signature)),
        (ED.token(&claims()), Some(Reason::KeyUnknown)),
    ];
    for (token, expected) in table {
        assert_eq!(refusal(&access, &token), expected, "{token}");
    }
    let token = P256.token(&claims());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let forged = URL_SAFE_NO_PAD.encode(changed("sub", json!("root")).to_string());
    let head = signed.split_once('.').unwrap().0;
    let forged = format!("{head}.{forged}.{signature}");
    assert_eq!(refusal(&access, &forged), Some(Reason::Signature));
    assert_eq!(refusal(&access, &format!("{signed}.")), Some(Reason::Signature));
}

#[test]
fn unsigned_and_symmetric_tokens_are_refused() {
    let secret =
        json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode("secret"), "kid": "p256", "alg": "HS256"});
    let access = trusting(vec![provider(&[P256.jwk(), secret.clone()])]);
    let payload = URL_SAFE_NO_PAD.encode(claims().to_string());
    for algorithm in ["none", "None", "HS256", "", "XY"] {
        let header = json!({"alg": algorithm, "kid": "p256"});
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        for signature in ["", "AAAA"] {
            let token = format!("{header}.{payload}.{signature}");
            assert_eq!(refusal(&access, &token), Some(Reason::Algorithm), "{algorithm}");
        }
    }
    let hmac = EncodingKey::from_secret(b"secret");
    let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(), &hmac).unwrap();
    assert_eq!(refusal(&access, &token), Some(Reason::Algorithm));
    let critical = URL_SAFE_NO_PAD.encode(json!({"alg": "ES256", "crit": ["b64"]}).to_string());
    assert_eq!(refusal(&access, &format!("{critical}.{payload}.AAAA")), Some(Reason::Critical));
    let twice = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","alg":"none"}"#);
    assert_eq!(refusal(&access, &format!("{twice}.{payload}.AAAA")), Some(Reason::Header));
    let only = trusting(vec![provider(&[secret])]);
    assert_eq!(only.problems().len(), 1);
}

/// Istio once used keys that everybody knows where it could fetch none.
#[test]
fn issuer_without_keys_has_its_tokens_refused() {
    for keys in ["", "no JSON", "{}", r#"{"keys": []}"#, r#"{"keys": [{"kty": "RSA"}, 7]}"#] {
        let trusted = proto::JwtProvider { keys: keys.into(), ..provider(&[]) };
        let access = trusting(vec![trusted]);
        assert_eq!(refusal(&access, &P256.token(&claims())), Some(Reason::NoKeys), "{keys}");
    }
}

#[test]
fn key_for_something_else_verifies_nothing() {
    for (name, value) in [("use", "enc"), ("alg", "ECDH-ES"), ("alg", "ES384"), ("crv", "P-521")] {
        let mut key = P256.jwk();
        key[name] = json!(value);
        let access = trusting(vec![provider(&[key])]);
        assert!(refusal(&access, &P256.token(&claims())).is_some(), "{name} {value}");
    }
    let mut unnamed = P256.jwk();
    unnamed["kid"] = Value::Null;
    let mut renamed = P256.jwk();
    renamed["kid"] = json!("other");
    let token = P256.token(&claims());
    assert_eq!(refusal(&trusting(vec![provider(&[unnamed])]), &token), None);
    assert_eq!(refusal(&trusting(vec![provider(&[renamed])]), &token), Some(Reason::KeyUnknown));
}

#[test]
fn tokens_are_found_where_their_issuer_has_them_and_nowhere_else() {
    let own = proto::JwtProvider {
        headers: vec![proto::JwtHeader { name: "X-Token".into(), prefix: "Jwt ".into() }],
        params: vec!["token".into()],
        cookies: vec!["session".into()],
        ..provider(&[P256.jwk()])
    };
    let token = P256.token(&claims());
    let (usual, own) = (trusting(vec![provider(&[P256.jwk()])]), trusting(vec![own]));
    let found = |access: &Access, uri: &str, headers: &[(&str, &str)]| {
        access.authenticate(&parts(uri, headers), NOW).unwrap().is_some()
    };
    let query = |name: &str| format!("/a?x=1&{name}={token}");
    let bearer = format!("bearer {token}");
    assert!(found(&usual, "/", &[("authorization", &bearer)]));
    assert!(found(&usual, &query("access_token"), &[]));
    assert!(!found(&usual, &query("token"), &[]));
    assert!(found(&own, "/", &[("x-token", &format!("Jwt {token}"))]));
    assert!(!found(&own, "/", &[("x-token", &format!("jwt {token}"))]));
    assert!(found(&own, &query("token"), &[]));
    assert!(found(&own, "/", &[("cookie", &format!("a=b; session={token}; c=d"))]));
    assert!(!found(&own, "/", &[("authorization", &bearer)]));
}

#[test]
fn issuer_counts_only_where_its_own_tokens_are() {
    let elsewhere = proto::JwtProvider {
        issuer: "https://other.example".into(),
        headers: vec![proto::JwtHeader { name: "x-token".into(), prefix: String::new() }],
        ..provider(&[P256.jwk()])
    };
    let access = trusting(vec![provider(&[P256.jwk()]), elsewhere]);
    let own = P256.token(&claims());
    let other = P256.token(&changed("iss", json!("https://other.example")));
    let verdict = |headers: &[(&str, &str)]| {
        let outcome = access.authenticate(&parts("/", headers), NOW);
        outcome.map(|it| it.is_some()).map_err(|refusal| refusal.reason())
    };
    assert_eq!(verdict(&[("x-token", &other)]), Ok(true));
    assert_eq!(verdict(&[("x-token", &own)]), Err(Reason::IssuerUnknown));
    assert_eq!(
        verdict(&[("authorization", &format!("Bearer {other}"))]),
        Err(Reason::IssuerUnknown)
    );
    // Which of the two would rules mean?
    let both = [("authorization", &*format!("Bearer {own}")), ("x-token", &*other)];
    assert_eq!(verdict(&both), Err(Reason::Several));
}

#[test]
fn second_token_cannot_hide_behind_a_sound_one() {
    let access = trusting(vec![provider(&[P256.jwk()])]);
    let sound = format!("Bearer {}", P256.token(&claims()));
    let forged = format!("Bearer {}", OTHER.token(&claims()));
    let request = parts("/", &[("authorization", &sound), ("authorization", &forged)]);
    assert!(access.authenticate(&request, NOW).is_err());
    let twice = parts("/", &[("authorization", &sound), ("authorization", &sound)]);
    assert!(access.authenticate(&twice, NOW).unwrap().is_some());
    let many: Vec<_> = (0..20).map(|_| ("authorization", &*sound)).collect();
    assert!(access.authenticate(&parts("/", &many), NOW).is_err());
}

#[test]
fn token_is_taken_out_and_its_claims_are_handed_on_as_asked() {
    let handing = |forward| proto::JwtProvider {
        forward,
        payload_header: "x-payload".into(),
        claim_headers: [
            ("x-sub", vec!["sub"]),
            ("x-team", vec!["org", "team"]),
            ("x-none", vec!["no"]),
        ]
        .into_iter()
        .map(|(header, claim)| proto::ClaimHeader {
            header: header.into(),
            claim: claim.into_iter().map(str::to_owned).collect(),
        })
        .collect(),
        ..provider(&[P256.jwk()])
    };
    let token = P256.token(&changed("org", json!({"team": 7})));
    let access = trusting(vec![handing(false)]);
    let names: Vec<_> = access.token_headers().iter().map(http::HeaderName::as_str).collect();
    assert_eq!(names, ["x-payload", "x-sub", "x-team", "x-none"]);
    let found = access.authenticate(&bearing(&token), NOW).unwrap().unwrap();
    let set: Vec<_> = found
        .set_headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    let payload = token.split('.').nth(1).unwrap();
    assert_eq!(set, [("x-payload", payload), ("x-sub", "alice"), ("x-team", "7")]);
    assert_eq!(found.remove_headers(), [http::header::AUTHORIZATION]);
    let query = format!("a=1&access_token={token}&b=2");
    let found = access.authenticate(&parts(&format!("/?{query}"), &[]), NOW).unwrap().unwrap();
    assert_eq!(found.query_without_token(&query).as_deref(), Some("a=1&b=2"));
    let kept = trusting(vec![handing(true)]).authenticate(&bearing(&token), NOW).unwrap().unwrap();
    assert!(kept.remove_headers().is_empty() && kept.query_without_token(&query).is_none());
}

#[test]
fn refusal_says_why_as_envoy_does() {
    let access = trusting(vec![provider(&[P256.jwk()])]);
    let token = P256.token(&changed("exp", json!(NOW - 3600)));
    let refusal = access.authenticate(&bearing(&token), NOW).unwrap_err();
    assert_eq!(refusal.status(), 401);
    assert_eq!(refusal.to_string(), "Jwt is expired");
    assert_eq!(refusal.details(), "jwt_authn_access_denied{Jwt_is_expired}");
    assert_eq!(
        refusal.www_authenticate("http", "stock:80", "/a\"b"),
        r#"Bearer realm="http://stock:80/ab", error="invalid_token""#
    );
}

#[test]
fn token_is_trusted_for_as_long_as_its_issuer_is() {
    let access = trusting(vec![provider(&[P256.jwk()])]);
    let found = access.authenticate(&bearing(&P256.token(&claims())), NOW).unwrap().unwrap();
    assert!(access.trusts(&found));
    assert!(trusting(vec![provider(&[OTHER.jwk()])]).trusts(&found), "keys may change");
    let other = proto::JwtProvider { issuer: "https://other.example".into(), ..provider(&[]) };
    assert!(!trusting(vec![other]).trusts(&found));
    assert!(!Access::refusing("no policy").trusts(&found));
}
