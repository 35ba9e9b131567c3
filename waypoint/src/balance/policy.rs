//! The settings of one service, by port and subset.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::credential::{Credential, Credentials};
use super::settings::{Settings, UpstreamTls};

/// What is set about one service's endpoints.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Policy {
    pub(super) service: Scoped,
    pub(super) subsets: BTreeMap<Box<str>, Scoped>,
}

/// Settings of a service or a subset.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Scoped {
    pub(super) all: Arc<Settings>,
    /// Those that have settings of their own.
    pub(super) ports: BTreeMap<u16, Arc<Settings>>,
}

impl Policy {
    /// Whether any of the settings names a Secret.
    pub fn names_secrets(&self) -> bool {
        self.all()
            .any(|(_, _, settings)| settings.tls.as_ref().is_some_and(|it| it.credential.is_some()))
    }

    /// The same with what is in the Secrets that it names. Settings for which that changes nothing are the very same.
    pub fn with(&self, credentials: &Credentials) -> Self {
        let scoped = |scoped: &Scoped| Scoped {
            all: with(&scoped.all, credentials),
            ports: scoped.ports.iter().map(|(port, it)| (*port, with(it, credentials))).collect(),
        };
        let subsets = self.subsets.iter().map(|(name, it)| (name.clone(), scoped(it)));
        Self { service: scoped(&self.service), subsets: subsets.collect() }
    }

    /// All settings by subset and port, for who asks; `None` for all endpoints, and for ports without their own.
    pub fn all(&self) -> impl Iterator<Item = (Option<&str>, Option<u16>, &Arc<Settings>)> {
        let subsets = self.subsets.iter().map(|(name, scoped)| (Some(&**name), scoped));
        std::iter::once((None, &self.service)).chain(subsets).flat_map(|(subset, scoped)| {
            let ports = scoped.ports.iter().map(|(port, settings)| (Some(*port), settings));
            let all = std::iter::once((None, &scoped.all)).chain(ports);
            all.map(move |(port, settings)| (subset, port, settings))
        })
    }

    /// The settings for the service's `port`, of a subset or of all endpoints. Never merged: one of them holds.
    pub fn settings(&self, port: u16, subset: Option<&str>) -> &Arc<Settings> {
        let scoped = subset.and_then(|name| self.subsets.get(name)).unwrap_or(&self.service);
        scoped.ports.get(&port).unwrap_or(&scoped.all)
    }
}

fn with(settings: &Arc<Settings>, credentials: &Credentials) -> Arc<Settings> {
    let Some(tls) = &settings.tls else { return settings.clone() };
    let Some(own) = &tls.credential else { return settings.clone() };
    let material = credentials.get(&own.name).cloned();
    if material == own.material {
        return settings.clone();
    }
    let credential = Some(Credential { name: own.name.clone(), material });
    let tls = Some(Arc::new(UpstreamTls { credential, ..UpstreamTls::clone(tls) }));
    Arc::new(Settings { tls, ..Settings::clone(settings) })
}
