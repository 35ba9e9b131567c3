//! What waypoints are served, and who counts as one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tempfile::tempdir;
use tonic::Code;
use weft_controller::admin::{ModelStatus, RejectedDocument};
use weft_controller::objects::Kind;
use weft_controller::tokens::Component::{Agent, Ztunnel};
use weft_controller::translate::{Explanation, ObjectStatus, WaypointStatus};
use weft_controller::xds::ResourceChange;
use weft_core::join_token::JoinToken;
use weft_proto::ca::IstioCertificateRequest;
use weft_proto::ca::istio_certificate_service_client::IstioCertificateServiceClient;
use weft_proto::contract::{IMPERSONATED_IDENTITY, type_url};
use weft_proto::discovery::DeltaDiscoveryRequest;
use weft_proto::envoy::config::core::v3::Node;
use weft_proto::node::IssueTokenRequest;
use weft_proto::node::issue_token_request::Component;
use weft_proto::node::node_service_client::NodeServiceClient;
use weft_proto::route::{RouteSet, RouteTable};

use crate::mesh::{Mesh, change, policy, removal, service, with_token, workload};
use crate::stream::{ADDRESS, Load, Stream};

const TABLES: &str = type_url::ROUTE_TABLE;

fn table(host: &str, port: u32, waypoints: &[&str]) -> ResourceChange {
    let set = RouteSet { ports: vec![port], ..RouteSet::default() };
    let table = RouteTable { namespace: "shop".into(), hostname: host.into(), sets: vec![set] };
    let change = change(TABLES, &format!("shop/{host}"), Some(table.encode_to_vec()));
    ResourceChange { audience: waypoints.iter().map(|name| (*name).into()).collect(), ..change }
}

fn token(mesh: &Mesh, namespace: &str, name: &str) -> String {
    let day = Duration::from_secs(86_400);
    mesh.tokens.issue_waypoint((namespace, name), "wp-sa", day).unwrap().token
}

async fn stream(mesh: &Mesh, name: &str, known: &HashMap<String, String>) -> Stream {
    let mut stream = Stream::open_with(mesh, &token(mesh, "shop", name)).await.unwrap();
    let node = Node { id: format!("waypoint~10.0.0.9~{name}-1.shop~x"), ..Default::default() };
    let request = DeltaDiscoveryRequest {
        node: Some(node),
        type_url: TABLES.into(),
        initial_resource_versions: known.clone(),
        ..Default::default()
    };
    stream.send_raw(request).await;
    stream
}

fn none() -> HashMap<String, String> {
    HashMap::new()
}

#[tokio::test]
async fn waypoint_is_served_what_it_stands_before_and_nothing_else() {
    let folder = tempdir().unwrap();
    let objects = vec![
        table("a.example", 80, &["shop/wp"]),
        table("b.example", 80, &["shop/other"]),
        table("c.example", 80, &["shop/wp", "shop/other"]),
        table("d.example", 80, &[]),
        table("e.example", 80, &["bank/wp"]),
    ];
    let mesh = Mesh::start(folder.path(), objects).await;
    let mut own = stream(&mesh, "wp", &none()).await;
    assert_eq!(own.take_load().await.names(), ["shop/a.example", "shop/c.example"]);
    let mut other = stream(&mesh, "other", &none()).await;
    assert_eq!(other.take_load().await.names(), ["shop/b.example", "shop/c.example"]);
    // Asking for it by name doesn't help.
    let mut asking = stream(&mesh, "third", &none()).await;
    assert!(asking.take_load().await.names().is_empty());
    let ask = DeltaDiscoveryRequest {
        type_url: TABLES.into(),
        resource_names_subscribe: vec!["shop/a.example".into()],
        ..Default::default()
    };
    asking.send_raw(ask).await;
    assert!(asking.take_load().await.names().is_empty());
}

#[tokio::test]
async fn what_is_in_secrets_is_served_to_those_it_is_for_alone() {
    let folder = tempdir().unwrap();
    let secrets = |host: &str, waypoints: &[&str]| {
        let content = change(type_url::CREDENTIALS, &format!("shop/{host}"), Some(vec![]));
        let audience = waypoints.iter().map(|name| (*name).into()).collect();
        ResourceChange { audience, ..content }
    };
    let objects = vec![secrets("a.example", &["shop/wp"]), secrets("b.example", &["shop/other"])];
    let mesh = Mesh::start(folder.path(), objects).await;
    for (waypoint, wanted) in [("wp", &["shop/a.example"][..]), ("third", &[])] {
        let mut stream = stream(&mesh, waypoint, &none()).await;
        stream.take_load().await;
        // Asking for others by name doesn't help.
        let ask = DeltaDiscoveryRequest {
            type_url: type_url::CREDENTIALS.into(),
            resource_names_subscribe: vec!["*".into(), "shop/b.example".into()],
            ..Default::default()
        };
        stream.send_raw(ask).await;
        assert_eq!(stream.take_load().await.names(), wanted, "{waypoint}");
    }
}

