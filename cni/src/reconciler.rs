//! What the control plane wants of this node: the set of enrolled pods, built from a stream of changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::watch;
use weft_core::xds::{Change, Rejected};
use weft_core::zds::PodUid;
use weft_proto::node::EnrolledPod;

use crate::limits;
use crate::pod::{Pod, PodError};

/// The wanted pods. Replaced whole with each change, so that a reader never sees half a change.
pub type WantedPods = BTreeMap<PodUid, Pod>;

/// Builds the set. It is fed by the discovery client and read through a watch; `None` means that nothing is known yet,
/// neither from an earlier run nor from the control plane, and then nobody may conclude that a pod is gone.
#[derive(Debug)]
pub struct Reconciler {
    node: String,
    wanted: watch::Sender<Option<Arc<WantedPods>>>,
    /// Known from an earlier run, and not named by the control plane in this one yet.
    unconfirmed: BTreeSet<PodUid>,
}

impl Reconciler {
    /// Starts from what an earlier run knew.
    pub fn new(node: String, known: Option<WantedPods>) -> Self {
        let unconfirmed = known.iter().flat_map(|known| known.keys().cloned()).collect();
        let (wanted, _) = watch::channel(known.map(Arc::new));
        Self { node, wanted, unconfirmed }
    }

    /// The set as it changes.
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<WantedPods>>> {
        self.wanted.subscribe()
    }

    /// Takes the changes of one response. An empty one counts: it says that the node has no pods. What is refused is
    /// kept as it was known before.
    pub fn apply(&mut self, changes: Vec<Change>) -> Vec<Rejected> {
        let mut next = self.known();
        let mut rejected = Vec::new();
        for Change { name, resource, .. } in changes {
            if let Ok(uid) = name.parse() {
                self.unconfirmed.remove(&uid);
            }
            if let Err(reason) = apply_one(&self.node, &mut next, &name, resource) {
                rejected.push(Rejected { name, reason });
            }
        }
        self.publish(next);
        rejected
    }

    /// The control plane has named every pod that it wants. It doesn't know what an earlier run of this agent knew, so
    /// it can't name what went away while no agent was running: that is what it did not name.
    pub fn first_load_done(&mut self) {
        let mut next = self.known();
        for gone in std::mem::take(&mut self.unconfirmed) {
            next.remove(&gone);
        }
        self.publish(next);
    }

    fn known(&self) -> WantedPods {
        self.wanted.borrow().as_deref().cloned().unwrap_or_default()
    }

    fn publish(&self, next: WantedPods) {
        self.wanted.send_if_modified(|current| {
            let is_changed = current.as_deref() != Some(&next);
            if is_changed {
                *current = Some(Arc::new(next));
            }
            is_changed
        });
    }
}

