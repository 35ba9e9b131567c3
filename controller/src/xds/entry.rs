//! A resource in the log: its bytes as they go on the wire, and the little that sessions need to know about it.

use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use weft_proto::contract::type_url;
use weft_proto::discovery::Resource;
use weft_proto::node::EnrolledPod;
use weft_proto::workload::address::Type;
use weft_proto::workload::{Address, NetworkAddress, Service, Workload};
use xxhash_rust::xxh64::xxh64;

use super::log::Audience;

/// Key of field 2 (`resources`) of a delta response, wire type 2 (length-delimited).
const RESOURCES_KEY: u8 = 0x12;

/// A resource.
pub(super) struct Entry {
    /// Hash of the content.
    pub(super) version: u64,
    /// The `resources` field of a response with this one resource, key and length included. Repeated fields of one
    /// message may stand anywhere in it, so a response is such frames one after another.
    pub(super) frame: Bytes,
    /// Who may be interested.
    pub(super) facts: Facts,
}

/// What decides who gets a resource.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The node that it lives on.
    pub(super) node: Option<Arc<str>>,
    /// Other names: `<network>/<ip>`.
    pub(super) aliases: Box<[Arc<str>]>,
    /// Services that it is an endpoint of: `<namespace>/<hostname>`.
    pub(super) services: Box<[Arc<str>]>,
    /// It is an `Address` with a workload in it.
    pub(super) is_workload: bool,
    /// The waypoints that it is for.
    pub(super) audience: Audience,
}

/// Without the content, which may be a key.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Entry");
        shown.field("version", &self.version).field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl Entry {
    /// Encodes a resource. `content` is the message inside the `Any`.
    pub(super) fn new(type_url: &str, name: &str, content: Bytes) -> Self {
        let version = xxh64(&content, 0);
        let facts = facts_of(type_url, &content);
        let resource = Resource {
            version: format_version(version),
            resource: Some(prost_types::Any {
                type_url: type_url.to_owned(),
                value: content.into(),
            }),
            name: name.to_owned(),
            aliases: facts.aliases.iter().map(ToString::to_string).collect(),
        };
        Self { version, frame: frame(&resource), facts }
    }

    /// The same resource, for these waypoints alone.
    pub(super) fn only_for(mut self, audience: Audience) -> Self {
        self.facts.audience = audience;
        self
    }

    /// Whether the same goes to the same readers.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.version == other.version
            && self.frame == other.frame
            && self.facts.audience == other.facts.audience
    }

    /// The same resource for who subscribed to workloads alone: the inner message under its own type. Made on each
    /// use, because hardly anybody asks for that type. The version is that of the whole, which changes exactly when
    /// the workload does. `None` for a service.
    pub(super) fn as_workload(&self) -> Option<Bytes> {
        if !self.facts.is_workload {
            return None;
        }
        let mut body = self.frame.clone();
        let _key = bytes::Buf::try_get_u8(&mut body).ok()?;
        let mut resource = Resource::decode_length_delimited(body).ok()?;
        let address = Address::decode(resource.resource.as_ref()?.value.as_slice()).ok()?;
        let Some(Type::Workload(workload)) = address.r#type else {
            return None;
        };
        resource.resource = Some(prost_types::Any {
            type_url: type_url::WORKLOAD.to_owned(),
            value: workload.encode_to_vec(),
        });
        Some(frame(&resource))
    }
}

/// Text of a version, as istiod writes it: hexadecimal.
pub(super) fn format_version(version: u64) -> String {
    format!("{version:x}")
}

/// A client's version; `None` for what this server never sent, which counts as different from everything.
pub(super) fn parse_version(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

/// `<network>/<ip>`, by which an address is looked up; `None` if the bytes are no address.
fn address_key(network: &str, bytes: &[u8]) -> Option<Arc<str>> {
    use std::net::{Ipv4Addr, Ipv6Addr};
    let text = match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
        (Ok(v4), _) => Ipv4Addr::from(v4).to_string(),
        (_, Ok(v6)) => Ipv6Addr::from(v6).to_string(),
        _ => return None,
    };
    Some(format!("{network}/{text}").into())
}

fn frame(resource: &Resource) -> Bytes {
    let length = resource.encoded_len();
    let prefix = 1 + prost::length_delimiter_len(length);
    let mut buffer = BytesMut::with_capacity(prefix + length);
    buffer.put_u8(RESOURCES_KEY);
    // Fails only if the buffer is too small, and this one grows.
    let encoded = resource.encode_length_delimited(&mut buffer);
    debug_assert!(encoded.is_ok());
    buffer.freeze()
}

