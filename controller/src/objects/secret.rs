//! Secrets with what a waypoint proves itself with to endpoints, and whom it trusts there (`credentialName` of a
//! DestinationRule).
//!
//! Keys are those that Istio reads: `cert`, `key` and `cacert`, or `tls.crt`, `tls.key` and `ca.crt`; of a pair the first that
//! is whole. Of what else a Secret holds nothing is kept. What is wrong is said without a word of what is there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use weft_core::tls::provider;
use zeroize::Zeroizing;

use super::fields::{self, FieldError};
use super::limits::{CA_BYTES_MAX, CHAIN_BYTES_MAX, KEY_BYTES_MAX, REVOKED_BYTES_MAX};
use super::meta::{Meta, RawMeta};
use super::pool::Pool;
use crate::ca::pem_of;

/// Certificate and private key, as Istio looks for them.
const PAIRS: [(&str, &str); 2] = [("cert", "key"), ("tls.crt", "tls.key")];
/// Whom to trust.
const AUTHORITIES: [&str; 2] = ["cacert", "ca.crt"];
/// Which certificates are revoked.
const REVOKED: [&str; 2] = ["crl", "ca.crl"];

/// A Secret that a connection can be secured with.
#[derive(Debug, Clone, PartialEq)]
pub struct Secret {
    /// Name, labels and so on.
    pub meta: Meta,
    /// Who the client is.
    pub pair: Option<ClientPair>,
    /// Certificates of whom it trusts, PEM; nothing: the Secret names nobody.
    pub authorities: Option<Arc<str>>,
    /// Lists of revoked certificates, PEM.
    pub revoked: Option<Arc<str>>,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientPair {
    /// PEM, the client's own first.
    pub chain: Arc<str>,
    /// Its key.
    pub key: Arc<PrivateKey>,
}

/// A private key. It shows itself only by [`Self::pem`], and is overwritten when it is dropped.
#[derive(PartialEq)]
pub struct PrivateKey(Zeroizing<String>);

impl PrivateKey {
    /// PEM, and nothing besides the key.
    pub fn pem(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

/// Whether Secrets of a type may have what is looked for: those of other types belong to Kubernetes or to tools.
pub(super) fn is_type_read(of: &str) -> bool {
    matches!(of, "" | "Opaque" | "kubernetes.io/tls")
}

/// Whether a Secret's entry of that name is looked at.
pub(super) fn is_read(name: &str) -> bool {
    let mut pairs = PAIRS.iter();
    let mut others = AUTHORITIES.iter().chain(&REVOKED);
    pairs.any(|(chain, key)| name == *chain || name == *key) || others.any(|it| name == *it)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "known fields")]
pub(super) struct RawSecret {
    api_version: String,
    kind: String,
    pub(super) metadata: RawMeta,
    #[serde(default, rename = "type", deserialize_with = "fields::or_default")]
    of: String,
    #[serde(default, deserialize_with = "fields::or_default")]
    data: BTreeMap<String, Hidden>,
    #[serde(default, deserialize_with = "fields::or_default")]
    string_data: BTreeMap<String, Hidden>,
    immutable: Option<IgnoredAny>,
}

/// A text that isn't shown.
#[derive(Default)]
struct Hidden(Zeroizing<String>);

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text: Option<String> = Option::deserialize(deserializer)?;
        Ok(Self(Zeroizing::new(text.unwrap_or_default())))
    }
}

/// A value, and the field that it comes from.
struct Found {
    field: String,
    bytes: Zeroizing<Vec<u8>>,
}

impl RawSecret {
    /// An entry, of `stringData` before `data` as the API server has it; an empty one is none.
    fn find(&self, name: &str, bytes_max: usize) -> Result<Option<Found>, FieldError> {
        let (field, bytes) = match (self.string_data.get(name), self.data.get(name)) {
            (Some(Hidden(text)), _) => {
                (format!("stringData.{name}"), Zeroizing::new(text.as_bytes().to_vec()))
            }
            (None, Some(Hidden(text))) => {
                let field = format!("data.{name}");
                let text: Zeroizing<String> = Zeroizing::new(text.split_whitespace().collect());
                let decoded = STANDARD.decode(text.as_bytes());
                let decoded = decoded.map_err(|_| FieldError::new(&field, "is no base64"))?;
                (field, Zeroizing::new(decoded))
            }
            (None, None) => return Ok(None),
        };
        if bytes.len() > bytes_max {
            return Err(FieldError::new(field, format!("is longer than {bytes_max} bytes")));
        }
        Ok((!bytes.is_empty()).then_some(Found { field, bytes }))
    }

