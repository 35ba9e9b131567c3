//! The node agent's session, from the proxy's side: which pods to serve.
//!
//! The agent may vanish and come back at any time; pods are served on meanwhile, and what is no longer there is
//! found out from the next snapshot.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use weft_core::zds::{Answer, AsyncSeqpacket, PodUid, Request, ZdsError, encode_hello};

use crate::limits;
use crate::netns::Netns;
use crate::pods::Pods;

/// What is known of the agent, for readiness and the status page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AgentState {
    /// A session is open.
    pub connected: bool,
    /// The session's snapshot was complete.
    pub snapshot_received: bool,
}

/// Serves sessions one after another until the task is dropped.
pub(crate) async fn run(path: PathBuf, pods: Arc<Pods>, state: watch::Sender<AgentState>) {
    let mut backoff = limits::ZDS_BACKOFF_MIN;
    loop {
        match AsyncSeqpacket::connect(&path) {
            Ok(socket) => {
                let error = session(socket, &pods, &state).await;
                if state.send_replace(AgentState::default()).snapshot_received {
                    backoff = limits::ZDS_BACKOFF_MIN;
                }
                tracing::warn!(target: "zds", %error, "session with the node agent ended; its pods are served on");
            }
            Err(error) => {
                tracing::debug!(target: "zds", %error, path = %path.display(), "the node agent is not there yet");
            }
        }
        pods.retry_pending().await;
        tokio::time::sleep(jittered(backoff)).await;
        backoff = (backoff * 2).min(limits::ZDS_BACKOFF_MAX);
    }
}

/// Between half and the whole of `delay`, so that proxies don't return in step.
fn jittered(delay: Duration) -> Duration {
    delay.mul_f64(rand::random_range(0.5..=1.0))
}

/// One session; the error is how it ended.
async fn session(
    socket: AsyncSeqpacket,
    pods: &Pods,
    state: &watch::Sender<AgentState>,
) -> ZdsError {
    match serve(&socket, pods, state).await {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

async fn serve(
    socket: &AsyncSeqpacket,
    pods: &Pods,
    state: &watch::Sender<AgentState>,
) -> Result<std::convert::Infallible, ZdsError> {
    socket.send(&encode_hello(), None).await?;
    state.send_modify(|state| state.connected = true);
    tracing::info!(target: "zds", "connected to the node agent");
    let mut named = Some(HashSet::new());
    let mut retry = tokio::time::interval(limits::POD_RETRY);
    retry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let (packet, descriptors) = tokio::select! {
            received = socket.recv() => received?,
            _ = retry.tick() => {
                pods.retry_pending().await;
                continue;
            }
        };
        let request = Request::decode(&packet, descriptors)?;
        let is_snapshot = matches!(request, Request::SnapshotSent);
        let answer = match obey(request, pods, &mut named).await {
            Ok(()) => Answer::Done,
            Err(reason) => Answer::Failed(reason),
        };
        if is_snapshot {
            state.send_modify(|state| state.snapshot_received = true);
        }
        socket.send(&answer.encode(), None).await?;
    }
}

/// Carries one message out. `named` collects the pods of the snapshot until it is complete.
async fn obey(
    request: Request,
    pods: &Pods,
    named: &mut Option<HashSet<PodUid>>,
) -> Result<(), String> {
    match request {
        Request::Add { uid, identity, netns } => {
            if let Some(named) = named {
                named.insert(uid.clone());
            }
            let identity =
                identity.ok_or("an added pod needs its name, namespace and service account")?;
            let netns = Netns::new(netns)
                .map_err(|error| format!("the pod's network namespace can't be read: {error}"))?;
            pods.add(uid, identity, netns).await
        }
        Request::Keep { uid } => match named {
            Some(named) => {
                named.insert(uid);
                Ok(())
            }
            None => Err("keep makes sense only before the snapshot is complete".into()),
        },
        Request::Del { uid } => {
            if let Some(named) = named {
                named.remove(&uid);
            }
            pods.remove(&uid).await;
            Ok(())
        }
        Request::SnapshotSent => {
            if let Some(named) = named.take() {
                pods.retain(&named).await;
            }
            Ok(())
        }
    }
}
