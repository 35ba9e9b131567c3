//! The keys of an issuer (RFC 7517).

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

use crate::limits::access as limits;

/// Keys that signatures are verified with.
#[derive(Default)]
pub(super) struct Keys(Box<[Key]>);

pub(super) struct Key {
    /// Its name.
    pub(super) id: Option<String>,
    pub(super) key: DecodingKey,
    /// What it may verify.
    algorithms: Box<[Algorithm]>,
}

/// Of RSA, all that keys without an `alg` may be used for (RFC 7518 section 3.1).
const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

impl Keys {
    /// Reads a set. Keys of other kinds and for other uses are left out, symmetric ones above all: whoever can verify with
    /// one can sign with it.
    pub(super) fn read(text: &str) -> Self {
        if text.len() > limits::KEYS_BYTES_MAX {
            return Self::default();
        }
        let set: Value = serde_json::from_str(text).unwrap_or_default();
        let keys = set.get("keys").and_then(Value::as_array).into_iter().flatten();
        Self(keys.filter_map(key).take(limits::KEYS_MAX).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Keys that may have signed a token whose header says this.
    pub(super) fn candidates(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &DecodingKey> {
        let is_named = move |key: &&Key| match (id, &key.id) {
            (Some(id), Some(own)) => id == own,
            _ => true,
        };
        let keys = self.0.iter().filter(is_named);
        keys.filter(move |key| key.algorithms.contains(&algorithm)).map(|key| &key.key)
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

fn key(value: &Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let possible: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => &RSA,
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            &[Algorithm::EdDSA]
        }
        _ => return None,
    };
    // An `alg` that isn't known makes the key one for something else.
    let own = match value.get("alg") {
        None | Some(Value::Null) => possible.to_vec(),
        Some(name) => {
            let own: Algorithm = name.as_str()?.parse().ok()?;
            possible.iter().copied().filter(|it| *it == own).collect()
        }
    };
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    (!own.is_empty()).then(|| Key { id: jwk.common.key_id, key, algorithms: own.into() })
}
