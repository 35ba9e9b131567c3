//! One token: its parts, its signature, its times.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::claims::audiences;
use super::keys::Keys;
use super::refusal::Reason;
use crate::limits::access as limits;

/// A token that was taken apart. Nothing that it says is true yet.
pub(super) struct Unverified<'a> {
    /// Header and payload as they were signed.
    signed: &'a str,
    signature: &'a str,
    algorithm: Algorithm,
    key_id: Option<String>,
    claims: Map<String, Value>,
}

impl<'a> Unverified<'a> {
    pub(super) fn read(token: &'a str) -> Result<Self, Reason> {
        if token.len() > limits::TOKEN_BYTES_MAX {
            return Err(Reason::Long);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Reason::Form)?;
        let (header, payload) = signed.split_once('.').ok_or(Reason::Form)?;
        if payload.contains('.') {
            return Err(Reason::Form);
        }
        let header = object(header).ok_or(Reason::Header)?;
        let claims = object(payload).ok_or(Reason::Payload)?;
        // RFC 7515 section 4.1.11: extensions that have to be understood.
        if header.contains_key("crit") {
            return Err(Reason::Critical);
        }
        let algorithm = header.get("alg").and_then(Value::as_str).ok_or(Reason::Algorithm)?;
        let algorithm = algorithm.parse().ok().filter(|it| is_asymmetric(*it));
        let key_id = match header.get("kid") {
            None => None,
            Some(id) => Some(id.as_str().ok_or(Reason::Header)?.to_owned()),
        };
        let algorithm = algorithm.ok_or(Reason::Algorithm)?;
        Ok(Self { signed, signature, algorithm, key_id, claims })
    }

    /// Who says to have issued it.
    pub(super) fn issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }

    /// Whether one of `keys` signed it for one of `wanted`, and it is in force at `now`, seconds since 1970.
    pub(super) fn verify(&self, keys: &Keys, wanted: &[Box<str>], now: u64) -> Result<(), Reason> {
        // What costs nothing first.
        self.check_times(now)?;
        let is_wanted = |audience: &str| wanted.iter().any(|own| **own == *audience);
        if !wanted.is_empty() && !audiences(&self.claims).any(is_wanted) {
            return Err(Reason::Audience);
        }
        if keys.is_empty() {
            return Err(Reason::NoKeys);
        }
        let mut refusal = Reason::KeyUnknown;
        for key in keys.candidates(self.key_id.as_deref(), self.algorithm) {
            let signed = self.signed.as_bytes();
            match jsonwebtoken::crypto::verify(self.signature, signed, key, self.algorithm) {
                Ok(true) => return Ok(()),
                Ok(false) | Err(_) => refusal = Reason::Signature,
            }
        }
        Err(refusal)
    }

    pub(super) fn into_claims(self) -> Map<String, Value> {
        self.claims
    }

    /// `exp` and `nbf` may be missing, but not be something else than times.
    fn check_times(&self, now: u64) -> Result<(), Reason> {
        let time = |name| match self.claims.get(name) {
            None => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or(Reason::Time),
        };
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^53")]
        let (now, skew) = (now as f64, limits::CLOCK_SKEW_SECONDS as f64);
        if time("exp")?.is_some_and(|expiry| now > expiry + skew) {
            return Err(Reason::Expired);
        }
        if time("nbf")?.is_some_and(|start| now + skew < start) {
            return Err(Reason::NotYetValid);
        }
        Ok(())
    }
}

/// Also `none`, which the library has no name for.
fn is_asymmetric(algorithm: Algorithm) -> bool {
    !matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512)
}

/// A JSON object in base64url. One with a name twice is refused: readers differ in which of the two they take.
fn object(text: &str) -> Option<Map<String, Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let unique: super::unique::UniqueObject = serde_json::from_slice(&bytes).ok()?;
    Some(unique.0)
}
