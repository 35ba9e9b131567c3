//! One pod's way into the mesh and out of it, as a state machine without I/O.
//!
//! ```text
//!  wanted ──▶ apply ──▶ redirected (announced to proxies) ──▶ not wanted ──▶ undo ──▶ forgotten
//!               ▲ │ failed: reason, pause                        ▲  │ failed: reason, pause
//!               └─┘                                              └──┘
//! ```
//!
//! A pod is redirected before it is announced: until a proxy serves it, its connections are refused, never sent in
//! the clear. On the way out the redirection goes first: until then the proxy still serves what is redirected to it.

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::limits;
use crate::netns::NamespaceId;
use crate::pod::Pod;
use crate::state::Enrolled;
use crate::zds::Announcement;

/// What to do for a pod now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Put the redirection in.
    Apply(Pod),
    /// Take it out.
    Undo(Enrolled),
    /// Nothing is left to do for it, ever.
    Forget,
    /// Nothing now; look again at this moment, or when something changes.
    Wait(Option<Instant>),
}

#[derive(Debug, Clone)]
struct Failure {
    reason: String,
    due: Instant,
}

/// One pod.
#[derive(Debug)]
pub(crate) struct Slot {
    goal: Option<Pod>,
    /// What is, or may be, in the kernel.
    applied: Option<Enrolled>,
    /// Whether `applied` was confirmed by this process.
    is_confirmed: bool,
    is_busy: bool,
    failure: Option<Failure>,
    backoff: Backoff,
}

impl Slot {
    /// A pod that was never seen before.
    pub(crate) fn new(goal: Pod) -> Self {
        Self {
            goal: Some(goal),
            applied: None,
            is_confirmed: false,
            is_busy: false,
            failure: None,
            backoff: Backoff::new(limits::ENROLMENT_RETRY_MIN, limits::ENROLMENT_RETRY_MAX),
        }
    }

    /// A pod that an earlier run enrolled; its redirection is put in again, which changes nothing if it is there.
    pub(crate) fn restored(enrolled: Enrolled) -> Self {
        let mut slot = Self::new(enrolled.pod.clone());
        slot.applied = Some(enrolled);
        slot
    }

    /// Sets what is wanted; nothing to leave the mesh.
    pub(crate) fn want(&mut self, goal: Option<&Pod>) {
        if self.goal.as_ref() != goal {
            self.goal = goal.cloned();
            self.failure = None;
            self.backoff.reset();
        }
    }

    pub(crate) fn action(&self, now: Instant) -> Action {
        if self.is_busy {
            return Action::Wait(None);
        }
        if let Some(failure) = self.failure.as_ref().filter(|failure| failure.due > now) {
            return Action::Wait(Some(failure.due));
        }
        match (&self.goal, &self.applied) {
            (None, None) => Action::Forget,
            (None, Some(applied)) => Action::Undo(applied.clone()),
            (Some(goal), None) => Action::Apply(goal.clone()),
            (Some(goal), Some(applied)) if goal.netns != applied.pod.netns => {
                Action::Undo(applied.clone())
            }
            (Some(goal), Some(applied)) if goal == &applied.pod && self.is_confirmed => {
                Action::Wait(None)
            }
            (Some(goal), Some(_)) => Action::Apply(goal.clone()),
        }
    }

    /// An action was started.
    pub(crate) fn begin(&mut self) {
        self.is_busy = true;
        if let (Some(goal), None) = (&self.goal, &self.applied) {
            self.applied = Some(Enrolled { pod: goal.clone(), namespace: None });
        }
    }

    /// The redirection of `pod` is in `namespace`.
    pub(crate) fn applied(&mut self, pod: Pod, namespace: NamespaceId) {
        self.applied = Some(Enrolled { pod, namespace: Some(namespace) });
        self.is_confirmed = true;
        self.succeeded();
    }

    /// Nothing is left in the kernel.
    pub(crate) fn undone(&mut self) {
        self.clear();
        self.succeeded();
    }

    /// The namespace went away, and everything in it.
    pub(crate) fn vanished(&mut self, reason: String, now: Instant) {
        self.clear();
        self.failed(reason, now);
    }