#[tokio::test]
async fn service_that_is_bound_elsewhere_leaves_one_waypoint_and_comes_to_the_other() {
    let folder = tempdir().unwrap();
    let (before, after) =
        (table("a.example", 80, &["shop/wp"]), table("a.example", 80, &["shop/other"]));
    let mesh = Mesh::start(folder.path(), vec![before.clone()]).await;
    let (mut one, mut two) =
        (stream(&mesh, "wp", &none()).await, stream(&mesh, "other", &none()).await);
    let known: HashMap<_, _> = one.take_load().await.resources.into_iter().collect();
    assert!(two.take_load().await.resources.is_empty());

    mesh.feed(vec![after]).await;
    let (mut left, mut come) = (Load::default(), Load::default());
    one.take_until(&mut left, |load| !load.removed.is_empty()).await;
    assert_eq!(
        (left.names().len(), left.removed.as_slice()),
        (0, ["shop/a.example".into()].as_slice())
    );
    two.take_until(&mut come, |load| !load.resources.is_empty()).await;
    assert_eq!(come.names(), ["shop/a.example"]);
    // So does one that was away meanwhile.
    let mut back = stream(&mesh, "wp", &known).await;
    assert_eq!(back.take_load().await.removed, ["shop/a.example"]);
    // A changed table goes to whom it is for now, and its end, too.
    mesh.feed(vec![table("a.example", 81, &["shop/other"])]).await;
    let mut changed = Load::default();
    two.take_until(&mut changed, |load| !load.resources.is_empty()).await;
    mesh.feed(vec![removal(&before)]).await;
    two.take_until(&mut changed, |load| !load.removed.is_empty()).await;
    assert_eq!(changed.removed, ["shop/a.example"]);
}

#[tokio::test]
async fn only_a_waypoints_token_opens_what_is_for_waypoints() {
    let folder = tempdir().unwrap();
    let mesh =
        Mesh::start(folder.path(), vec![table("a.example", 80, &["istio-system/ztunnel"])]).await;
    for component in [Ztunnel, Agent] {
        for of in [TABLES, type_url::ACCESS_POLICY, type_url::CREDENTIALS] {
            let mut stream = Stream::open(&mesh, component, "node1").await;
            stream.subscribe(of, &none()).await;
            assert_eq!(stream.try_next().await.unwrap_err().code(), Code::PermissionDenied);
        }
    }
    // Nor does it open what is for others: a waypoint called like the agent is none.
    let day = Duration::from_secs(86_400);
    let name = ("istio-system", "istio-cni-node");
    let token = mesh.tokens.issue_waypoint(name, "istio-cni-node", day).unwrap().token;
    let mut stream = Stream::open_with(&mesh, &token).await.unwrap();
    stream.subscribe(type_url::ENROLLED_POD, &none()).await;
    assert_eq!(stream.try_next().await.unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test]
async fn waypoint_knows_the_mesh_as_a_node_proxy_does() {
    let folder = tempdir().unwrap();
    let objects = vec![workload(1, "node1", "v1"), service(), policy("p")];
    let mesh = Mesh::start(folder.path(), objects).await;
    let mut stream = stream(&mesh, "wp", &none()).await;
    stream.take_load().await;
    let wildcard = |type_url: &str| DeltaDiscoveryRequest {
        type_url: type_url.to_owned(),
        ..Default::default()
    };
    for (of, count) in [(ADDRESS, 2), (type_url::AUTHORIZATION, 1)] {
        stream.send_raw(wildcard(of)).await;
        assert_eq!(stream.take_load().await.resources.len(), count);
    }
}

fn csr() -> String {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["attacker.example".to_owned()]).unwrap();
    params.serialize_request(&key).unwrap().pem().unwrap()
}

