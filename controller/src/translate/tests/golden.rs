//! Pods, entries, endpoints, services, waypoints.

use std::sync::Arc;

use weft_proto::workload::load_balancing::{HealthPolicy, Mode, Scope};
use weft_proto::workload::{
    AppProtocol, GatewayAddress, IpFamilies, LoadBalancing, Locality, NamespacedHostname,
    NetworkAddress, NetworkMode, Port, PortList, Service, TunnelProtocol, Visibility, Workload,
    WorkloadStatus, WorkloadType, gateway_address,
};

use crate::translate::{
    Admission, EntryVisibility, Settings, Traffic, Waypoint, WaypointHost, Waypoints,
};

use super::{decoded, message, standalone, translated};

const MESH: &str = r"
apiVersion: v1
kind: Namespace
metadata: {name: istio-system, labels: {topology.istio.io/network: net1}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}
---
apiVersion: v1
kind: Node
metadata:
  name: node1
  labels: {topology.kubernetes.io/region: eu, topology.kubernetes.io/zone: eu-1, topology.istio.io/subzone: r1}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: 10.96.0.1
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: http}
  - {name: grpc-api, port: 81, targetPort: 9001}
  - {name: metrics, port: 82, targetPort: absent}
  - {name: dns, port: 53, protocol: UDP}
---
apiVersion: v1
kind: Pod
metadata:
  name: web-5d4-x
  namespace: shop
  uid: uid-1
  labels: {app: web, version: v2, pod-template-hash: 5d4}
  annotations: {weft.io/netns: pod-web, ambient.istio.io/dns-capture: 'false'}
  ownerReferences: [{kind: ReplicaSet, name: web-5d4, controller: true, apiVersion: apps/v1, uid: r}]
spec:
  nodeName: node1
  serviceAccountName: web-sa
  containers:
  - name: main
    ports: [{name: http, containerPort: 8080}]
status:
  phase: Running
  podIP: 10.44.1.10
  podIPs: [{ip: 10.44.1.10}, {ip: 'fd00::a'}]
  conditions: [{type: Ready, status: 'True'}]
";

fn port(service_port: u32, target_port: u32) -> Port {
    Port {
        service_port,
        target_port,
        ..Port::default()
    }
}

fn v4(a: u8, b: u8, c: u8, d: u8) -> Vec<u8> {
    vec![a, b, c, d]
}

#[test]
fn pod_becomes_a_workload_with_all_its_fields() {
    let found = standalone(MESH);
    let mut expected = Workload {
        uid: "Kubernetes//Pod/shop/web-5d4-x".into(),
        name: "web-5d4-x".into(),
        namespace: "shop".into(),
        addresses: vec![
            v4(10, 44, 1, 10),
            "fd00::a"
                .parse::<std::net::Ipv6Addr>()
                .unwrap()
                .octets()
                .to_vec(),
        ],
        network: "net1".into(),
        service_account: "web-sa".into(),
        node: "node1".into(),
        canonical_name: "web".into(),
        canonical_revision: "v2".into(),
        workload_name: "web".into(),
        cluster_id: "Kubernetes".into(),
        services: [(
            "shop/web.shop.svc.cluster.local".to_owned(),
            PortList {
                ports: vec![port(80, 8080), port(81, 9001)],
            },
        )]
        .into(),
        locality: Some(Locality {
            region: "eu".into(),
            zone: "eu-1".into(),
            subzone: "r1".into(),
        }),
        ..Workload::default()
    };
    expected.set_workload_type(WorkloadType::Pod);
    expected.set_tunnel_protocol(TunnelProtocol::Hbone);
    assert_eq!(found.workloads["Kubernetes//Pod/shop/web-5d4-x"], expected);
}

