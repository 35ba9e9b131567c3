//! Services, service entries, and workloads that are no pods.

use weft_proto::workload::load_balancing::{HealthPolicy, Mode, Scope};
use weft_proto::workload::{
    AppProtocol, IpFamilies, LoadBalancing, Locality, NetworkAddress, NetworkMode, Port, PortList,
    Service, Visibility, WorkloadStatus,
};

use crate::translate::{EntryVisibility, Settings};

use super::{Decoded, MESH, decoded, message, pod, port, standalone, translated, v4};

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
            Port { app_protocol: AppProtocol::Http11.into(), ..port(80, 0) },
            Port { app_protocol: AppProtocol::Grpc.into(), ..port(81, 9001) },
            port(82, 0),
        ],
        canonical: true,
        ..Service::default()
    };
    expected.set_ip_families(IpFamilies::Automatic);
    assert_eq!(standalone(MESH).services["shop/web.shop.svc.cluster.local"], expected);
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
    let list = |ports| [("shop/db.shop.svc.cluster.local".to_owned(), PortList { ports })].into();
    assert_eq!(found.workloads["Kubernetes//Pod/shop/a"].services, list(vec![port(5432, 5432)]));
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

const OUTSIDE: &str = r"
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
";

#[test]
fn workload_entry_joins_services_and_entries() {
    let found = standalone(OUTSIDE);
    let vm = &found.workloads["Kubernetes/networking.istio.io/WorkloadEntry/shop/vm1"];
    assert_eq!(vm.addresses, [v4(10, 8, 0, 1)]);
    assert_eq!(
        (vm.network.as_str(), vm.capacity, vm.service_account.as_str()),
        ("vms", Some(3), "vm")
    );
    assert_eq!(
        vm.locality,
        Some(Locality { region: "eu".into(), zone: "eu-2".into(), subzone: String::new() })
    );
    assert_eq!(vm.canonical_name, "web");
    assert_eq!(
        vm.services,
        [
            (
                "shop/outside.example.com".to_owned(),
                PortList { ports: vec![port(443, 8443), port(444, 4444)] }
            ),
            (
                "shop/web.shop.svc.cluster.local".to_owned(),
                PortList { ports: vec![port(80, 8088)] }
            ),
        ]
        .into()
    );
    assert!(found.services["shop/web.shop.svc.cluster.local"].addresses.is_empty());
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
    assert_eq!(implicit.services["shop/api.example.com"].ports, [port(443, 443)]);

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
    let uids: Vec<_> = found.workloads.keys().map(|uid| uid.rsplit('/').next().unwrap()).collect();
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
    let yaml =
        format!("{}{}", dated("a", "2026-02-01T00:00:00Z"), dated("b", "2026-01-01T00:00:00Z"));
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
    assert_eq!(found.services["shop/web.shop.svc.cluster.local"].name, "web");
    assert!(found.workloads.is_empty());
    // Another namespace's entry is published there, but speaks for nobody else.
    let other = own.replace("namespace: shop", "namespace: evil");
    let found = standalone(&format!("{service}{other}"));
    assert!(!found.services["evil/web.shop.svc.cluster.local"].canonical);
}

#[test]
fn visibility_of_entries_follows_the_mesh() {
    let of = |entry_visibility| {
        let settings = Settings { entry_visibility, ..Settings::standalone() };
        decoded(&translated(settings, &entry("api", "api.example.com", "  resolution: DNS")))
    };
    let private = of(EntryVisibility::Namespace);
    let service = &private.services["shop/api.example.com"];
    assert_eq!((service.visibility(), service.canonical), (Visibility::Namespace, false));
    let none = of(EntryVisibility::None);
    assert!(none.services.is_empty() && none.workloads.is_empty());
}

fn balancing(namespace: &str, meta: &str, spec: &str) -> Option<LoadBalancing> {
    let yaml = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop, {namespace}}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop, {meta}}}\nspec: {{{spec}}}\n"
    );
    standalone(&yaml).services["shop/web.shop.svc.cluster.local"].load_balancing.clone()
}

#[test]
fn load_balancing_follows_service_then_namespace() {
    let of = |scopes: &[Scope], mode: Mode| {
        let routing_preference = scopes.iter().map(|scope| (*scope).into()).collect();
        Some(LoadBalancing { routing_preference, mode: mode.into(), health_policy: 0 })
    };
    let zone = of(&[Scope::Network, Scope::Region, Scope::Zone], Mode::Failover);
    let node = of(
        &[Scope::Network, Scope::Region, Scope::Zone, Scope::Subzone, Scope::Node],
        Mode::Failover,
    );
    let annotation =
        |value: &str| format!("annotations: {{networking.istio.io/traffic-distribution: {value}}}");
    assert_eq!(balancing("", "", ""), None);
    assert_eq!(balancing("", "", "internalTrafficPolicy: Local"), of(&[Scope::Node], Mode::Strict));
    assert_eq!(balancing("", "", "trafficDistribution: PreferClose"), zone);
    assert_eq!(balancing("", "", "trafficDistribution: PreferSameNode"), node);
    assert_eq!(balancing("", &annotation("PreferSameZone"), ""), zone);
    assert_eq!(balancing(&annotation("PreferSameNode"), "", ""), node);
    assert_eq!(balancing(&annotation("PreferSameNode"), &annotation("PreferClose"), ""), zone);
    let all = balancing("", "", "publishNotReadyAddresses: true").unwrap();
    assert_eq!((all.health_policy(), all.mode()), (HealthPolicy::AllowAll, Mode::UnspecifiedMode));
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
    let address = |found: Decoded| found.services.into_values().next().unwrap().addresses;
    let first = address(standalone(yaml));
    assert_eq!(first[0].address[..2], [240, 240]);
    let more: String =
        (0..50).map(|at| format!("---\n{}", yaml.replace("web", &format!("z{at}")))).collect();
    let many = standalone(&format!("{yaml}{more}"));
    assert_eq!(many.services["default/web.default.svc.cluster.local"].addresses, first);
    let all: std::collections::BTreeSet<_> =
        many.services.values().map(|service| service.addresses[0].address.clone()).collect();
    assert_eq!(all.len(), 51);
    assert!(address(decoded(&translated(Settings::kubernetes(), yaml))).is_empty());
    let headless = yaml.replace("spec: {", "spec: {clusterIP: None, ");
    assert!(address(standalone(&headless)).is_empty());
}
