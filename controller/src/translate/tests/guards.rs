//! What a node proxy lets in and where it sends, judged by its own code over what is translated.

use std::net::SocketAddr;
use std::sync::Arc;

use weft_core::mesh::{
    ResolveError, Snapshot, Store, StoreSettings, Update, Workload, waypoint_of_service,
};
use weft_core::policy::{Connection, evaluate};
use weft_proto::contract::type_url;

use crate::objects::ObjectChange;
use crate::translate::{Settings, Translator};

use super::{added, decoded, gateway, message, objects, translated, waypoint, waypoint_service};

fn snapshot(translator: &Translator) -> Arc<Snapshot> {
    let mut store = Store::new(&StoreSettings::default());
    let updates = translator.resources().into_iter().filter_map(|((of, name), bytes)| {
        let resource = Some(bytes);
        match of {
            type_url::ADDRESS => Some(Update::Address { name, resource }),
            type_url::AUTHORIZATION => Some(Update::Authorization { name, resource }),
            _ => None,
        }
    });
    assert_eq!(store.apply(updates.collect()), []);
    store.reader().load()
}

fn pod_of(snapshot: &Snapshot, name: &str) -> Arc<Workload> {
    let uid = format!("Kubernetes//Pod/shop/{name}");
    snapshot.workload(&uid).unwrap_or_else(|| panic!("no {uid}")).clone()
}

/// Whether the pod takes a connection; no identity: in plaintext.
fn takes(snapshot: &Snapshot, pod: &str, port: u16, identity: Option<&str>) -> bool {
    let identity =
        identity.map(|text| format!("spiffe://cluster.local/ns/{text}").parse().unwrap());
    let connection = Connection {
        source_identity: identity.as_ref(),
        source_ip: "10.44.1.99".parse().unwrap(),
        destination: SocketAddr::new("10.44.1.1".parse().unwrap(), port),
    };
    evaluate(snapshot, &pod_of(snapshot, pod), &connection).is_allowed()
}

const CLIENT: Option<&str> = Some("shop/sa/client");
const WAYPOINT: Option<&str> = Some("shop/sa/wp-sa");

fn pod(name: &str, app: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: {app}}}}}\n\
         spec: {{nodeName: node1, containers: [{{ports: [{{name: web, containerPort: {port}}}]}}]}}\n\
         status: {{podIP: 10.44.1.{}}}\n---\n",
        port % 200
    )
}

fn service(name: &str, labels: &str, app: &str, target: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop, labels: {{{labels}}}}}\n\
         spec: {{selector: {{app: {app}}}, ports: [{{name: http, port: 80, targetPort: {target}}}]}}\n---\n"
    )
}

fn policy(kind: &str, name: &str) -> String {
    let group = if kind == "Service" { "" } else { "gateway.networking.k8s.io" };
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: p-{name}, namespace: shop}}\n\
         spec: {{targetRefs: [{{kind: {kind}, group: '{group}', name: {name}}}], rules: [{{}}]}}\n---\n"
    )
}

const BOUND: &str = "istio.io/use-waypoint: wp";

/// A pod behind a service that is bound to a ready waypoint, under a policy.
fn guarded() -> String {
    waypoint("shop", "wp", "", "Same")
        + &service("web", BOUND, "web", "8080")
        + &pod("web", "web", 8080)
        + &policy("Service", "web")
}

fn mesh(yaml: &str) -> Arc<Snapshot> {
    snapshot(&translated(Settings::standalone(), yaml))
}

#[test]
fn guarded_service_takes_its_waypoints_calls_and_no_others_on_its_ports() {
    let snapshot = mesh(&guarded());
    assert!(takes(&snapshot, "web", 8080, WAYPOINT));
    assert!(!takes(&snapshot, "web", 8080, CLIENT));
    assert!(!takes(&snapshot, "web", 8080, None));
    assert!(!takes(&snapshot, "web", 8080, Some("bank/sa/wp-sa")));
    for identity in [WAYPOINT, CLIENT, None] {
        assert!(takes(&snapshot, "web", 9090, identity));
    }
    let permissive =
        guarded().replace(BOUND, &format!("{BOUND}, weft.io/waypoint-enforcement: permissive"));
    let without_policy = guarded().replace("kind: AuthorizationPolicy", "kind: PeerAuthentication");
    let without_policy = without_policy
        .replace("targetRefs: [{kind: Service, group: '', name: web}], rules: [{}]", "");
    for yaml in [permissive, without_policy] {
        assert!(takes(&mesh(&yaml), "web", 8080, CLIENT));
    }
}

