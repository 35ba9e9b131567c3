//! A pod to be enrolled, read whole from what the control plane sent or refused whole.

use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use weft_core::limits::NAME_BYTES_MAX;
use weft_core::zds::{PodIdentity, PodUid};
use weft_proto::node::EnrolledPod;

use crate::limits;

/// Why a resource is no pod of this node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PodError {
    /// The uid is empty, too long, or differs from the resource's name.
    #[error("the uid is malformed or not the resource's name")]
    Uid,
    /// A name is not a Kubernetes name.
    #[error("{field} is empty, too long, or has a character outside [a-z0-9.-]")]
    Name {
        /// Which.
        field: &'static str,
    },
    /// The pod lives on another node.
    #[error("the pod is on node {0:?}, not on this one")]
    Node(String),
    /// The namespace's name is no plain file name.
    #[error(
        "the network namespace's name is over {} bytes, starts with a dot, or has a character outside [A-Za-z0-9._-]",
        limits::NETNS_NAME_BYTES_MAX
    )]
    Netns,
    /// An address is malformed, or there are too many.
    #[error("an address is malformed, or there are over {}", limits::POD_ADDRESSES_MAX)]
    Address,
    /// The bytes are no message of this type.
    #[error("not an EnrolledPod message")]
    Message,
}

/// The name of a network namespace: one plain file name, so that it can never lead out of its folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NetnsName(String);

impl NetnsName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NetnsName {
    type Err = PodError;

    fn from_str(text: &str) -> Result<Self, PodError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fits = !text.is_empty() && text.len() <= limits::NETNS_NAME_BYTES_MAX;
        if fits && !text.starts_with('.') && text.bytes().all(is_allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(PodError::Netns)
        }
    }
}

impl TryFrom<String> for NetnsName {
    type Error = PodError;

    fn try_from(text: String) -> Result<Self, PodError> {
        text.parse()
    }
}

impl From<NetnsName> for String {
    fn from(name: NetnsName) -> Self {
        name.0
    }
}

/// A pod of this node that belongs to the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its uid.
    pub uid: PodUid,
    /// Who it is.
    pub identity: PodIdentity,
    /// Its network namespace; absent where only the container runtime knows it.
    pub netns: Option<NetnsName>,
    /// Its addresses, for the status only.
    pub addresses: Vec<IpAddr>,
    /// Inbound plaintext is not redirected.
    pub bypass_inbound_capture: bool,
    /// Name look-ups are not redirected.
    pub bypass_dns_capture: bool,
}

impl Pod {
    /// Reads the resource called `name` for the agent of `node`.
    pub fn from_resource(name: &str, node: &str, resource: &EnrolledPod) -> Result<Self, PodError> {
        let uid: PodUid = resource.uid.parse().map_err(|_| PodError::Uid)?;
        if uid.as_str() != name {
            return Err(PodError::Uid);
        }
        if resource.node != node {
            return Err(PodError::Node(resource.node.chars().take(NAME_BYTES_MAX).collect()));
        }
        let identity = PodIdentity {
            name: kubernetes_name("name", &resource.name)?,
            namespace: kubernetes_name("namespace", &resource.namespace)?,
            service_account: kubernetes_name("service_account", &resource.service_account)?,
        };
        let netns = match resource.netns.as_str() {
            "" => None,
            text => Some(text.parse()?),
        };
        if resource.addresses.len() > limits::POD_ADDRESSES_MAX {
            return Err(PodError::Address);
        }
        let addresses: Result<_, _> = resource.addresses.iter().map(|text| text.parse()).collect();
        Ok(Self {
            uid,
            identity,
            netns,
            addresses: addresses.map_err(|_| PodError::Address)?,
            bypass_inbound_capture: resource.bypass_inbound_capture,
            bypass_dns_capture: resource.bypass_dns_capture,
        })
    }
}

fn kubernetes_name(field: &'static str, text: &str) -> Result<String, PodError> {
    let is_allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    if !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.bytes().all(is_allowed) {
        Ok(text.to_owned())
    } else {
        Err(PodError::Name { field })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource() -> EnrolledPod {
        EnrolledPod {
            uid: "u1".into(),
            namespace: "shop".into(),
            name: "cart-0".into(),
            service_account: "cart".into(),
            node: "node1".into(),
            netns: "pod-cart".into(),
            addresses: vec!["10.44.1.10".into(), "fd00::10".into()],
            bypass_inbound_capture: false,
            bypass_dns_capture: true,
        }
    }

    #[test]
    fn well_formed_pod_is_read() {
        let pod = Pod::from_resource("u1", "node1", &resource()).unwrap();
        assert_eq!(pod.identity.service_account, "cart");
        assert_eq!(pod.netns.unwrap().as_str(), "pod-cart");
        assert_eq!(pod.addresses.len(), 2);
        assert!(pod.bypass_dns_capture && !pod.bypass_inbound_capture);
        let unnamed = EnrolledPod { netns: String::new(), ..resource() };
        assert_eq!(Pod::from_resource("u1", "node1", &unnamed).unwrap().netns, None);
    }

    #[test]
    fn namespace_name_never_leads_out_of_its_folder() {
        for text in ["", ".", "..", "../x", "a/b", "/etc", ".hidden", "a\0b", "a b", "ä", "a\n"] {
            assert_eq!(text.parse::<NetnsName>(), Err(PodError::Netns), "{text:?}");
        }
        assert!("n".repeat(limits::NETNS_NAME_BYTES_MAX + 1).parse::<NetnsName>().is_err());
        for text in ["cni-6f1e", "a..b", "Pod_1.x"] {
            assert!(text.parse::<NetnsName>().is_ok(), "{text:?}");
        }
    }

    #[test]
    fn malformed_pod_is_refused_whole() {
        let cases = [
            (EnrolledPod { uid: "u2".into(), ..resource() }, PodError::Uid),
            (EnrolledPod { node: "node2".into(), ..resource() }, PodError::Node("node2".into())),
            (EnrolledPod { name: "A".into(), ..resource() }, PodError::Name { field: "name" }),
            (
                EnrolledPod { service_account: String::new(), ..resource() },
                PodError::Name { field: "service_account" },
            ),
            (EnrolledPod { netns: "..".into(), ..resource() }, PodError::Netns),
            (EnrolledPod { addresses: vec!["x".into()], ..resource() }, PodError::Address),
        ];
        for (resource, error) in cases {
            assert_eq!(Pod::from_resource("u1", "node1", &resource), Err(error));
        }
    }
}