#[tokio::test]
async fn waypoint_gets_a_certificate_of_its_own_identity_and_of_no_other() {
    let folder = tempdir().unwrap();
    let mesh = Mesh::start(folder.path(), Vec::new()).await;
    mesh.pods.add("node1", "shop", "payment");
    let mut client = IstioCertificateServiceClient::new(mesh.channel().await);
    let token = token(&mesh, "shop", "wp");
    let request = |identity: Option<&str>| {
        let value = |text: &str| prost_types::Value {
            kind: Some(prost_types::value::Kind::StringValue(text.into())),
        };
        let metadata = identity.map(|identity| prost_types::Struct {
            fields: [(IMPERSONATED_IDENTITY.to_owned(), value(identity))].into(),
        });
        let message = IstioCertificateRequest { csr: csr(), validity_duration: 0, metadata };
        with_token(message, &token)
    };
    let chain = client.create_certificate(request(None)).await.unwrap().into_inner().cert_chain;
    let leaf = CertificateDer::from_pem_slice(chain[0].as_bytes()).unwrap();
    let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap().value.general_names.clone();
    assert!(matches!(
        names.as_slice(),
        [x509_parser::extensions::GeneralName::URI("spiffe://cluster/ns/shop/sa/wp-sa")]
    ));
    for identity in ["spiffe://cluster/ns/shop/sa/payment", "spiffe://cluster/ns/shop/sa/wp-sa"] {
        let refusal = client.create_certificate(request(Some(identity))).await.unwrap_err();
        assert_eq!(refusal.code(), Code::PermissionDenied, "{identity}");
    }
}

#[tokio::test]
async fn waypoint_renews_its_own_token_and_gets_no_nodes() {
    let folder = tempdir().unwrap();
    let mesh = Mesh::start(folder.path(), Vec::new()).await;
    let mut client = NodeServiceClient::new(mesh.channel().await);
    let own = token(&mesh, "shop", "wp");
    let ask = |component: Component, token: &str| {
        with_token(IssueTokenRequest { component: component.into() }, token)
    };
    let issued = client.issue_token(ask(Component::Waypoint, &own)).await.unwrap().into_inner();
    let caller = mesh.tokens.verify(&issued.token).unwrap();
    assert_eq!((caller.waypoint.as_deref(), &*caller.service_account), (Some("shop/wp"), "wp-sa"));
    assert_eq!((&*caller.namespace, caller.node), ("shop", None));
    for component in [Component::Agent, Component::Ztunnel] {
        let refusal = client.issue_token(ask(component, &own)).await.unwrap_err();
        assert_eq!(refusal.code(), Code::PermissionDenied);
    }
    let agent = mesh.token(Agent, "node1");
    let refusal = client.issue_token(ask(Component::Waypoint, &agent)).await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument);
}

/// A model with two waypoints.
struct Waypoints;

impl ModelStatus for Waypoints {
    fn rejected(&self) -> Vec<RejectedDocument> {
        Vec::new()
    }

    fn counts(&self) -> BTreeMap<String, usize> {
        BTreeMap::new()
    }

    fn statuses(&self) -> Vec<ObjectStatus> {
        Vec::new()
    }

    fn waypoints(&self) -> Vec<WaypointStatus> {
        let waypoint = |name: &str, accounts: &[&str]| WaypointStatus {
            namespace: "shop".into(),
            name: name.into(),
            class: "weft-waypoint".into(),
            traffic: "service".into(),
            host: format!("{name}.shop.svc.cluster.local"),
            is_ready: true,
            fault: String::new(),
            accounts: accounts.iter().map(ToString::to_string).collect(),
            bound: Vec::new(),
        };
        vec![waypoint("wp", &["wp-sa"]), waypoint("two", &["a", "b"])]
    }

    fn explain(&self, _: Kind, _: &str, name: &str) -> Option<Explanation> {
        (name == "web").then(|| Explanation {
            object: "Service shop/web".into(),
            steps: Vec::new(),
            waypoint: Some("shop/wp".into()),
            is_enforced: true,
            verdict: "calls go through shop/wp".into(),
        })
    }
}

