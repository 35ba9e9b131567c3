//! The policies of a snapshot, by name and by what they cover.

use std::sync::Arc;

use imbl::HashMap;

use super::{PolicyEntry, PolicyName, Scope};

/// Policies in name order, so that verdicts name the same policy whatever order they arrived in.
type Sorted = Arc<[Arc<PolicyEntry>]>;

/// All policies of a snapshot. Copies share everything that did not change.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyIndex {
    root_namespace: Arc<str>,
    by_name: HashMap<PolicyName, Arc<PolicyEntry>>,
    global: Sorted,
    by_namespace: HashMap<Arc<str>, Sorted>,
}

impl PolicyIndex {
    /// No policies. `root_namespace` is where mesh-wide policies live.
    pub fn new(root_namespace: &str) -> Self {
        Self {
            root_namespace: root_namespace.into(),
            by_name: HashMap::new(),
            global: Arc::default(),
            by_namespace: HashMap::new(),
        }
    }

    /// The policy with this resource name.
    pub fn named(&self, name: &str) -> Option<&Arc<PolicyEntry>> {
        self.by_name.get(name)
    }

    /// The policies in force for the whole mesh.
    pub fn global(&self) -> &[Arc<PolicyEntry>] {
        &self.global
    }

    /// The policies in force for a whole namespace.
    pub fn of_namespace(&self, namespace: &str) -> &[Arc<PolicyEntry>] {
        self.by_namespace.get(namespace).map_or(&[], |policies| policies)
    }

    /// Every policy, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<PolicyEntry>> {
        self.by_name.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Adds or replaces. Returns whether anything changed.
    pub(crate) fn put(&mut self, entry: PolicyEntry) -> bool {
        let name = entry.name().clone();
        if self.named(name.as_str()).is_some_and(|known| **known == entry) {
            return false;
        }
        self.remove(name.as_str());
        let entry = Arc::new(entry);
        self.by_name.insert(name, Arc::clone(&entry));
        match entry.coverage(&self.root_namespace) {
            Scope::Global => self.global = with(&self.global, entry),
            Scope::Namespace => {
                if let Some(namespace) = entry.name().namespace().map(Arc::from) {
                    let policies = with(self.of_namespace(&namespace), entry);
                    self.by_namespace.insert(namespace, policies);
                }
            }
            Scope::WorkloadSelector => {}
        }
        true
    }

    /// Removes, if it is there. Returns whether it was.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let Some(entry) = self.by_name.remove(name) else {
            return false;
        };
        match entry.coverage(&self.root_namespace) {
            Scope::Global => self.global = without(&self.global, name),
            Scope::Namespace => {
                if let Some(namespace) = entry.name().namespace() {
                    let policies = without(self.of_namespace(namespace), name);
                    if policies.is_empty() {
                        self.by_namespace.remove(namespace);
                    } else {
                        self.by_namespace.insert(namespace.into(), policies);
                    }
                }
            }
            Scope::WorkloadSelector => {}
        }
        true
    }
}

fn with(policies: &[Arc<PolicyEntry>], entry: Arc<PolicyEntry>) -> Sorted {
    let at = policies.partition_point(|other| other.name() < entry.name());
    let (before, after) = policies.split_at_checked(at).unwrap_or((policies, &[]));
    before.iter().cloned().chain([entry]).chain(after.iter().cloned()).collect()
}

fn without(policies: &[Arc<PolicyEntry>], name: &str) -> Sorted {
    policies.iter().filter(|entry| entry.name().as_str() != name).cloned().collect()
}
