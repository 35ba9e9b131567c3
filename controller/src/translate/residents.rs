//! Who lives on which node, for whoever has to decide about identities.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use prost::Message;
use weft_proto::contract::type_url;
use weft_proto::node::EnrolledPod;

use crate::xds::ResourceChange;

/// The identities of the pods in the mesh, by node. Cloning shares it: the model's owner writes, others ask.
///
/// It is told of changes before they are sent on, so that no node hears of a pod before its identity can be asked for.
#[derive(Debug, Clone, Default)]
pub struct Residents(Arc<RwLock<Tables>>);

#[derive(Debug, Default)]
struct Tables {
    /// By uid.
    pods: HashMap<Arc<str>, Resident>,
    /// How many pods of each are there.
    counts: HashMap<Resident, usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Resident {
    node: String,
    namespace: String,
    service_account: String,
}

impl Residents {
    /// Takes in what [`super::Translator::apply`] returned.
    pub fn apply(&self, changes: &[ResourceChange]) {
        let changes = changes.iter().filter(|change| change.type_url == type_url::ENROLLED_POD);
        let mut tables = self.0.write();
        for change in changes {
            let new = change.resource.as_ref().and_then(resident);
            let old = match new.clone() {
                Some(new) => tables.pods.insert(change.name.clone(), new),
                None => tables.pods.remove(&change.name),
            };
            if let Some(new) = new {
                *tables.counts.entry(new).or_default() += 1;
            }
            if let Some(old) = old {
                tables.leave(old);
            }
        }
    }

    /// Whether a pod in the mesh runs on `node` under that service account now.
    pub fn is_on_node(&self, node: &str, namespace: &str, service_account: &str) -> bool {
        let resident = Resident {
            node: node.to_owned(),
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
        };
        self.0.read().counts.contains_key(&resident)
    }

    /// The nodes that pods in the mesh run on.
    pub fn nodes(&self) -> HashSet<String> {
        self.0.read().counts.keys().map(|resident| resident.node.clone()).collect()
    }
}

impl Tables {
    fn leave(&mut self, old: Resident) {
        if let Some(count) = self.counts.get_mut(&old) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counts.remove(&old);
            }
        }
    }
}

fn resident(bytes: &Bytes) -> Option<Resident> {
    let pod = EnrolledPod::decode(bytes.clone()).ok()?;
    let EnrolledPod { node, namespace, service_account, .. } = pod;
    Some(Resident { node, namespace, service_account })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(uid: &str, node: Option<&str>) -> ResourceChange {
        let pod = |node: &str| EnrolledPod {
            node: node.to_owned(),
            namespace: "shop".to_owned(),
            service_account: "web".to_owned(),
            ..EnrolledPod::default()
        };
        ResourceChange {
            audience: Default::default(),
            type_url: type_url::ENROLLED_POD,
            name: uid.into(),
            resource: node.map(|node| pod(node).encode_to_vec().into()),
        }
    }

    #[test]
    fn identity_stays_until_its_last_pod_has_left_the_node() {
        let residents = Residents::default();
        let is_there = |node| residents.is_on_node(node, "shop", "web");
        residents.apply(&[change("a", Some("n1")), change("b", Some("n1"))]);
        residents.apply(&[change("a", Some("n1"))]);
        assert!(is_there("n1") && !is_there("n2"));
        residents.apply(&[change("a", Some("n2"))]);
        assert!(is_there("n1") && is_there("n2"));
        residents.apply(&[change("b", None), change("unheard", None)]);
        assert!(!is_there("n1") && is_there("n2"));
        assert!(!residents.is_on_node("n2", "shop", "other"));
    }
}
