//! The settings of one service, by port and subset.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::settings::Settings;

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
    /// The settings for the service's `port`, of a subset or of all endpoints. Never merged: one of them holds.
    pub fn settings(&self, port: u16, subset: Option<&str>) -> &Arc<Settings> {
        let scoped = subset.and_then(|name| self.subsets.get(name)).unwrap_or(&self.service);
        scoped.ports.get(&port).unwrap_or(&scoped.all)
    }
}
