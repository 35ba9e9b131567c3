//! Names on the wire. They are Istio's, to the byte.

use std::net::IpAddr;

use crate::objects::{Host, Meta, Service};

use super::settings::Settings;

/// `<namespace>/<name>`: services by host, policies by name.
pub fn resource_name(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// The full host name of a service.
pub fn service_host(service: &Service, settings: &Settings) -> String {
    format!("{}.{}.svc.{}", service.meta.name, service.meta.namespace, settings.dns_domain)
}

pub(super) fn pod_uid(meta: &Meta, settings: &Settings) -> String {
    format!("{}//Pod/{}/{}", settings.cluster_id, meta.namespace, meta.name)
}

pub(super) fn workload_entry_uid(meta: &Meta, settings: &Settings) -> String {
    let kind = "networking.istio.io/WorkloadEntry";
    format!("{}/{kind}/{}/{}", settings.cluster_id, meta.namespace, meta.name)
}

pub(super) fn service_entry_uid(meta: &Meta, host: &Host, settings: &Settings) -> String {
    let kind = "networking.istio.io/ServiceEntry";
    let host = match host {
        Host::Address(address) => address.to_string(),
        Host::Name(name) => name.to_string(),
    };
    format!("{}/{kind}/{}/{}/{host}", settings.cluster_id, meta.namespace, meta.name)
}

pub(super) fn slice_uid(meta: &Meta, address: IpAddr, settings: &Settings) -> String {
    let kind = "discovery.k8s.io/EndpointSlice";
    format!("{}/{kind}/{}/{}/{address}", settings.cluster_id, meta.namespace, meta.name)
}

/// Network order.
pub(super) fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
