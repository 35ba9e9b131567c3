//! The one owner of the node's pods: brings what is wanted and what is in the kernel together, and tells everybody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{error, info, warn};
use weft_core::clock;
use weft_core::zds::PodUid;

use crate::limits;
use crate::netns::NamespaceId;
use crate::pod::Pod;
use crate::reconciler::WantedPods;
use crate::redirect::{Redirect, RedirectError};
use crate::slot::{Action, Slot};
use crate::state::{self, Enrolled, PodsFile, StateDir, StateError};
use crate::status::{Discovery, Membership, PodState, PodStatus, Status};
use crate::zds::{Announcements, Connections, Serving};

/// Why the agent can't go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// An enrolment ended without a result: its pod would wait for it for ever. A restart begins anew.
    #[error("an enrolment ended without a result: {0}")]
    Lost(#[from] tokio::task::JoinError),
}

/// What the agent is connected to.
#[derive(Debug)]
pub struct Links {
    /// What the control plane wants.
    pub wanted: watch::Receiver<Option<Arc<WantedPods>>>,
    /// How this node stands to the mesh.
    pub membership: watch::Receiver<Membership>,
    /// How the stream of changes stands.
    pub discovery: watch::Receiver<Discovery>,
    /// What proxies say.
    pub connections: watch::Receiver<Connections>,
    /// What proxies are told.
    pub announced: watch::Sender<Option<Arc<Announcements>>>,
}

/// The agent of one node.
pub struct Agent<R> {
    node: String,
    redirect: Arc<R>,
    state: Arc<StateDir>,
    links: Links,
    slots: BTreeMap<PodUid, Slot>,
    work: JoinSet<(PodUid, Outcome)>,
    next_check: Instant,
    next_flush: Option<Instant>,
}

enum Outcome {
    Applied(Pod, Result<NamespaceId, RedirectError>),
    Undone(Result<(), RedirectError>),
}

/// Pause between a change and its being written down, so that a burst of changes is written once.
const FLUSH_DELAY: Duration = Duration::from_millis(200);
/// Pause before another attempt to write, when the disk is full for example.
const FLUSH_RETRY: Duration = Duration::from_secs(5);

impl<R: Redirect> Agent<R> {
    /// An agent that goes on from what an earlier run enrolled.
    pub fn new(
        node: String,
        redirect: Arc<R>,
        state: Arc<StateDir>,
        links: Links,
        enrolled: Vec<Enrolled>,
    ) -> Self {
        let restore = |enrolled: Enrolled| (enrolled.pod.uid.clone(), Slot::restored(enrolled));
        let slots = enrolled.into_iter().map(restore).collect();
        let (next_check, next_flush) = (Instant::now(), Some(Instant::now()));
        let work = JoinSet::new();
        Self { node, redirect, state, links, slots, work, next_check, next_flush }
    }

