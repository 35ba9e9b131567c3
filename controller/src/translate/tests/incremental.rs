//! Whatever the order of arrival, the resources are those of a fresh translation.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::objects::{KeySource, Object, ObjectChange, ObjectKey};
use crate::translate::{FetchedKeys, Settings, Translator};

use super::{added, mesh_config, objects, secrets};

/// Kinds of documents in the small world.
const KINDS: usize = 22;

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
    match kind % KINDS {
        0 => {
            let labels = [
                "",
                "istio.io/dataplane-mode: ambient",
                "topology.istio.io/network: n1",
                "istio.io/use-waypoint: b",
                "istio.io/use-waypoint: b, weft.io/waypoint-enforcement: enforced",
                "istio.io/use-waypoint: b, istio.io/use-waypoint-namespace: shop",
            ][variant % 6];
            let annotations =
                ["", "weft.io/outbound-traffic-policy: REGISTRY_ONLY"][variant / 3 % 2];
            format!(
                "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {ns}, labels: {{{labels}}}, annotations: {{{annotations}}}}}\n"
            )
        }
        1 => format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: n{name}, labels: {{topology.kubernetes.io/zone: z{}}}}}\n",
            variant % 3
        ),
        2 => {
            let uid = ["", "uid: u1,", "uid: u2,"][variant % 3];
            let more = [
                "",
                ", gateway.networking.k8s.io/gateway-name: b",
                ", istio.io/use-waypoint: c, tier: t",
            ][variant / 3 % 3];
            let meta = format!("{uid} labels: {{app: {app}{more}}}");
            let phase = ["Running", "Succeeded"][usize::from(variant % 7 == 6)];
            head("v1", "Pod", &meta)
                + &format!(
                    "spec: {{nodeName: n{name}, containers: [{{ports: [{{name: web, containerPort: {}}}]}}]}}\nstatus: {{phase: {phase}, podIP: 10.0.0.{}}}\n",
                    8000 + variant,
                    1 + variant
                )
        }
        3 => {
            let meta = [
                "",
                "labels: {istio.io/use-waypoint: b, istio.io/use-waypoint-canary: c}, annotations: {istio.io/use-waypoint-canary-weight: '20'}",
                "labels: {istio.io/use-waypoint: b}, annotations: {weft.io/local-rate-limit: 5/1s, weft.io/max-request-body: 1Mi}",
                "labels: {istio.io/use-waypoint: none}, annotations: {weft.io/local-rate-limit: 5/1s}",
                "labels: {gateway.networking.k8s.io/gateway-name: c, weft.io/waypoint-enforcement: permissive}",
            ][variant / 2 % 5];
            let selector = ["selector: {app: x},", "selector: {app: y},", ""][variant % 3];
            let target = ["web", "8080"][variant % 2];
            let kind = ["ClusterIP", "ExternalName"][usize::from(variant % 6 == 5)];
            head("v1", "Service", meta)
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
            let meta = ["", "labels: {istio.io/use-waypoint: b}"][variant / 4 % 2];
            head("networking.istio.io/v1", "ServiceEntry", meta)
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
                "name: b, namespace: shop".to_owned(),
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
            let callers = ["", "match: [{sourceLabels: {tier: t}}],"][variant / 5 % 2];
            head("networking.istio.io/v1", "VirtualService", "")
                + &format!(
                    "spec: {{hosts: {hosts}, {export} http: [{{{callers} {rule}, rewrite: {{uri: /x}}}}]}}\n"
                )
        }
        13 => {
            let host =
                ["b", "a.shop.svc.cluster.local", "'*.shop.svc.cluster.local'", "one.example.com"]
                    [variant % 4];
            let subset = ["v1", "v2"][variant / 2 % 2];
            let export = ["", "exportTo: [.],", "exportTo: [app],"][variant % 3];
            let tls = [
                "mode: SIMPLE",
                "mode: MUTUAL, credentialName: b",
                "mode: SIMPLE, credentialName: a",
                "mode: MUTUAL, credentialName: shop/a",
            ][variant % 4];
            let ports = format!("portLevelSettings: [{{port: {{number: 80}}, tls: {{{tls}}}}}]");
            let policy = [
                String::new(),
                format!("trafficPolicy: {{outlierDetection: {{interval: {variant}s}}, {ports}}},")
                    .replace(" 0s", " 7s"),
            ][variant / 3 % 2]
                .clone();
            let key = ["app", "tier"][variant / 7 % 2];
            let of_subset =
                ["", "trafficPolicy: {loadBalancer: {simple: RANDOM}}"][variant / 5 % 2];
            head("networking.istio.io/v1", "DestinationRule", "")
                + &format!(
                    "spec: {{host: {host}, {export} {policy} subsets: [{{name: {subset}, labels: {{{key}: {app}}}, {of_subset}}}]}}\n"
                )
        }
        14 => head("v1", "ServiceAccount", ""),
        21 => secret_document(&head("v1", "Secret", ""), name, variant),
        _ => waypoint_document(kind % KINDS, &head, name, variant),
    }
}

