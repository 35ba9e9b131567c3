//! Pods: as workloads, and as members of the mesh.

use weft_proto::workload::{
    Locality, NetworkMode, PortList, TunnelProtocol, Workload, WorkloadStatus, WorkloadType,
};

use crate::translate::Settings;

use super::{MESH, decoded, message, pod, port, standalone, translated, v4};

const AMBIENT: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}\n---\n";

fn one(settings: Settings, yaml: &str) -> Option<Workload> {
    decoded(&translated(settings, yaml)).workloads.into_values().next()
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
            "fd00::a".parse::<std::net::Ipv6Addr>().unwrap().octets().to_vec(),
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
            PortList { ports: vec![port(80, 8080), port(81, 9001)] },
        )]
        .into(),
        locality: Some(Locality { region: "eu".into(), zone: "eu-1".into(), subzone: "r1".into() }),
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
    assert_eq!((pod.netns.as_str(), pod.node.as_str()), ("pod-web", "node1"));
    assert_eq!(pod.addresses, ["10.44.1.10", "fd00::a"]);
    assert!(pod.bypass_dns_capture && !pod.bypass_inbound_capture);
    assert_eq!(pod.service_account, "web-sa");
}
#[test]
fn health_follows_readiness_and_deletion() {
    let status =
        |settings, meta, status| one(settings, &pod("a", meta, "", status)).unwrap().status();
    let ready = "conditions: [{type: Ready, status: 'True'}]";
    let (healthy, unhealthy) = (WorkloadStatus::Healthy, WorkloadStatus::Unhealthy);
    assert_eq!(status(Settings::kubernetes(), "", ready), healthy);
    assert_eq!(status(Settings::kubernetes(), "", "phase: Pending"), unhealthy);
    assert_eq!(status(Settings::standalone(), "", "phase: Running"), healthy);
    let unready = "conditions: [{type: Ready, status: 'False'}]";
    assert_eq!(status(Settings::standalone(), "", unready), unhealthy);
    let deleted = "deletionTimestamp: '2026-01-01T00:00:00Z'";
    assert_eq!(status(Settings::kubernetes(), deleted, ready), unhealthy);
}

#[test]
fn ended_pods_and_pods_without_an_address_are_no_workloads() {
    for phase in ["Succeeded", "Failed"] {
        assert_eq!(
            one(Settings::standalone(), &pod("a", "", "", &format!("phase: {phase}"))),
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
        (built.tunnel_protocol(), built.native_tunnel, built.network_mode())
    };
    let (files, kubernetes) = (Settings::standalone, Settings::kubernetes);
    let (none, hbone, standard) =
        (TunnelProtocol::None, TunnelProtocol::Hbone, NetworkMode::Standard);
    assert_eq!(tunnel(files(), "", ""), (hbone, false, standard));
    assert_eq!(
        tunnel(files(), "labels: {istio.io/dataplane-mode: none}", ""),
        (none, false, standard)
    );
    assert_eq!(
        tunnel(files(), "annotations: {sidecar.istio.io/status: '{}'}", ""),
        (none, false, standard)
    );
    assert_eq!(tunnel(files(), "", "hostNetwork: true"), (none, false, NetworkMode::HostNetwork));
    // In Kubernetes the agent's annotation counts, not the wish.
    assert_eq!(tunnel(kubernetes(), "", ""), (none, false, standard));
    let redirected = "annotations: {ambient.istio.io/redirection: enabled}";
    assert_eq!(tunnel(kubernetes(), redirected, ""), (hbone, false, standard));
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
    assert!(is_enrolled(&pod("a", "labels: {istio.io/dataplane-mode: ambient}", "", "")));
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
    let yaml =
        format!("{AMBIENT}{}{}", pod("b", "uid: same", "", ""), pod("a", "uid: same", "", ""));
    let translator = translated(Settings::standalone(), &yaml);
    assert_eq!(decoded(&translator).enrolled["same"].name, "a");
    assert!(message(&translator, "Pod shop/b").contains("another pod has the same metadata.uid"));
}

#[test]
fn names_of_owners_follow_their_kind() {
    let name = |meta: &str| {
        let built = one(Settings::standalone(), &pod("p", meta, "", "")).unwrap();
        (built.workload_name, built.canonical_name, built.canonical_revision)
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
fn trust_domain_and_cluster_are_on_the_wire_when_they_differ() {
    let settings = Settings {
        trust_domain: "cluster".parse().unwrap(),
        cluster_id: "east".into(),
        ..Settings::standalone()
    };
    let built = one(settings, &pod("a", "", "", "")).unwrap();
    assert_eq!((built.trust_domain.as_str(), built.uid.as_str()), ("cluster", "east//Pod/shop/a"));
    assert_eq!(built.cluster_id, "east");
}