    /// Runs until `stop` is done. Then nothing is undone: pods stay in the mesh, and the next run goes on from here.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), AgentError> {
        tokio::pin!(stop);
        self.take_wanted();
        loop {
            let now = Instant::now();
            self.check_namespaces(now);
            let wake = self.start_work(now);
            self.announce();
            if self.next_flush.is_some_and(|flush| flush <= now) {
                self.flush();
            }
            let wake = [wake, Some(self.next_check), self.next_flush].into_iter().flatten().min();
            tokio::select! {
                () = &mut stop => break,
                Ok(()) = self.links.wanted.changed() => self.take_wanted(),
                Ok(()) = self.links.connections.changed() => self.flush_soon(),
                Ok(()) = self.links.membership.changed() => self.flush_soon(),
                Ok(()) = self.links.discovery.changed() => self.flush_soon(),
                Some(done) = self.work.join_next() => {
                    let (uid, outcome) = done?;
                    self.finish(&uid, outcome);
                }
                () = sleep_until(wake.unwrap_or(self.next_check)) => {}
            }
        }
        let finish = async {
            while let Some(Ok((uid, outcome))) = self.work.join_next().await {
                self.finish(&uid, outcome);
            }
        };
        if timeout(limits::STOP_DEADLINE, finish).await.is_err() {
            warn!("stopping while enrolments are under way; the next run completes them");
        }
        self.flush();
        Ok(())
    }

    fn flush_soon(&mut self) {
        self.next_flush.get_or_insert_with(|| Instant::now() + FLUSH_DELAY);
    }

    /// Writes everything down. Pods matter more than files: without disk the agent works on and tries again.
    fn flush(&mut self) {
        self.next_flush = None;
        if let Err(error) = self.write_pods().and_then(|()| self.write_status()) {
            error!(%error, "what the agent knows could not be written down; trying again");
            self.next_flush = Some(Instant::now() + FLUSH_RETRY);
        }
    }

    /// Takes what is wanted, and writes it down before anything is done about it.
    fn take_wanted(&mut self) {
        let Some(wanted) = self.links.wanted.borrow_and_update().clone() else {
            return;
        };
        for (uid, slot) in &mut self.slots {
            slot.want(wanted.get(uid));
        }
        for (uid, pod) in wanted.iter() {
            self.slots.entry(uid.clone()).or_insert_with(|| Slot::new(pod.clone()));
        }
        self.flush();
    }

    /// Starts what is due, a few at a time; when to look again.
    fn start_work(&mut self, now: Instant) -> Option<Instant> {
        let mut wake: Option<Instant> = None;
        let uids: Vec<_> = self.slots.keys().cloned().collect();
        for uid in uids {
            let Some(slot) = self.slots.get_mut(&uid) else {
                continue;
            };
            let action = slot.action(now);
            match action {
                Action::Wait(until) => wake = [wake, until].into_iter().flatten().min(),
                Action::Forget => {
                    info!(%uid, "the pod left the mesh");
                    self.slots.remove(&uid);
                    self.flush_soon();
                }
                // The end of one that is under way comes back here.
                _ if self.work.len() >= limits::PARALLEL_ENROLMENTS => {}
                Action::Apply(pod) => match self.occupant_of(&pod) {
                    Ok(()) => {
                        self.begin(&uid);
                        let applied = self.redirect.apply(&pod);
                        self.work.spawn(async move { (uid, Outcome::Applied(pod, applied.await)) });
                    }
                    Err(reason) => {
                        wake = Some(now);
                        self.note_failure(&uid, reason, now);
                    }
                },
                Action::Undo(enrolled) => {
                    self.begin(&uid);
                    let undone = self.redirect.undo(&enrolled.pod, enrolled.namespace);
                    self.work.spawn(async move { (uid, Outcome::Undone(undone.await)) });
                }
            }
        }
        wake
    }

    fn begin(&mut self, uid: &PodUid) {
        if let Some(slot) = self.slots.get_mut(uid) {
            slot.begin();
        }
    }

    /// Whether another pod is in the pod's namespace: two would undo each other's redirection.
    fn occupant_of(&self, pod: &Pod) -> Result<(), String> {
        let Ok(id) = self.redirect.identify(pod.netns.as_ref()) else {
            // Applying says why.
            return Ok(());
        };
        for (uid, slot) in self.slots.iter().filter(|(uid, _)| **uid != pod.uid) {
            let same_name = slot.enrolled().is_some_and(|enrolled| enrolled.pod.netns == pod.netns);
            if slot.namespace() == Some(id) || same_name {
                return Err(format!("pod {uid} is enrolled in the same network namespace"));
            }
        }
        Ok(())
    }

    fn note_failure(&mut self, uid: &PodUid, reason: String, now: Instant) {
        warn!(%uid, reason, "the pod is not as it should be; trying again");
        if let Some(slot) = self.slots.get_mut(uid) {
            slot.failed(reason, now);
        }
        self.flush_soon();
    }

    fn finish(&mut self, uid: &PodUid, outcome: Outcome) {
        let now = Instant::now();
        self.flush_soon();
        let Some(slot) = self.slots.get_mut(uid) else {
            return;
        };
        match outcome {
            Outcome::Applied(pod, Ok(namespace)) => {
                info!(%uid, pod = pod.identity.name, "the pod's traffic is redirected");
                slot.applied(pod, namespace);
            }
            Outcome::Applied(_, Err(error)) if error.is_gone() => {
                warn!(%uid, %error, "the pod can't be enrolled; trying again");
                slot.vanished(error.to_string(), now);
            }
            Outcome::Undone(Ok(())) => slot.undone(),
            Outcome::Applied(_, Err(error)) | Outcome::Undone(Err(error)) => {
                self.note_failure(uid, error.to_string(), now);
            }
        }
    }

    /// Compares each enrolled pod's namespace with the one of its name now. A restarted pod may come back under the same
    /// name in a namespace that has no redirection.
    fn check_namespaces(&mut self, now: Instant) {
        if now < self.next_check {
            return;
        }
        self.next_check = now + limits::NAMESPACE_CHECK;
        for (uid, slot) in self.slots.iter_mut().filter(|(_, slot)| !slot.is_busy()) {
            let Some(Enrolled { pod, namespace: Some(namespace) }) = slot.enrolled() else {
                continue;
            };
            let reason = match self.redirect.identify(pod.netns.as_ref()) {
                Ok(id) if id == *namespace => continue,
                Ok(_) => "the network namespace was replaced".to_owned(),
                Err(error) if error.is_gone() => error.to_string(),
                // Nothing is known, so nothing is concluded.
                Err(_) => continue,
            };
            warn!(%uid, reason, "the pod's redirection is gone");
            slot.vanished(reason, now);
            self.next_flush.get_or_insert(now);
        }
    }

    /// Publishes what proxies are told: nothing until the set is known and every pod of it was tried once, because the
    /// end of a snapshot makes a proxy drop what was not named.
    fn announce(&self) {
        let is_known = self.links.wanted.borrow().is_some();
        let is_begun = self.links.announced.borrow().is_some();
        if !is_known || !(is_begun || self.slots.values().all(Slot::is_tried)) {
            return;
        }
        let announcement =
            |(uid, slot): (&PodUid, &Slot)| Some((uid.clone(), slot.announcement()?));
        let next: Announcements = self.slots.iter().filter_map(announcement).collect();
        self.links.announced.send_if_modified(|current| {
            let is_changed = current.as_deref() != Some(&next);
            if is_changed {
                *current = Some(Arc::new(next));
            }
            is_changed
        });
    }

    fn write_pods(&self) -> Result<(), StateError> {
        let wanted = self.links.wanted.borrow().as_deref().cloned();
        let enrolled = self.slots.values().filter_map(|slot| slot.enrolled().cloned()).collect();
        let file = PodsFile { node: self.node.clone(), wanted, enrolled };
        self.state.write_json(state::PODS, &file)
    }

    fn write_status(&self) -> Result<(), StateError> {
        let proxies = self.links.connections.borrow().clone();
        let newest = proxies.values().next_back();
        let serving = |uid| newest.and_then(|newest| newest.pods.get(uid));
        let pods = self.slots.iter();
        let pods = pods.filter_map(|(uid, slot)| pod_status(uid, slot, serving(uid))).collect();
        let status = Status {
            node: self.node.clone(),
            pid: std::process::id(),
            written_at: clock::unix_seconds(),
            membership: self.links.membership.borrow().clone(),
            discovery: self.links.discovery.borrow().clone(),
            is_set_known: self.links.wanted.borrow().is_some(),
            pods,
            proxies,
        };
        self.state.write_json(state::STATUS, &status)
    }
}

fn pod_status(uid: &PodUid, slot: &Slot, serving: Option<&Serving>) -> Option<PodStatus> {
    let pod = slot.pod()?;
    let is_redirected = slot.namespace().is_some();
    let waiting = match serving {
        Some(Serving::Yes) => None,
        Some(Serving::No { reason, .. }) => Some(format!("ztunnel: {reason}")),
        None if is_redirected => Some("waiting for a ztunnel to serve it".to_owned()),
        None => None,
    };
    let reason = slot.reason().map(str::to_owned).or(waiting);
    let state = match (slot.is_wanted(), &reason) {
        (false, _) => PodState::Leaving,
        (true, None) if is_redirected => PodState::Enrolled,
        (true, _) => PodState::Pending,
    };
    Some(PodStatus {
        uid: uid.clone(),
        namespace: pod.identity.namespace.clone(),
        name: pod.identity.name.clone(),
        netns: pod.netns.clone().map(String::from),
        addresses: pod.addresses.clone(),
        state,
        is_redirected,
        reason,
    })
}

#[cfg(test)]
mod tests;
