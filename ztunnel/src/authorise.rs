//! May this connection reach this pod? Asked once when it arrives and again at every change (`recheck`).

use std::sync::Arc;

use weft_core::mesh::{Snapshot, SnapshotReader, Workload};
use weft_core::policy::{self, Connection, Denial, Verdict};

use crate::error::ConnectionError;
use crate::limits;
use crate::pod::Pod;

/// The pod as the controller describes it; waits for a pod that is new.
pub(crate) async fn own_workload(
    mesh: &SnapshotReader,
    pod: &Pod,
) -> Result<(Arc<Snapshot>, Arc<Workload>), ConnectionError> {
    let snapshot = mesh.load();
    if let Some(workload) = find(&snapshot, pod) {
        return Ok((snapshot, workload));
    }
    let found = |snapshot: &Arc<Snapshot>| Some((snapshot.clone(), find(snapshot, pod)?));
    mesh.wait_for(limits::WORKLOAD_DEADLINE, found)
        .await
        .map_err(|_| ConnectionError::UnknownWorkload(pod.workload_uid.clone()))
}

/// The agent and the controller must mean the same pod: a pod that came back under its old name with another
/// service account is not described yet.
fn find(snapshot: &Snapshot, pod: &Pod) -> Option<Arc<Workload>> {
    let workload = snapshot.workload(&pod.workload_uid)?;
    (workload.identity == pod.identity).then(|| workload.clone())
}

/// Lets an inbound connection in, or says which policy doesn't. Waits for a policy that the pod names and that
/// has not arrived.
pub(crate) async fn authorise(
    mesh: &SnapshotReader,
    pod: &Pod,
    connection: &Connection<'_>,
) -> Result<Arc<Workload>, ConnectionError> {
    let (snapshot, workload) = own_workload(mesh, pod).await?;
    let verdict = policy::evaluate(&snapshot, &workload, connection);
    let Verdict::Hold { .. } = verdict else { return admit(workload, verdict) };
    let decided = |snapshot: &Arc<Snapshot>| {
        let workload = find(snapshot, pod)?;
        let verdict = policy::evaluate(snapshot, &workload, connection);
        (!matches!(verdict, Verdict::Hold { .. })).then_some(())
    };
    // Whether it came or the wait is over, the newest snapshot decides.
    let _ = mesh.wait_for(limits::POLICY_DEADLINE, decided).await;
    let (snapshot, workload) = own_workload(mesh, pod).await?;
    let verdict = policy::evaluate(&snapshot, &workload, connection).after_hold();
    admit(workload, verdict)
}

fn admit(workload: Arc<Workload>, verdict: Verdict) -> Result<Arc<Workload>, ConnectionError> {
    match denial(verdict) {
        None => Ok(workload),
        Some(denial) => Err(ConnectionError::Denied(denial)),
    }
}

/// Why not, if not; what dry-run policies would have said goes to the log.
pub(crate) fn denial(verdict: Verdict) -> Option<Denial> {
    let (denial, dry_run) = match verdict {
        Verdict::Allow { dry_run, .. } => (None, dry_run),
        Verdict::Deny { reason, dry_run } => (Some(reason), dry_run),
        Verdict::Hold { missing } => (Some(Denial::Missing(missing)), None),
    };
    if let Some(dry_run) = dry_run {
        tracing::info!(target: "access", ?dry_run, "dry run");
    }
    denial
}
