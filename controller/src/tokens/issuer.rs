//! Issues and verifies tokens with the mesh's token key (ES256, RFC 7518 section 3.4).

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rand::RngExt;
use rcgen::KeyPair;
use weft_core::clock;
use weft_core::join_token::JoinToken;
use weft_proto::contract::TOKEN_AUDIENCE;

use super::claims::{
    Bound, Claims, Reference, check_node_name, check_object_name, check_time, invalid,
};
use super::{Caller, Component, TokenError};
use crate::serving_limits::{
    AGENT_TOKEN_TTL, JOIN_TOKEN_TTL_MAX, LEAF_TTL_MIN, TOKEN_BYTES_MAX, TOKEN_TTL,
};
use crate::state_dir::StateDir;

const KEY_FILE: &str = "token-key.pem";
const JOIN_AUDIENCE: &str = "weft-join";
const JOIN_SUBJECT: &str = "weft:join";

/// A fresh token.
#[derive(Clone)]
pub struct IssuedToken {
    /// The token. A secret.
    pub token: String,
    /// Unix seconds.
    pub expires_at: u64,
}

/// Issues the mesh's tokens and verifies them.
pub struct TokenIssuer {
    encoding: EncodingKey,
    decoding: DecodingKey,
    issuer: String,
    root_namespace: String,
}

impl TokenIssuer {
    /// Reads the key from the state folder, and makes one on the first start.
    pub fn open(state: &StateDir, issuer: &str, root_namespace: &str) -> Result<Self, TokenError> {
        let key = match state.read_text(KEY_FILE)? {
            Some(pem) => parse_key(&pem)?,
            None => {
                let key = KeyPair::generate().map_err(|e| key_error("can't be made", &e))?;
                state.write(KEY_FILE, key.serialize_pem().as_bytes())?;
                key
            }
        };
        Self::with_key(&key, issuer, root_namespace)
    }

    /// As [`TokenIssuer::open`], but a missing key is an error: a folder that no controller has used yet must not
    /// get a key by asking for a token.
    pub fn open_existing(
        state: &StateDir,
        issuer: &str,
        root_namespace: &str,
    ) -> Result<Self, TokenError> {
        let pem = state.read_text(KEY_FILE)?.ok_or_else(|| {
            TokenError::Key("is missing: start the controller with this state folder first".into())
        })?;
        Self::with_key(&parse_key(&pem)?, issuer, root_namespace)
    }

    fn with_key(key: &KeyPair, issuer: &str, root_namespace: &str) -> Result<Self, TokenError> {
        let encoding = EncodingKey::from_ec_pem(key.serialize_pem().as_bytes())
            .map_err(|e| key_error("can't sign", &e))?;
        let decoding = DecodingKey::from_ec_pem(key.public_key_pem().as_bytes())
            .map_err(|e| key_error("can't verify", &e))?;
        Ok(Self {
            encoding,
            decoding,
            issuer: issuer.to_owned(),
            root_namespace: root_namespace.to_owned(),
        })
    }

    /// A token for `component` of `node`.
    pub fn issue(&self, component: Component, node: &str) -> Result<IssuedToken, TokenError> {
        check_node_name(node)?;
        let account = component.service_account();
        let namespace = &self.root_namespace;
        let bound = Bound {
            namespace: namespace.clone(),
            node: Some(Reference::derived("Node", node)),
            pod: Some(Reference::derived("Pod", &format!("{account}-{node}"))),
            serviceaccount: Some(Reference::derived("ServiceAccount", account)),
        };
        let subject = format!("system:serviceaccount:{namespace}:{account}");
        let ttl = match component {
            Component::Agent => AGENT_TOKEN_TTL,
            Component::Ztunnel => TOKEN_TTL,
        };
        self.sign(subject, TOKEN_AUDIENCE, (bound, None), ttl)
    }

    /// A token for the instances of a waypoint: they are `account` of the Gateway's namespace, and are told what concerns
    /// the services that the waypoint stands before.
    pub fn issue_waypoint(
        &self,
        (namespace, name): (&str, &str),
        account: &str,
        ttl: Duration,
    ) -> Result<IssuedToken, TokenError> {
        for part in [namespace, name, account] {
            check_object_name(part)?;
        }
        if ttl < LEAF_TTL_MIN || ttl > JOIN_TOKEN_TTL_MAX {
            return Err(TokenError::Validity);
        }
        let bound = Bound {
            namespace: namespace.to_owned(),
            node: None,
            pod: None,
            serviceaccount: Some(Reference { name: account.to_owned(), uid: None }),
        };
        let subject = format!("system:serviceaccount:{namespace}:{account}");
        self.sign(subject, TOKEN_AUDIENCE, (bound, Some(name.to_owned())), ttl)
    }

