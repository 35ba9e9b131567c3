//! All that translation may look at.

use std::sync::Arc;

use crate::model::{Model, NamespaceObjects};
use crate::objects::ServiceEntry;

use super::access::KeySets;
use super::addresses::Addresses;
use super::settings::{EntryVisibility, Settings};
use super::waypoint::Waypoints;

/// Everything that a resource may depend on.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The mesh.
    pub settings: &'a Settings,
    /// Its objects.
    pub model: &'a Model,
    /// Addresses that were given out.
    pub addresses: &'a Addresses,
    /// Waypoints that can be used.
    pub waypoints: &'a Waypoints,
    /// Keys of token issuers that were fetched.
    pub keys: &'a KeySets,
}

impl<'a> View<'a> {
    /// What is in a namespace.
    pub(super) fn namespace(&self, name: &str) -> Option<&'a NamespaceObjects> {
        self.model.namespace(name)
    }

    /// The network that the mesh's own workloads are on.
    pub(super) fn network(&self) -> &'a str {
        let root = self.model.namespace(&self.settings.root_namespace);
        root.and_then(|root| root.label("topology.istio.io/network")).unwrap_or_default()
    }

    /// Empty for the default one, as on the wire.
    pub(super) fn trust_domain(&self) -> String {
        match self.settings.trust_domain.as_str() {
            weft_proto::contract::DEFAULT_TRUST_DOMAIN => String::new(),
            other => other.to_owned(),
        }
    }

    /// The hosts of `entry` for which no Kubernetes service and no older entry of its namespace speaks.
    pub(super) fn hosts_won(&self, entry: &'a ServiceEntry) -> impl Iterator<Item = &'a Arc<str>> {
        let is_published = self.settings.entry_visibility != EntryVisibility::None;
        let view = *self;
        entry.hosts.iter().filter(move |host| is_published && view.wins(entry, host))
    }

    fn wins(&self, entry: &ServiceEntry, host: &str) -> bool {
        let mut claims = self.model.claims(host);
        let first = claims.find(|claim| claim.namespace == entry.meta.namespace);
        first.is_some_and(|claim| claim.is_entry && claim.name == entry.meta.name)
    }

    /// Whether `entry` speaks for `host` to namespaces that have no service of that name.
    pub(super) fn is_canonical(&self, entry: &ServiceEntry, host: &str) -> bool {
        let first = self.model.claims(host).next();
        self.settings.entry_visibility == EntryVisibility::Public
            && first.is_some_and(|claim| {
                claim.is_entry
                    && claim.namespace == entry.meta.namespace
                    && claim.name == entry.meta.name
            })
    }
}
