//! A change of policy reaches the connections that are open.
//!
//! Every publication of the mesh wakes this task. Judging a connection again is only due where the policies in
//! force for its pod changed, whichever object changed them: a policy, or the pod's own list of policies.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;
use weft_core::mesh::{Snapshot, SnapshotReader};
use weft_core::policy::{self, Connection, PoliciesInForce, Verdict};

use crate::connections::OpenConnection;
use crate::limits;
use crate::pod::Pod;
use crate::pods::Running;

/// What was in force for a pod when its connections were last judged.
struct Judged {
    in_force: PoliciesInForce,
    /// Since when a policy that the pod names is missing.
    missing_since: Option<Instant>,
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
    let missing_since = (!in_force.missing.is_empty())
        .then(|| before.and_then(|it| it.missing_since).unwrap_or_else(Instant::now));
    let is_overdue = missing_since.is_some_and(|at| at.elapsed() >= limits::POLICY_DEADLINE);
    if before.is_some_and(|it| it.in_force == in_force) && !is_overdue {
        return;
    }
    judged.insert(pod.workload_uid.clone(), Judged { in_force, missing_since });
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
