//! Who somebody is: SPIFFE identities in the shape that the mesh uses, and the trust domains that it accepts.
//!
//! There is one strict parser. An identity is never built from text anywhere else, so two identities are
//! equal exactly if their text is.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::limits;

/// Why a text is no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The scheme is missing or another.
    #[error("a SPIFFE ID starts with spiffe://")]
    Scheme,
    /// The trust domain has a character outside `[a-z0-9._-]`, is empty, or is too long.
    #[error(
        "trust domain is empty, over {} bytes, or has a character outside [a-z0-9._-]",
        limits::TRUST_DOMAIN_BYTES_MAX
    )]
    TrustDomain,
    /// The path is not `/ns/<namespace>/sa/<service account>`.
    #[error("the path of a mesh identity is /ns/<namespace>/sa/<service account>")]
    Path,
    /// Namespace or service account is no Kubernetes name.
    #[error(
        "namespace or service account has a character outside [a-z0-9.-], is empty or too long"
    )]
    Name,
}

/// A trust domain (SPIFFE ID specification, section 2.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let is_allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        let fits = !text.is_empty() && text.len() <= limits::TRUST_DOMAIN_BYTES_MAX;
        if fits && text.bytes().all(is_allowed) {
            Ok(Self(text.into()))
        } else {
            Err(IdentityError::TrustDomain)
        }
    }
}

impl Default for TrustDomain {
    fn default() -> Self {
        Self(weft_proto::contract::DEFAULT_TRUST_DOMAIN.into())
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The trust domains whose identities are accepted: the mesh's own and its aliases.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustDomains {
    own: TrustDomain,
    aliases: Arc<[TrustDomain]>,
}

impl TrustDomains {
    /// `own` is what this mesh issues; `aliases` are accepted besides it.
    pub fn new(own: TrustDomain, aliases: impl IntoIterator<Item = TrustDomain>) -> Self {
        Self { own, aliases: aliases.into_iter().collect() }
    }

    /// What this mesh issues.
    pub fn own(&self) -> &TrustDomain {
        &self.own
    }

    /// Whether identities of `domain` are accepted.
    pub fn accepts(&self, domain: &TrustDomain) -> bool {
        self.own == *domain || self.aliases.contains(domain)
    }
}

/// A mesh identity, `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    // Cloning is frequent (pool keys, labels), so the whole identity is one allocation shared.
    parts: Arc<Parts>,
}

#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Parts {
    uri: Box<str>,
    trust_domain: TrustDomain,
    namespace: Box<str>,
    service_account: Box<str>,
}

const SCHEME: &str = "spiffe://";

impl SpiffeId {
    /// Builds an identity from its parts, which are checked as the parser checks them.
    pub fn new(
        trust_domain: TrustDomain,
        namespace: &str,
        service_account: &str,
    ) -> Result<Self, IdentityError> {
        check_name(namespace)?;
        check_name(service_account)?;
        let uri = format!("{SCHEME}{trust_domain}/ns/{namespace}/sa/{service_account}");
        Ok(Self {
            parts: Arc::new(Parts {
                uri: uri.into(),
                trust_domain,
                namespace: namespace.into(),
                service_account: service_account.into(),
            }),
        })
    }

    /// The whole URI.
    pub fn as_str(&self) -> &str {
        &self.parts.uri
    }

    /// The URI without its scheme, as policies write it.
    pub fn principal(&self) -> &str {
        self.parts.uri.strip_prefix(SCHEME).unwrap_or(&self.parts.uri)
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.parts.trust_domain
    }

    /// The Kubernetes namespace.
    pub fn namespace(&self) -> &str {
        &self.parts.namespace
    }

    /// The service account.
    pub fn service_account(&self) -> &str {
        &self.parts.service_account
    }
}

impl FromStr for SpiffeId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let rest = text.strip_prefix(SCHEME).ok_or(IdentityError::Scheme)?;
        let mut segments = rest.split('/');
        let trust_domain = segments.next().unwrap_or_default().parse()?;
        let mut next = || segments.next().ok_or(IdentityError::Path);
        let (ns_word, namespace, sa_word, service_account) = (next()?, next()?, next()?, next()?);
        if ns_word != "ns" || sa_word != "sa" || segments.next().is_some() {
            return Err(IdentityError::Path);
        }
        Self::new(trust_domain, namespace, service_account)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The identities of which a server must present one: sorted, without repetition, never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExpectedPeers(Arc<[SpiffeId]>);

impl ExpectedPeers {
    /// `None` if there is no identity at all: nobody could then be authenticated.
    pub fn new(identities: impl IntoIterator<Item = SpiffeId>) -> Option<Self> {
        let mut identities: Vec<_> = identities.into_iter().collect();
        identities.sort();
        identities.dedup();
        if identities.is_empty() { None } else { Some(Self(identities.into())) }
    }

    /// Exactly one identity.
    pub fn one(identity: SpiffeId) -> Self {
        Self(Arc::new([identity]))
    }

    /// Whether `identity` is among them.
    pub fn contains(&self, identity: &SpiffeId) -> bool {
        self.0.contains(identity)
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &SpiffeId> {
        self.0.iter()
    }
}

/// Namespaces are DNS labels and service accounts DNS subdomains (RFC 1123 as Kubernetes reads it).
fn check_name(name: &str) -> Result<(), IdentityError> {
    let is_allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    if !name.is_empty() && name.len() <= limits::NAME_BYTES_MAX && name.bytes().all(is_allowed) {
        Ok(())
    } else {
        Err(IdentityError::Name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed_identity_is_read_into_its_parts() {
        let id: SpiffeId = "spiffe://cluster/ns/default/sa/payment-service".parse().unwrap();
        assert_eq!(id.trust_domain().as_str(), "cluster");
        assert_eq!((id.namespace(), id.service_account()), ("default", "payment-service"));
        assert_eq!(id.principal(), "cluster/ns/default/sa/payment-service");
        assert_eq!(id.to_string(), "spiffe://cluster/ns/default/sa/payment-service");
    }

    #[test]
    fn anything_but_the_exact_shape_is_refused() {
        for text in [
            "",
            "spiffe://",
            "http://cluster/ns/a/sa/b",
            "SPIFFE://cluster/ns/a/sa/b",
            "spiffe://Cluster/ns/a/sa/b",
            "spiffe://cluster/ns/a/sa/b/",
            "spiffe://cluster/ns/a/sa/",
            "spiffe://cluster/ns//sa/b",
            "spiffe://cluster/sa/b/ns/a",
            "spiffe://cluster/ns/a/sa/b?x",
            "spiffe://cluster/ns/a/sa/b\0",
            "spiffe://cluster/ns/a/sa/b\u{430}",
            "spiffe://cluster:80/ns/a/sa/b",
            "spiffe://u@cluster/ns/a/sa/b",
            "spiffe://cluster/ns/a%2e/sa/b",
            " spiffe://cluster/ns/a/sa/b",
        ] {
            assert!(text.parse::<SpiffeId>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn alias_is_accepted_and_stranger_is_not() {
        let domains =
            TrustDomains::new("cluster".parse().unwrap(), ["old.example".parse().unwrap()]);
        assert!(domains.accepts(&"old.example".parse().unwrap()));
        assert!(!domains.accepts(&"cluster.local".parse().unwrap()));
    }
}
