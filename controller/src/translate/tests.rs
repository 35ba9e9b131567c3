//! From YAML to messages.

mod access;
mod backend_tls;
mod destination_rules;
mod egress;
mod guards;
mod incremental;
mod labels;
mod pods;
mod policies;
mod routes;
mod scale;
mod secrets;
mod services;
mod sessions;
mod telemetry;
mod virtual_services;
mod waypoints;

use std::borrow::Borrow;
use std::collections::BTreeMap;

use prost::Message;
use weft_proto::contract::type_url;
use weft_proto::node::EnrolledPod;
use weft_proto::route::{BackendPolicy, RouteTable, TelemetryPolicy};
use weft_proto::security::Authorization;
use weft_proto::workload::{Address, Port, Service, Workload, address};

use crate::objects::{self, Kind, Object, ObjectChange, Pool};

use super::{Settings, Translator};

/// The objects of several documents.
fn objects(yaml: &str) -> Vec<Object> {
    let mut pool = Pool::default();
    // A certificate's first line ends as a marker does.
    let documents = yaml.split("\n---\n").filter(|text| !text.trim().is_empty());
    documents
        .map(|text| {
            let header = objects::header(text).unwrap_or_else(|error| panic!("{error}: {text}"));
            let kind = Kind::of(&header.api_version, &header.kind).expect("a known kind");
            objects::read(kind, text, &mut pool).unwrap_or_else(|error| panic!("{error}: {text}"))
        })
        .collect()
}

fn added(objects: impl IntoIterator<Item = Object>) -> Vec<ObjectChange> {
    let change = |object: Object| ObjectChange { key: object.key(), object: Some(object) };
    objects.into_iter().map(change).collect()
}

/// A translator that has taken in the objects of several documents.
fn translated(settings: Settings, yaml: &str) -> Translator {
    let mut translator = Translator::new(settings);
    translator.apply(added(objects(yaml)));
    translator
}

/// The same, of a mesh without Kubernetes: what all of its tests share, and what this one adds.
fn with(shared: &str, own: &[impl Borrow<str>]) -> Translator {
    let all: String = std::iter::once(shared).chain(own.iter().map(Borrow::borrow)).collect();
    translated(Settings::standalone(), &all)
}

/// The resource of the shop's service `web`.
const WEB: &str = "shop/web.shop.svc.cluster.local";

/// All resources, decoded.
#[derive(Debug, Default)]
struct Decoded {
    workloads: BTreeMap<String, Workload>,
    services: BTreeMap<String, Service>,
    policies: BTreeMap<String, Authorization>,
    enrolled: BTreeMap<String, EnrolledPod>,
    routes: BTreeMap<String, RouteTable>,
    backends: BTreeMap<String, BackendPolicy>,
    telemetry: BTreeMap<String, TelemetryPolicy>,
}

fn decoded(translator: &Translator) -> Decoded {
    let mut found = Decoded::default();
    for ((of, name), bytes) in translator.resources() {
        let name = name.to_string();
        match of {
            type_url::ADDRESS => match Address::decode(bytes).unwrap().r#type.unwrap() {
                address::Type::Workload(workload) => {
                    assert_eq!(workload.uid, name);
                    found.workloads.insert(name, workload);
                }
                address::Type::Service(service) => {
                    assert_eq!(format!("{}/{}", service.namespace, service.hostname), name);
                    found.services.insert(name, service);
                }
            },
            type_url::AUTHORIZATION => {
                found.policies.insert(name, Authorization::decode(bytes).unwrap());
            }
            type_url::ACCESS_POLICY | type_url::CREDENTIALS => {}
            type_url::ROUTE_TABLE => {
                found.routes.insert(name, RouteTable::decode(bytes).unwrap());
            }
            type_url::BACKEND_POLICY => {
                found.backends.insert(name, BackendPolicy::decode(bytes).unwrap());
            }
            type_url::TELEMETRY_POLICY => {
                found.telemetry.insert(name, TelemetryPolicy::decode(bytes).unwrap());
            }
            _ => {
                found.enrolled.insert(name, EnrolledPod::decode(bytes).unwrap());
            }
        }
    }
    found
}