/// Waypoints, what asks for them, and what is attached to them.
fn waypoint_document(
    kind: usize,
    head: &impl Fn(&str, &str, &str) -> String,
    name: &str,
    variant: usize,
) -> String {
    match kind {
        15 => {
            let labels = [
                "",
                "labels: {istio.io/waypoint-for: all}",
                "labels: {istio.io/waypoint-for: all}, annotations: {weft.io/max-request-body: 2Mi}",
            ][variant % 3];
            let class = ["weft-waypoint", "special", "other"][variant % 3];
            let from = ["Same", "All", "None"][variant / 2 % 3];
            head("gateway.networking.k8s.io/v1", "Gateway", labels)
                + &format!(
                    "spec: {{gatewayClassName: {class}, listeners: [{{name: mesh, port: 15008, protocol: HBONE, allowedRoutes: {{namespaces: {{from: {from}}}}}}}]}}\n"
                )
        }
        16 => {
            let labels = ["", ", labels: {istio.io/waypoint-for: all}"][variant % 2];
            let controller = ["weft.io/waypoint-controller", "example.com/other"][variant / 2 % 2];
            let class = ["special", "weft-waypoint"][variant / 4 % 2];
            format!(
                "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {{name: {class}{labels}}}\nspec: {{controllerName: {controller}}}\n"
            )
        }
        18 => {
            let more = super::telemetry::MESH;
            let mesh = [
                format!("outboundTrafficPolicy: {{mode: REGISTRY_ONLY}}{more}"),
                format!("pathNormalization: {{normalization: MERGE_SLASHES}}{more}"),
                "trustDomainAliases: [old]".to_owned(),
                "extensionProviders: [{name: ask, envoyExtAuthzGrpc: {service: a.example.com, port: 1}}]".to_owned(),
            ];
            let home = ["istio-system", "shop"][usize::from(variant % 5 == 4)];
            mesh_config(&mesh[variant % 4]).replace("istio-system", home)
        }
        20 => {
            let spec = [
                "",
                "targetRefs: [{group: '', kind: Service, name: a}],",
                "targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: a}],",
                "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: b}],",
                "selector: {matchLabels: {app: x}},",
            ][variant % 5];
            let more = [
                "accessLogging: [{providers: [{name: envoy}]}]",
                "tracing: [{randomSamplingPercentage: 5}]",
                "accessLogging: [{disabled: true}], metrics: [{overrides: [{disabled: true}]}]",
            ][variant / 2 % 3];
            head("telemetry.istio.io/v1", "Telemetry", "") + &format!("spec: {{{spec} {more}}}\n")
        }
        19 => {
            let targets = targets(variant);
            let keys = ["jwksUri: 'http://a.example/'", "jwks: '{\"keys\": []}'"][variant / 4 % 2];
            head("security.istio.io/v1", "RequestAuthentication", "")
                + &format!(
                    "spec: {{targetRefs: [{{{targets}}}], jwtRules: [{{issuer: i, {keys}}}]}}\n"
                )
        }
        _ => {
            let targets = targets(variant);
            let action =
                ["ALLOW", "AUDIT", "CUSTOM, provider: {name: ask}"][[0, 0, 2, 0, 1][variant % 5]];
            let head = head("security.istio.io/v1", "AuthorizationPolicy", "");
            head.replace(&format!("name: {name},"), &format!("name: t{name},"))
                + &format!(
                    "spec: {{targetRefs: [{{{targets}}}], action: {action}, rules: [{{}}]}}\n"
                )
        }
    }
}

