//! The node agent's protocol, from the proxy's side: which pods to serve.
//!
//! One packet a message over a SEQPACKET socket, one acknowledgement each, in order (Istio ambient's ZDS).
//! The agent may vanish and come back at any time; pods are served on meanwhile, and what is no longer
//! there is found out from the next snapshot.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tokio::sync::watch;
use weft_core::zds::AsyncSeqpacket;
use weft_proto::zds::{
    Ack, Version, WorkloadInfo, WorkloadRequest, WorkloadResponse, ZdsHello, workload_request,
    workload_response,
};

use crate::limits;
use crate::netns::Netns;
use crate::pods::{PodName, Pods};

/// What is known of the agent, for readiness and the status page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentState {
    /// A session is open.
    pub connected: bool,
    /// The session's snapshot was complete.
    pub snapshot_received: bool,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("socket: {0}")]
    Socket(#[from] std::io::Error),
    #[error("the agent sent a packet that is no ZDS message: {0}")]
    Undecodable(#[from] prost::DecodeError),
    #[error("the agent sent a message without content, of a kind that this version does not know")]
    Unknown,
}

/// Serves sessions one after another until the task is dropped.
pub async fn run(path: PathBuf, pods: Arc<Pods>, state: watch::Sender<AgentState>) {
    let mut backoff = limits::ZDS_BACKOFF_MIN;
    loop {
        match AsyncSeqpacket::connect(&path).await {
            Ok(socket) => {
                let ended = session(socket, &pods, &state).await;
                if state.send_replace(AgentState::default()).snapshot_received {
                    backoff = limits::ZDS_BACKOFF_MIN;
                }
                if let Err(error) = ended {
                    tracing::warn!(target: "zds", %error, "session with the node agent ended; pods are served on");
                }
            }
            Err(error) => {
                tracing::debug!(target: "zds", %error, path = %path.display(), "node agent is not there yet");
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

async fn session(
    socket: AsyncSeqpacket,
    pods: &Pods,
    state: &watch::Sender<AgentState>,
) -> Result<(), SessionError> {
    let hello = ZdsHello { version: Version::V1.into() };
    send(&socket, &hello).await?;
    state.send_modify(|state| state.connected = true);
    tracing::info!(target: "zds", "connected to the node agent");
    let mut named = Some(HashSet::new());
    let mut retry = tokio::time::interval(limits::POD_RETRY);
    retry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let (packet, descriptors) = tokio::select! {
            received = socket.recv() => match received? {
                Some(packet) => packet,
                None => return Ok(()),
            },
            _ = retry.tick() => {
                pods.retry_pending().await;
                continue;
            }
        };
        let request = WorkloadRequest::decode(packet.as_slice())?;
        let payload = request.payload.ok_or(SessionError::Unknown)?;
        let is_snapshot = matches!(payload, workload_request::Payload::SnapshotSent(_));
        let outcome = obey(payload, descriptors, pods, &mut named).await;
        if is_snapshot {
            state.send_modify(|state| state.snapshot_received = true);
        }
        send(&socket, &acknowledgement(outcome)).await?;
    }
}

/// Carries one message out. `named` collects the pods of the snapshot until it is complete.
async fn obey(
    payload: workload_request::Payload,
    descriptors: Vec<OwnedFd>,
    pods: &Pods,
    named: &mut Option<HashSet<String>>,
) -> Result<(), String> {
    match payload {
        workload_request::Payload::Add(add) => {
            let netns = namespace_of(descriptors)?;
            let name = pod_name(add.workload_info)?;
            if let Some(named) = named {
                named.insert(add.uid.clone());
            }
            pods.add(add.uid, name, netns).await
        }
        workload_request::Payload::Keep(keep) => {
            let Some(named) = named else {
                return Err("keep makes sense only before the snapshot is complete".into());
            };
            named.insert(keep.uid);
            Ok(())
        }
        workload_request::Payload::Del(del) => {
            if let Some(named) = named {
                named.remove(&del.uid);
            }
            pods.remove(&del.uid).await;
            Ok(())
        }
        workload_request::Payload::SnapshotSent(_) => {
            if let Some(named) = named.take() {
                pods.retain(&named).await;
            }
            Ok(())
        }
    }
}

fn namespace_of(mut descriptors: Vec<OwnedFd>) -> Result<Netns, String> {
    let descriptor = descriptors.pop().ok_or("an added pod needs its network namespace")?;
    if !descriptors.is_empty() {
        return Err("an added pod has exactly one network namespace".into());
    }
    Netns::new(descriptor).map_err(|error| format!("the network namespace can't be read: {error}"))
}

fn pod_name(info: Option<WorkloadInfo>) -> Result<PodName, String> {
    let info = info.ok_or("an added pod needs its name, namespace and service account")?;
    PodName::new(info).map_err(|error| error.to_string())
}

fn acknowledgement(outcome: Result<(), String>) -> WorkloadResponse {
    // A packet is bounded, and a cut text is better than no answer.
    let error = outcome.err().unwrap_or_default();
    let error = error.chars().take(limits::ZDS_ERROR_CHARS_MAX).collect();
    WorkloadResponse { payload: Some(workload_response::Payload::Ack(Ack { error })) }
}

async fn send(socket: &AsyncSeqpacket, message: &impl Message) -> Result<(), SessionError> {
    let packet = message.encode_to_vec();
    let sent = tokio::time::timeout(limits::ZDS_SEND_DEADLINE, socket.send(&packet, None)).await;
    Ok(sent.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??)
}