fn standalone(yaml: &str) -> Decoded {
    decoded(&translated(Settings::standalone(), yaml))
}

fn message(translator: &Translator, key: &str) -> String {
    let statuses = translator.statuses();
    let status = statuses.iter().find(|status| status.object.to_string() == key);
    let conditions = status.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let line = |it: &super::ConditionStatus| {
        format!("{}={}/{} {:?} {}", it.kind, it.status, it.reason, it.fields, it.message)
    };
    conditions.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The ConfigMap with the mesh's configuration.
fn mesh_config(yaml: &str) -> String {
    let yaml = yaml.replace('\n', "\n    ");
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n    {yaml}\n---\n"
    )
}

/// A Gateway that is a waypoint, with its Service and one ready pod.
fn waypoint(namespace: &str, name: &str, labels: &str, from: &str) -> String {
    gateway(namespace, name, labels, from)
        + &waypoint_service(namespace, name)
        + &waypoint_pod(namespace, name, "True")
}

fn gateway(namespace: &str, name: &str, labels: &str, from: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{{labels}}}}}\n\
         spec: {{gatewayClassName: istio-waypoint, listeners: [{{name: mesh, port: 15008, protocol: HBONE, allowedRoutes: {{namespaces: {{from: {from}}}}}}}]}}\n---\n"
    )
}

fn waypoint_service(namespace: &str, name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{selector: {{gateway.networking.k8s.io/gateway-name: {name}}}, ports: [{{name: mesh, port: 15008}}]}}\n---\n"
    )
}

fn waypoint_pod(namespace: &str, name: &str, ready: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}-1, namespace: {namespace}, labels: {{gateway.networking.k8s.io/gateway-name: {name}, istio.io/dataplane-mode: none}}}}\n\
         spec: {{nodeName: node1, serviceAccountName: {name}-sa}}\nstatus: {{podIP: 10.44.9.1, conditions: [{{type: Ready, status: '{ready}'}}]}}\n---\n"
    )
}

/// A namespace in the mesh with a node, a service and a pod.
const MESH: &str = r"
apiVersion: v1
kind: Namespace
metadata: {name: istio-system, labels: {topology.istio.io/network: net1}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}
---
apiVersion: v1
kind: Node
metadata:
  name: node1
  labels: {topology.kubernetes.io/region: eu, topology.kubernetes.io/zone: eu-1, topology.istio.io/subzone: r1}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: 10.96.0.1
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: http}
  - {name: grpc-api, port: 81, targetPort: 9001}
  - {name: metrics, port: 82, targetPort: absent}
  - {name: dns, port: 53, protocol: UDP}
---
apiVersion: v1
kind: Pod
metadata:
  name: web-5d4-x
  namespace: shop
  uid: uid-1
  labels: {app: web, version: v2, pod-template-hash: 5d4}
  annotations: {weft.io/netns: pod-web, ambient.istio.io/dns-capture: 'false'}
  ownerReferences: [{kind: ReplicaSet, name: web-5d4, controller: true, apiVersion: apps/v1, uid: r}]
spec:
  nodeName: node1
  serviceAccountName: web-sa
  containers:
  - name: main
    ports: [{name: http, containerPort: 8080}]
status:
  phase: Running
  podIP: 10.44.1.10
  podIPs: [{ip: 10.44.1.10}, {ip: 'fd00::a'}]
  conditions: [{type: Ready, status: 'True'}]
";

fn port(service_port: u32, target_port: u32) -> Port {
    Port { service_port, target_port, ..Port::default() }
}

fn v4(a: u8, b: u8, c: u8, d: u8) -> Vec<u8> {
    vec![a, b, c, d]
}

fn pod(name: &str, meta: &str, spec: &str, status: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, {meta}}}\n\
         spec: {{nodeName: node1, {spec}}}\nstatus: {{podIP: 10.44.1.20, {status}}}\n---\n"
    )
}