#[tokio::test]
async fn operator_gets_a_waypoints_token_for_the_account_of_its_pods() {
    let folder = tempdir().unwrap();
    let mesh = Mesh::start_with(folder.path(), &[], Arc::new(Waypoints)).await;
    let secret = std::fs::read_to_string(folder.path().join("state/admin-token")).unwrap();
    let ask = async |body: &str| {
        let length = body.len();
        mesh.http(&format!(
            "POST /weft/token HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Authorization: Bearer {secret}\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
        .await
    };
    let account = |body: &str| {
        let answer: serde_json::Value = serde_json::from_str(body).unwrap();
        let line: JoinToken = answer["token"].as_str().unwrap().parse().unwrap();
        let caller = mesh.tokens.verify(line.token()).unwrap();
        format!("{} {}", caller.waypoint.unwrap(), caller.service_account)
    };
    let (code, body) = ask(r#"{"waypoint":"shop/wp"}"#).await;
    assert_eq!((code, account(&body)), (200, "shop/wp wp-sa".into()));
    let (code, body) = ask(r#"{"waypoint":"shop/two","service_account":"b"}"#).await;
    assert_eq!((code, account(&body)), (200, "shop/two b".into()));
    for (body, why) in [
        (r#"{"waypoint":"shop/two"}"#, "a, b"),
        (r#"{"waypoint":"shop/wp","service_account":"default"}"#, "wp-sa"),
        (r#"{"waypoint":"shop/none"}"#, "there is no waypoint shop/none"),
        (r#"{"waypoint":"wp"}"#, "NAMESPACE/NAME"),
        (r#"{"waypoint":"shop/wp","node":"n"}"#, "not both"),
        ("{}", "not both"),
        (r#"{"waypoint":"shop/wp","ttl_seconds":1}"#, "at least 1 minute"),
    ] {
        let (code, answer) = ask(body).await;
        assert_eq!(code, 400, "{body}");
        assert!(answer.contains(why), "{body}: {answer}");
    }
}

#[tokio::test]
async fn waypoints_and_explanations_are_shown() {
    let folder = tempdir().unwrap();
    let mesh = Mesh::start_with(folder.path(), &[], Arc::new(Waypoints)).await;
    let shown: Vec<WaypointStatus> =
        serde_json::from_str(&mesh.get("/weft/waypoints").await.1).unwrap();
    assert_eq!(shown, Waypoints.waypoints());
    let path = "/weft/waypoints/explain?namespace=shop";
    let (code, body) = mesh.get(&format!("{path}&kind=Service&name=web")).await;
    assert_eq!(code, 200);
    assert!(body.contains("calls go through shop/wp"));
    assert_eq!(mesh.get(&format!("{path}&kind=Service&name=other")).await.0, 404);
    assert_eq!(mesh.get(&format!("{path}&kind=Node&name=web")).await.0, 400);
    assert_eq!(mesh.get("/weft/objects").await, (200, "[]".into()));
}

#[tokio::test]
async fn page_about_waypoints_leads_from_yaml_to_a_waypoint_that_is_served() {
    let page = include_str!("../../../docs/waypoints.md");
    let (_, yaml) = page.split_once("```yaml\n").unwrap();
    let (yaml, _) = yaml.split_once("```").unwrap();
    let (state, manifests) = (tempdir().unwrap(), tempdir().unwrap());
    std::fs::write(manifests.path().join("shop.yaml"), yaml).unwrap();
    let mesh = Mesh::start_folder(state.path(), manifests.path()).await;
    let secret = std::fs::read_to_string(state.path().join("state/admin-token")).unwrap();
    let body = r#"{"waypoint":"shop/waypoint"}"#;
    let length = body.len();
    let answer = mesh
        .http(&format!(
            "POST /weft/token HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Authorization: Bearer {secret}\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
        .await;
    assert_eq!(answer.0, 200, "{}", answer.1);
    let answer: serde_json::Value = serde_json::from_str(&answer.1).unwrap();
    let line: JoinToken = answer["token"].as_str().unwrap().parse().unwrap();

    // The file may be presented as it is.
    let mut stream = Stream::open_with(&mesh, &line.to_line()).await.unwrap();
    let node = Node { id: "waypoint~10.44.1.200~waypoint-1.shop~x".into(), ..Default::default() };
    let type_url = TABLES.to_owned();
    let ask = DeltaDiscoveryRequest { node: Some(node), type_url, ..Default::default() };
    stream.send_raw(ask).await;
    // Nothing is routed there; the table says that the waypoint stands before it.
    assert_eq!(stream.take_load().await.names(), ["shop/stock.shop.svc.cluster.local"]);

    let shown = mesh.get("/weft/waypoints/explain?kind=Service&namespace=shop&name=stock").await;
    assert!(shown.1.contains("calls go through shop/waypoint; what goes round it is refused"));
    // Once the label is gone, so is the table.
    let unbound = yaml.replace("    istio.io/use-waypoint: waypoint\n", "");
    std::fs::write(manifests.path().join("shop.yaml"), unbound).unwrap();
    let mut load = Load::default();
    stream.take_until(&mut load, |load| !load.removed.is_empty()).await;
    assert_eq!(load.removed, ["shop/stock.shop.svc.cluster.local"]);
}
