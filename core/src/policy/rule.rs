//! The conditions of a policy and how each one is compared.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::Connection;

/// One alternative of a policy: all its clauses must hold. Without any, it matches everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Joined by AND.
    pub clauses: Box<[Clause]>,
}

impl Rule {
    /// Whether every clause holds.
    pub fn matches(&self, connection: &Connection<'_>) -> bool {
        self.clauses.iter().all(|clause| clause.matches(connection))
    }
}

/// One condition of a rule: one of its matches must hold. Without any, it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    /// Joined by OR.
    pub matches: Box<[Match]>,
}

impl Clause {
    /// Whether some match holds, or there is none.
    pub fn matches(&self, connection: &Connection<'_>) -> bool {
        self.matches.is_empty() || self.matches.iter().any(|one| one.matches(connection))
    }
}

/// Conditions on one connection: every field that is set must hold, and the values of a field are alternatives.
/// A match without any condition never holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Match {
    /// Namespace of the source's identity.
    pub namespaces: Box<[StringMatch]>,
    /// None of these.
    pub not_namespaces: Box<[StringMatch]>,
    /// The source's identity without `spiffe://`.
    pub principals: Box<[StringMatch]>,
    /// None of these. Holds for a source without an identity.
    pub not_principals: Box<[StringMatch]>,
    /// Address of the source.
    pub source_ips: Box<[IpBlock]>,
    /// None of these.
    pub not_source_ips: Box<[IpBlock]>,
    /// Address that is connected to.
    pub destination_ips: Box<[IpBlock]>,
    /// None of these.
    pub not_destination_ips: Box<[IpBlock]>,
    /// Port that is connected to.
    pub destination_ports: Box<[u16]>,
    /// None of these.
    pub not_destination_ports: Box<[u16]>,
    /// Namespace and service account of the source, in any trust domain.
    pub service_accounts: Box<[ServiceAccount]>,
    /// None of these.
    pub not_service_accounts: Box<[ServiceAccount]>,
}

impl Match {
    /// Whether there is a condition and every one holds.
    pub fn matches(&self, connection: &Connection<'_>) -> bool {
        let identity = connection.source_identity;
        let namespace = identity.map(|id| id.namespace());
        let principal = identity.map(|id| id.principal());
        let source = connection.source_ip.to_canonical();
        let destination = connection.destination.ip().to_canonical();
        let port = connection.destination.port();
        let is_account = |account: &ServiceAccount| {
            identity.is_some_and(|id| {
                id.namespace() == &*account.namespace
                    && id.service_account() == &*account.service_account
            })
        };
        !self.is_empty()
            && holds(&self.namespaces, &self.not_namespaces, |it| it.matches(namespace))
            && holds(&self.principals, &self.not_principals, |it| it.matches(principal))
            && holds(&self.source_ips, &self.not_source_ips, |it| it.contains(source))
            && holds(&self.destination_ips, &self.not_destination_ips, |it| {
                it.contains(destination)
            })
            && holds(&self.destination_ports, &self.not_destination_ports, |it| *it == port)
            && holds(&self.service_accounts, &self.not_service_accounts, is_account)
    }

    fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
            && self.not_namespaces.is_empty()
            && self.principals.is_empty()
            && self.not_principals.is_empty()
            && self.source_ips.is_empty()
            && self.not_source_ips.is_empty()
            && self.destination_ips.is_empty()
            && self.not_destination_ips.is_empty()
            && self.destination_ports.is_empty()
            && self.not_destination_ports.is_empty()
            && self.service_accounts.is_empty()
            && self.not_service_accounts.is_empty()
    }
}

/// A field and its negation: unset, or one value fits; and no excluded value fits.
fn holds<T>(wanted: &[T], excluded: &[T], fits: impl Fn(&T) -> bool) -> bool {
    (wanted.is_empty() || wanted.iter().any(&fits)) && !excluded.iter().any(&fits)
}

/// A comparison with a text that may be absent. Nothing but its negation holds for an absent one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StringMatch {
    /// The same text.
    Exact(Arc<str>),
    /// Starts with it.
    Prefix(Arc<str>),
    /// Ends with it.
    Suffix(Arc<str>),
    /// There is a text.
    Presence,
}

impl StringMatch {
    /// Whether `text` fits.
    pub fn matches(&self, text: Option<&str>) -> bool {
        text.is_some_and(|text| match self {
            Self::Exact(exact) => text == &**exact,
            Self::Prefix(prefix) => text.starts_with(&**prefix),
            Self::Suffix(suffix) => text.ends_with(&**suffix),
            Self::Presence => !text.is_empty(),
        })
    }
}

/// A block of addresses of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpBlock(IpNet);

impl IpBlock {
    /// `None` if the prefix is longer than the address. Bits behind the prefix are ignored.
    pub fn new(address: IpAddr, prefix_length: u32) -> Option<Self> {
        let length = u8::try_from(prefix_length).ok()?;
        let (address, length) = match (address, address.to_canonical()) {
            // Connections are compared in canonical form, and so must blocks be: ::ffff:10.0.0.0/104 is 10.0.0.0/8.
            (IpAddr::V6(_), IpAddr::V4(v4)) if (96..=128).contains(&length) => {
                (IpAddr::V4(v4), length - 96)
            }
            _ => (address, length),
        };
        IpNet::new(address, length).ok().map(|net| Self(net.trunc()))
    }

    /// Whether `address`, in canonical form, lies in the block.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

impl std::fmt::Display for IpBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// An exact service account. Both parts are compared whole: a name is never a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccount {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub service_account: Arc<str>,
}
