//! Messages for tests of this crate.

use std::net::IpAddr;

use prost::Message;
use weft_proto::{security, workload as proto};

use super::Update;

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn ip_bytes(text: &str) -> Vec<u8> {
    match ip(text) {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// A pod in namespace `default` that speaks HBONE.
pub(crate) fn pod(name: &str, address: &str) -> proto::Workload {
    proto::Workload {
        uid: format!("Kubernetes//Pod/default/{name}"),
        name: name.to_owned(),
        namespace: "default".to_owned(),
        addresses: vec![ip_bytes(address)],
        tunnel_protocol: proto::TunnelProtocol::Hbone.into(),
        ..Default::default()
    }
}

/// Makes `workload` an endpoint of the service with `key`, with its own ports.
pub(crate) fn behind(
    mut workload: proto::Workload,
    key: &str,
    ports: &[(u32, u32)],
) -> proto::Workload {
    workload.services.insert(key.to_owned(), proto::PortList { ports: port_list(ports) });
    workload
}

pub(crate) fn service(
    namespace: &str,
    hostname: &str,
    vips: &[&str],
    ports: &[(u32, u32)],
) -> proto::Service {
    proto::Service {
        name: hostname.split('.').next().unwrap().to_owned(),
        namespace: namespace.to_owned(),
        hostname: hostname.to_owned(),
        addresses: vips.iter().map(|vip| network_address(vip)).collect(),
        ports: port_list(ports),
        ..Default::default()
    }
}

/// `1.2.3.4` or `1.2.3.0/24`, in the network without a name.
pub(crate) fn network_address(text: &str) -> proto::NetworkAddress {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse().unwrap())),
        None => (text, None),
    };
    proto::NetworkAddress { network: String::new(), address: ip_bytes(address), length }
}

pub(crate) fn gateway_at(address: &str) -> proto::GatewayAddress {
    let destination = proto::gateway_address::Destination::Address(network_address(address));
    proto::GatewayAddress { destination: Some(destination), hbone_mtls_port: 15008 }
}

pub(crate) fn gateway_named(namespace: &str, hostname: &str) -> proto::GatewayAddress {
    let name = proto::NamespacedHostname { namespace: namespace.into(), hostname: hostname.into() };
    let destination = proto::gateway_address::Destination::Hostname(name);
    proto::GatewayAddress { destination: Some(destination), hbone_mtls_port: 15008 }
}

pub(crate) fn port_list(ports: &[(u32, u32)]) -> Vec<proto::Port> {
    let port = |(service_port, target_port): &(u32, u32)| proto::Port {
        service_port: *service_port,
        target_port: *target_port,
        app_protocol: 0,
    };
    ports.iter().map(port).collect()
}

pub(crate) fn put_workload(workload: proto::Workload) -> Update {
    let name = workload.uid.as_str().into();
    let address = proto::Address { r#type: Some(proto::address::Type::Workload(workload)) };
    Update::Address { name, resource: Some(address.encode_to_vec().into()) }
}

pub(crate) fn put_service(service: proto::Service) -> Update {
    let name = format!("{}/{}", service.namespace, service.hostname).into();
    let address = proto::Address { r#type: Some(proto::address::Type::Service(service)) };
    Update::Address { name, resource: Some(address.encode_to_vec().into()) }
}

pub(crate) fn put_policy(policy: &security::Authorization) -> Update {
    let name = format!("{}/{}", policy.namespace, policy.name).into();
    Update::Authorization { name, resource: Some(policy.encode_to_vec().into()) }
}

pub(crate) fn remove_address(name: &str) -> Update {
    Update::Address { name: name.into(), resource: None }
}