#[test]
fn enrolled_pod_is_told_to_its_agent() {
    let found = standalone(MESH);
    let pod = &found.enrolled["uid-1"];
    assert_eq!(
        (pod.netns.as_str(), pod.node.as_str()),
        ("pod-web", "node1")
    );
    assert_eq!(pod.addresses, ["10.44.1.10", "fd00::a"]);
    assert!(pod.bypass_dns_capture && !pod.bypass_inbound_capture);
    assert_eq!(pod.service_account, "web-sa");
}

#[test]
fn service_is_published_with_addresses_and_ports() {
    let mut expected = Service {
        name: "web".into(),
        namespace: "shop".into(),
        hostname: "web.shop.svc.cluster.local".into(),
        addresses: vec![NetworkAddress {
            network: "net1".into(),
            address: v4(10, 96, 0, 1),
            length: None,
        }],
        ports: vec![
            Port {
                app_protocol: AppProtocol::Http11.into(),
                ..port(80, 0)
            },
            Port {
                app_protocol: AppProtocol::Grpc.into(),
                ..port(81, 9001)
            },
            port(82, 0),
        ],
        canonical: true,
        ..Service::default()
    };
    expected.set_ip_families(IpFamilies::Automatic);
    assert_eq!(
        standalone(MESH).services["shop/web.shop.svc.cluster.local"],
        expected
    );
}

fn pod(name: &str, meta: &str, spec: &str, status: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, {meta}}}\n\
         spec: {{nodeName: node1, {spec}}}\nstatus: {{podIP: 10.44.1.20, {status}}}\n---\n"
    )
}

const AMBIENT: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}\n---\n";

fn one(settings: Settings, yaml: &str) -> Option<Workload> {
    decoded(&translated(settings, yaml))
        .workloads
        .into_values()
        .next()
}

#[test]
fn health_follows_readiness_and_deletion() {
    let status =
        |settings, meta, status| one(settings, &pod("a", meta, "", status)).unwrap().status();
    let ready = "conditions: [{type: Ready, status: 'True'}]";
    let (healthy, unhealthy) = (WorkloadStatus::Healthy, WorkloadStatus::Unhealthy);
    assert_eq!(status(Settings::kubernetes(), "", ready), healthy);
    assert_eq!(
        status(Settings::kubernetes(), "", "phase: Pending"),
        unhealthy
    );
    assert_eq!(
        status(Settings::standalone(), "", "phase: Running"),
        healthy
    );
    let unready = "conditions: [{type: Ready, status: 'False'}]";
    assert_eq!(status(Settings::standalone(), "", unready), unhealthy);
    let deleted = "deletionTimestamp: '2026-01-01T00:00:00Z'";
    assert_eq!(status(Settings::kubernetes(), deleted, ready), unhealthy);
}

#[test]
fn ended_pods_and_pods_without_an_address_are_no_workloads() {
    for phase in ["Succeeded", "Failed"] {
        assert_eq!(
            one(
                Settings::standalone(),
                &pod("a", "", "", &format!("phase: {phase}"))
            ),
            None
        );
    }
    let yaml = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {nodeName: n}\nstatus: {}\n";
    assert_eq!(one(Settings::standalone(), yaml), None);
}