/// Undecodable content has no facts: it is still delivered to who asked for everything, and refused there by name.
fn facts_of(type_url: &str, content: &Bytes) -> Facts {
    match type_url {
        type_url::ADDRESS => match Address::decode(content.clone()).ok().and_then(|a| a.r#type) {
            Some(Type::Workload(workload)) => workload_facts(&workload),
            Some(Type::Service(service)) => service_facts(&service),
            None => Facts::default(),
        },
        type_url::ENROLLED_POD => EnrolledPod::decode(content.clone())
            .map(|pod| Facts { node: some_text(&pod.node), ..Facts::default() })
            .unwrap_or_default(),
        _ => Facts::default(),
    }
}

fn workload_facts(workload: &Workload) -> Facts {
    let key = |address: &Vec<u8>| address_key(&workload.network, address);
    Facts {
        node: some_text(&workload.node),
        aliases: workload.addresses.iter().filter_map(key).collect(),
        services: workload.services.keys().map(|name| name.as_str().into()).collect(),
        is_workload: true,
        ..Facts::default()
    }
}

fn service_facts(service: &Service) -> Facts {
    let key = |address: &NetworkAddress| address_key(&address.network, &address.address);
    Facts { aliases: service.addresses.iter().filter_map(key).collect(), ..Facts::default() }
}

fn some_text(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use weft_proto::discovery::DeltaDiscoveryResponse;

    use super::*;

    fn workload() -> Address {
        Address {
            r#type: Some(Type::Workload(Workload {
                uid: "c//Pod/ns/a".into(),
                addresses: vec![vec![10, 0, 0, 1], vec![0; 16], vec![1, 2]],
                node: "node1".into(),
                services: [("ns/a.example".to_owned(), Default::default())].into(),
                ..Default::default()
            })),
        }
    }

    fn decode(frame: &Bytes) -> Resource {
        let mut response = DeltaDiscoveryResponse::decode(frame.clone()).unwrap();
        assert_eq!(response.resources.len(), 1);
        response.resources.remove(0)
    }

    #[test]
    fn frame_is_what_the_wire_wants() {
        let content = Bytes::from(workload().encode_to_vec());
        let entry = Entry::new(type_url::ADDRESS, "c//Pod/ns/a", content.clone());
        let resource = decode(&entry.frame);
        assert_eq!(resource.name, "c//Pod/ns/a");
        assert_eq!(parse_version(&resource.version), Some(entry.version));
        assert_eq!(resource.aliases, ["/10.0.0.1", "/::"]);
        let any = resource.resource.unwrap();
        assert_eq!((any.type_url.as_str(), any.value), (type_url::ADDRESS, content.to_vec()));
    }

    #[test]
    fn facts_come_from_the_content() {
        let content = workload().encode_to_vec().into();
        let facts = Entry::new(type_url::ADDRESS, "x", content).facts;
        assert_eq!(facts.node.as_deref(), Some("node1"));
        assert_eq!(facts.services.iter().map(AsRef::as_ref).collect::<Vec<_>>(), ["ns/a.example"]);
        assert!(facts.is_workload);
        let broken = Entry::new(type_url::ADDRESS, "x", Bytes::from_static(b"\xff\xff"));
        assert!(broken.facts.node.is_none());
    }

    #[test]
    fn workload_variant_carries_the_inner_message() {
        let content = workload().encode_to_vec().into();
        let entry = Entry::new(type_url::ADDRESS, "c//Pod/ns/a", content);
        let resource = decode(&entry.as_workload().unwrap());
        let any = resource.resource.unwrap();
        assert_eq!(any.type_url, type_url::WORKLOAD);
        assert_eq!(Workload::decode(any.value.as_slice()).unwrap().uid, "c//Pod/ns/a");
        let service = Address { r#type: Some(Type::Service(Service::default())) };
        let service = Entry::new(type_url::ADDRESS, "s", service.encode_to_vec().into());
        assert!(service.as_workload().is_none());
    }

    #[test]
    fn versions_of_strangers_match_nothing() {
        assert_eq!(parse_version(&format_version(u64::MAX)), Some(u64::MAX));
        for text in ["", "1.2", "2024-01-01T00:00:00Z/5", "10000000000000000"] {
            assert_eq!(parse_version(text), None);
        }
    }
}