    fn first(&self, names: [&str; 2], bytes_max: usize) -> Result<Option<Found>, FieldError> {
        for name in names {
            if let Some(found) = self.find(name, bytes_max)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

pub(super) fn secret(meta: Meta, raw: &RawSecret, pool: &mut Pool) -> Result<Secret, FieldError> {
    let pair = pair(raw, pool)?;
    let authorities = raw.first(AUTHORITIES, CA_BYTES_MAX)?;
    let authorities = authorities.map(|found| authorities_of(&found)).transpose()?;
    let revoked = raw.first(REVOKED, REVOKED_BYTES_MAX)?;
    let revoked = revoked.map(|found| revoked_of(&found)).transpose()?;
    if pair.is_none() && authorities.is_none() {
        let reason = "has neither tls.crt and tls.key (or cert and key) nor ca.crt (or cacert)";
        return Err(FieldError::new("data", reason));
    }
    let authorities = authorities.map(|pem| pool.text(&pem));
    Ok(Secret { meta, pair, authorities, revoked: revoked.map(|pem| pool.text(&pem)) })
}

/// Half a pair is a mistake, or a Secret that is being written.
fn pair(raw: &RawSecret, pool: &mut Pool) -> Result<Option<ClientPair>, FieldError> {
    let mut half = None;
    for (chain_name, key_name) in PAIRS {
        let chain = raw.find(chain_name, CHAIN_BYTES_MAX)?;
        let key = raw.find(key_name, KEY_BYTES_MAX)?;
        match (chain, key) {
            (Some(chain), Some(key)) => return pair_of(&chain, &key, pool).map(Some),
            (Some(found), None) => half = half.or(Some((found, key_name))),
            (None, Some(found)) => half = half.or(Some((found, chain_name))),
            (None, None) => {}
        }
    }
    match half {
        None => Ok(None),
        Some((found, lacks)) => {
            Err(FieldError::new(found.field, format!("is given, and {lacks} isn't")))
        }
    }
}

fn pair_of(chain: &Found, key: &Found, pool: &mut Pool) -> Result<ClientPair, FieldError> {
    let certificates = certificates(chain)?;
    let private = PrivateKeyDer::from_pem_slice(&key.bytes).map_err(|_| {
        let reason = "is no private key in PEM (PKCS #8, PKCS #1 or SEC 1, not encrypted)";
        FieldError::new(&key.field, reason)
    })?;
    let label = match &private {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    let encoded = Zeroizing::new(STANDARD.encode(private.secret_der()));
    let pem = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", &*encoded);
    let kept = PrivateKey(Zeroizing::new(pem));
    let text: String = certificates.iter().map(|it| pem_of(it)).collect();
    CertifiedKey::from_der(certificates, private, &provider()).map_err(|error| {
        let reason = match error {
            rustls::Error::InconsistentKeys(_) => format!("isn't the key of {}", chain.field),
            _ => "is of a sort that can't be used".to_owned(),
        };
        FieldError::new(&key.field, reason)
    })?;
    Ok(ClientPair { chain: pool.text(&text), key: Arc::new(kept) })
}

fn certificates(found: &Found) -> Result<Vec<CertificateDer<'static>>, FieldError> {
    let mut certificates = Vec::new();
    for read in CertificateDer::pem_slice_iter(&found.bytes) {
        let number = certificates.len() + 1;
        let wrong =
            || FieldError::new(&found.field, format!("its certificate {number} can't be read"));
        let certificate = read.map_err(|_| wrong())?;
        let parsed = rustls::server::ParsedCertificate::try_from(&certificate);
        parsed.map_err(|_| wrong())?;
        certificates.push(certificate);
    }
    match certificates.is_empty() {
        true => Err(FieldError::new(&found.field, "has no certificate in PEM")),
        false => Ok(certificates),
    }
}

fn authorities_of(found: &Found) -> Result<String, FieldError> {
    let mut roots = RootCertStore::empty();
    let mut pem = String::new();
    for certificate in certificates(found)? {
        pem.push_str(&pem_of(&certificate));
        let added = roots.add(certificate);
        added.map_err(|_| FieldError::new(&found.field, "has one that can't be trusted"))?;
    }
    Ok(pem)
}

fn revoked_of(found: &Found) -> Result<String, FieldError> {
    let wrong = || FieldError::new(&found.field, "is no list of revoked certificates in PEM");
    let mut pem = String::new();
    for list in CertificateRevocationListDer::pem_slice_iter(&found.bytes) {
        let list = list.map_err(|_| wrong())?;
        x509_parser::parse_x509_crl(&list).map_err(|_| wrong())?;
        let encoded = STANDARD.encode(&list);
        pem.push_str(&format!("-----BEGIN X509 CRL-----\n{encoded}\n-----END X509 CRL-----\n"));
    }
    if pem.is_empty() { Err(wrong()) } else { Ok(pem) }
}

#[cfg(test)]
mod tests;
