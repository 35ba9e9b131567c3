//! The node agent's protocol (ZDS): which pods a node proxy serves, one protobuf message a packet, and each pod's
//! network namespace as a descriptor beside the packet that names it.
//!
//! ```text
//!  proxy ──Hello──────────────────────────▶ agent
//!  proxy ◀─Add+descriptor | Keep | Del | SnapshotSent── agent     (one at a time)
//!  proxy ──Ack{error}─────────────────────▶ agent                 (exactly one for each, in order)
//! ```
//!
//! Both ends use these types. The messages are Istio ambient's, so either end can be a stock one.
//! Invariants: a packet is at most 1024 bytes and never empty; what does not decode whole is an error of the
//! connection; a descriptor that was not asked for is closed, never used.

mod socket;

use std::fmt;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::str::FromStr;
use std::sync::Arc;

use prost::Message as _;
use serde::{Deserialize, Serialize};
use weft_proto::contract::ZDS_PACKET_MAX;
use weft_proto::zds as wire;
use weft_proto::zds::workload_request::Payload as RequestPayload;
use weft_proto::zds::workload_response::Payload as ResponsePayload;

pub use self::socket::{AsyncSeqpacket, SeqpacketListener};
use crate::limits;

/// Why a connection of the agent's protocol can't go on.
#[derive(Debug, thiserror::Error)]
pub enum ZdsError {
    /// The peer closed the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer took no packet, or gave no answer, within [`limits::ZDS_DEADLINE`].
    #[error("no progress for {} s", limits::ZDS_DEADLINE.as_secs())]
    Deadline,
    /// What was to be sent does not fit a packet; nothing was sent and the connection is still good.
    #[error("a message of {bytes} bytes does not fit a packet of {ZDS_PACKET_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A packet, or its descriptors, arrived cut.
    #[error("a packet over {ZDS_PACKET_MAX} bytes, or with too many descriptors, arrived cut")]
    Truncated,
    /// The peer does not speak the protocol.
    #[error("protocol error: {0}")]
    Malformed(&'static str),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A pod's uid: printable ASCII without spaces, 1 to [`limits::ZDS_UID_BYTES_MAX`] bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PodUid(Arc<str>);

impl PodUid {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PodUid {
    type Err = ZdsError;

    fn from_str(text: &str) -> Result<Self, ZdsError> {
        let fits = !text.is_empty() && text.len() <= limits::ZDS_UID_BYTES_MAX;
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.into()))
        } else {
            Err(ZdsError::Malformed("a pod's uid is empty, too long or not printable ASCII"))
        }
    }
}

impl TryFrom<String> for PodUid {
    type Error = ZdsError;

    fn try_from(text: String) -> Result<Self, ZdsError> {
        text.parse()
    }
}