#[test]
fn tunnel_protocol_follows_enrolment() {
    let tunnel = |settings: Settings, meta, spec| {
        let built = one(settings, &format!("{AMBIENT}{}", pod("a", meta, spec, ""))).unwrap();
        (
            built.tunnel_protocol(),
            built.native_tunnel,
            built.network_mode(),
        )
    };
    let (files, kubernetes) = (Settings::standalone, Settings::kubernetes);
    let (none, hbone, standard) = (
        TunnelProtocol::None,
        TunnelProtocol::Hbone,
        NetworkMode::Standard,
    );
    assert_eq!(tunnel(files(), "", ""), (hbone, false, standard));
    assert_eq!(
        tunnel(files(), "labels: {istio.io/dataplane-mode: none}", ""),
        (none, false, standard)
    );
    assert_eq!(
        tunnel(files(), "annotations: {sidecar.istio.io/status: '{}'}", ""),
        (none, false, standard)
    );
    assert_eq!(
        tunnel(files(), "", "hostNetwork: true"),
        (none, false, NetworkMode::HostNetwork)
    );
    // In Kubernetes the agent's annotation counts, not the wish.
    assert_eq!(tunnel(kubernetes(), "", ""), (none, false, standard));
    let redirected = "annotations: {ambient.istio.io/redirection: enabled}";
    assert_eq!(
        tunnel(kubernetes(), redirected, ""),
        (hbone, false, standard)
    );
    let native = "labels: {networking.istio.io/tunnel: http}";
    assert_eq!(tunnel(kubernetes(), native, ""), (hbone, true, standard));
    assert_eq!(
        tunnel(files(), native, "hostNetwork: true"),
        (none, false, NetworkMode::HostNetwork)
    );
}

#[test]
fn excluded_pods_are_not_enrolled() {
    let is_enrolled = |yaml: &str| !standalone(yaml).enrolled.is_empty();
    assert!(is_enrolled(&format!("{AMBIENT}{}", pod("a", "", "", ""))));
    assert!(is_enrolled(&pod(
        "a",
        "labels: {istio.io/dataplane-mode: ambient}",
        "",
        ""
    )));
    assert!(!is_enrolled(&pod("a", "", "", "")));
    let system = AMBIENT.replace("shop", "kube-system");
    assert!(!is_enrolled(&format!(
        "{system}{}",
        pod("a", "", "", "").replace("shop", "kube-system")
    )));
    let root = AMBIENT.replace("shop", "istio-system");
    let proxy = pod("a", "labels: {app: ztunnel}", "", "").replace("shop", "istio-system");
    assert!(!is_enrolled(&format!("{root}{proxy}")));
    assert!(!is_enrolled(&format!(
        "{AMBIENT}{}",
        pod("a", "", "", "").replace("nodeName: node1", "hostNetwork: false")
    )));
}

#[test]
fn of_two_pods_with_one_uid_only_the_first_joins() {
    let yaml = format!(
        "{AMBIENT}{}{}",
        pod("b", "uid: same", "", ""),
        pod("a", "uid: same", "", "")
    );
    let translator = translated(Settings::standalone(), &yaml);
    assert_eq!(decoded(&translator).enrolled["same"].name, "a");
    assert!(message(&translator, "Pod shop/b").contains("another pod has the same metadata.uid"));
}

#[test]
fn names_of_owners_follow_their_kind() {
    let name = |meta: &str| {
        let built = one(Settings::standalone(), &pod("p", meta, "", "")).unwrap();
        (
            built.workload_name,
            built.canonical_name,
            built.canonical_revision,
        )
    };
    let owned = |kind: &str, name: &str| {
        format!("ownerReferences: [{{kind: {kind}, name: {name}, controller: true}}]")
    };
    let named = |name: &str| (name.to_owned(), name.to_owned(), "latest".to_owned());
    assert_eq!(name(""), named("p"));
    assert_eq!(name(&owned("StatefulSet", "db")), named("db"));
    assert_eq!(name(&owned("ReplicaSet", "web-5d4")), named("web-5d4"));
    assert_eq!(name(&owned("Job", "sync-28123456")), named("sync"));
    assert_eq!(name(&owned("Job", "sync-once")), named("sync-once"));
    let labels = "labels: {service.istio.io/workload-name: w, app.kubernetes.io/name: n, app: a, app.kubernetes.io/version: v}";
    assert_eq!(name(labels), ("w".into(), "n".into(), "v".into()));
}

