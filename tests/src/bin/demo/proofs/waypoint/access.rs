//! Who may do what.

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Value, json};

use crate::depot::{STOCK, object};
use crate::proofs::Temporary;
use crate::shop::Shop;

const ISSUER: &str = "issuer@shop.example";

fn stock() -> Value {
    json!([{"group": "", "kind": "Service", "name": "stock"}])
}

/// Web may GET /stock, and nothing else; nobody else may anything.
pub(crate) fn get_is_allowed_and_delete_refused(shop: &Shop) -> Result<String> {
    let policy = json!({
        "targetRefs": stock(),
        "action": "ALLOW",
        "rules": [{
            "from": [{"source": {"principals": ["cluster/ns/front/sa/web"]}}],
            "to": [{"operation": {"methods": ["GET"], "paths": ["/stock"]}}],
        }],
    });
    let policy = object("security.istio.io/v1", "AuthorizationPolicy", "stock-readers", &policy);
    let _policy = Temporary::write(&shop.mesh, "policy-stock", &policy)?;
    let delete = ["--method", "DELETE"];
    shop.settled("the policy", &delete, |status, _| status == 403)?;
    let web = shop.role("web")?;
    let (get, answer) = shop.ask(&web, STOCK, &[])?;
    ensure!(get == 200, "GET /stock by web: {answer}");
    let (other, _) = shop.ask(&web, "http://stock.depot/orders", &[])?;
    let (refused, answer) = shop.ask(&web, STOCK, &delete)?;
    let intruder = shop.role("intruder")?;
    let (stranger, _) = shop.ask(&intruder, STOCK, &[])?;
    ensure!((other, refused, stranger) == (403, 403, 403), "{other} {refused} {stranger}");
    let body = answer.get("body").and_then(Value::as_str).unwrap_or_default();
    let (round, _) = shop.ask(&web, "http://stock-v1.depot/stock", &[])?;
    ensure!(round == 0, "round the waypoint: {round}");
    Ok(format!(
        "web: GET /stock 200, DELETE {refused} ({body}), GET /orders {other}; intruder {stranger}; straight to the pods, round the waypoint: no connection"
    ))
}

/// With a token of the issuer 200, without one 403, with a forged one 401.
pub(crate) fn only_tokens_of_the_issuer_pass(shop: &Shop) -> Result<String> {
    let (key, forger) = (KeyPair::generate()?, KeyPair::generate()?);
    let authentication = json!({
        "targetRefs": stock(),
        "jwtRules": [{"issuer": ISSUER, "jwks": key_set(&key)?}],
    });
    let needed = json!({
        "targetRefs": stock(),
        "action": "ALLOW",
        "rules": [{"from": [{"source": {"requestPrincipals": [format!("{ISSUER}/*")]}}]}],
    });
    let api = "security.istio.io/v1";
    let written = [
        ("authentication-stock", object(api, "RequestAuthentication", "stock", &authentication)),
        ("policy-stock-token", object(api, "AuthorizationPolicy", "stock-token", &needed)),
    ];
    let _written = written
        .iter()
        .map(|(name, yaml)| Temporary::write(&shop.mesh, name, yaml))
        .collect::<Result<Vec<_>>>()?;
    let web = shop.role("web")?;
    shop.settled("the policy", &[], |status, _| status == 403)?;
    let with = |key: &KeyPair| -> Result<u64> {
        let header = format!("authorization: Bearer {}", token(key)?);
        Ok(shop.ask(&web, STOCK, &["--header", &header])?.0)
    };
    let (good, forged) = (with(&key)?, with(&forger)?);
    ensure!((good, forged) == (200, 401), "{good} {forged}");
    Ok(format!("with a token of {ISSUER} {good}, without any 403, with a forged one {forged}"))
}

fn token(key: &KeyPair) -> Result<String> {
    let now = jsonwebtoken::get_current_timestamp();
    let claims = json!({"iss": ISSUER, "sub": "clerk", "exp": now + 600});
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some("demo".to_owned());
    let key = EncodingKey::from_ec_pem(key.serialize_pem().as_bytes())?;
    Ok(jsonwebtoken::encode(&header, &claims, &key)?)
}

/// RFC 7517, with the key's point as RFC 7518, section 6.2.1, has it.
fn key_set(key: &KeyPair) -> Result<String> {
    // SEC 1, section 2.3.3: 4, x, y.
    let point = key.der_bytes();
    let coordinate = |from: usize| {
        let bytes = point.get(from..from + 32).context("no point of P-256")?;
        Ok::<_, anyhow::Error>(URL_SAFE_NO_PAD.encode(bytes))
    };
    let key = json!({
        "kty": "EC", "crv": "P-256", "kid": "demo", "alg": "ES256",
        "x": coordinate(1)?, "y": coordinate(33)?,
    });
    Ok(json!({"keys": [key]}).to_string())
}