    /// A fresh token for who holds a waypoint's.
    pub fn renew_waypoint(&self, caller: &Caller) -> Result<IssuedToken, TokenError> {
        let name = caller.waypoint.as_deref().and_then(|full| full.split_once('/'));
        let name = name.ok_or_else(|| invalid("it is no waypoint's"))?;
        self.issue_waypoint(name, &caller.service_account, TOKEN_TTL)
    }

    /// A token with which `node` joins, once or again, for as long as it is valid.
    pub(super) fn issue_join(&self, node: &str, ttl: Duration) -> Result<IssuedToken, TokenError> {
        check_node_name(node)?;
        if ttl < LEAF_TTL_MIN || ttl > JOIN_TOKEN_TTL_MAX {
            return Err(TokenError::Validity);
        }
        let bound = Bound {
            namespace: self.root_namespace.clone(),
            node: Some(Reference { name: node.to_owned(), uid: None }),
            pod: None,
            serviceaccount: None,
        };
        self.sign(JOIN_SUBJECT.to_owned(), JOIN_AUDIENCE, (bound, None), ttl)
    }

    /// Who presents `token`. A waypoint's may come with the root's hash, as it was given out: its file serves as it is.
    pub fn verify(&self, token: &str) -> Result<Caller, TokenError> {
        let line = token.parse::<JoinToken>().ok();
        let token = line.as_ref().map_or(token, JoinToken::token);
        Caller::from_claims(&self.claims(token, TOKEN_AUDIENCE)?)
    }

    /// Which node may join with `token`.
    pub(super) fn verify_join(&self, token: &str) -> Result<String, TokenError> {
        let claims = self.claims(token, JOIN_AUDIENCE)?;
        if claims.sub != JOIN_SUBJECT {
            return Err(invalid("it is no join token"));
        }
        let node = claims.bound.node.ok_or_else(|| invalid("it names no node"))?.name;
        check_node_name(&node)?;
        Ok(node)
    }

    fn sign(
        &self,
        subject: String,
        audience: &str,
        (bound, waypoint): (Bound, Option<String>),
        ttl: Duration,
    ) -> Result<IssuedToken, TokenError> {
        let now = clock::unix_seconds();
        let claims = Claims {
            iss: self.issuer.clone(),
            sub: subject,
            aud: vec![audience.to_owned()],
            exp: now + ttl.as_secs(),
            iat: now,
            nbf: now,
            jti: format!("{:032x}", rand::rng().random::<u128>()),
            bound,
            waypoint,
        };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &self.encoding)
            .map_err(|e| key_error("can't sign", &e))?;
        Ok(IssuedToken { token, expires_at: claims.exp })
    }

    fn claims(&self, token: &str, audience: &str) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(invalid("it is too long"));
        }
        let mut rules = Validation::new(Algorithm::ES256);
        rules.set_issuer(&[&self.issuer]);
        rules.set_audience(&[audience]);
        rules.set_required_spec_claims(&["iss", "sub", "aud", "exp", "nbf"]);
        // The library reads the system's clock and allows a minute; ours can be moved by a test and allows none.
        rules.validate_exp = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &rules)
            .map_err(|error| TokenError::Invalid(error.to_string()))?
            .claims;
        check_time(&claims, clock::unix_seconds())?;
        Ok(claims)
    }
}

fn parse_key(pem: &str) -> Result<KeyPair, TokenError> {
    let key = KeyPair::from_pem(pem).map_err(|e| key_error("can't be read", &e))?;
    if key.algorithm() != &rcgen::PKCS_ECDSA_P256_SHA256 {
        return Err(TokenError::Key("is not a P-256 key".into()));
    }
    Ok(key)
}