/// What destination rules name, with or without whom to trust.
fn secret_document(head: &str, name: &str, variant: usize) -> String {
    let entries: [&[&str]; 3] = [&["tls.crt", "tls.key", "ca.crt"], &["cert", "key"], &["cacert"]];
    let suffix = ["", "", "-cacert"][variant % 3];
    head.replace(&format!("name: {name},"), &format!("name: {name}{suffix},"))
        + &secrets::data(entries[variant / 3 % 3])
}

fn targets(variant: usize) -> &'static str {
    [
        "group: '', kind: Service, name: a",
        "group: networking.istio.io, kind: ServiceEntry, name: a",
        "group: gateway.networking.k8s.io, kind: Gateway, name: b",
        "group: gateway.networking.k8s.io, kind: GatewayClass, name: weft-waypoint",
    ][variant % 4]
}

/// What fetching the one set of keys of the small world gave.
fn fetched(variant: usize) -> FetchedKeys {
    let error = || Some("no".into());
    match variant % 3 {
        0 => FetchedKeys { keys: Some("{}".into()), error: None },
        1 => FetchedKeys { keys: Some("{}".into()), error: error() },
        _ => FetchedKeys { keys: None, error: error() },
    }
}

/// One edit: an object is written, or goes away.
fn edit() -> impl Strategy<Value = ObjectChange> {
    (0_usize..KINDS, 0_usize..3, 0_usize..3, 0_usize..12, 0_usize..4).prop_map(
        |(kind, namespace, name, variant, fate)| {
            let object = objects(&document(kind, namespace, name, variant)).remove(0);
            ObjectChange { key: object.key(), object: (fate > 0).then_some(object) }
        },
    )
}

/// Applies batches as they come, and compares with a translator that sees only the outcome.
fn converges(settings: &Settings, batches: Vec<(Vec<ObjectChange>, usize)>) {
    let source = KeySource::Uri("http://a.example/".into());
    let mut incremental = Translator::new(settings.clone());
    let mut heard = BTreeMap::new();
    let mut world: BTreeMap<ObjectKey, Object> = BTreeMap::new();
    for (batch, keys) in batches {
        for change in &batch {
            match &change.object {
                Some(object) => world.insert(change.key.clone(), object.clone()),
                None => world.remove(&change.key),
            };
        }
        let mut changes = incremental.apply(batch);
        // Now and then keys are fetched, while somebody asks for them.
        let is_asked = incremental.key_sources().contains_key(&source);
        if is_asked {
            changes.extend(incremental.set_keys(source.clone(), fetched(keys)));
        }
        for change in changes {
            let name = (change.type_url, change.name);
            let new = change.resource.map(|bytes| (bytes, change.audience));
            let old = match new.clone() {
                Some(new) => heard.insert(name.clone(), new),
                None => heard.remove(&name),
            };
            assert_ne!(old, new, "{name:?} was sent without need");
        }
        let mut fresh = Translator::new(settings.clone());
        fresh.apply(added(world.values().cloned()));
        if is_asked {
            fresh.set_keys(source.clone(), fetched(keys));
        }
        assert_eq!(incremental.resources(), fresh.resources());
        assert_eq!(heard, fresh.audiences());
        assert_eq!(incremental.statuses(), fresh.statuses());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_edits_gives_the_resources_of_a_fresh_translation(
        batches in prop::collection::vec((prop::collection::vec(edit(), 1..6), 0..3_usize), 1..12),
        is_standalone: bool,
    ) {
        let mesh = added(objects(&mesh_config(super::telemetry::MESH)));
        let batches = std::iter::once((mesh, 0)).chain(batches).collect();
        converges(&Settings { is_standalone, ..Settings::standalone() }, batches);
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
