//! What this proxy knows and does, in the shape that `istioctl` and `weft` read. No key is in it.

use std::collections::BTreeMap;

use weft_core::admin::dump as json;
use weft_core::mesh::{self, GatewayAddress, GatewayDestination, Port, Snapshot, TunnelProtocol};
use weft_core::policy::{Action, IpBlock, Match, PolicyEntry, Scope, StringMatch};
use weft_core::telemetry::Direction;

use crate::connections::OpenConnection;
use crate::pods::Pods;
use crate::shared::Shared;

/// The whole dump, of one snapshot.
pub(crate) fn dump(shared: &Shared, pods: &Pods) -> json::ConfigDump {
    let snapshot = shared.mesh.load();
    let mut workloads: Vec<_> = snapshot.workloads().map(|it| workload(it)).collect();
    workloads.sort_by(|a, b| a.uid.cmp(&b.uid));
    let mut services: Vec<_> = snapshot.services().map(|it| service(&snapshot, it)).collect();
    services.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    let mut policies: Vec<_> = snapshot.policies().iter().map(|it| policy(it)).collect();
    policies.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    let staged: BTreeMap<_, Vec<_>> = snapshot
        .staged()
        .map(|it| (it.key.to_string(), it.endpoints.iter().map(|w| w.uid.to_string()).collect()))
        .collect();
    json::ConfigDump {
        workloads,
        services,
        policies,
        staged_services: serde_json::json!(staged),
        static_config: serde_json::json!({}),
        version: serde_json::json!({ "version": shared.config.version }),
        config: serde_json::to_value(&shared.config).unwrap_or_default(),
        certificates: shared.certs.entries().iter().map(json::Certificate::of).collect(),
        workload_state: states(shared, pods),
    }
}

fn workload(workload: &mesh::Workload) -> json::Workload {
    json::Workload {
        uid: workload.uid.to_string(),
        workload_ips: workload.addresses.iter().map(ToString::to_string).collect(),
        waypoint: workload.waypoint.as_deref().map(gateway),
        network_gateway: workload.network_gateway.as_deref().map(gateway),
        protocol: match workload.tunnel_protocol {
            TunnelProtocol::Hbone => "HBONE".into(),
            TunnelProtocol::Plain => "TCP".into(),
            TunnelProtocol::Unreachable => "UNREACHABLE".into(),
        },
        name: workload.name.to_string(),
        namespace: workload.namespace.to_string(),
        service_account: workload.identity.service_account().into(),
        workload_name: workload.workload_name.to_string(),
        workload_type: format!("{:?}", workload.workload_type).to_lowercase(),
        canonical_name: workload.canonical_name.to_string(),
        canonical_revision: workload.canonical_revision.to_string(),
        cluster_id: workload.cluster_id.to_string(),
        trust_domain: workload.identity.trust_domain().to_string(),
        locality: json::Locality {
            region: workload.locality.region.to_string(),
            zone: workload.locality.zone.to_string(),
            subzone: workload.locality.subzone.to_string(),
        },
        node: workload.node.to_string(),
        network: workload.network.to_string(),
        status: format!("{:?}", workload.status),
        hostname: workload.hostname.to_string(),
        application_tunnel: workload.application_tunnel.map(|tunnel| json::ApplicationTunnel {
            protocol: format!("{:?}", tunnel.protocol).to_uppercase(),
            port: (tunnel.port != 0).then_some(tunnel.port),
        }),
        authorization_policies: texts(&workload.authorization_policies),
        native_tunnel: workload.has_native_tunnel,
        services: workload.services.iter().map(|(key, _)| key.to_string()).collect(),
    }
}

fn service(snapshot: &Snapshot, service: &mesh::Service) -> json::Service {
    let endpoint = |it: mesh::Endpoint<'_>| {
        let endpoint = json::Endpoint {
            workload_uid: it.workload.uid.to_string(),
            port: ports(it.ports),
            status: Some(format!("{:?}", it.workload.status)),
        };
        (it.workload.uid.to_string(), endpoint)
    };
    json::Service {
        name: service.name.to_string(),
        namespace: service.namespace.to_string(),
        hostname: service.hostname.to_string(),
        vips: service.vips.iter().map(vip).collect(),
        ports: ports(&service.ports),
        load_balancer: service.load_balancing.as_deref().map(|it| json::LoadBalancer {
            mode: format!("{:?}", it.mode),
            routing_preferences: it.scopes.iter().map(|scope| format!("{scope:?}")).collect(),
            health_policy: format!("{:?}", it.health_policy),
        }),
        waypoint: service.waypoint.as_deref().map(gateway),
        endpoints: snapshot.endpoints(service).map(endpoint).collect(),
        subject_alt_names: texts(&service.subject_alt_names),
        ip_families: match service.ip_families {
            mesh::IpFamilies::Automatic => None,
            families => Some(format!("{families:?}")),
        },
    }
}

fn vip(vip: &mesh::Vip) -> String {
    match vip.ip() {
        Some(ip) => format!("{}/{ip}", vip.network),
        None => format!("{}/{}", vip.network, vip.block),
    }
}

