//! Services and service entries.

use std::net::IpAddr;

use ipnet::IpNet;
use weft_proto::workload::load_balancing::{HealthPolicy, Mode, Scope};
use weft_proto::workload::{
    AppProtocol as WireProtocol, IpFamilies as WireFamilies, LoadBalancing, NetworkAddress, Port,
    Service as WireService, Visibility,
};

use crate::objects::{
    AppProtocol, Distribution, IpFamilies, Meta, Resolution, Service, ServiceEntry, TargetPort,
};

use super::names;
use super::settings::EntryVisibility;
use super::view::View;
use super::waypoint::{self, User};

/// A service; nothing for an alias of a name elsewhere.
pub fn service(view: &View<'_>, service: &Service) -> Option<WireService> {
    if service.is_external_name {
        return None;
    }
    let meta = &service.meta;
    let host = names::service_host(service, view.settings);
    let given = view.addresses.of(&meta.namespace, &host);
    let addresses = service.addresses.iter().chain(given);
    let ports = service.ports.iter().map(|port| Port {
        service_port: u32::from(port.port),
        target_port: match port.target {
            TargetPort::Number(number) => u32::from(number),
            TargetPort::Name(_) => 0,
        },
        app_protocol: wire_protocol(port.app_protocol).into(),
    });
    let binding = waypoint::resolve(view, User::Service(meta));
    let mut built = WireService {
        name: meta.name.to_string(),
        namespace: meta.namespace.to_string(),
        hostname: host,
        addresses: addresses.map(|address| single(view, *address)).collect(),
        ports: ports.collect(),
        waypoint: binding.address(view),
        weighted_waypoints: binding.weighted(view),
        load_balancing: load_balancing(view, service),
        canonical: true,
        ingress_use_waypoint: uses_waypoint_at_ingress(view, meta),
        ..WireService::default()
    };
    built.set_ip_families(match service.ip_families {
        IpFamilies::Automatic => WireFamilies::Automatic,
        IpFamilies::V4 => WireFamilies::Ipv4Only,
        IpFamilies::V6 => WireFamilies::Ipv6Only,
        IpFamilies::Dual => WireFamilies::Dual,
    });
    Some(built)
}

/// A service for each host that the entry speaks for.
pub fn service_entry_services(view: &View<'_>, entry: &ServiceEntry) -> Vec<WireService> {
    let meta = &entry.meta;
    let user = User::ServiceEntry(meta);
    let binding = waypoint::resolve(view, user);
    let ports: Vec<_> = entry
        .ports
        .iter()
        .map(|port| Port {
            service_port: u32::from(port.port),
            target_port: u32::from(port.target),
            app_protocol: wire_protocol(port.app_protocol).into(),
        })
        .collect();
    let of_host = |host: &std::sync::Arc<str>| {
        let given = view.addresses.of(&meta.namespace, host);
        let own = entry.addresses.iter().map(|block| address(view, *block));
        let mut built = WireService {
            name: meta.name.to_string(),
            namespace: meta.namespace.to_string(),
            hostname: host.to_string(),
            addresses: own.chain(given.iter().map(|address| single(view, *address))).collect(),
            ports: ports.clone(),
            subject_alt_names: entry.subject_alt_names.iter().map(|it| it.to_string()).collect(),
            waypoint: binding.address(view),
            weighted_waypoints: binding.weighted(view),
            load_balancing: entry_load_balancing(view, entry),
            canonical: view.is_canonical(entry, host),
            ingress_use_waypoint: uses_waypoint_at_ingress(view, meta),
            ..WireService::default()
        };
        if view.settings.entry_visibility == EntryVisibility::Namespace {
            built.set_visibility(Visibility::Namespace);
        }
        built
    };
    view.hosts_won(entry).map(of_host).collect()
}

fn load_balancing(view: &View<'_>, service: &Service) -> Option<LoadBalancing> {
    let mut built = if service.is_node_local {
        scoped(&[Scope::Node], Mode::Strict)
    } else {
        let distribution = service.distribution.or_else(|| annotated(view, &service.meta));
        distribution.map(distributed).unwrap_or_default()
    };
    if service.publishes_not_ready {
        built.set_health_policy(HealthPolicy::AllowAll);
    }
    (built != LoadBalancing::default()).then_some(built)
}

fn entry_load_balancing(view: &View<'_>, entry: &ServiceEntry) -> Option<LoadBalancing> {
    if entry.resolution == Resolution::None {
        let mut built = scoped(&[], Mode::Passthrough);
        built.set_health_policy(HealthPolicy::AllowAll);
        return Some(built);
    }
    annotated(view, &entry.meta).map(distributed)
}

fn annotated(view: &View<'_>, meta: &Meta) -> Option<Distribution> {
    const KEY: &str = "networking.istio.io/traffic-distribution";
    let of_namespace = || view.namespace(&meta.namespace)?.annotation(KEY);
    meta.annotations.get(KEY).or_else(of_namespace).and_then(Distribution::of)
}

fn distributed(distribution: Distribution) -> LoadBalancing {
    match distribution {
        Distribution::PreferSameZone => {
            scoped(&[Scope::Network, Scope::Region, Scope::Zone], Mode::Failover)
        }
        Distribution::PreferSameNode => {
            let scopes = [Scope::Network, Scope::Region, Scope::Zone, Scope::Subzone, Scope::Node];
            scoped(&scopes, Mode::Failover)
        }
    }
}

fn scoped(scopes: &[Scope], mode: Mode) -> LoadBalancing {
    let mut built = LoadBalancing {
        routing_preference: scopes.iter().map(|scope| (*scope).into()).collect(),
        ..LoadBalancing::default()
    };
    built.set_mode(mode);
    built
}

fn uses_waypoint_at_ingress(view: &View<'_>, meta: &Meta) -> bool {
    const KEY: &str = "istio.io/ingress-use-waypoint";
    let of_namespace = || view.namespace(&meta.namespace)?.label(KEY);
    meta.labels.get(KEY).or_else(of_namespace) == Some("true")
}

fn single(view: &View<'_>, address: IpAddr) -> NetworkAddress {
    NetworkAddress {
        network: view.network().to_owned(),
        address: names::address_bytes(address),
        length: None,
    }
}

/// A block of one address is written as the address.
fn address(view: &View<'_>, block: IpNet) -> NetworkAddress {
    let length = (block.prefix_len() < block.max_prefix_len()).then(|| block.prefix_len().into());
    NetworkAddress { length, ..single(view, block.addr()) }
}

fn wire_protocol(protocol: AppProtocol) -> WireProtocol {
    match protocol {
        AppProtocol::Unknown => WireProtocol::Unknown,
        AppProtocol::Http11 => WireProtocol::Http11,
        AppProtocol::Http2 => WireProtocol::Http2,
        AppProtocol::Grpc => WireProtocol::Grpc,
        AppProtocol::Tcp => WireProtocol::Tcp,
        AppProtocol::Tls => WireProtocol::Tls,
    }
}
