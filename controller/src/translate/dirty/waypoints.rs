//! Whom a change of a waypoint, or of a policy that is attached to one, concerns.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::model::{Model, NamespaceObjects};
use crate::objects::{Kind, Labels, ObjectKey, PolicyTarget, TargetKind};
use crate::translate::waypoint;

use super::Dirty;

impl Dirty {
    /// Users of the gateways of that name, and the workloads behind them.
    pub(in crate::translate) fn waypoint(&mut self, name: Arc<str>) {
        self.waypoints.insert(name);
    }

    /// Namespaces whose waypoints have to be looked at; nothing: all.
    pub(in crate::translate) fn waypoint_namespaces(
        &mut self,
        model: &Model,
    ) -> Option<BTreeSet<Arc<str>>> {
        if self.is_every_waypoint {
            return None;
        }
        let mut found = std::mem::take(&mut self.gateway_namespaces);
        let services = self.services.iter();
        let services = services.filter(|(home, name)| model.gateway(home, name).is_some());
        found.extend(services.map(|(home, _)| home.clone()));
        let is_instance = |(home, labels): &&(Arc<str>, Arc<Labels>)| {
            !found.contains(home)
                && model.namespace(home).is_some_and(|it| waypoint::concerns_workload(it, labels))
        };
        let instances: Vec<_> = self.instances.iter().filter(is_instance).collect();
        let instances: Vec<_> = instances.into_iter().map(|(home, _)| home.clone()).collect();
        found.extend(instances);
        Some(found)
    }

    /// What a policy is attached to.
    pub(in crate::translate) fn targets(&mut self, namespace: &Arc<str>, targets: &[PolicyTarget]) {
        for target in targets {
            let name = target.name.clone();
            let key = |kind| ObjectKey::new(kind, namespace.clone(), name.clone());
            match target.kind {
                TargetKind::Service => self.guarded.push(key(Kind::Service)),
                TargetKind::ServiceEntry => self.guarded.push(key(Kind::ServiceEntry)),
                TargetKind::Gateway => self.waypoint(name),
                TargetKind::GatewayClass => {
                    self.classes.insert(name);
                }
            }
        }
    }

    /// Users of waypoints, and the workloads behind them, whose policies may be others.
    pub(super) fn waypoints(&mut self, model: &Model) {
        let of_classes = model.namespaces().flat_map(|(_, objects)| &objects.gateways);
        let of_classes = of_classes.filter(|(_, gateway)| self.classes.contains(&gateway.class));
        let of_classes: Vec<_> = of_classes.map(|(name, _)| name.clone()).collect();
        self.waypoints.extend(of_classes);
        let names = std::mem::take(&mut self.waypoints);
        if !names.is_empty() {
            for (home, objects) in model.namespaces() {
                users_of_waypoints(home, objects, &names, &mut self.objects, &mut self.guarded);
            }
        }
        for key in std::mem::take(&mut self.guarded) {
            let (namespace, name) = (&key.namespace, &key.name);
            if let Some(service) =
                model.service(namespace, name).filter(|_| key.kind == Kind::Service)
            {
                self.selector(namespace, &service.selector);
                self.services.insert((namespace.clone(), name.clone()));
            } else if let Some(entry) = model.service_entry(namespace, name)
                && let Some(selector) = &entry.selector
            {
                self.selector(namespace, selector);
            }
            self.objects.insert(key);
        }
    }
}

/// Whoever asks for a waypoint of these names, or is one's own.
fn users_of_waypoints(
    home: &Arc<str>,
    objects: &NamespaceObjects,
    names: &BTreeSet<Arc<str>>,
    found: &mut HashSet<ObjectKey>,
    guarded: &mut Vec<ObjectKey>,
) {
    let asks_by = |key: &str, labels: &Labels| {
        let name = labels.get(key).or(objects.label(key));
        name.is_some_and(|name| names.contains(name))
    };
    let asks = |labels: &Labels| {
        asks_by(waypoint::USE, labels)
            || asks_by(waypoint::CANARY, labels)
            || labels.get(waypoint::GATEWAY_NAME).is_some_and(|name| names.contains(name))
    };
    let key = |kind, name: &Arc<str>| ObjectKey::new(kind, home.clone(), name.clone());
    let gateways = objects.gateways.keys().filter(|name| names.contains(*name));
    found.extend(gateways.map(|name| key(Kind::Gateway, name)));
    let services = objects.services.iter();
    let services = services.filter(|(name, it)| names.contains(*name) || asks(&it.meta.labels));
    guarded.extend(services.map(|(name, _)| key(Kind::Service, name)));
    let entries = objects.service_entries.iter().filter(|(_, it)| asks(&it.meta.labels));
    guarded.extend(entries.map(|(name, _)| key(Kind::ServiceEntry, name)));
    let pods = objects.pods.iter().filter(|(_, it)| asks(&it.meta.labels));
    found.extend(pods.map(|(name, _)| key(Kind::Pod, name)));
    let workloads = objects.workload_entries.iter().filter(|(_, it)| asks(&it.meta.labels));
    found.extend(workloads.map(|(name, _)| key(Kind::WorkloadEntry, name)));
}
