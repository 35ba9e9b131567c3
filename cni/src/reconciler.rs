//! What the control plane wants of this node: the set of enrolled pods, built from a stream of changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use weft_core::zds::PodUid;
use weft_proto::node::EnrolledPod;

use crate::limits;
use crate::pod::{Pod, PodError};

/// One change of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The resource's name: a pod's uid.
    pub name: String,
    /// Its version, to be told at reconnect.
    pub version: String,
    /// Its message, or nothing if it was removed.
    pub resource: Option<Bytes>,
}

/// A change that was not taken, and why. What was known of that resource before stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The resource.
    pub name: String,
    /// For the control plane's status.
    pub reason: String,
}

/// A pod and the version of the resource that described it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// As the control plane named it.
    pub version: String,
    /// The pod.
    pub pod: Pod,
}

/// The wanted pods. Replaced whole with each change, so that a reader never sees half a change.
pub type WantedPods = BTreeMap<PodUid, Wanted>;

/// Builds the set. It is fed by the discovery client and read through a watch; `None` means that nothing is known yet,
/// neither from an earlier run nor from the control plane, and then nobody may conclude that a pod is gone.
#[derive(Debug)]
pub struct Reconciler {
    node: String,
    wanted: watch::Sender<Option<Arc<WantedPods>>>,
}

impl Reconciler {
    /// Starts from what an earlier run knew.
    pub fn new(node: String, known: Option<WantedPods>) -> Self {
        let (wanted, _) = watch::channel(known.map(Arc::new));
        Self { node, wanted }
    }

    /// The set as it changes.
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<WantedPods>>> {
        self.wanted.subscribe()
    }

    /// Takes the changes of one push. An empty push counts: it says that the node has no pods.
    pub fn apply(&mut self, changes: Vec<Change>) -> Vec<Rejected> {
        let mut next = self.wanted.borrow().as_deref().cloned().unwrap_or_default();
        let mut rejected = Vec::new();
        for change in changes {
            let name = change.name.clone();
            if let Err(reason) = apply_one(&self.node, &mut next, change) {
                rejected.push(Rejected { name, reason });
            }
        }
        self.wanted.send_if_modified(|current| {
            let is_changed = current.as_deref() != Some(&next);
            if is_changed {
                *current = Some(Arc::new(next));
            }
            is_changed
        });
        rejected
    }

    /// What is known, for the first request after a reconnect.
    pub fn names_and_versions(&self) -> BTreeMap<String, String> {
        let wanted = self.wanted.borrow();
        let known = wanted.iter().flat_map(|wanted| wanted.iter());
        known.map(|(uid, wanted)| (uid.to_string(), wanted.version.clone())).collect()
    }
}

fn apply_one(node: &str, pods: &mut WantedPods, change: Change) -> Result<(), String> {
    let Some(resource) = change.resource else {
        // A name that is no uid was never taken, so there is nothing to forget.
        if let Ok(uid) = change.name.parse::<PodUid>() {
            pods.remove(&uid);
        }
        return Ok(());
    };
    if change.version.len() > limits::VERSION_BYTES_MAX {
        return Err(format!("the version is over {} bytes", limits::VERSION_BYTES_MAX));
    }
    let message = EnrolledPod::decode(resource).map_err(|_| PodError::Message.to_string())?;
    let pod =
        Pod::from_resource(&change.name, node, &message).map_err(|error| error.to_string())?;
    if pods.len() >= limits::PODS_MAX && !pods.contains_key(&pod.uid) {
        return Err(format!("this node has {} enrolled pods already", limits::PODS_MAX));
    }
    pods.insert(pod.uid.clone(), Wanted { version: change.version, pod });
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn put(uid: &str, version: &str) -> Change {
        let message = EnrolledPod {
            uid: uid.into(),
            namespace: "shop".into(),
            name: "cart".into(),
            service_account: "cart".into(),
            node: "node1".into(),
            ..EnrolledPod::default()
        };
        let resource = Some(message.encode_to_vec().into());
        Change { name: uid.into(), version: version.into(), resource }
    }

    fn removal(uid: &str) -> Change {
        Change { name: uid.into(), version: String::new(), resource: None }
    }

    fn known(reconciler: &Reconciler) -> Vec<(String, String)> {
        reconciler.names_and_versions().into_iter().collect()
    }

    #[test]
    fn nothing_is_known_until_a_first_push_even_an_empty_one() {
        let mut reconciler = Reconciler::new("node1".into(), None);
        let watch = reconciler.subscribe();
        assert!(watch.borrow().is_none());
        assert_eq!(reconciler.apply(vec![]), []);
        assert!(watch.borrow().as_ref().unwrap().is_empty());
    }

    #[test]
    fn refused_change_keeps_what_was_known_and_the_others_are_taken() {
        let mut reconciler = Reconciler::new("node1".into(), None);
        reconciler.apply(vec![put("a", "1")]);
        let garbage = Change { resource: Some(Bytes::from_static(b"\xff")), ..put("a", "2") };
        let foreign = Change { name: "c".into(), ..put("x", "1") };
        let rejected = reconciler.apply(vec![garbage, put("b", "1"), foreign]);
        let names: Vec<_> = rejected.iter().map(|rejected| rejected.name.as_str()).collect();
        assert_eq!(names, ["a", "c"]);
        assert_eq!(known(&reconciler), [("a".into(), "1".into()), ("b".into(), "1".into())]);
    }

    #[test]
    fn repetition_wakes_nobody() {
        let mut reconciler = Reconciler::new("node1".into(), None);
        reconciler.apply(vec![put("a", "1")]);
        let mut watch = reconciler.subscribe();
        watch.mark_unchanged();
        reconciler.apply(vec![put("a", "1"), removal("never-seen")]);
        assert!(!watch.has_changed().unwrap());
        reconciler.apply(vec![removal("a")]);
        assert!(watch.has_changed().unwrap() && watch.borrow().as_ref().unwrap().is_empty());
    }

    #[test]
    fn node_can_not_be_filled_beyond_its_bound() {
        let mut reconciler = Reconciler::new("node1".into(), None);
        let all = (0..=limits::PODS_MAX).map(|i| put(&format!("u{i}"), "1")).collect();
        assert_eq!(reconciler.apply(all).len(), 1);
        assert_eq!(known(&reconciler).len(), limits::PODS_MAX);
        assert_eq!(reconciler.apply(vec![put("u0", "2")]), []);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reconciler = Reconciler::new("node1".into(), None);
            let change = Change { resource: Some(bytes.into()), ..put("a", "1") };
            reconciler.apply(vec![change]);
        }

        #[test]
        fn last_word_on_each_pod_decides(
            steps in proptest::collection::vec((0..4_u8, any::<bool>()), 0..40),
            cut in 0..40_usize,
        ) {
            let change = |(i, (pod, is_put)): (usize, &(u8, bool))| {
                let uid = format!("u{pod}");
                if *is_put { put(&uid, &i.to_string()) } else { removal(&uid) }
            };
            let changes: Vec<_> = steps.iter().enumerate().map(change).collect();
            let mut whole = Reconciler::new("node1".into(), None);
            whole.apply(changes.clone());
            let mut parted = Reconciler::new("node1".into(), None);
            let (first, second) = changes.split_at(cut.min(changes.len()));
            parted.apply(first.to_vec());
            parted.apply(second.to_vec());
            prop_assert_eq!(known(&whole), known(&parted));
        }
    }
}