    /// The action that was started, or could not be, failed.
    pub(crate) fn failed(&mut self, reason: String, now: Instant) {
        self.is_busy = false;
        let reason = reason.chars().take(limits::REASON_BYTES_MAX).collect();
        self.failure = Some(Failure { reason, due: now + self.backoff.pause() });
    }

    fn clear(&mut self) {
        self.applied = None;
        self.is_confirmed = false;
    }

    fn succeeded(&mut self) {
        self.is_busy = false;
        self.failure = None;
        self.backoff.reset();
    }

    /// What the state folder must remember of it.
    pub(crate) fn enrolled(&self) -> Option<&Enrolled> {
        self.applied.as_ref()
    }

    /// The namespace that it is known to be redirected in.
    pub(crate) fn namespace(&self) -> Option<NamespaceId> {
        self.applied.as_ref()?.namespace
    }

    /// The pod as it is wanted, or else as it was.
    pub(crate) fn pod(&self) -> Option<&Pod> {
        self.goal.as_ref().or(self.applied.as_ref().map(|applied| &applied.pod))
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.goal.is_some()
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Whether at least one attempt has ended, or an earlier run's did.
    pub(crate) fn is_tried(&self) -> bool {
        self.namespace().is_some() || self.failure.is_some() || !self.is_wanted()
    }

    pub(crate) fn reason(&self) -> Option<&str> {
        self.failure.as_ref().map(|failure| failure.reason.as_str())
    }

    /// What proxies are told of it.
    pub(crate) fn announcement(&self) -> Option<Announcement> {
        let Enrolled { pod, namespace } = self.applied.as_ref()?;
        let (netns, namespace) = (pod.netns.clone()?, (*namespace)?);
        Some(Announcement { identity: pod.identity.clone(), netns, namespace })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;

    #[tokio::test(start_paused = true)]
    async fn pod_is_announced_only_while_it_is_redirected() {
        let now = Instant::now();
        let pod = fake::pod("u1", "a");
        let mut slot = Slot::new(pod.clone());
        assert_eq!(slot.action(now), Action::Apply(pod.clone()));
        slot.begin();
        assert_eq!((slot.action(now), slot.announcement()), (Action::Wait(None), None));
        assert!(slot.enrolled().is_some() && !slot.is_tried());
        slot.applied(pod.clone(), fake::namespace(1));
        assert_eq!(slot.action(now), Action::Wait(None));
        assert!(slot.announcement().is_some());
        slot.want(None);
        slot.begin();
        slot.failed("nft: no".into(), now);
        assert!(slot.announcement().is_some(), "its traffic still goes to the proxy");
        let Action::Wait(Some(due)) = slot.action(now) else { panic!("no pause") };
        assert!(matches!(slot.action(due), Action::Undo(_)));
        slot.begin();
        slot.undone();
        assert_eq!((slot.action(now), slot.announcement()), (Action::Forget, None));
    }

    #[tokio::test(start_paused = true)]
    async fn moved_pod_is_undone_where_it_was_and_changed_flags_are_applied_in_place() {
        let now = Instant::now();
        let pod = fake::pod("u1", "a");
        let mut slot = Slot::new(pod.clone());
        slot.applied(pod.clone(), fake::namespace(1));
        let flagged = Pod { bypass_dns_capture: true, ..pod.clone() };
        slot.want(Some(&flagged));
        assert_eq!(slot.action(now), Action::Apply(flagged.clone()));
        assert!(slot.announcement().is_some());
        slot.applied(flagged, fake::namespace(1));
        let moved = fake::pod("u1", "b");
        slot.want(Some(&moved));
        assert!(matches!(slot.action(now), Action::Undo(undo) if undo.pod.netns == pod.netns));
        slot.begin();
        slot.undone();
        assert_eq!(slot.action(now), Action::Apply(moved));
    }

    #[tokio::test(start_paused = true)]
    async fn restored_pod_is_announced_at_once_and_applied_again() {
        let now = Instant::now();
        let pod = fake::pod("u1", "a");
        let enrolled = Enrolled { pod: pod.clone(), namespace: Some(fake::namespace(1)) };
        let mut slot = Slot::restored(enrolled);
        assert!(slot.announcement().is_some() && slot.is_tried());
        assert_eq!(slot.action(now), Action::Apply(pod));
        slot.begin();
        slot.vanished("gone".into(), now);
        assert_eq!((slot.announcement(), slot.reason()), (None, Some("gone")));
    }
}
