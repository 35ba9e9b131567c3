//! Who is behind a name: look-up of resources by address, by service and by node, for clients that ask by name.

use std::sync::Arc;

use imbl::{HashMap, OrdSet};

use super::entry::Facts;

/// Indexes over the resources of one type. Cloning is cheap: the maps are persistent.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    /// Nearly always one name each (host-network pods share an address), hence no set.
    by_alias: HashMap<Arc<str>, Arc<[Arc<str>]>>,
    by_service: HashMap<Arc<str>, OrdSet<Arc<str>>>,
    by_node: HashMap<Arc<str>, OrdSet<Arc<str>>>,
    by_waypoint: HashMap<Arc<str>, OrdSet<Arc<str>>>,
}

impl Index {
    /// Adds a resource.
    pub(super) fn insert(&mut self, name: &Arc<str>, facts: &Facts) {
        for alias in &facts.aliases {
            let others = self.by_alias.get(alias).into_iter().flat_map(|names| names.iter());
            let names = others.filter(|other| *other != name).chain([name]).cloned().collect();
            self.by_alias.insert(alias.clone(), names);
        }
        for service in &facts.services {
            self.by_service.entry(service.clone()).or_default().insert(name.clone());
        }
        if let Some(node) = &facts.node {
            self.by_node.entry(node.clone()).or_default().insert(name.clone());
        }
        for waypoint in facts.audience.iter() {
            self.by_waypoint.entry(waypoint.clone()).or_default().insert(name.clone());
        }
    }

    /// Takes a resource out again; `facts` are those that it was added with.
    pub(super) fn remove(&mut self, name: &Arc<str>, facts: &Facts) {
        for alias in &facts.aliases {
            let others = self.by_alias.get(alias).into_iter().flat_map(|names| names.iter());
            let names: Arc<[Arc<str>]> = others.filter(|other| *other != name).cloned().collect();
            if names.is_empty() {
                self.by_alias.remove(alias);
            } else {
                self.by_alias.insert(alias.clone(), names);
            }
        }
        for service in &facts.services {
            remove_from(&mut self.by_service, service, name);
        }
        if let Some(node) = &facts.node {
            remove_from(&mut self.by_node, node, name);
        }
        for waypoint in facts.audience.iter() {
            remove_from(&mut self.by_waypoint, waypoint, name);
        }
    }

    /// Resources that have `alias`.
    pub(super) fn aliased(&self, alias: &str) -> impl Iterator<Item = &Arc<str>> {
        self.by_alias.get(alias).into_iter().flat_map(|names| names.iter())
    }

    /// Endpoints of a service.
    pub(super) fn endpoints(&self, service: &str) -> impl Iterator<Item = &Arc<str>> {
        self.by_service.get(service).into_iter().flatten()
    }

    /// Resources of a node.
    pub(super) fn on_node(&self, node: &str) -> impl Iterator<Item = &Arc<str>> {
        self.by_node.get(node).into_iter().flatten()
    }

    /// Resources for a waypoint.
    pub(super) fn for_waypoint(&self, waypoint: &str) -> impl Iterator<Item = &Arc<str>> {
        self.by_waypoint.get(waypoint).into_iter().flatten()
    }
}

fn remove_from(map: &mut HashMap<Arc<str>, OrdSet<Arc<str>>>, key: &Arc<str>, name: &Arc<str>) {
    let Some(names) = map.get_mut(key) else {
        return;
    };
    names.remove(name);
    if names.is_empty() {
        map.remove(key);
    }
}
