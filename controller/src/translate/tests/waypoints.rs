//! Which waypoint stands before what.

use weft_proto::workload::{
    GatewayAddress, NamespacedHostname, TunnelProtocol, Workload, gateway_address,
};

use crate::translate::{Settings, WaypointEnforcement};

use super::policies::refused;
use super::{
    Decoded, MESH, decoded, gateway, message, standalone, translated, waypoint, waypoint_pod,
    waypoint_service,
};

/// A namespace `app` with a service, both with labels.
fn app(namespace: &str, service: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: app, labels: {{{namespace}}}}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: app, labels: {{{service}}}}}\nspec: {{}}\n---\n"
    )
}

fn address(host: &str) -> Option<GatewayAddress> {
    Some(GatewayAddress {
        destination: Some(gateway_address::Destination::Hostname(NamespacedHostname {
            namespace: "shop".into(),
            hostname: host.into(),
        })),
        hbone_mtls_port: 15008,
    })
}

fn bound() -> Option<GatewayAddress> {
    address("wp.shop.svc.cluster.local")
}

/// What the service of `yaml` has, and its conditions.
fn outcome(settings: Settings, yaml: &str) -> (Option<GatewayAddress>, String) {
    let translator = translated(settings, yaml);
    let service = decoded(&translator).services.remove("app/web.app.svc.cluster.local").unwrap();
    (service.waypoint, message(&translator, "Service app/web"))
}

const WP: &str = "istio.io/use-waypoint: wp, istio.io/use-waypoint-namespace: shop";

/// With one waypoint `shop/wp`.
fn binding(
    namespace: &str,
    service: &str,
    traffic: &str,
    from: &str,
) -> (Option<GatewayAddress>, String) {
    let yaml = app(namespace, service)
        + &waypoint("shop", "wp", &format!("istio.io/waypoint-for: {traffic}"), from);
    outcome(Settings::standalone(), &yaml)
}

#[test]
fn waypoint_is_found_by_label_and_refused_with_a_reason() {
    assert_eq!(binding("", "", "service", "All"), (None, String::new()));
    let (address, message) = binding("", WP, "service", "All");
    assert_eq!(address, bound());
    assert!(message.contains("istio.io/WaypointBound=true/WaypointAccepted"), "{message}");
    assert_eq!(binding(WP, "", "all", "All").0, bound());
    let opted_out = "istio.io/use-waypoint: none";
    assert_eq!(binding(WP, opted_out, "service", "All"), (None, String::new()));
    let cases = [
        ("", "istio.io/use-waypoint: wp", "service", "All", "WaypointIsNotReady"),
        (WP, "istio.io/use-waypoint: other", "service", "All", "WaypointIsNotReady"),
        ("", WP, "workload", "All", "UnsupportedTrafficType"),
        ("", WP, "none", "All", "UnsupportedTrafficType"),
        ("", WP, "service", "Same", "AttachmentDenied"),
        ("", WP, "service", "None", "AttachmentDenied"),
        ("", WP, "service", "Selector, selector: {matchLabels: {team: a}}", "AttachmentDenied"),
    ];
    for (namespace, labels, traffic, from, reason) in cases {
        let (address, message) = binding(namespace, labels, traffic, from);
        assert_eq!(address, None, "{reason}");
        assert!(message.contains(&format!("false/{reason}")), "{message}");
    }
    let team = "Selector, selector: {matchExpressions: [{key: team, operator: In, values: [a]}]}";
    assert_eq!(binding("team: a", WP, "service", team).0, bound());
    // Inherited from the namespace, another kind of traffic is no mistake.
    assert_eq!(binding(WP, "", "workload", "All"), (None, String::new()));
    let managed = format!("{WP}, gateway.istio.io/managed: istio.io-mesh-controller");
    assert_eq!(binding("", &managed, "service", "All"), (None, String::new()));
}

const POLICY: &str = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: NS}\n\
    spec: {action: ACTION, targetRefs: [{TARGET}], rules: [{}]}\n---\n";

