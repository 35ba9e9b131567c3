//! What one connection is told next: pure, from what is announced and what the proxy has been told.

use std::collections::BTreeMap;

use tokio::time::Instant;
use weft_core::zds::PodUid;

use super::{Announcement, Announcements};
use crate::backoff::Backoff;

/// What a proxy was told of a pod, and what came of it.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) announcement: Announcement,
    /// Absent while the proxy does as it was told.
    pub(super) retry: Option<Retry>,
}

/// Something that the proxy refused, or that could not be said.
#[derive(Debug, Clone)]
pub(super) struct Retry {
    pub(super) due: Instant,
    pub(super) is_removal: bool,
    pub(super) backoff: Backoff,
}

/// The next thing to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Name this pod.
    Add(PodUid),
    /// Take this pod back.
    Del(PodUid),
    /// Nothing, until something changes or this moment comes.
    Idle(Option<Instant>),
}

/// Pods are taken back on every connection, so that a proxy in its drain learns that they are gone, and added only on
/// the newest. A pod whose announcement changed is taken back first: a proxy takes an `add` with the namespace that it
/// knows for a repetition.
pub(super) fn next_step(
    announced: &Announcements,
    told: &BTreeMap<PodUid, Told>,
    is_newest: bool,
    now: Instant,
) -> Step {
    let mut wake: Option<Instant> = None;
    let mut is_due = |retry: Option<&Retry>, is_removal: bool| match retry {
        // A refusal of the opposite says nothing about this.
        Some(retry) if retry.is_removal == is_removal && retry.due > now => {
            wake = Some(wake.map_or(retry.due, |wake| wake.min(retry.due)));
            false
        }
        _ => true,
    };
    for (uid, told) in told {
        let is_stale = announced.get(uid) != Some(&told.announcement);
        if is_stale && is_due(told.retry.as_ref(), true) {
            return Step::Del(uid.clone());
        }
    }
    if is_newest {
        for (uid, announcement) in announced {
            let missing = match told.get(uid) {
                None => true,
                // What differs waits for its removal above.
                Some(told) if told.announcement != *announcement => false,
                Some(told) => told.retry.is_some() && is_due(told.retry.as_ref(), false),
            };
            if missing {
                return Step::Add(uid.clone());
            }
        }
    }
    Step::Idle(wake)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fake::announcement;

    fn uid(text: &str) -> PodUid {
        text.parse().unwrap()
    }

    fn told(netns: &str, retry: Option<(Instant, bool)>) -> Told {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(1));
        let retry = retry.map(|(due, is_removal)| Retry { due, is_removal, backoff });
        Told { announcement: announcement(netns, 1), retry }
    }

    #[tokio::test(start_paused = true)]
    async fn table_of_next_steps() {
        let now = Instant::now();
        let later = now + Duration::from_secs(5);
        let wanted = Announcements::from([(uid("a"), announcement("a", 1))]);
        let (add, del) = (Step::Add(uid("a")), Step::Del(uid("a")));
        let none = Announcements::new();
        let cases = [
            ("new pod", &wanted, None, true, add.clone()),
            ("new pod, draining proxy", &wanted, None, false, Step::Idle(None)),
            ("served", &wanted, Some(told("a", None)), true, Step::Idle(None)),
            ("gone", &none, Some(told("a", None)), false, del.clone()),
            ("changed", &wanted, Some(told("b", None)), true, del.clone()),
            (
                "refused",
                &wanted,
                Some(told("a", Some((later, false)))),
                true,
                Step::Idle(Some(later)),
            ),
            ("refused, time is up", &wanted, Some(told("a", Some((now, false)))), true, add),
            ("refused, then gone", &none, Some(told("a", Some((later, false)))), true, del),
            (
                "removal refused",
                &none,
                Some(told("a", Some((later, true)))),
                true,
                Step::Idle(Some(later)),
            ),
        ];
        for (case, announced, told, is_newest, step) in cases {
            let told = told.map(|told| (uid("a"), told)).into_iter().collect();
            assert_eq!(next_step(announced, &told, is_newest, now), step, "{case}");
        }
    }
}
