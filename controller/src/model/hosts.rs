//! Who may answer to a host name.

use std::sync::Arc;

use crate::objects::{Service, ServiceEntry, Timestamp};

/// A service's or a service entry's claim to a host name. In order: Kubernetes services, then service entries by age.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostClaim {
    /// A service entry's, not a Kubernetes service's.
    pub is_entry: bool,
    created: Timestamp,
    /// The claimant's namespace.
    pub namespace: Arc<str>,
    /// The claimant's name.
    pub name: Arc<str>,
}

impl HostClaim {
    pub(super) fn of_service(service: &Service, dns_domain: &str) -> (Arc<str>, Self) {
        let meta = &service.meta;
        let host = format!("{}.{}.svc.{dns_domain}", meta.name, meta.namespace);
        let claim = Self {
            is_entry: false,
            created: meta.created,
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
        };
        (host.into(), claim)
    }

    pub(super) fn of_entry(entry: &ServiceEntry) -> impl Iterator<Item = (Arc<str>, Self)> {
        entry.hosts.iter().map(|host| {
            let claim = Self {
                is_entry: true,
                created: entry.meta.created,
                namespace: entry.meta.namespace.clone(),
                name: entry.meta.name.clone(),
            };
            (host.clone(), claim)
        })
    }
}
