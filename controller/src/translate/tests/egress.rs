//! What leaves the mesh.

use prost::Message;
use weft_proto::contract::extension;
use weft_proto::route::outbound_policy::Mode;
use weft_proto::route::{OutboundPolicy, TlsMode};

use crate::translate::{Settings, Translator};

use super::{decoded, mesh_config, message, pod, translated};

/// Whether the pod's ztunnel is told to refuse what the mesh doesn't know.
fn is_strict(translator: &Translator, uid: &str) -> bool {
    let workload = &decoded(translator).workloads[uid];
    let found = workload.extensions.iter().find(|it| it.name == extension::OUTBOUND);
    found.is_some_and(|it| {
        let policy = OutboundPolicy::decode(&it.config.as_ref().unwrap().value[..]).unwrap();
        policy.mode() == Mode::RegistryOnly
    })
}

#[test]
fn namespace_speaks_before_the_mesh_about_outbound_connections() {
    let mesh = |mode: &str| match mode {
        "" => String::new(),
        mode => mesh_config(&format!("outboundTrafficPolicy: {{mode: {mode}}}")),
    };
    let namespace = |value: &str| match value {
        "" => String::new(),
        value => format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop, annotations: {{weft.io/outbound-traffic-policy: {value}}}}}\n---\n"
        ),
    };
    for (of_mesh, of_namespace, wanted, told) in [
        ("", "", false, ""),
        ("ALLOW_ANY", "", false, ""),
        ("REGISTRY_ONLY", "", true, ""),
        ("REGISTRY_ONLY", "ALLOW_ANY", false, "OutboundTrafficPolicy=true/Accepted"),
        ("", "REGISTRY_ONLY", true, "a stock one lets them through"),
        ("", "registry", true, "OutboundTrafficPolicy=false/InvalidValue"),
    ] {
        let yaml = mesh(of_mesh) + &namespace(of_namespace) + &pod("a", "", "", "");
        let translator = translated(Settings::standalone(), &yaml);
        let case = format!("{of_mesh} {of_namespace}");
        assert_eq!(is_strict(&translator, "Kubernetes//Pod/shop/a"), wanted, "{case}");
        let status = message(&translator, "Namespace shop");
        assert!(
            status.contains(told) && (told.is_empty() == status.is_empty()),
            "{case}: {status}"
        );
    }
}

#[test]
fn yaml_of_the_egress_page_is_what_the_page_says() {
    let page = include_str!("../../../../docs/egress.md");
    let blocks: Vec<_> = page.split("```yaml\n").skip(1).collect();
    let [first, policy, second] = blocks.as_slice() else { panic!("three examples") };
    let [first, policy, second] = [first, policy, second].map(|it| it.split_once("```").unwrap().0);
    let translator = translated(Settings::standalone(), &format!("{first}---\n{policy}"));
    assert!(is_strict(&translator, "Kubernetes//Pod/shop/cart-1"));
    let found = decoded(&translator);
    let service = &found.services["shop/api.bank.example"];
    assert!(service.waypoint.is_some() && !service.addresses.is_empty());
    let endpoint = found.workloads.values().find(|it| !it.hostname.is_empty()).unwrap();
    assert_eq!((endpoint.hostname.as_str(), endpoint.addresses.len()), ("api.bank.example", 0));
    assert_eq!(endpoint.services["shop/api.bank.example"].ports[0].target_port, 443);
    let tls = found.backends["shop/api.bank.example"].settings.clone().unwrap().tls.unwrap();
    assert_eq!((tls.mode(), tls.server_name.as_str()), (TlsMode::Simple, "api.bank.example"));
    let ledger = &found.backends["shop/ledger.shop.svc.cluster.local"];
    let tls = ledger.ports[&80].tls.clone().unwrap();
    assert_eq!((tls.mode(), tls.server_name.as_str()), (TlsMode::Simple, "ledger.example"));
    assert!(tls.ca_pem.contains("BEGIN CERTIFICATE") && tls.unavailable.is_empty());
    assert_eq!(ledger.settings.clone().unwrap().tls, None);
    let told = message(&translator, "BackendTLSPolicy shop/ledger");
    assert!(told.contains("waypoints speak TLS to the endpoints"), "{told}");
    let entry = message(&translator, "ServiceEntry shop/bank");
    assert!(entry.contains("WaypointBound=true"), "{entry}");
    for translator in [&translator, &translated(Settings::standalone(), second)] {
        let statuses = translator.statuses();
        let bad = statuses.iter().flat_map(|it| &it.conditions).filter(|it| !it.status);
        assert_eq!(bad.collect::<Vec<_>>(), Vec::<&crate::translate::ConditionStatus>::new());
    }
}