fn policy(namespace: &str, target: &str) -> String {
    POLICY.replace("NS", namespace).replace("TARGET", target).replace("ACTION", "ALLOW")
}

const OF_SERVICE: &str = "kind: Service, group: '', name: web";
const OF_GATEWAY: &str = "kind: Gateway, group: gateway.networking.k8s.io, name: wp";
const OF_CLASS: &str = "kind: GatewayClass, group: gateway.networking.k8s.io, name: istio-waypoint";

#[test]
fn waypoint_that_is_not_ready_is_gone_round_until_a_security_policy_applies_there() {
    let service = app("", WP);
    let unready = [
        (String::new(), "doesn't exist"),
        (gateway("shop", "wp", "", "All"), "has no Service"),
        (gateway("shop", "wp", "", "All") + &waypoint_service("shop", "wp"), "no ready instance"),
        (
            gateway("shop", "wp", "", "All")
                + &waypoint_service("shop", "wp")
                + &waypoint_pod("shop", "wp", "False"),
            "no ready instance",
        ),
    ];
    for (gateway, why) in unready {
        let (address, message) = outcome(Settings::standalone(), &(service.clone() + &gateway));
        assert_eq!(address, None, "{message}");
        assert!(message.contains(why) && message.contains("Permissive: traffic goes without it"));
        let mut policies = vec![policy("app", OF_SERVICE), policy("shop", OF_GATEWAY)];
        if !gateway.is_empty() {
            policies.push(policy("istio-system", OF_CLASS));
        }
        for policy in policies {
            let yaml = service.clone() + &gateway + &policy;
            let (address, message) = outcome(Settings::standalone(), &yaml);
            assert_eq!(address, bound(), "{message}");
            assert!(message.contains("WaypointIsNotReady"), "{message}");
            assert!(
                message.contains("Enforced: all calls fail until it can be had (Auth"),
                "{message}"
            );
        }
    }
}

#[test]
fn waypoint_that_refuses_a_guarded_service_makes_it_unreachable() {
    let yaml = app("", WP) + &waypoint("shop", "wp", "", "Same") + &policy("app", OF_SERVICE);
    let (address, message) = outcome(Settings::standalone(), &yaml);
    assert_eq!(address, self::address("refused.invalid"));
    assert!(message.contains("AttachmentDenied") && message.contains("Enforced"), "{message}");
}

#[test]
fn policies_that_only_report_or_are_for_others_enforce_nothing() {
    let audit = policy("app", OF_SERVICE).replace("ALLOW", "AUDIT");
    let dry = policy("app", OF_SERVICE)
        .replace("NAME", "p")
        .replace("namespace: app", "namespace: app, annotations: {istio.io/dry-run: 'true'}");
    let elsewhere = policy("shop", OF_SERVICE);
    let of_class = policy("app", OF_CLASS);
    let other = policy("app", "kind: Service, group: '', name: api");
    for policy in [audit, dry, elsewhere, of_class, other] {
        let (address, message) = outcome(Settings::standalone(), &(app("", WP) + &policy));
        assert_eq!(address, None, "{policy}{message}");
    }
}

#[test]
fn enforcement_is_said_by_service_then_namespace_then_mesh() {
    let label = |value: &str| format!("weft.io/waypoint-enforcement: {value}");
    let mesh = |waypoint_enforcement| Settings { waypoint_enforcement, ..Settings::standalone() };
    use WaypointEnforcement::{Automatic, Enforced, Permissive};
    let cases = [
        (Automatic, String::new(), String::new(), true),
        (Automatic, label("permissive"), String::new(), false),
        (Automatic, label("permissive"), label("enforced"), true),
        (Automatic, label("enforced"), label("permissive"), false),
        (Permissive, String::new(), String::new(), false),
        (Permissive, label("enforced"), String::new(), true),
        (Enforced, String::new(), label("permissive"), false),
        (Automatic, String::new(), label("perhaps"), true),
    ];
    for (of_mesh, of_namespace, of_service, is_enforced) in cases {
        let yaml = app(&of_namespace, &format!("{WP}, {of_service}")) + &policy("app", OF_SERVICE);
        let (address, message) = outcome(mesh(of_mesh), &yaml);
        assert_eq!(address.is_some(), is_enforced, "{message}");
        assert_eq!(message.contains("metadata.labels.weft.io"), of_service.contains("perhaps"));
    }
    let (address, _) = outcome(mesh(Enforced), &app("", WP));
    assert_eq!(address, bound());
}