#[test]
fn listed_pod_belongs_to_the_service_without_selector() {
    let yaml = r"
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: 10.96.0.2, ports: [{port: 5432, name: sql}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
endpoints:
- {addresses: [10.44.1.20], targetRef: {kind: Pod, name: a, uid: u}}
- {addresses: [10.9.9.9, 10.9.9.10], conditions: {ready: false}}
- {addresses: [10.9.9.11]}
ports: [{name: sql, port: 6432, protocol: TCP}, {name: other, port: 1}, {name: sql, port: 2, protocol: UDP}]
---
";
    let found = standalone(&format!("{yaml}{}", pod("a", "uid: u", "", "")));
    let list = |ports| {
        [(
            "shop/db.shop.svc.cluster.local".to_owned(),
            PortList { ports },
        )]
        .into()
    };
    assert_eq!(
        found.workloads["Kubernetes//Pod/shop/a"].services,
        list(vec![port(5432, 5432)])
    );
    let slow = &found.workloads["Kubernetes/discovery.k8s.io/EndpointSlice/shop/db-1/10.9.9.9"];
    assert_eq!(slow.status(), WorkloadStatus::Unhealthy);
    let other = &found.workloads["Kubernetes/discovery.k8s.io/EndpointSlice/shop/db-1/10.9.9.11"];
    assert_eq!(other.services, list(vec![port(5432, 6432)]));
    assert_eq!(
        (other.status(), other.network_mode()),
        (WorkloadStatus::Healthy, NetworkMode::HostNetwork)
    );
    assert_eq!(found.workloads.len(), 3);
    let gone = standalone(&format!("{yaml}{}", pod("a", "uid: another", "", "")));
    assert!(gone.workloads["Kubernetes//Pod/shop/a"].services.is_empty());
}

#[test]
fn workload_entry_joins_services_and_entries() {
    let found = standalone(
        r"
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm1, namespace: shop, labels: {app: web}}
spec:
  address: 10.8.0.1
  ports: {http: 8088, https: 8443}
  labels: {app: ignored, tier: back}
  network: vms
  locality: eu/eu-2
  weight: 3
  serviceAccount: vm
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: None, selector: {app: web, tier: back}, ports: [{port: 80, targetPort: http, name: x}, {port: 81, targetPort: nope, name: y}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: shop}
spec:
  hosts: [outside.example.com]
  resolution: STATIC
  ports: [{number: 443, name: https, protocol: TLS}, {number: 444, name: other, protocol: TCP, targetPort: 4444}]
  workloadSelector: {labels: {tier: back}}
",
    );
    let vm = &found.workloads["Kubernetes/networking.istio.io/WorkloadEntry/shop/vm1"];
    assert_eq!(vm.addresses, [v4(10, 8, 0, 1)]);
    assert_eq!(
        (
            vm.network.as_str(),
            vm.capacity,
            vm.service_account.as_str()
        ),
        ("vms", Some(3), "vm")
    );
    assert_eq!(
        vm.locality,
        Some(Locality {
            region: "eu".into(),
            zone: "eu-2".into(),
            subzone: String::new()
        })
    );
    assert_eq!(vm.canonical_name, "web");
    assert_eq!(
        vm.services,
        [
            (
                "shop/outside.example.com".to_owned(),
                PortList {
                    ports: vec![port(443, 8443), port(444, 4444)]
                }
            ),
            (
                "shop/web.shop.svc.cluster.local".to_owned(),
                PortList {
                    ports: vec![port(80, 8088)]
                }
            ),
        ]
        .into()
    );
    assert!(
        found.services["shop/web.shop.svc.cluster.local"]
            .addresses
            .is_empty()
    );
}

fn entry(name: &str, host: &str, more: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec:\n  hosts: [{host}]\n  ports: [{{number: 443, name: tls, protocol: TLS}}]\n{more}\n---\n"
    )
}

