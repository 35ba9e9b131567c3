//! Endpoints that are listed for a service.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;

use super::Pool;
use super::core::{Address, Pod};
use super::fields::{self, FieldError, Port};
use super::meta::{Meta, RawMeta};

/// One listed endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Kubernetes: the addresses of one endpoint are interchangeable, so the first is used.
    pub address: IpAddr,
    /// `ready` is true or absent.
    pub is_ready: bool,
    /// The pod that it stands for.
    pub pod: Option<PodReference>,
}

/// How a listed endpoint names a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct PodReference {
    /// Empty if not given.
    pub name: Arc<str>,
    /// Empty if not given.
    pub uid: Arc<str>,
}

impl PodReference {
    /// The text to find it by: that which is given.
    pub fn index(&self) -> &Arc<str> {
        if self.name.is_empty() { &self.uid } else { &self.name }
    }
}

impl Endpoint {
    /// Whether it stands for `pod`. The uid decides where both have one, because names are used again.
    pub fn is_of(&self, pod: &Pod) -> bool {
        let Some(reference) = &self.pod else {
            return false;
        };
        match &pod.meta.uid {
            Some(uid) if !reference.uid.is_empty() => reference.uid == *uid,
            _ => *reference.index() == pod.meta.name || reference.uid == pod.uid,
        }
    }
}

/// A TCP port of listed endpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct SlicePort {
    /// The service port's name.
    pub name: Arc<str>,
    /// The number on the endpoint.
    pub port: u16,
}

/// Endpoints of a service, listed.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointSlice {
    /// Name, labels and so on.
    pub meta: Meta,
    /// The service that they belong to.
    pub service: Option<Arc<str>>,
    /// Those with an address.
    pub endpoints: Box<[Endpoint]>,
    /// Their TCP ports.
    pub ports: Box<[SlicePort]>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawSlice {
    pub(super) metadata: RawMeta,
    address_type: Option<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    endpoints: Vec<RawEndpoint>,
    #[serde(default, deserialize_with = "fields::or_default")]
    ports: Vec<RawSlicePort>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEndpoint {
    #[serde(default, deserialize_with = "fields::or_default")]
    addresses: Vec<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    conditions: RawConditions,
    target_ref: Option<RawTargetRef>,
}

#[derive(Debug, Default, Deserialize)]
struct RawConditions {
    ready: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct RawTargetRef {
    kind: Option<String>,
    name: Option<String>,
    uid: Option<String>,
}

#[derive(Debug, Deserialize)]
struct RawSlicePort {
    name: Option<String>,
    port: Option<Port>,
    protocol: Option<String>,
}

pub(super) fn endpoint_slice(
    meta: Meta,
    raw: &RawSlice,
    pool: &mut Pool,
) -> Result<EndpointSlice, FieldError> {
    let service = meta.labels.get("kubernetes.io/service-name").map(|name| pool.text(name));
    let mut endpoints = Vec::new();
    // FQDN slices name hosts, which no client of the mesh could be sent to.
    let is_usable = raw.address_type.as_deref() != Some("FQDN");
    for (at, endpoint) in raw.endpoints.iter().enumerate().filter(|_| is_usable) {
        let Some(text) = endpoint.addresses.first() else {
            continue;
        };
        let address = Address::try_from(text.clone())
            .map_err(|reason| FieldError::new(format!("endpoints[{at}].addresses[0]"), reason))?;
        let is_pod = |target: &&RawTargetRef| target.kind.as_deref() == Some("Pod");
        let pod = endpoint.target_ref.as_ref().filter(is_pod).map(|target| {
            let mut text = |text: &Option<String>| pool.text(text.as_deref().unwrap_or_default());
            PodReference { name: text(&target.name), uid: text(&target.uid) }
        });
        let is_ready = endpoint.conditions.ready.unwrap_or(true);
        endpoints.push(Endpoint { address: address.0, is_ready, pod });
    }
    let is_tcp = |port: &&RawSlicePort| port.protocol.as_deref().is_none_or(|it| it == "TCP");
    let ports = raw.ports.iter().filter(is_tcp).filter_map(|port| {
        let name = pool.text(port.name.as_deref().unwrap_or_default());
        Some(SlicePort { name, port: port.port?.get() })
    });
    Ok(EndpointSlice { service, ports: ports.collect(), endpoints: endpoints.into(), meta })
}