#[test]
fn canary_takes_its_share_and_its_mistakes_leave_all_to_the_waypoint() {
    let shares = |labels: &str, weight: &str, more: &str| {
        let meta = format!(
            "labels: {{{WP}, istio.io/use-waypoint-canary: {labels}}}, annotations: {{istio.io/use-waypoint-canary-weight: '{weight}'}}"
        );
        let service =
            app("", "").replace("namespace: app, labels: {}", &format!("namespace: app, {meta}"));
        let yaml = service + &waypoint("shop", "wp", "", "All") + more;
        let translator = translated(Settings::standalone(), &yaml);
        let service =
            decoded(&translator).services.remove("app/web.app.svc.cluster.local").unwrap();
        assert_eq!(service.waypoint, bound());
        let weights = service.weighted_waypoints.iter().map(|it| it.weight).collect::<Vec<_>>();
        (weights, message(&translator, "Service app/web"))
    };
    let second = waypoint("shop", "wp2", "", "All");
    let wp2 = "wp2, istio.io/use-waypoint-canary-namespace: shop";
    let (weights, message) = shares(wp2, "20", &second);
    assert_eq!(weights, [80, 20]);
    assert!(message.contains("20 % of connections to canary shop/wp2"), "{message}");
    assert_eq!(shares(wp2, "100", &second).0, [0, 100]);
    assert!(shares(wp2, "0", &second).0.is_empty());
    let wp = "wp, istio.io/use-waypoint-canary-namespace: shop";
    for (labels, weight, reason) in [
        (wp2, "101", "CanaryInvalidWeight"),
        (wp2, "x", "CanaryInvalidWeight"),
        (wp, "20", "CanarySameAsPrimary"),
        ("wp3", "20", "WaypointIsNotReady"),
    ] {
        let (weights, message) = shares(labels, weight, &second);
        assert!(weights.is_empty());
        assert!(message.contains(&format!("false/{reason}")), "{message}");
        assert!(message.contains("takes all connections"), "{message}");
    }
}

#[test]
fn classes_are_waypoints_by_name_or_by_their_controller() {
    let class = |name: &str, controller: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {{name: {name}, labels: {{istio.io/waypoint-for: all}}}}\n\
             spec: {{controllerName: {controller}, description: x, parametersRef: {{group: '', kind: ConfigMap, name: x}}}}\n---\n"
        )
    };
    let of_class = |class: &str, more: &str| {
        let gateway = waypoint("shop", "wp", "", "All").replace("istio-waypoint", class);
        let yaml = app("", WP) + &gateway + more;
        outcome(Settings::standalone(), &yaml).0.is_some()
    };
    assert!(of_class("istio-waypoint", "") && of_class("weft-waypoint", ""));
    assert!(!of_class("istio", "") && !of_class("mine", ""));
    assert!(of_class("mine", &class("mine", "weft.io/waypoint-controller")));
    assert!(of_class("mine", &class("mine", "istio.io/mesh-controller")));
    assert!(!of_class("weft-waypoint", &class("weft-waypoint", "example.com/other")));
    let yaml = class("mine", "istio.io/mesh-controller") + &class("other", "example.com/other");
    let translator = translated(Settings::standalone(), &yaml);
    let own = message(&translator, "GatewayClass mine");
    assert!(own.contains("Accepted=true") && own.contains("spec.parametersRef"), "{own}");
    assert_eq!(message(&translator, "GatewayClass other"), "");
}

