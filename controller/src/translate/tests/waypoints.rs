//! Waypoints.

use std::sync::Arc;

use weft_proto::workload::{GatewayAddress, NamespacedHostname, gateway_address};

use crate::translate::{Admission, Settings, Traffic, Waypoint, WaypointHost, Waypoints};

use super::{decoded, message, translated};

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
    translator.set_waypoints(Waypoints([(name, Waypoint { host, traffic, admission })].into()));
    let service = decoded(&translator).services.remove("app/web.app.svc.cluster.local").unwrap();
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
    assert_eq!(binding(WP, "istio.io/use-waypoint: none", service, all()), (None, String::new()));
    let cases = [
        ("", "istio.io/use-waypoint: wp", service, all(), "WaypointIsNotReady"),
        (WP, "istio.io/use-waypoint: other", service, all(), "WaypointIsNotReady"),
        ("", WP, Traffic::Workload, all(), "UnsupportedTrafficType"),
        ("", WP, service, Admission::Same, "AttachmentDenied"),
    ];
    for (namespace, labels, traffic, admission, reason) in cases {
        let (address, message) = binding(namespace, labels, traffic, admission);
        assert_eq!(address, None, "{reason}");
        assert!(message.contains(&format!("false/{reason}")), "{message}");
    }
    // Inherited from the namespace, another kind of traffic is no mistake.
    assert_eq!(binding(WP, "", Traffic::Workload, all()), (None, String::new()));
    let managed = format!("{WP}, gateway.istio.io/managed: istio.io-mesh-controller");
    assert_eq!(binding("", &managed, service, all()), (None, String::new()));
}
