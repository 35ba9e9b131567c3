//! Workloads by the keys of their labels.

use std::sync::Arc;

use crate::model::Model;
use crate::objects::{Kind, Labels, ObjectKey};

/// Objects that have a label by one of these keys, or list endpoints that may.
pub(super) fn labelled(keys: &[Arc<str>], model: &Model) -> Vec<ObjectKey> {
    let has = |labels: &Labels| keys.iter().any(|key| labels.get(key).is_some());
    let mut found = Vec::new();
    for (home, objects) in model.namespaces() {
        let mut add = |kind, name: &Arc<str>| {
            found.push(ObjectKey::new(kind, home.clone(), name.clone()));
        };
        for pod in objects.pods.values().filter(|pod| has(&pod.meta.labels)) {
            add(Kind::Pod, &pod.meta.name);
        }
        for entry in objects.workload_entries.values().filter(|it| has(&it.spec.labels)) {
            add(Kind::WorkloadEntry, &entry.meta.name);
        }
        for entry in objects.service_entries.values() {
            let is_listed = entry.endpoints.iter().any(|endpoint| has(&endpoint.labels));
            if is_listed || has(&entry.meta.labels) {
                add(Kind::ServiceEntry, &entry.meta.name);
            }
        }
    }
    found
}