#[test]
fn gateway_says_whether_it_is_served_and_what_it_lacks() {
    let told = |yaml: &str| message(&translated(Settings::standalone(), yaml), "Gateway shop/wp");
    let all = told(&waypoint("shop", "wp", "", "All"));
    assert!(all.contains("Accepted=true/Accepted") && all.contains("Programmed=true"), "{all}");
    assert!(
        told(&gateway("shop", "wp", "", "All")).contains("Programmed=false/AddressNotAssigned")
    );
    let starting = gateway("shop", "wp", "", "All") + &waypoint_service("shop", "wp");
    assert!(told(&starting).contains("Programmed=false/Pending"));
    let odd = gateway("shop", "wp", "istio.io/waypoint-for: some", "All")
        .replace(
            "spec: {",
            "spec: {infrastructure: {labels: {a: b}}, addresses: [{value: 1.2.3.4}], ",
        )
        .replace("protocol: HBONE", "protocol: HTTP, hostname: a.example");
    let odd = told(&odd);
    for part in [
        "Accepted=false/ListenersNotValid",
        "UnsupportedProtocol",
        "spec.infrastructure",
        "spec.addresses",
        "spec.listeners[0].hostname",
        "metadata.labels.istio.io/waypoint-for",
    ] {
        assert!(odd.contains(part), "{part}: {odd}");
    }
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: TCPRoute\nmetadata: {name: r, namespace: shop}\nspec: {parentRefs: [{name: wp}], rules: [{backendRefs: [{name: wp, port: 1}]}]}\n---\n";
    let counted = told(&(waypoint("shop", "wp", "", "All") + route));
    assert!(counted.contains("routes that are attached to it: 1"), "{counted}");
    let only = waypoint("shop", "wp", "", "All")
        .replace("from: All}", "from: All}, kinds: [{kind: HTTPRoute}, {kind: UDPRoute}]");
    let only = told(&(only + route));
    assert!(only.contains("attached to it: 0") && only.contains("InvalidRouteKinds"), "{only}");
    // Somebody else's gateway is none of our business.
    assert_eq!(told(&gateway("shop", "wp", "", "All").replace("istio-waypoint", "nginx")), "");
}

#[test]
fn gateway_that_is_not_understood_is_refused_with_the_field() {
    let good = gateway("shop", "wp", "", "All");
    for (from, to, field) in [
        ("listeners: [", "listner: 1, listeners: [", "listner"),
        ("from: All", "from: Any", "from"),
        ("from: All", "from: Selector", "selector"),
        ("port: 15008", "port: 0", "port"),
        ("name: mesh", "name: Mesh", "name"),
    ] {
        let refusal = refused(good.replace(from, to).trim_end_matches("---\n")).to_string();
        assert!(refusal.contains(field), "{field}: {refusal}");
    }
}

#[test]
fn waypoints_own_pods_terminate_hbone_and_are_never_enrolled_nor_bound() {
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: wp}}\n---\n";
    let labels = "istio.io/waypoint-for: all";
    let plain = waypoint("shop", "wp", labels, "Same");
    // Even where the label that keeps it out was forgotten.
    for yaml in [plain.clone(), plain.replace(", istio.io/dataplane-mode: none", "")] {
        let Decoded { workloads, services, enrolled, .. } =
            standalone(&(namespace.to_owned() + &yaml));
        let own: &Workload = &workloads["Kubernetes//Pod/shop/wp-1"];
        assert!(own.native_tunnel && own.tunnel_protocol() == TunnelProtocol::Hbone);
        assert_eq!(own.waypoint, None);
        assert!(own.authorization_policies.is_empty() && enrolled.is_empty());
        assert_eq!(services["shop/wp.shop.svc.cluster.local"].waypoint, None);
    }
    let managed = MESH.replace(
        "labels: {app: web,",
        "labels: {gateway.istio.io/managed: istio.io-mesh-controller, app: web,",
    );
    assert!(standalone(&managed).workloads["Kubernetes//Pod/shop/web-5d4-x"].native_tunnel);
}
