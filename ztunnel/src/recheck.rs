//! A change of policy reaches the connections that are open.
//!
//! Every publication of the mesh wakes this task. Judging a connection again is only due where the policies in
//! force for its pod changed, whichever object changed them: a policy, or the pod's own list of policies.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;
use weft_core::mesh::{Snapshot, SnapshotReader, Workload};
use weft_core::policy::{self, Connection, Denial, PoliciesInForce, PolicyName, Verdict};

use crate::connections::OpenConnection;
use crate::limits;
use crate::pod::Pod;
use crate::pods::Running;
use crate::resolve;

/// What was in force for a pod when its connections were last judged.
struct Judged {
    in_force: PoliciesInForce,
    /// Since when a policy that the pod names is missing.
    missing_since: Option<Instant>,
    /// Its connections might lead only to what the mesh knows.
    is_registry_only: bool,
}

/// Runs until the mesh's writer ends.
pub(crate) async fn run(mut mesh: SnapshotReader, running: Running) {
    let mut judged = HashMap::new();
    loop {
        let snapshot = mesh.load();
        let pods = running.all();
        judged.retain(|uid, _| pods.iter().any(|pod| pod.workload_uid == *uid));
        for pod in &pods {
            recheck(&snapshot, pod, &mut judged);
        }
        // A missing policy has a deadline, which passes without any publication.
        let is_waiting = judged.values().any(|judged| judged.missing_since.is_some());
        let wait = if is_waiting { limits::POLICY_DEADLINE / 4 } else { limits::RECHECK_MAX };
        if let Ok(None) = tokio::time::timeout(wait, mesh.changed()).await {
            return;
        }
    }
}

fn recheck(snapshot: &Snapshot, pod: &Pod, judged: &mut HashMap<Arc<str>, Judged>) {
    let Some(workload) = snapshot.workload(&pod.workload_uid) else { return };
    let in_force = policy::policies_in_force(snapshot, workload);
    let before = judged.get(&pod.workload_uid);
    let is_registry_only = workload.is_registry_only;
    if is_registry_only && before.is_none_or(|it| !it.is_registry_only) {
        cut_outside(snapshot, workload, pod);
    }
    let missing_since = (!in_force.missing.is_empty())
        .then(|| before.and_then(|it| it.missing_since).unwrap_or_else(Instant::now));
    let is_overdue = missing_since.is_some_and(|at| at.elapsed() >= limits::POLICY_DEADLINE);
    let is_same = |it: &Judged| it.in_force == in_force && it.is_registry_only == is_registry_only;
    if before.is_some_and(is_same) && !is_overdue {
        return;
    }
    let now = Judged { in_force, missing_since, is_registry_only };
    judged.insert(pod.workload_uid.clone(), now);
    let judge = |open: &OpenConnection| {
        let connection = Connection {
            source_identity: open.source_identity.as_ref(),
            source_ip: open.source_ip(),
            destination: open.destination,
        };
        let verdict = policy::evaluate(snapshot, workload, &connection);
        match if is_overdue { verdict.after_hold() } else { verdict } {
            Verdict::Deny { reason, .. } => Some(reason),
            Verdict::Allow { .. } | Verdict::Hold { .. } => None,
        }
    };
    let cut = pod.connections.cut_inbound(judge);
    if cut > 0 {
        tracing::info!(target: "policy", pod = pod.display(), cut, "connections closed due to policy change");
    }
}

/// The pod may no longer connect to what the mesh doesn't know.
fn cut_outside(snapshot: &Snapshot, workload: &Workload, pod: &Pod) {
    let judge = |open: &OpenConnection| {
        let is_refused = resolve::is_refused(snapshot, workload, open.original_destination.ip());
        is_refused.then(|| Denial::Policy(PolicyName::new("weft.io/outbound-traffic-policy")))
    };
    let cut = pod.connections.cut_outbound(judge);
    if cut > 0 {
        tracing::info!(target: "policy", pod = pod.display(), cut, "connections closed: not in the mesh's registry");
    }
}
