//! What policies are attached to, so that either finds the other.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::objects::{Kind, Meta, ObjectKey, PolicyTarget, TargetKind};

/// Policies by what they are attached to: kind, the policies' namespace, and name.
#[derive(Debug, Default)]
pub struct Targets(HashMap<(TargetKind, Arc<str>, Arc<str>), BTreeSet<ObjectKey>>);

impl Targets {
    /// The policies of `namespace` that are attached to an object, of every kind of policy, by key.
    pub fn of(
        &self,
        kind: TargetKind,
        namespace: &Arc<str>,
        name: &Arc<str>,
    ) -> impl Iterator<Item = &ObjectKey> {
        self.0.get(&(kind, namespace.clone(), name.clone())).into_iter().flatten()
    }

    pub(super) fn note(
        &mut self,
        (kind, meta): (Kind, &Meta),
        targets: &[PolicyTarget],
        is_there: bool,
    ) {
        let key = ObjectKey::new(kind, meta.namespace.clone(), meta.name.clone());
        for target in targets {
            let index = (target.kind, meta.namespace.clone(), target.name.clone());
            let keys = self.0.entry(index.clone()).or_default();
            if is_there {
                keys.insert(key.clone());
            } else {
                keys.remove(&key);
            }
            if keys.is_empty() {
                self.0.remove(&index);
            }
        }
    }
}