fn ports(ports: &[Port]) -> BTreeMap<String, u16> {
    ports.iter().map(|port| (port.service_port.to_string(), port.target_port)).collect()
}

fn gateway(gateway: &GatewayAddress) -> json::GatewayAddress {
    let destination = match &gateway.destination {
        GatewayDestination::Address { network, ip } => format!("{network}/{ip}"),
        GatewayDestination::Hostname { namespace, hostname } => format!("{namespace}/{hostname}"),
        GatewayDestination::Unknown => "unknown".into(),
    };
    json::GatewayAddress { destination, hbone_mtls_port: gateway.hbone_port }
}

fn policy(entry: &PolicyEntry) -> json::Policy {
    let full_name = entry.name().as_str();
    let (namespace, name) = full_name.split_once('/').unwrap_or(("", full_name));
    let base =
        json::Policy { name: name.into(), namespace: namespace.into(), ..json::Policy::default() };
    match entry {
        PolicyEntry::Policy(policy) => json::Policy {
            scope: scope(Some(policy.scope)),
            action: match policy.action {
                Action::Allow => "Allow".into(),
                Action::Deny => "Deny".into(),
            },
            rules: policy
                .rules
                .iter()
                .map(|rule| {
                    let clauses = rule.clauses.iter();
                    clauses.map(|clause| clause.matches.iter().map(one_match).collect()).collect()
                })
                .collect(),
            dry_run: policy.is_dry_run,
            ..base
        },
        PolicyEntry::Undecodable(policy) => json::Policy {
            scope: scope(policy.scope),
            action: format!("Deny (undecodable: {})", policy.reason),
            dry_run: policy.is_dry_run,
            ..base
        },
    }
}

fn scope(scope: Option<Scope>) -> String {
    match scope {
        Some(Scope::Global) => "Global",
        Some(Scope::Namespace) => "Namespace",
        Some(Scope::WorkloadSelector) => "WorkloadSelector",
        None => "Unknown",
    }
    .into()
}

fn one_match(one: &Match) -> json::PolicyMatch {
    let accounts = |accounts: &[weft_core::policy::ServiceAccount]| {
        let account = |it: &weft_core::policy::ServiceAccount| json::ServiceAccountMatch {
            namespace: it.namespace.to_string(),
            service_account: it.service_account.to_string(),
        };
        accounts.iter().map(account).collect()
    };
    json::PolicyMatch {
        namespaces: strings(&one.namespaces),
        not_namespaces: strings(&one.not_namespaces),
        principals: strings(&one.principals),
        not_principals: strings(&one.not_principals),
        source_ips: blocks(&one.source_ips),
        not_source_ips: blocks(&one.not_source_ips),
        destination_ips: blocks(&one.destination_ips),
        not_destination_ips: blocks(&one.not_destination_ips),
        destination_ports: one.destination_ports.to_vec(),
        not_destination_ports: one.not_destination_ports.to_vec(),
        service_accounts: accounts(&one.service_accounts),
        not_service_accounts: accounts(&one.not_service_accounts),
    }
}

fn strings(matches: &[StringMatch]) -> Vec<json::StringMatch> {
    let one = |it: &StringMatch| match it {
        StringMatch::Exact(text) => json::StringMatch::Exact(text.to_string()),
        StringMatch::Prefix(text) => json::StringMatch::Prefix(text.to_string()),
        StringMatch::Suffix(text) => json::StringMatch::Suffix(text.to_string()),
        StringMatch::Presence => json::StringMatch::Presence(serde_json::Value::Null),
    };
    matches.iter().map(one).collect()
}

fn blocks(blocks: &[IpBlock]) -> Vec<String> {
    texts(blocks)
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn states(shared: &Shared, pods: &Pods) -> BTreeMap<String, json::WorkloadState> {
    let running = shared.running.all();
    let state = |pod: crate::pods::PodState| {
        let proxy = running.iter().find(|it| it.uid == pod.uid);
        let open = proxy.map(|it| it.connections.list()).unwrap_or_default();
        let of = |direction| {
            let open = open.iter().filter(move |it| it.direction == direction);
            open.map(connection).collect()
        };
        let state = json::WorkloadState {
            state: pod.pending.map_or_else(|| "Up".into(), |why| format!("Pending: {why}")),
            connections: json::Connections {
                inbound: of(Direction::Inbound),
                outbound: of(Direction::Outbound),
            },
            info: json::WorkloadInfo {
                trust_domain: shared.config.mesh.trust_domains.own().to_string(),
                name: pod.name.name,
                namespace: pod.name.namespace,
                service_account: pod.name.service_account,
            },
        };
        (pod.uid.to_string(), state)
    };
    pods.states().into_iter().map(state).collect()
}

fn connection(open: &OpenConnection) -> json::Connection {
    json::Connection {
        src: open.source.to_string(),
        original_dst: Some(open.original_destination.to_string()),
        actual_dst: open.destination.to_string(),
        protocol: open.carrier.as_str().into(),
    }
}