#[test]
fn named_ports_are_guarded_where_each_pod_has_them() {
    let yaml = guarded().replace("targetPort: 8080", "targetPort: web") + &pod("web2", "web", 9090);
    let snapshot = mesh(&yaml);
    assert!(!takes(&snapshot, "web", 8080, CLIENT) && takes(&snapshot, "web", 9090, CLIENT));
    assert!(!takes(&snapshot, "web2", 9090, CLIENT) && takes(&snapshot, "web2", 8080, CLIENT));
}

#[test]
fn port_that_two_services_share_takes_both_waypoints_and_nobody_else() {
    let yaml = guarded()
        + &waypoint("shop", "wp2", "", "Same").replace("10.44.9.1", "10.44.9.2")
        + &service("web2", "istio.io/use-waypoint: wp2", "web", "8080");
    let snapshot = mesh(&yaml);
    assert!(takes(&snapshot, "web", 8080, WAYPOINT));
    assert!(takes(&snapshot, "web", 8080, Some("shop/sa/wp2-sa")));
    assert!(!takes(&snapshot, "web", 8080, CLIENT));
}

#[test]
fn canary_waypoint_gets_in_too() {
    let labels = format!("{BOUND}, istio.io/use-waypoint-canary: wp2");
    let yaml = guarded().replace(BOUND, &labels)
        + &waypoint("shop", "wp2", "", "Same").replace("10.44.9.1", "10.44.9.2");
    assert!(takes(&mesh(&yaml), "web", 8080, Some("shop/sa/wp2-sa")));
}

#[test]
fn guarded_service_without_a_usable_waypoint_takes_nobody_and_clients_fail() {
    let without = |waypoint: &str| {
        waypoint.to_owned()
            + &service("web", BOUND, "web", "8080")
            + &pod("web", "web", 8080)
            + &policy("Service", "web")
    };
    let declared = gateway("shop", "wp", "", "Same");
    for (given, is_known) in [
        (String::new(), false),
        (declared.clone(), false),
        (declared + &waypoint_service("shop", "wp"), true),
        (waypoint("shop", "wp", "", "None"), false),
    ] {
        let snapshot = mesh(&without(&given));
        assert!(!takes(&snapshot, "web", 8080, CLIENT));
        let web = snapshot.service("shop", "web.shop.svc.cluster.local").unwrap();
        let client = pod_of(&snapshot, "web");
        let way = waypoint_of_service(&snapshot, web, &client, &mut rand::rng());
        match way {
            Err(ResolveError::NoHealthyWaypoint { .. }) => assert!(is_known, "{given}"),
            Err(ResolveError::UnknownWaypoint { .. }) => assert!(!is_known, "{given}"),
            Ok(way) => panic!("{way:?}"),
        }
    }
}

#[test]
fn workloads_own_waypoint_guards_what_no_service_leads_to() {
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {istio.io/use-waypoint: wp}}\n---\n";
    let opted_out = service("open", "istio.io/use-waypoint: none", "web", "7070");
    let yaml = namespace.to_owned()
        + &waypoint("shop", "wp", "istio.io/waypoint-for: all", "Same")
        + &service("web", "", "web", "8080")
        + &opted_out
        + &pod("web", "web", 8080)
        + &policy("Gateway", "wp");
    let snapshot = mesh(&yaml);
    for port in [8080, 9090] {
        assert!(!takes(&snapshot, "web", port, CLIENT) && takes(&snapshot, "web", port, WAYPOINT));
    }
    assert!(takes(&snapshot, "web", 7070, CLIENT));
}

