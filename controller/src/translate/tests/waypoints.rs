//! Which waypoint stands before what.

use weft_proto::contract::type_url;
use weft_proto::workload::{
    GatewayAddress, NamespacedHostname, TunnelProtocol, Workload, gateway_address,
};

use crate::objects::{Kind, ObjectKey, Pool, unreadable};
use crate::translate::{Settings, WaypointEnforcement, explain, waypoint_statuses};

use super::policies::refused;
use super::{
    Decoded, MESH, added, decoded, gateway, message, standalone, translated, waypoint,
    waypoint_pod, waypoint_service,
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
fn policy_at_the_canary_alone_counts() {
    let labels = format!(
        "{WP}, istio.io/use-waypoint-canary: wp2, istio.io/use-waypoint-canary-namespace: shop"
    );
    let of_canary = policy("shop", &OF_GATEWAY.replace("name: wp", "name: wp2"));
    let (address, message) = outcome(Settings::standalone(), &(app("", &labels) + &of_canary));
    assert_eq!(address, bound(), "{message}");
    let alone = outcome(Settings::standalone(), &(app("", WP) + &of_canary));
    assert_eq!(alone.0, None);
}

#[test]
fn labels_without_effect_are_told_where_they_stand() {
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: app, annotations: {weft.io/waypoint-enforcement: 'yes'}}\n---\n";
    let pod = super::pod("web", "labels: {istio.io/use-waypoint-canary: wp}", "", "");
    let translator = translated(Settings::standalone(), &(namespace.to_owned() + &pod));
    let told = |key: &str| message(&translator, key);
    assert!(told("Namespace app").contains("metadata.annotations.weft.io/waypoint-enforcement"));
    assert!(told("Pod shop/web").contains("metadata.labels.istio.io/use-waypoint-canary"));
}

#[test]
fn what_concerns_a_service_is_for_the_waypoints_that_take_it_ready_or_not() {
    let audience = |labels: &str, more: &str| {
        let translator = translated(Settings::standalone(), &(app("", labels) + more));
        let name = (type_url::ROUTE_TABLE, "app/web.app.svc.cluster.local".into());
        let audience = translator.audiences().remove(&name).map(|(_, audience)| audience);
        audience.iter().flat_map(|it| it.iter()).map(|it| it.to_string()).collect::<Vec<_>>()
    };
    let declared = gateway("shop", "wp", "", "All");
    assert_eq!(audience(WP, &declared), ["shop/wp"]);
    assert_eq!(audience(WP, &waypoint("shop", "wp", "", "All")), ["shop/wp"]);
    let canary = format!(
        "{WP}, istio.io/use-waypoint-canary: wp2, istio.io/use-waypoint-canary-namespace: shop"
    );
    let both = declared.clone() + &gateway("shop", "wp2", "", "All");
    assert_eq!(audience(&canary, &both), ["shop/wp", "shop/wp2"]);
    // Nobody has a table for a service that it doesn't stand before.
    let none: [&str; 0] = [];
    assert_eq!(audience(WP, ""), none);
    assert_eq!(audience(WP, &waypoint("shop", "wp", "", "Same")), none);
    assert_eq!(audience("", &declared), none);
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
fn policy_that_cant_be_read_enforces_what_it_is_attached_to() {
    let broken = policy("app", OF_SERVICE).replace("rules", "ruls");
    let broken = broken.trim_end_matches("---\n");
    let key = ObjectKey::new(Kind::AuthorizationPolicy, "app", "p");
    let object = unreadable(&key, broken, &mut Pool::default()).unwrap();
    let mut translator = translated(Settings::standalone(), &app("", WP));
    translator.apply(added([object]));
    let service = decoded(&translator).services.remove("app/web.app.svc.cluster.local").unwrap();
    assert_eq!(service.waypoint, bound());
    assert!(decoded(&translator).policies.is_empty());
    // A target that no policy can have makes it unreadable, and is guessed as it was meant.
    let odd = broken
        .replace("ruls", "rules")
        .replace("kind: Service, group: ''", "kind: Service, group: apps");
    assert!(refused(&odd).to_string().contains("spec.targetRefs[0].group"));
    translator.apply(added(unreadable(&key, &odd, &mut Pool::default())));
    let service = decoded(&translator).services.remove("app/web.app.svc.cluster.local").unwrap();
    assert_eq!(service.waypoint, bound());
    for (target, field) in [
        ("kind: Deployment, group: apps, name: web", "targetRefs[0].kind"),
        ("kind: Service, group: '', name: web, namespace: shop", "targetRefs[0].namespace"),
        ("kind: Service, group: '', name: Web", "targetRefs[0].name"),
    ] {
        let text = policy("app", target);
        assert!(refused(text.trim_end_matches("---\n")).to_string().contains(field), "{target}");
    }
    // What can't be told to be attached to anything stands for its whole namespace, at node proxies.
    let none = broken.replace(&format!("targetRefs: [{{{OF_SERVICE}}}]"), "targetRefs: []");
    assert_ne!(none, broken);
    translator.apply(added(unreadable(&key, &none, &mut Pool::default())));
    assert_eq!(decoded(&translator).policies.len(), 1);
}

#[test]
fn route_says_whether_a_waypoint_carries_it_out() {
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r, namespace: app}\n\
        spec: {parentRefs: [{group: '', kind: Service, name: web}]}\n---\n";
    let told = |labels: &str, more: &str| {
        let yaml = app("", labels) + route + more;
        message(&translated(Settings::standalone(), &yaml), "HTTPRoute app/r")
    };
    let of = |text: &str| format!("ResolvedWaypoints={text}");
    assert!(told("", "").contains(&of("false/MissingUseWaypointLabel")));
    assert!(told(WP, "").contains(&of("false/WaypointIsNotReady")));
    assert!(told(WP, &waypoint("shop", "wp", "", "All")).contains(&of("true/ResolvedWaypoints")));
}