#[test]
fn service_entry_is_resolved_as_it_says() {
    let found = standalone(&entry("api", "api.example.com", "  resolution: DNS"));
    let service = &found.services["shop/api.example.com"];
    assert!(service.canonical && service.addresses.len() == 1);
    assert_eq!(service.addresses[0].address[..2], [240, 240]);
    let implicit =
        &found.workloads["Kubernetes/networking.istio.io/ServiceEntry/shop/api/api.example.com"];
    assert_eq!(implicit.hostname, "api.example.com");
    assert_eq!(
        implicit.services["shop/api.example.com"].ports,
        [port(443, 443)]
    );

    let blocks = "  resolution: NONE\n  addresses: [198.51.100.0/24, 203.0.113.7]\n  subjectAltNames: [spiffe://x]";
    let found = standalone(&entry("net", "net.example.com", blocks));
    let service = &found.services["shop/net.example.com"];
    let lengths: Vec<_> = service.addresses.iter().map(|it| it.length).collect();
    assert_eq!(lengths, [Some(24), None]);
    assert_eq!(service.subject_alt_names, ["spiffe://x"]);
    let mut balancing = LoadBalancing::default();
    balancing.set_mode(Mode::Passthrough);
    balancing.set_health_policy(HealthPolicy::AllowAll);
    assert_eq!(service.load_balancing, Some(balancing));
    assert!(found.workloads.is_empty());

    let listed = "  resolution: STATIC\n  endpoints: [{address: 10.7.0.1, ports: {tls: 8443}}, {address: vm.example.com}]";
    let found = standalone(&entry("vm", "vm.example.com", listed));
    let uids: Vec<_> = found
        .workloads
        .keys()
        .map(|uid| uid.rsplit('/').next().unwrap())
        .collect();
    assert_eq!(uids, ["10.7.0.1", "vm.example.com"]);
    assert_eq!(
        found.workloads.values().next().unwrap().services["shop/vm.example.com"].ports,
        [port(443, 8443)]
    );

    let wild = standalone(&entry("w", "'*.example.com'", "  resolution: NONE"));
    assert!(wild.services["shop/*.example.com"].addresses.is_empty());
    let dynamic = standalone(&entry("w", "'*.example.com'", "  resolution: DYNAMIC_DNS"));
    assert_eq!(dynamic.services["shop/*.example.com"].addresses.len(), 1);
}

#[test]
fn of_two_entries_of_one_host_the_older_speaks() {
    let dated = |name: &str, date: &str| {
        entry(name, "a.example.com", "  resolution: DNS").replace(
            &format!("{{name: {name}, "),
            &format!("{{name: {name}, creationTimestamp: '{date}', "),
        )
    };
    let yaml = format!(
        "{}{}",
        dated("a", "2026-02-01T00:00:00Z"),
        dated("b", "2026-01-01T00:00:00Z")
    );
    let translator = translated(Settings::standalone(), &yaml);
    let found = decoded(&translator);
    assert_eq!(found.services["shop/a.example.com"].name, "b");
    assert_eq!(found.workloads.len(), 1);
    assert!(
        message(&translator, "ServiceEntry shop/a")
            .contains("false/HostConflict [\"spec.hosts[0]\"]")
    );
    assert_eq!(message(&translator, "ServiceEntry shop/b"), "");
}

#[test]
fn kubernetes_service_speaks_before_an_entry() {
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {clusterIP: 10.96.0.1}\n---\n";
    let own = entry("e", "web.shop.svc.cluster.local", "  resolution: DNS");
    let found = standalone(&format!("{service}{own}"));
    assert_eq!(
        found.services["shop/web.shop.svc.cluster.local"].name,
        "web"
    );
    assert!(found.workloads.is_empty());
    // Another namespace's entry is published there, but speaks for nobody else.
    let other = own.replace("namespace: shop", "namespace: evil");
    let found = standalone(&format!("{service}{other}"));
    assert!(!found.services["evil/web.shop.svc.cluster.local"].canonical);
}

