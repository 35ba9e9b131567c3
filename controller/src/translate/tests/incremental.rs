//! Whatever the order of arrival, the resources are those of a fresh translation.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::objects::{Object, ObjectChange, ObjectKey};
use crate::translate::{
    Admission, Settings, Traffic, Translator, Waypoint, WaypointHost, Waypoints,
};

use super::{added, objects};

/// A small world in which nearly every object touches every other: two namespaces and the root one, few names and
/// few labels.
#[expect(clippy::too_many_lines, reason = "a table with a line or two a kind")]
fn document(kind: usize, namespace: usize, name: usize, variant: usize) -> String {
    let ns = ["shop", "app", "istio-system"][namespace % 3];
    let name = ["a", "b", "c"][name % 3];
    let app = ["x", "y"][variant % 2];
    let date = format!("2026-01-0{}T00:00:00Z", 1 + variant % 5);
    let head = |group: &str, kind: &str, meta: &str| {
        format!(
            "apiVersion: {group}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {ns}, creationTimestamp: '{date}', {meta}}}\n"
        )
    };
    match kind % 16 {
        0 => {
            let labels = [
                "",
                "istio.io/dataplane-mode: ambient",
                "topology.istio.io/network: n1",
                "istio.io/use-waypoint: wp",
            ][variant % 4];
            format!(
                "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {ns}, labels: {{{labels}}}}}\n"
            )
        }
        1 => format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: n{name}, labels: {{topology.kubernetes.io/zone: z{}}}}}\n",
            variant % 3
        ),
        2 => {
            let uid = ["", "uid: u1,", "uid: u2,"][variant % 3];
            let meta = format!("{uid} labels: {{app: {app}}}");
            let phase = ["Running", "Succeeded"][usize::from(variant % 7 == 6)];
            head("v1", "Pod", &meta)
                + &format!(
                    "spec: {{nodeName: n{name}, containers: [{{ports: [{{name: web, containerPort: {}}}]}}]}}\nstatus: {{phase: {phase}, podIP: 10.0.0.{}}}\n",
                    8000 + variant,
                    1 + variant
                )
        }
        3 => {
            let selector = ["selector: {app: x},", "selector: {app: y},", ""][variant % 3];
            let target = ["web", "8080"][variant % 2];
            let kind = ["ClusterIP", "ExternalName"][usize::from(variant % 6 == 5)];
            head("v1", "Service", "")
                + &format!(
                    "spec: {{type: {kind}, {selector} ports: [{{name: p, port: 80, targetPort: {target}}}]}}\n"
                )
        }
        4 => {
            let service = ["a", "b"][variant % 2];
            let target =
                ["targetRef: {kind: Pod, name: a, uid: u1}", "targetRef: {kind: Pod, uid: u2}", ""]
                    [variant % 3];
            head(
                "discovery.k8s.io/v1",
                "EndpointSlice",
                &format!("labels: {{kubernetes.io/service-name: {service}}}"),
            ) + &format!(
                "endpoints: [{{addresses: [10.1.0.{}], {target}}}]\nports: [{{name: p, port: 81}}]\n",
                1 + variant
            )
        }
        5 => {
            head("networking.istio.io/v1", "WorkloadEntry", &format!("labels: {{app: {app}}}"))
                + &format!("spec: {{address: 10.2.0.{}, ports: {{web: 8081}}}}\n", 1 + variant)
        }
        6 => {
            let host =
                ["one.example.com", "two.example.com", "a.shop.svc.cluster.local"][variant % 3];
            let more = [
                "resolution: DNS",
                "resolution: STATIC, workloadSelector: {labels: {app: x}}",
                "resolution: STATIC, endpoints: [{address: 10.3.0.1, labels: {app: y}}]",
                "resolution: NONE, addresses: [240.240.7.7]",
            ][variant % 4];
            head("networking.istio.io/v1", "ServiceEntry", "")
                + &format!(
                    "spec: {{hosts: [{host}, three.example.com], ports: [{{number: 80, name: web}}], {more}}}\n"
                )
        }
        7 => {
            let selector =
                ["", "selector: {matchLabels: {app: x}},", "selector: {matchLabels: {app: y}},"]
                    [variant % 3];
            let action = ["ALLOW", "DENY", "AUDIT"][variant % 3];
            head("security.istio.io/v1", "AuthorizationPolicy", "")
                + &format!("spec: {{{selector} action: {action}, rules: [{{}}]}}\n")
        }
        8 => {
            let mode = ["STRICT", "PERMISSIVE", "UNSET"][variant % 3];
            let spec = [
                String::new(),
                "selector: {matchLabels: {app: x}},".to_owned(),
                "selector: {matchLabels: {app: x}}, portLevelMtls: {8080: {mode: STRICT}, 9090: {mode: PERMISSIVE}},".to_owned(),
            ][variant / 3 % 3]
                .clone();
            head("security.istio.io/v1", "PeerAuthentication", "")
                + &format!("spec: {{{spec} mtls: {{mode: {mode}}}}}\n")
        }
        9 => {
            let to = ["shop", "app"][variant % 2];
            let service = ["a", "b"][variant / 2 % 2];
            let parent = [
                format!("group: '', kind: Service, name: {service}, namespace: {to}"),
                format!("group: '', kind: Service, name: {service}, namespace: {to}, port: 80"),
                "group: networking.istio.io, kind: ServiceEntry, name: a".to_owned(),
                "name: wp, namespace: shop".to_owned(),
            ][variant % 4]
                .clone();
            let backend = [
                format!("name: c, namespace: {to}, port: 80"),
                "group: networking.istio.io, kind: Hostname, name: one.example.com".to_owned(),
            ][variant / 3 % 2]
                .clone();
            let mirror = "filters: [{type: RequestMirror, requestMirror: {backendRef: {name: b, port: 80}}}]";
            head("gateway.networking.k8s.io/v1", "HTTPRoute", "")
                + &format!(
                    "spec: {{parentRefs: [{{{parent}}}], rules: [{{{mirror}, backendRefs: [{{{backend}}}]}}]}}\n"
                )
        }
        10 if !variant.is_multiple_of(3) => {
            let (kind, hosts) =
                [("TCPRoute", ""), ("TLSRoute", "hostnames: [x.example],")][variant % 2];
            head("gateway.networking.k8s.io/v1", kind, "")
                + &format!(
                    "spec: {{parentRefs: [{{group: '', kind: Service, name: a, namespace: shop}}], {hosts} rules: [{{backendRefs: [{{name: b, port: 80}}]}}]}}\n"
                )
        }
        10 => {
            head("gateway.networking.k8s.io/v1", "GRPCRoute", "")
                + "spec: {parentRefs: [{group: '', kind: Service, name: a, namespace: shop}], rules: [{backendRefs: [{name: b, port: 80}]}]}\n"
        }
        11 => {
            let from = ["shop", "app"][variant % 2];
            let only = ["", ", name: c"][variant / 2 % 2];
            let from =
                format!("{{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: {from}}}");
            head("gateway.networking.k8s.io/v1beta1", "ReferenceGrant", "")
                + &format!("spec: {{from: [{from}], to: [{{group: '', kind: Service{only}}}]}}\n")
        }
        12 => {
            let hosts = [
                "[a]",
                "[b, a.shop.svc.cluster.local]",
                "['*.example.com', '*.app.svc.cluster.local']",
                "[]",
            ][variant % 4];
            let export = ["", "exportTo: [.],", "exportTo: [app],"][variant % 3];
            let rule = [
                "delegate: {name: b, namespace: app}",
                "route: [{destination: {host: b, subset: v1}}]",
                "route: [{destination: {host: a.shop.svc.cluster.local}}]",
            ][variant / 2 % 3];
            head("networking.istio.io/v1", "VirtualService", "")
                + &format!(
                    "spec: {{hosts: {hosts}, {export} http: [{{{rule}, rewrite: {{uri: /x}}}}]}}\n"
                )
        }
        13 => {
            let host = ["b", "a.shop.svc.cluster.local"][variant % 2];
            let subset = ["v1", "v2"][variant / 2 % 2];
            head("networking.istio.io/v1", "DestinationRule", "")
                + &format!(
                    "spec: {{host: {host}, subsets: [{{name: {subset}, labels: {{app: {app}}}}}]}}\n"
                )
        }
        14 => {
            let spec = [
                "",
                "targetRefs: [{group: '', kind: Service, name: a}],",
                "targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: a}],",
                "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: wp}],",
                "selector: {matchLabels: {app: x}},",
            ][variant % 5];
            let more = [
                "accessLogging: [{providers: [{name: envoy}]}]",
                "tracing: [{randomSamplingPercentage: 5}]",
                "accessLogging: [{disabled: true}], metrics: [{overrides: [{disabled: true}]}]",
            ][variant / 2 % 3];
            head("telemetry.istio.io/v1", "Telemetry", "") + &format!("spec: {{{spec} {more}}}\n")
        }
        _ => head("v1", "ServiceAccount", ""),
    }
}

