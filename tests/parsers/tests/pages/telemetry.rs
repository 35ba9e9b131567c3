//! From what users write to what a waypoint tells: docs/telemetry.md, the controller's translation and the waypoint's reading.

use weft_controller::objects::{Kind, Object};
use weft_controller::translate::Translator;
use weft_proto::contract::type_url;
use weft_waypoint::telemetry::policy::{self, ServiceTelemetry};
use weft_waypoint::telemetry::trace::OtlpProtocol;

use super::support::{objects, translated};

const PAGE: &str = include_str!("../../../../docs/telemetry.md");

const SERVICES: [&str; 3] = [
    "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: wp, namespace: shop}\nspec: {gatewayClassName: weft-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}\n",
    "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop, labels: {istio.io/use-waypoint: wp}}\nspec: {ports: [{name: http, port: 80}]}\n",
    "apiVersion: v1\nkind: Service\nmetadata: {name: api, namespace: shop, labels: {istio.io/use-waypoint: wp}}\nspec: {ports: [{name: http, port: 80}]}\n",
];

/// The page's blocks of YAML.
fn blocks() -> Vec<&'static str> {
    let blocks = PAGE.split("```yaml\n").skip(1);
    blocks.map(|rest| rest.split_once("```").expect("a block ends").0).collect()
}

fn told(translator: &Translator, service: &str) -> ServiceTelemetry {
    let name = format!("shop/{service}.shop.svc.cluster.local");
    let resources = translator.resources();
    let bytes = resources.get(&(type_url::TELEMETRY_POLICY, name.as_str().into()));
    let decoded = policy::decode(bytes.expect("a policy"), &|_| None).expect("it is understood");
    assert_eq!(decoded.problems, Vec::<String>::new());
    assert_eq!(decoded.service, name);
    decoded.telemetry
}

#[test]
fn yaml_of_the_page_is_what_a_waypoint_does() {
    let blocks = blocks();
    let (mesh, manifests): (Vec<_>, Vec<_>) =
        blocks.into_iter().partition(|block| !block.contains("kind: Telemetry"));
    let config = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n    {}\n",
        mesh[0].replace('\n', "\n    ")
    );
    let read = objects([config.as_str()].into_iter().chain(SERVICES).chain(manifests));
    let Some(Object::MeshConfig(mesh)) = read.first() else { panic!("{read:?}") };
    assert!(mesh.ignored.is_empty(), "{:?}", mesh.ignored);
    let translator = translated(read);

    let (web, api) = (told(&translator, "web"), told(&translator, "api"));
    assert!(api.logs[0].filter.is_some() && api.view.is_none());
    assert!(web.logs[0].filter.is_none() && web.view.is_some());
    assert_ne!(web.logs[0].share, api.logs[0].share);
    let (web, api) = (web.tracing.expect("traces"), api.tracing.expect("traces"));
    assert_eq!(web.collector, api.collector, "one queue does for both");
    assert_eq!(web.collector.authority, "otel.observability.svc.cluster.local:4317");
    assert_eq!(web.collector.protocol, OtlpProtocol::Grpc);
    let statuses = translator.statuses();
    let telemetry = statuses.iter().filter(|status| status.object.kind == Kind::Telemetry);
    let refused = telemetry.flat_map(|status| &status.conditions).find(|it| !it.status);
    assert_eq!(refused, None);
}