#[test]
fn visibility_of_entries_follows_the_mesh() {
    let of = |entry_visibility| {
        let settings = Settings {
            entry_visibility,
            ..Settings::standalone()
        };
        decoded(&translated(
            settings,
            &entry("api", "api.example.com", "  resolution: DNS"),
        ))
    };
    let private = of(EntryVisibility::Namespace);
    let service = &private.services["shop/api.example.com"];
    assert_eq!(
        (service.visibility(), service.canonical),
        (Visibility::Namespace, false)
    );
    let none = of(EntryVisibility::None);
    assert!(none.services.is_empty() && none.workloads.is_empty());
}

fn balancing(namespace: &str, meta: &str, spec: &str) -> Option<LoadBalancing> {
    let yaml = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop, {namespace}}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop, {meta}}}\nspec: {{{spec}}}\n"
    );
    standalone(&yaml).services["shop/web.shop.svc.cluster.local"]
        .load_balancing
        .clone()
}

#[test]
fn load_balancing_follows_service_then_namespace() {
    let of = |scopes: &[Scope], mode: Mode| {
        let routing_preference = scopes.iter().map(|scope| (*scope).into()).collect();
        Some(LoadBalancing {
            routing_preference,
            mode: mode.into(),
            health_policy: 0,
        })
    };
    let zone = of(
        &[Scope::Network, Scope::Region, Scope::Zone],
        Mode::Failover,
    );
    let node = of(
        &[
            Scope::Network,
            Scope::Region,
            Scope::Zone,
            Scope::Subzone,
            Scope::Node,
        ],
        Mode::Failover,
    );
    let annotation =
        |value: &str| format!("annotations: {{networking.istio.io/traffic-distribution: {value}}}");
    assert_eq!(balancing("", "", ""), None);
    assert_eq!(
        balancing("", "", "internalTrafficPolicy: Local"),
        of(&[Scope::Node], Mode::Strict)
    );
    assert_eq!(balancing("", "", "trafficDistribution: PreferClose"), zone);
    assert_eq!(
        balancing("", "", "trafficDistribution: PreferSameNode"),
        node
    );
    assert_eq!(balancing("", &annotation("PreferSameZone"), ""), zone);
    assert_eq!(balancing(&annotation("PreferSameNode"), "", ""), node);
    assert_eq!(
        balancing(
            &annotation("PreferSameNode"),
            &annotation("PreferClose"),
            ""
        ),
        zone
    );
    let all = balancing("", "", "publishNotReadyAddresses: true").unwrap();
    assert_eq!(
        (all.health_policy(), all.mode()),
        (HealthPolicy::AllowAll, Mode::UnspecifiedMode)
    );
}

#[test]
fn families_and_aliases_are_told_apart() {
    let family = |list: &str| {
        let yaml = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{clusterIP: 10.96.0.1, ipFamilies: {list}}}\n"
        );
        standalone(&yaml).services["default/web.default.svc.cluster.local"].ip_families()
    };
    assert_eq!(family("[IPv4]"), IpFamilies::Ipv4Only);
    assert_eq!(family("[IPv6]"), IpFamilies::Ipv6Only);
    assert_eq!(family("[IPv6, IPv4]"), IpFamilies::Dual);
    let alias = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {type: ExternalName, externalName: x.example.com}\n";
    assert!(standalone(alias).services.is_empty());
}

#[test]
fn service_without_an_address_is_given_the_same_one_every_time() {
    let yaml =
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n";
    let address = |found: super::Decoded| found.services.into_values().next().unwrap().addresses;
    let first = address(standalone(yaml));
    assert_eq!(first[0].address[..2], [240, 240]);
    let more: String = (0..50)
        .map(|at| format!("---\n{}", yaml.replace("web", &format!("z{at}"))))
        .collect();
    let many = standalone(&format!("{yaml}{more}"));
    assert_eq!(
        many.services["default/web.default.svc.cluster.local"].addresses,
        first
    );
    let all: std::collections::BTreeSet<_> = many
        .services
        .values()
        .map(|service| service.addresses[0].address.clone())
        .collect();
    assert_eq!(all.len(), 51);
    assert!(address(decoded(&translated(Settings::kubernetes(), yaml))).is_empty());
    let headless = yaml.replace("spec: {", "spec: {clusterIP: None, ");
    assert!(address(standalone(&headless)).is_empty());
}