/// One edit: an object is written, or goes away.
fn edit() -> impl Strategy<Value = ObjectChange> {
    (0_usize..16, 0_usize..3, 0_usize..3, 0_usize..12, 0_usize..4).prop_map(
        |(kind, namespace, name, variant, fate)| {
            let object = objects(&document(kind, namespace, name, variant)).remove(0);
            ObjectChange { key: object.key(), object: (fate > 0).then_some(object) }
        },
    )
}

/// Applies batches as they come, and compares with a translator that sees only the outcome.
fn converges(settings: &Settings, batches: Vec<Vec<ObjectChange>>) {
    let waypoint = Waypoint {
        host: WaypointHost::Name("wp.shop.svc.cluster.local".into()),
        traffic: Traffic::All,
        admission: Admission::Same,
    };
    let waypoints = || Waypoints([(("shop".into(), "wp".into()), waypoint.clone())].into());
    let mut incremental = Translator::new(settings.clone());
    incremental.set_waypoints(waypoints());
    let mut heard = BTreeMap::new();
    let mut world: BTreeMap<ObjectKey, Object> = BTreeMap::new();
    for batch in batches {
        for change in &batch {
            match &change.object {
                Some(object) => world.insert(change.key.clone(), object.clone()),
                None => world.remove(&change.key),
            };
        }
        for change in incremental.apply(batch) {
            let name = (change.type_url, change.name);
            let old = match change.resource.clone() {
                Some(bytes) => heard.insert(name.clone(), bytes),
                None => heard.remove(&name),
            };
            assert_ne!(old, change.resource, "{name:?} was sent without need");
        }
        let mut fresh = Translator::new(settings.clone());
        fresh.set_waypoints(waypoints());
        fresh.apply(added(world.values().cloned()));
        assert_eq!(incremental.resources(), fresh.resources());
        assert_eq!(heard, fresh.resources());
        assert_eq!(incremental.statuses(), fresh.statuses());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_edits_gives_the_resources_of_a_fresh_translation(
        batches in prop::collection::vec(prop::collection::vec(edit(), 1..6), 1..12),
        is_standalone: bool,
    ) {
        let telemetry = super::telemetry::mesh();
        converges(&Settings { is_standalone, telemetry, ..Settings::standalone() }, batches);
    }
}

#[test]
fn change_that_touches_nothing_on_the_wire_is_not_sent() {
    let yaml = document(2, 0, 0, 0);
    let mut translator = Translator::new(Settings::standalone());
    assert_eq!(translator.apply(added(objects(&yaml))).len(), 1);
    assert!(translator.apply(added(objects(&yaml))).is_empty());
    let labelled = yaml.replace("app: x", "app: x, unread: 'yes'");
    assert!(translator.apply(added(objects(&labelled))).is_empty());
    let key = objects(&yaml)[0].key();
    let gone = translator.apply(vec![ObjectChange { key, object: None }]);
    assert!(matches!(gone.as_slice(), [change] if change.resource.is_none()));
}

#[test]
fn policies_are_sent_before_the_workloads_that_name_them_and_leave_after() {
    let yaml = [document(2, 0, 0, 0), document(8, 0, 0, 0)].join("---\n");
    let mut translator = Translator::new(Settings::standalone());
    let kinds = |changes: Vec<crate::xds::ResourceChange>| -> Vec<_> {
        changes.into_iter().map(|it| it.type_url.rsplit('.').next().unwrap()).collect()
    };
    assert_eq!(kinds(translator.apply(added(objects(&yaml)))), ["Authorization", "Address"]);
    let gone =
        objects(&yaml).into_iter().map(|object| ObjectChange { key: object.key(), object: None });
    assert_eq!(kinds(translator.apply(gone.collect())), ["Address", "Authorization"]);
}

#[test]
fn name_that_changes_hands_is_never_said_to_be_gone() {
    let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: NAME, namespace: shop}\nspec: {hosts: [a.example.com], resolution: DNS}\n";
    let mut translator = Translator::new(Settings::standalone());
    let [first, second] = ["e1", "e2"].map(|name| objects(&entry.replace("NAME", name)).remove(0));
    translator.apply(added([first.clone(), second]));
    let changes = translator.apply(vec![ObjectChange { key: first.key(), object: None }]);
    let service = changes.iter().find(|change| &*change.name == "shop/a.example.com").unwrap();
    assert!(service.resource.is_some());
}
