//! What connections to endpoints are proved with, from Secrets.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use prost::Message;
use sha2::{Digest, Sha256};
use weft_proto::contract::backend::CREDENTIALS_MAX;
use weft_proto::route as proto;
use zeroize::Zeroizing;

/// A Secret that connections are secured with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Credential {
    /// `namespace/name`
    pub name: Box<str>,
    /// What is in it; `None`: this waypoint hasn't got it, so that connections must fail.
    pub material: Option<Arc<Material>>,
}

/// What is in a Secret. Two are the same if they hold the same: what is kept by one isn't found by what replaced it.
pub struct Material {
    digest: [u8; 32],
    /// The client's certificates, PEM; may be empty.
    pub chain: Box<str>,
    /// Their key.
    key: Zeroizing<String>,
    /// Who is trusted, PEM; empty: nobody.
    pub authorities: Box<str>,
    /// Lists of revoked certificates, PEM; may be empty.
    pub revoked: Box<str>,
}

impl Material {
    fn of(it: proto::Credential) -> Self {
        let mut digest = Sha256::new();
        for text in [&it.chain_pem, &it.key_pem, &it.ca_pem, &it.revoked_pem] {
            digest.update(text.len().to_be_bytes());
            digest.update(text);
        }
        Self {
            digest: digest.finalize().into(),
            chain: it.chain_pem.into(),
            key: Zeroizing::new(it.key_pem),
            authorities: it.ca_pem.into(),
            revoked: it.revoked_pem.into(),
        }
    }

    /// The private key, PEM; may be empty. Nothing else shows it.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Material(..)")
    }
}

impl PartialEq for Material {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Material {}

impl Hash for Material {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

/// The Secrets of one service.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Credentials(BTreeMap<Box<str>, Arc<Material>>);

/// Why a message gives no Secrets. Earlier ones stay in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// No valid message at all.
    #[error("not a valid ServiceCredentials message: {0}")]
    Malformed(String),
    /// The content belongs under another name.
    #[error("the resource's name is not its content's namespace/hostname, which is {0}")]
    Name(String),
    /// More than a proxy takes.
    #[error("has {0} Secrets; {CREDENTIALS_MAX} are the most")]
    TooMany(usize),
}

impl Credentials {
    /// Decodes the Secrets with resource name `name`.
    pub fn decode(name: &str, bytes: &[u8]) -> Result<Self, CredentialsError> {
        let decoded = proto::ServiceCredentials::decode(bytes);
        let decoded = decoded.map_err(|error| CredentialsError::Malformed(error.to_string()))?;
        let own = format!("{}/{}", decoded.namespace, decoded.hostname);
        if own != name {
            return Err(CredentialsError::Name(own));
        }
        if decoded.secrets.len() > CREDENTIALS_MAX {
            return Err(CredentialsError::TooMany(decoded.secrets.len()));
        }
        let secrets = decoded.secrets.into_iter();
        let secrets = secrets.map(|(name, it)| (name.into(), Arc::new(Material::of(it))));
        Ok(Self(secrets.collect()))
    }

    /// What is in a Secret, by `namespace/name`.
    pub fn get(&self, name: &str) -> Option<&Arc<Material>> {
        self.0.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(keys: &[(&str, &str)]) -> Vec<u8> {
        let secret = |(name, key): &(&str, &str)| {
            let credential = proto::Credential { key_pem: (*key).into(), ..Default::default() };
            ((*name).to_owned(), credential)
        };
        let secrets = keys.iter().map(secret).collect();
        let (namespace, hostname) = ("shop".into(), "web".into());
        proto::ServiceCredentials { namespace, hostname, secrets }.encode_to_vec()
    }

    #[test]
    fn secrets_are_the_same_if_they_hold_the_same() {
        let of = |key: &str| Credentials::decode("shop/web", &message(&[("a", key)])).unwrap();
        assert_eq!(of("1"), of("1"));
        assert_ne!(of("1"), of("2"));
        assert_eq!(of("hunter2").get("a").unwrap().key(), "hunter2");
        assert!(of("1").get("b").is_none());
        assert!(!format!("{:?}", of("hunter2")).contains("hunter2"));
    }

    #[test]
    fn what_can_not_be_taken_is_refused() {
        let refused = |name: &str, bytes: &[u8]| Credentials::decode(name, bytes).unwrap_err();
        assert!(matches!(refused("shop/web", b"\xff"), CredentialsError::Malformed(_)));
        assert!(matches!(refused("shop/app", &message(&[])), CredentialsError::Name(_)));
        let names: Vec<_> = (0..=CREDENTIALS_MAX).map(|at| at.to_string()).collect();
        let many: Vec<_> = names.iter().map(|name| (&**name, "")).collect();
        assert!(matches!(refused("shop/web", &message(&many)), CredentialsError::TooMany(_)));
    }
}