#[test]
fn pods_that_refuse_the_same_share_a_policy_that_goes_with_the_last_of_them() {
    let yaml = guarded() + &pod("web2", "web", 9090);
    let mut translator = translated(Settings::standalone(), &yaml);
    let guards = |translator: &Translator| -> Vec<String> {
        let names = decoded(translator).policies.into_keys();
        names.filter(|name| name.starts_with("shop/weft_waypoint_shop_wp_")).collect()
    };
    let shared = guards(&translator);
    assert_eq!(shared.len(), 1);
    let pods: Vec<_> = ["web", "web2"].map(|name| objects(&pod(name, "web", 1)).remove(0)).into();
    let remove = |translator: &mut Translator, at: usize| {
        let change = ObjectChange { key: pods[at].key(), object: None };
        translator
            .apply(vec![change])
            .into_iter()
            .filter(|it| it.type_url == type_url::AUTHORIZATION)
            .count()
    };
    assert_eq!(remove(&mut translator, 0), 0);
    assert_eq!(guards(&translator), shared);
    assert_eq!(remove(&mut translator, 1), 1);
    assert!(guards(&translator).is_empty());
    // And with the policy's end it goes, too.
    let mut translator = translated(Settings::standalone(), &yaml);
    let policy = objects(&policy("Service", "web")).remove(0);
    translator.apply(vec![ObjectChange { key: policy.key(), object: None }]);
    assert!(guards(&translator).is_empty());
    assert!(takes(&snapshot(&translator), "web", 8080, CLIENT));
    translator.apply(added([policy]));
    assert!(!takes(&snapshot(&translator), "web", 8080, CLIENT));
}

#[test]
fn what_a_service_entry_selects_is_guarded_like_what_a_service_selects() {
    let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: web, namespace: shop, labels: {istio.io/use-waypoint: wp}}\n\
        spec: {hosts: [web.example], ports: [{number: 80, name: http, targetPort: 8080}], resolution: STATIC, location: MESH_INTERNAL, workloadSelector: {labels: {app: web}}}\n---\n";
    let machine = "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: vm, namespace: shop}\n\
        spec: {address: 10.9.9.9, labels: {app: web}, ports: {http: 9999}}\n---\n";
    let policy = policy("Service", "web")
        .replace("kind: Service, group: ''", "kind: ServiceEntry, group: networking.istio.io");
    let yaml =
        waypoint("shop", "wp", "", "Same") + entry + machine + &pod("web", "web", 8080) + &policy;
    let snapshot = mesh(&yaml);
    assert!(takes(&snapshot, "web", 8080, WAYPOINT) && !takes(&snapshot, "web", 8080, CLIENT));
    // Each at its own port.
    let machine = "Kubernetes/networking.istio.io/WorkloadEntry/shop/vm";
    let machine = snapshot.workload(machine).unwrap();
    for (port, is_taken) in [(9999, false), (8080, true)] {
        let connection = Connection {
            source_identity: None,
            source_ip: "10.44.1.99".parse().unwrap(),
            destination: SocketAddr::new("10.9.9.9".parse().unwrap(), port),
        };
        assert_eq!(evaluate(&snapshot, machine, &connection).is_allowed(), is_taken);
    }
}

#[test]
fn pod_that_could_not_refuse_is_told_of() {
    let told = |yaml: &str| message(&translated(Settings::standalone(), yaml), "Pod shop/web");
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}\n---\n";
    assert!(told(&guarded()).contains("weft.io/WaypointEnforced=false/NotEnrolled"));
    assert!(!told(&(namespace.to_owned() + &guarded())).contains("WaypointEnforced"));
    assert_eq!(told(&guarded().replace("rules: [{}]", "rules: [{}], action: AUDIT")), "");
}

#[test]
fn instances_of_another_account_are_let_in_as_soon_as_they_are_declared() {
    let more = super::waypoint_pod("shop", "wp", "False")
        .replace("wp-1", "wp-2")
        .replace("wp-sa", "new-sa")
        .replace("10.44.9.1", "10.44.9.2");
    let mut translator = translated(Settings::standalone(), &guarded());
    assert!(!takes(&snapshot(&translator), "web", 8080, Some("shop/sa/new-sa")));
    translator.apply(added(objects(&more)));
    assert!(takes(&snapshot(&translator), "web", 8080, Some("shop/sa/new-sa")));
    assert!(takes(&snapshot(&translator), "web", 8080, WAYPOINT));
}