#[test]
fn explanation_goes_step_by_step_to_what_becomes_of_a_call() {
    let told = |yaml: &str| {
        let translator = translated(Settings::standalone(), yaml);
        let key = ObjectKey::new(Kind::Service, "app", "web");
        let explained = explain(&translator.view(), &key).unwrap();
        let steps = explained.steps.iter().map(|it| format!("{} {}", it.holds, it.text));
        (steps.collect::<Vec<_>>(), explained.verdict)
    };
    let (steps, verdict) = told(&(app("", WP) + &waypoint("shop", "wp", "", "All")));
    assert_eq!(
        steps,
        [
            "true its label istio.io/use-waypoint names shop/wp",
            "true Gateway shop/wp is a waypoint (class istio-waypoint)",
            "true it is for services (istio.io/waypoint-for: service), and admits namespace app",
            "true its Service wp.shop.svc.cluster.local has a ready instance",
            "false permissive: no security policy applies at the waypoint",
        ]
    );
    assert_eq!(verdict, "calls go through shop/wp; what goes round it is let in");
    let (steps, verdict) = told(&(app(WP, "") + &policy("app", OF_SERVICE)));
    assert_eq!(
        steps,
        [
            "true it has no label istio.io/use-waypoint; that of its namespace app names shop/wp",
            "false there is no Gateway shop/wp",
            "true enforced: AuthorizationPolicy app/p applies at the waypoint",
        ]
    );
    assert_eq!(verdict, "calls fail until shop/wp can be had");
    let other = gateway("shop", "wp", "", "All").replace("istio-waypoint", "nginx");
    assert!(told(&(app("", WP) + &other)).0[1].contains("of class nginx, which is no waypoint's"));
    let workload = waypoint("shop", "wp", "istio.io/waypoint-for: workload", "All");
    assert!(told(&(app(WP, "") + &workload)).0[1].contains("istio.io/waypoint-for: workload"));
    let (steps, verdict) = told(&app("", ""));
    assert_eq!(
        steps,
        ["false it has no label istio.io/use-waypoint", "false neither has its namespace app"]
    );
    assert_eq!(verdict, "no waypoint: calls go direct");
    let none = "istio.io/use-waypoint: none";
    assert_eq!(told(&app(WP, none)).0, ["false its label istio.io/use-waypoint is none"]);
    assert!(
        told(&app(WP, "gateway.istio.io/managed: istio.io-mesh-controller")).0[0]
            .contains("waypoint's own")
    );
    assert!(
        told(&(app("", WP) + &waypoint("shop", "wp", "", "Same"))).0[2].contains("admits no users")
    );
}

#[test]
fn yaml_of_the_waypoints_page_is_what_the_page_says() {
    let page = include_str!("../../../../docs/waypoints.md");
    let (_, yaml) = page.split_once("```yaml\n").unwrap();
    let (yaml, _) = yaml.split_once("```").unwrap();
    let translator = translated(Settings::standalone(), yaml);
    let waypoints = waypoint_statuses(&translator.view());
    let [waypoint] = waypoints.as_slice() else { panic!("{waypoints:?}") };
    assert!(waypoint.is_ready);
    let [bound] = waypoint.bound.as_slice() else { panic!("{waypoint:?}") };
    assert!(bound.object == "Service shop/stock" && bound.is_enforced);
    assert!(message(&translator, "Service shop/stock").contains("WaypointBound=true"));
}

#[test]
fn waypoint_lists_what_it_stands_before() {
    let second = WP.replace("wp,", "wp2,");
    let yaml = app(
        "",
        &format!(
            "{WP}, istio.io/use-waypoint-canary: wp2, istio.io/use-waypoint-canary-namespace: shop"
        ),
    ) + &app("", &second).replace("name: web", "name: api")
        + &waypoint("shop", "wp", "", "All")
        + &waypoint("shop", "wp2", "", "All")
        + &policy("app", OF_SERVICE);
    let translator = translated(Settings::standalone(), &yaml);
    let shown = waypoint_statuses(&translator.view());
    let bound = |at: usize| {
        let bound = shown[at].bound.iter();
        bound
            .map(|it| format!("{} {} {}", it.object, it.is_enforced, it.is_canary))
            .collect::<Vec<_>>()
    };
    assert_eq!((shown[0].name.as_str(), shown[0].is_ready), ("wp", true));
    assert_eq!(bound(0), ["Service app/web true false"]);
    assert_eq!(bound(1), ["Service app/api false false", "Service app/web true true"]);
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