#[test]
fn trust_domain_and_cluster_are_on_the_wire_when_they_differ() {
    let settings = Settings {
        trust_domain: "cluster".parse().unwrap(),
        cluster_id: "east".into(),
        ..Settings::standalone()
    };
    let built = one(settings, &pod("a", "", "", "")).unwrap();
    assert_eq!(
        (built.trust_domain.as_str(), built.uid.as_str()),
        ("cluster", "east//Pod/shop/a")
    );
    assert_eq!(built.cluster_id, "east");
}

/// A namespace and a service with waypoint labels, and one waypoint `shop/wp`.
fn binding(
    namespace: &str,
    service: &str,
    traffic: Traffic,
    admission: Admission,
) -> (Option<GatewayAddress>, String) {
    let yaml = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: app, labels: {{{namespace}}}}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: app, labels: {{{service}}}}}\nspec: {{}}\n"
    );
    let mut translator = translated(Settings::standalone(), &yaml);
    let host = WaypointHost::Name("wp.shop.svc.cluster.local".into());
    let name: (Arc<str>, Arc<str>) = ("shop".into(), "wp".into());
    translator.set_waypoints(Waypoints(
        [(
            name,
            Waypoint {
                host,
                traffic,
                admission,
            },
        )]
        .into(),
    ));
    let service = decoded(&translator)
        .services
        .remove("app/web.app.svc.cluster.local")
        .unwrap();
    (service.waypoint, message(&translator, "Service app/web"))
}

#[test]
fn waypoint_is_found_by_label_and_refused_with_a_reason() {
    const WP: &str = "istio.io/use-waypoint: wp, istio.io/use-waypoint-namespace: shop";
    let bound = Some(GatewayAddress {
        destination: Some(gateway_address::Destination::Hostname(NamespacedHostname {
            namespace: "shop".into(),
            hostname: "wp.shop.svc.cluster.local".into(),
        })),
        hbone_mtls_port: 15008,
    });
    let (service, all) = (Traffic::Service, || Admission::All);
    assert_eq!(binding("", "", service, all()), (None, String::new()));
    let (address, message) = binding("", WP, service, all());
    assert_eq!(address, bound);
    assert!(message.contains("istio.io/WaypointBound=true/WaypointAccepted"));
    assert_eq!(binding(WP, "", service, all()).0, bound);
    assert_eq!(
        binding(WP, "istio.io/use-waypoint: none", service, all()),
        (None, String::new())
    );
    let cases = [
        (
            "",
            "istio.io/use-waypoint: wp",
            service,
            all(),
            "WaypointIsNotReady",
        ),
        (
            WP,
            "istio.io/use-waypoint: other",
            service,
            all(),
            "WaypointIsNotReady",
        ),
        ("", WP, Traffic::Workload, all(), "UnsupportedTrafficType"),
        ("", WP, service, Admission::Same, "AttachmentDenied"),
    ];
    for (namespace, labels, traffic, admission, reason) in cases {
        let (address, message) = binding(namespace, labels, traffic, admission);
        assert_eq!(address, None, "{reason}");
        assert!(message.contains(&format!("false/{reason}")), "{message}");
    }
    // Inherited from the namespace, another kind of traffic is no mistake.
    assert_eq!(
        binding(WP, "", Traffic::Workload, all()),
        (None, String::new())
    );
    let managed = format!("{WP}, gateway.istio.io/managed: istio.io-mesh-controller");
    assert_eq!(binding("", &managed, service, all()), (None, String::new()));
}