fn apply_one(
    node: &str,
    pods: &mut WantedPods,
    name: &str,
    resource: Option<Bytes>,
) -> Result<(), String> {
    let Some(resource) = resource else {
        // A name that is no uid was never taken, so there is nothing to forget.
        if let Ok(uid) = name.parse::<PodUid>() {
            pods.remove(&uid);
        }
        return Ok(());
    };
    let message = EnrolledPod::decode(resource).map_err(|_| PodError::Message.to_string())?;
    let pod = Pod::from_resource(name, node, &message).map_err(|error| error.to_string())?;
    if pods.len() >= limits::PODS_MAX && !pods.contains_key(&pod.uid) {
        return Err(format!("this node has {} enrolled pods already", limits::PODS_MAX));
    }
    pods.insert(pod.uid.clone(), pod);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `service_account` tells one description of a pod from another.
    fn put(uid: &str, service_account: &str) -> Change {
        let message = EnrolledPod {
            uid: uid.into(),
            namespace: "shop".into(),
            name: "cart".into(),
            service_account: service_account.into(),
            node: "node1".into(),
            ..EnrolledPod::default()
        };
        let resource = Some(message.encode_to_vec().into());
        Change { name: uid.into(), version: String::new(), resource }
    }

    fn removal(uid: &str) -> Change {
        Change { name: uid.into(), version: String::new(), resource: None }
    }

    fn known(reconciler: &Reconciler) -> Vec<(String, String)> {
        let pods = reconciler.known().into_values();
        pods.map(|pod| (pod.uid.into(), pod.identity.service_account)).collect()
    }

    fn fresh() -> Reconciler {
        Reconciler::new("node1".into(), None)
    }

    #[test]
    fn nothing_is_known_until_a_first_response_even_an_empty_one() {
        let mut reconciler = fresh();
        let watch = reconciler.subscribe();
        assert!(watch.borrow().is_none());
        assert_eq!(reconciler.apply(vec![]), []);
        assert!(watch.borrow().as_ref().unwrap().is_empty());
    }

    #[test]
    fn refused_change_keeps_what_was_known_and_the_others_are_taken() {
        let mut reconciler = fresh();
        reconciler.apply(vec![put("a", "1")]);
        let garbage = Change { resource: Some(Bytes::from_static(b"\xff")), ..put("a", "2") };
        let foreign = Change { name: "c".into(), ..put("x", "1") };
        let rejected = reconciler.apply(vec![garbage, put("b", "1"), foreign]);
        let names: Vec<_> = rejected.iter().map(|rejected| &*rejected.name).collect();
        assert_eq!(names, ["a", "c"]);
        assert_eq!(known(&reconciler), [("a".into(), "1".into()), ("b".into(), "1".into())]);
    }

    #[test]
    fn repetition_wakes_nobody() {
        let mut reconciler = fresh();
        reconciler.apply(vec![put("a", "1")]);
        let mut watch = reconciler.subscribe();
        watch.mark_unchanged();
        reconciler.apply(vec![put("a", "1"), removal("never-seen")]);
        assert!(!watch.has_changed().unwrap());
        reconciler.apply(vec![removal("a")]);
        assert!(watch.has_changed().unwrap() && watch.borrow().as_ref().unwrap().is_empty());
    }

    #[test]
    fn pod_that_left_while_no_agent_ran_is_dropped_once_all_others_were_named() {
        let mut earlier = fresh();
        earlier.apply(vec![put("a", "1"), put("b", "1"), put("c", "1")]);
        let mut reconciler = Reconciler::new("node1".into(), Some(earlier.known()));
        // The first load may come in parts, and a part says nothing about the rest. A refusal names its pod too.
        reconciler.apply(vec![put("a", "1")]);
        assert_eq!(known(&reconciler).len(), 3);
        reconciler.apply(vec![put("c", "")]);
        reconciler.first_load_done();
        assert_eq!(known(&reconciler), [("a".into(), "1".into()), ("c".into(), "1".into())]);
        // Later loads are differences.
        reconciler.apply(vec![]);
        reconciler.first_load_done();
        assert_eq!(known(&reconciler).len(), 2);
    }

    #[test]
    fn node_can_not_be_filled_beyond_its_bound() {
        let mut reconciler = fresh();
        let all = (0..=limits::PODS_MAX).map(|i| put(&format!("u{i}"), "1"));
        assert_eq!(reconciler.apply(all.collect()).len(), 1);
        assert_eq!(known(&reconciler).len(), limits::PODS_MAX);
        assert_eq!(reconciler.apply(vec![put("u0", "2")]), []);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let change = Change { resource: Some(bytes.into()), ..put("a", "1") };
            fresh().apply(vec![change]);
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
            let mut whole = fresh();
            whole.apply(changes.clone());
            let mut parted = fresh();
            let (first, second) = changes.split_at(cut.min(changes.len()));
            parted.apply(first.to_vec());
            parted.apply(second.to_vec());
            prop_assert_eq!(known(&whole), known(&parted));
        }
    }
}