fn key_error(what: &str, error: &dyn std::error::Error) -> TokenError {
    TokenError::Key(format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
    use serde_json::json;

    use super::*;

    struct Fixture {
        _folder: tempfile::TempDir,
        state: StateDir,
        issuer: TokenIssuer,
    }

    fn fixture() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(&folder.path().join("state")).unwrap();
        let issuer = TokenIssuer::open(&state, "https://mesh.test", "istio-system").unwrap();
        Fixture { _folder: folder, state, issuer }
    }

    fn claims(now: u64) -> serde_json::Value {
        json!({
            "iss": "https://mesh.test", "sub": "system:serviceaccount:istio-system:ztunnel",
            "aud": ["istio-ca"], "exp": now + 60, "iat": now, "nbf": now, "jti": "x",
            "kubernetes.io": {"namespace": "istio-system", "node": {"name": "node1"},
                              "serviceaccount": {"name": "ztunnel"}},
        })
    }

    fn signed(fixture: &Fixture, claims: &serde_json::Value) -> String {
        let header = Header::new(Algorithm::ES256);
        jsonwebtoken::encode(&header, claims, &fixture.issuer.encoding).unwrap()
    }

    #[test]
    fn issued_token_names_its_component_and_node() {
        let fixture = fixture();
        let issued = fixture.issuer.issue(Component::Ztunnel, "node1").unwrap();
        let caller = fixture.issuer.verify(&issued.token).unwrap();
        assert!(caller.is(Component::Ztunnel, "istio-system"));
        assert!(!caller.is(Component::Agent, "istio-system"));
        assert!(!caller.is(Component::Ztunnel, "other"));
        assert_eq!(caller.node.as_deref(), Some("node1"));
        assert_eq!(caller.expires_at, issued.expires_at);
    }

    #[test]
    fn token_survives_a_restart_and_another_mesh_refuses_it() {
        let first = fixture();
        let token = first.issuer.issue(Component::Agent, "node1").unwrap().token;
        let again = TokenIssuer::open(&first.state, "https://mesh.test", "istio-system").unwrap();
        assert!(again.verify(&token).is_ok());
        assert!(fixture().issuer.verify(&token).is_err());
    }

    #[test]
    fn each_wrong_claim_alone_is_refused() {
        let fixture = fixture();
        let now = clock::unix_seconds();
        assert!(fixture.issuer.verify(&signed(&fixture, &claims(now))).is_ok());
        for (pointer, value) in [
            ("/iss", json!("https://other.test")),
            ("/iss", json!(["https://mesh.test2"])),
            ("/aud", json!(["weft-join"])),
            ("/aud", json!([])),
            ("/sub", json!("system:serviceaccount:istio-system:admin")),
            ("/exp", json!(now - 1)),
            ("/exp", json!("never")),
            ("/nbf", json!(now + 600)),
            ("/iat", json!(now + 600)),
            ("/kubernetes.io/serviceaccount", json!(null)),
            ("/kubernetes.io", json!(null)),
        ] {
            let mut bad = claims(now);
            *bad.pointer_mut(pointer).unwrap() = value.clone();
            let verdict = fixture.issuer.verify(&signed(&fixture, &bad));
            assert!(verdict.is_err(), "{pointer} = {value} was accepted");
        }
        for claim in ["iss", "sub", "aud", "exp", "nbf"] {
            let mut bad = claims(now);
            bad.as_object_mut().unwrap().remove(claim);
            assert!(fixture.issuer.verify(&signed(&fixture, &bad)).is_err(), "no {claim}");
        }
    }

    #[test]
    fn other_algorithms_are_refused_whatever_they_are_signed_with() {
        let fixture = fixture();
        let now = clock::unix_seconds();
        let body = BASE64.encode(claims(now).to_string());
        for alg in ["none", "None", "NONE", "HS256", "RS256", "ES384", ""] {
            let head = BASE64.encode(json!({"alg": alg, "typ": "JWT"}).to_string());
            for signature in ["", "AAAA"] {
                let token = format!("{head}.{body}.{signature}");
                assert!(fixture.issuer.verify(&token).is_err(), "{alg:?} was accepted");
            }
        }
        // The classic confusion: the public key, which is no secret, as an HMAC secret.
        let pem = fixture.state.read_text(KEY_FILE).unwrap().unwrap();
        let public = parse_key(&pem).unwrap().public_key_pem();
        let secret = EncodingKey::from_secret(public.as_bytes());
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(now), &secret);
        assert!(fixture.issuer.verify(&token.unwrap()).is_err());
    }

    #[test]
    fn damaged_and_oversized_tokens_are_refused() {
        let fixture = fixture();
        let token = fixture.issuer.issue(Component::Agent, "node1").unwrap().token;
        for end in [0, 1, token.len() / 2, token.len() - 1] {
            assert!(fixture.issuer.verify(token.get(..end).unwrap()).is_err());
        }
        assert!(fixture.issuer.verify(&format!("{token}A")).is_err());
        assert!(fixture.issuer.verify(&"a".repeat(TOKEN_BYTES_MAX + 1)).is_err());
        assert!(fixture.issuer.verify("..").is_err());
    }

    #[test]
    fn asking_an_unused_folder_for_a_token_makes_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(&folder.path().join("state")).unwrap();
        assert!(TokenIssuer::open_existing(&state, "i", "n").is_err());
        assert_eq!(state.read(KEY_FILE).unwrap(), None);
    }
}
