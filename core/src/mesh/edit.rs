//! Changes to a snapshot under construction. Each touches what it concerns and nothing else.

use std::sync::Arc;

use super::few;
use super::network::{Network, addresses_of, blocks_of};
use super::snapshot::{ServiceEntry, Snapshot, in_key_order};
use super::{Service, Workload};

impl Snapshot {
    /// Adds or replaces. Returns whether anything changed.
    pub(super) fn put_workload(&mut self, workload: Workload) -> bool {
        let known = self.workloads.get(&workload.uid).cloned();
        if known.as_deref() == Some(&workload) {
            return false;
        }
        if let Some(known) = &known {
            self.remove_addresses(known);
            let has_left = |key: &str| workload.ports_of(key).is_none();
            for (key, _) in known.services.iter().filter(|(key, _)| has_left(key)) {
                self.edit_service(key, |entry| entry.endpoints.remove(&known.uid));
            }
        }
        let workload = Arc::new(workload);
        for ip in addresses_of(&workload) {
            self.edit_network(&workload.network, |network| network.add_workload(ip, &workload));
        }
        for (key, _) in &workload.services {
            self.edit_service(key, |entry| entry.endpoints.put(&workload));
        }
        let uid = Arc::clone(&workload.uid);
        if self.local_node.as_ref() == Some(&workload.node) {
            self.local.insert(Arc::clone(&uid), Arc::clone(&workload));
        } else {
            self.local.remove(&uid);
        }
        self.workloads.insert(uid, workload);
        true
    }

    /// Removes, if it is there. Returns whether it was.
    pub(super) fn remove_workload(&mut self, uid: &str) -> bool {
        let Some(known) = self.workloads.remove(uid) else {
            return false;
        };
        self.local.remove(uid);
        self.remove_addresses(&known);
        for (key, _) in &known.services {
            self.edit_service(key, |entry| entry.endpoints.remove(uid));
        }
        true
    }

    /// Adds or replaces. Returns whether anything changed.
    pub(super) fn put_service(&mut self, service: Service) -> bool {
        if self.service_with_key(&service.key).map(|known| &**known) == Some(&service) {
            return false;
        }
        self.unindex_service(&service.key);
        let service = Arc::new(service);
        for (network, block) in blocks_of(&service) {
            self.edit_network(&network, |network| network.add_service(block, &service));
        }
        let hostname = Arc::clone(&service.hostname);
        few::add(&mut self.hosts, hostname, Arc::clone(&service), in_key_order);
        let key = Arc::clone(&service.key);
        self.edit_service(&key, |entry| entry.service = Some(service));
        true
    }

    /// Removes, if it is there. Its endpoints stay, waiting. Returns whether it was.
    pub(super) fn remove_service(&mut self, key: &str) -> bool {
        if !self.unindex_service(key) {
            return false;
        }
        self.edit_service(&Arc::from(key), |entry| entry.service = None);
        true
    }

    fn unindex_service(&mut self, key: &str) -> bool {
        let Some(known) = self.service_with_key(key).cloned() else {
            return false;
        };
        for (network, block) in blocks_of(&known) {
            self.edit_network(&network, |network| network.remove_service(block, &known));
        }
        few::remove(&mut self.hosts, &known.hostname, |other| other.key == known.key);
        true
    }

    fn remove_addresses(&mut self, workload: &Workload) {
        for ip in addresses_of(workload) {
            self.edit_network(&workload.network, |network| network.remove_workload(ip, workload));
        }
    }

    fn edit_network(&mut self, name: &Arc<str>, edit: impl FnOnce(&mut Network)) {
        let network = self.networks.entry(Arc::clone(name)).or_default();
        edit(Arc::make_mut(network));
        if network.is_empty() {
            self.networks.remove(name);
        }
    }

    fn edit_service(&mut self, key: &Arc<str>, edit: impl FnOnce(&mut ServiceEntry)) {
        let entry = self.services.entry(Arc::clone(key)).or_default();
        edit(Arc::make_mut(entry));
        if entry.service.is_none() && entry.endpoints.is_empty() {
            self.services.remove(key);
        }
    }
}