impl From<PodUid> for String {
    fn from(uid: PodUid) -> Self {
        uid.0.as_ref().to_owned()
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who a pod is, as the agent learned it from the control plane.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PodIdentity {
    /// Kubernetes name.
    pub name: String,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Kubernetes service account.
    pub service_account: String,
}

/// What the agent tells a proxy.
#[derive(Debug)]
pub enum Request {
    /// Serve this pod. Repeating it with the same namespace changes nothing; with another it replaces.
    Add {
        /// The pod.
        uid: PodUid,
        /// Absent from agents of before Istio 1.24: the proxy then looks the pod up by its uid.
        identity: Option<PodIdentity>,
        /// Its network namespace.
        netns: OwnedFd,
    },
    /// This pod lives, but its namespace can't be sent again: do not drop it at the end of the snapshot.
    Keep {
        /// The pod.
        uid: PodUid,
    },
    /// Stop serving this pod.
    Del {
        /// The pod.
        uid: PodUid,
    },
    /// Every pod has been named: whatever was not is dropped.
    SnapshotSent,
}

impl Request {
    /// The packet and the descriptor that goes with it.
    pub fn encode(&self) -> Result<(Vec<u8>, Option<BorrowedFd<'_>>), ZdsError> {
        let (payload, descriptor) = match self {
            Self::Add { uid, identity, netns } => {
                let workload_info = identity.clone().map(|identity| wire::WorkloadInfo {
                    name: identity.name,
                    namespace: identity.namespace,
                    service_account: identity.service_account,
                });
                let add = wire::AddWorkload { uid: uid.to_string(), workload_info };
                (RequestPayload::Add(add), Some(netns.as_fd()))
            }
            Self::Keep { uid } => {
                (RequestPayload::Keep(wire::KeepWorkload { uid: uid.to_string() }), None)
            }
            Self::Del { uid } => {
                (RequestPayload::Del(wire::DelWorkload { uid: uid.to_string() }), None)
            }
            Self::SnapshotSent => (RequestPayload::SnapshotSent(wire::SnapshotSent {}), None),
        };
        let packet = wire::WorkloadRequest { payload: Some(payload) }.encode_to_vec();
        if packet.len() > ZDS_PACKET_MAX {
            return Err(ZdsError::TooLong { bytes: packet.len() });
        }
        Ok((packet, descriptor))
    }

    /// Reads a packet as the proxy received it. Exactly an `add` carries exactly one descriptor.
    pub fn decode(packet: &[u8], descriptors: Vec<OwnedFd>) -> Result<Self, ZdsError> {
        let request = wire::WorkloadRequest::decode(packet)
            .map_err(|_| ZdsError::Malformed("not a request"))?;
        let mut descriptors = descriptors.into_iter();
        let request = match request.payload {
            Some(RequestPayload::Add(add)) => {
                let netns =
                    descriptors.next().ok_or(ZdsError::Malformed("add has no namespace"))?;
                let identity = add.workload_info.map(|info| PodIdentity {
                    name: info.name,
                    namespace: info.namespace,
                    service_account: info.service_account,
                });
                Self::Add { uid: add.uid.parse()?, identity, netns }
            }
            Some(RequestPayload::Keep(keep)) => Self::Keep { uid: keep.uid.parse()? },
            Some(RequestPayload::Del(del)) => Self::Del { uid: del.uid.parse()? },
            Some(RequestPayload::SnapshotSent(_)) => Self::SnapshotSent,
            None => return Err(ZdsError::Malformed("a request of an unknown kind")),
        };
        match descriptors.next() {
            None => Ok(request),
            Some(_) => Err(ZdsError::Malformed("an unexpected descriptor")),
        }
    }
}

/// What the proxy answers to each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Done.
    Done,
    /// Not done, and why. The connection goes on.
    Failed(String),
}

/// Longest reason in an answer, bytes: leaves room for the message's framing.
const REASON_BYTES_MAX: usize = ZDS_PACKET_MAX - 16;

impl Answer {
    /// The packet. A long reason is cut.
    pub fn encode(&self) -> Vec<u8> {
        let error = match self {
            Self::Done => String::new(),
            Self::Failed(reason) if reason.is_empty() => "no reason given".to_owned(),
            Self::Failed(reason) => {
                let end = reason.floor_char_boundary(REASON_BYTES_MAX);
                reason.get(..end).unwrap_or_default().to_owned()
            }
        };
        let ack = wire::Ack { error };
        wire::WorkloadResponse { payload: Some(ResponsePayload::Ack(ack)) }.encode_to_vec()
    }

    /// Reads a packet as the agent received it.
    pub fn decode(packet: &[u8], descriptors: Vec<OwnedFd>) -> Result<Self, ZdsError> {
        refuse(&descriptors)?;
        let response = wire::WorkloadResponse::decode(packet)
            .map_err(|_| ZdsError::Malformed("not an answer"))?;
        match response.payload {
            Some(ResponsePayload::Ack(ack)) if ack.error.is_empty() => Ok(Self::Done),
            Some(ResponsePayload::Ack(ack)) => Ok(Self::Failed(ack.error)),
            None => Err(ZdsError::Malformed("an answer of an unknown kind")),
        }
    }
}

/// The proxy's first packet.
pub fn encode_hello() -> Vec<u8> {
    wire::ZdsHello { version: wire::Version::V1.into() }.encode_to_vec()
}

/// Reads the proxy's first packet; the version that it speaks. Later versions include the first.
pub fn decode_hello(packet: &[u8], descriptors: Vec<OwnedFd>) -> Result<i32, ZdsError> {
    refuse(&descriptors)?;
    let hello = wire::ZdsHello::decode(packet).map_err(|_| ZdsError::Malformed("not a hello"))?;
    if hello.version >= i32::from(wire::Version::V1) {
        Ok(hello.version)
    } else {
        Err(ZdsError::Malformed("hello of an unknown version"))
    }
}

fn refuse(descriptors: &[OwnedFd]) -> Result<(), ZdsError> {
    if descriptors.is_empty() {
        Ok(())
    } else {
        Err(ZdsError::Malformed("an unexpected descriptor"))
    }
}

#[cfg(test)]
mod tests;
