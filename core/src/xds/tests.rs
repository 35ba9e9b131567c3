//! The client against a scripted server: every request is looked at, every response is put there by the test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::metadata::MetadataMap;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};
use weft_proto::contract::MORE_OF_LOAD_FOLLOWS;
use weft_proto::contract::type_url::{ADDRESS, AUTHORIZATION};
use weft_proto::discovery::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use weft_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use weft_proto::envoy::config::core::v3::Node;

use super::*;

/// Far above what anything here takes, so that only a hang meets it.
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

type Responses = mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>;

/// One stream as the server sees it.
struct Stream {
    metadata: MetadataMap,
    requests: Streaming<DeltaDiscoveryRequest>,
    responses: Responses,
}

impl Stream {
    async fn request(&mut self) -> DeltaDiscoveryRequest {
        soon("a request", self.requests.message()).await.unwrap().expect("the client went away")
    }

    /// The first requests, one a type.
    async fn opening(&mut self) -> BTreeMap<String, DeltaDiscoveryRequest> {
        let first = self.request().await;
        let second = self.request().await;
        [first, second].into_iter().map(|it| (it.type_url.clone(), it)).collect()
    }

    /// Sends a response and returns its answer.
    async fn push(&mut self, response: DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
        let nonce = response.nonce.clone();
        self.responses.send(Ok(response)).await.unwrap();
        let answer = self.request().await;
        assert_eq!(answer.response_nonce, nonce);
        answer
    }

    fn authorization(&self) -> &str {
        self.metadata.get("authorization").unwrap().to_str().unwrap()
    }
}

struct Service(mpsc::Sender<Stream>);

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (responses, receiver) = mpsc::channel(8);
        let metadata = request.metadata().clone();
        let stream = Stream { metadata, requests: request.into_inner(), responses };
        self.0.send(stream).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// A server with a runtime of its own, so that it can be killed with all its connections.
struct ScriptedServer {
    runtime: Option<Runtime>,
    address: SocketAddr,
    streams: mpsc::Receiver<Stream>,
}

impl ScriptedServer {
    async fn start(address: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (sender, streams) = mpsc::channel(4);
        let address = address.to_owned();
        let bound = runtime.spawn(async move {
            let listener = TcpListener::bind(address).await.unwrap();
            let address = listener.local_addr().unwrap();
            let service = AggregatedDiscoveryServiceServer::new(Service(sender));
            let server = Server::builder().add_service(service);
            tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
            address
        });
        let address = bound.await.unwrap();
        Self { runtime: Some(runtime), address, streams }
    }

    async fn stream(&mut self) -> Stream {
        soon("a stream", self.streams.recv()).await.unwrap()
    }

    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Keeps texts; rejects those that say `bad`.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<BTreeMap<String, String>>>);

impl Recorder {
    fn held(&self) -> Vec<(String, String)> {
        self.0.lock().clone().into_iter().collect()
    }
}

impl Handler for Recorder {
    fn apply(&mut self, _: &str, changes: Vec<Change>) -> Vec<Rejected> {
        let mut held = self.0.lock();
        let mut rejected = Vec::new();
        for Change { name, resource, .. } in changes {
            let text = resource.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
            match text.as_deref() {
                None => {
                    held.remove(&*name);
                }
                Some("bad" | "") => rejected.push(Rejected { name, reason: "is bad".into() }),
                Some(text) => {
                    held.insert(name.to_string(), text.to_owned());
                }
            }
        }
        rejected
    }
}

#[derive(Default)]
struct Counts {
    terminations: Mutex<Vec<Termination>>,
    messages: Mutex<Vec<(String, usize)>>,
}

impl Observer for Counts {
    fn terminated(&self, reason: Termination) {
        self.terminations.lock().push(reason);
    }

    fn received(&self, type_url: &str, bytes: usize) {
        self.messages.lock().push((type_url.to_owned(), bytes));
    }
}

struct Running {
    task: JoinHandle<std::convert::Infallible>,
    state: StateReader,
    counts: Arc<Counts>,
    recorder: Recorder,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn start(address: SocketAddr, token: TokenSource) -> Running {
    let settings = XdsSettings {
        node: Node { id: "ztunnel~x".into(), ..Default::default() },
        type_urls: vec![ADDRESS.into(), AUTHORIZATION.into()],
        token,
        cluster_id: "Kubernetes".into(),
        headers: vec![("x-extra".into(), "1".into())],
    };
    let channel: ChannelFactory = Box::new(move || {
        async move {
            let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
            Ok(endpoint.connect_timeout(Duration::from_secs(5)).connect().await?)
        }
        .boxed()
    });
    let (counts, recorder) = (Arc::<Counts>::default(), Recorder::default());
    let (client, state) = Client::new(settings, channel, recorder.clone(), counts.clone());
    Running { task: tokio::spawn(client.run()), state, counts, recorder }
}

fn literal() -> TokenSource {
    TokenSource::Literal("token-1".into())
}

/// `(name, version, text)`.
fn push(
    type_url: &str,
    nonce: &str,
    resources: &[(&str, &str, &str)],
    removed: &[&str],
) -> DeltaDiscoveryResponse {
    let resource = |(name, version, text): &(&str, &str, &str)| Resource {
        name: (*name).into(),
        version: (*version).into(),
        resource: Some(prost_types::Any {
            type_url: type_url.into(),
            value: text.as_bytes().into(),
        }),
        aliases: vec![],
    };
    DeltaDiscoveryResponse {
        system_version_info: format!("system-{nonce}"),
        resources: resources.iter().map(resource).collect(),
        type_url: type_url.into(),
        nonce: nonce.into(),
        removed_resources: removed.iter().map(|name| (*name).into()).collect(),
    }
}

/// A response that is not the last of its load.
fn part(mut response: DeltaDiscoveryResponse) -> DeltaDiscoveryResponse {
    response.system_version_info.push(MORE_OF_LOAD_FOLLOWS);
    response
}

fn versions(request: &DeltaDiscoveryRequest) -> Vec<(&str, &str)> {
    let mut versions: Vec<_> = request
        .initial_resource_versions
        .iter()
        .map(|(name, version)| (name.as_str(), version.as_str()))
        .collect();
    versions.sort_unstable();
    versions
}

fn pairs(held: &[(&str, &str)]) -> Vec<(String, String)> {
    held.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[tokio::test]
async fn client_subscribes_to_everything_says_who_it_is_and_acknowledges() {
    let mut server = ScriptedServer::start("127.0.0.1:0").await;
    let mut client = start(server.address, literal());
    let mut stream = server.stream().await;
    assert_eq!(stream.authorization(), "Bearer token-1");
    assert_eq!(stream.metadata.get("clusterid").unwrap(), "Kubernetes");
    assert_eq!(stream.metadata.get("x-extra").unwrap(), "1");
    let opening = stream.opening().await;
    assert_eq!(opening[ADDRESS].node.as_ref().unwrap().id, "ztunnel~x");
    for request in opening.values() {
        assert!(request.resource_names_subscribe.is_empty(), "an empty list means everything");
        assert!(request.initial_resource_versions.is_empty());
    }
    assert!(!client.state.state().is_synced());
    let answer = stream.push(push(ADDRESS, "1", &[("a", "v1", "A"), ("b", "v1", "B")], &[])).await;
    assert_eq!(answer.error_detail, None);
    assert_eq!(answer.type_url, ADDRESS);
    assert!(!client.state.state().is_synced(), "the other type has not come");
    stream.push(push(AUTHORIZATION, "2", &[], &[])).await;
    stream.push(push(ADDRESS, "3", &[("a", "v2", "A2")], &["b", "never-seen"])).await;
    assert_eq!(client.recorder.held(), pairs(&[("a", "A2")]));
    let state = soon("readiness", client.state.wait_for(State::is_synced)).await.unwrap();
    assert!(state.is_connected && state.connected_since.is_some());
    let addresses = &state.types[ADDRESS];
    assert_eq!((addresses.resources, addresses.rejected), (1, 0));
    assert_eq!(addresses.version, "system-3");
    assert!(addresses.last_ack.is_some() && addresses.last_nack.is_none());
    let messages = client.counts.messages.lock().clone();
    assert_eq!(messages.len(), 3);
    assert!(messages.iter().all(|(_, bytes)| *bytes > 0));
}

#[tokio::test]
async fn client_is_synced_once_the_first_load_of_every_type_has_ended() {
    let mut server = ScriptedServer::start("127.0.0.1:0").await;
    let mut client = start(server.address, literal());
    let mut stream = server.stream().await;
    stream.opening().await;
    stream.push(push(AUTHORIZATION, "1", &[], &[])).await;
    stream.push(part(push(ADDRESS, "2", &[("a", "v1", "A")], &[]))).await;
    stream.push(part(push(ADDRESS, "3", &[("b", "v1", "bad")], &[]))).await;
    assert!(!client.state.state().is_synced(), "the load goes on");
    // A stream that breaks amid the load leaves the rest of it to the next one.
    drop(stream);
    let mut stream = server.stream().await;
    stream.opening().await;
    stream.push(part(push(ADDRESS, "1", &[("c", "v1", "C")], &[]))).await;
    assert!(!client.state.state().is_synced(), "the load goes on");
    stream.push(push(ADDRESS, "2", &[], &[])).await;
    soon("readiness", client.state.wait_for(State::is_synced)).await.unwrap();
    assert_eq!(client.recorder.held(), pairs(&[("a", "A"), ("c", "C")]));
    // Later loads in parts change nothing about it.
    stream.push(part(push(ADDRESS, "3", &[("d", "v1", "D")], &[]))).await;
    assert!(client.state.state().is_synced());
}

#[tokio::test]
async fn bad_resource_is_refused_by_name_and_holds_up_nothing() {
    let mut server = ScriptedServer::start("127.0.0.1:0").await;
    let mut client = start(server.address, literal());
    let mut stream = server.stream().await;
    stream.opening().await;
    let mixed = [("a", "v1", "A"), ("b", "v1", "bad"), ("c", "v1", "bad")];
    let answer = stream.push(push(ADDRESS, "1", &mixed, &[])).await;
    let detail = answer.error_detail.unwrap();
    assert_eq!(detail.code, 3);
    assert_eq!(detail.message, "b: is bad; c: is bad");
    assert_eq!(client.recorder.held(), pairs(&[("a", "A")]));
    stream.push(push(AUTHORIZATION, "2", &[], &[])).await;
    let state = soon("readiness", client.state.wait_for(State::is_synced)).await.unwrap();
    assert_eq!((state.types[ADDRESS].resources, state.types[ADDRESS].rejected), (3, 2));
    assert!(state.types[ADDRESS].last_nack.is_some());
    // A good one heals it, a removal forgets it.
    let answer = stream.push(push(ADDRESS, "3", &[("b", "v2", "B")], &["c"])).await;
    assert_eq!(answer.error_detail, None);
    assert_eq!(client.state.state().types[ADDRESS].rejected, 0);
    // Content of another type, or none, is bad content and not an absent resource.
    let mut wrong = push(ADDRESS, "4", &[("d", "v1", "D"), ("e", "v1", "E")], &[]);
    wrong.resources[0].resource.as_mut().unwrap().type_url = AUTHORIZATION.into();
    wrong.resources[1].resource = None;
    let detail = stream.push(wrong).await.error_detail.unwrap();
    assert_eq!(detail.message, "d: is bad; e: is bad");
    // So is a type that was not asked for.
    let answer = stream.push(push("type.googleapis.com/x", "5", &[("x", "1", "X")], &[])).await;
    assert!(answer.error_detail.is_some());
}

#[tokio::test]
async fn killed_server_costs_nothing_and_the_client_resumes_where_it_was() {
    let mut server = ScriptedServer::start("127.0.0.1:0").await;
    let address = server.address;
    let mut client = start(address, literal());
    let mut stream = server.stream().await;
    stream.opening().await;
    let resources = [("a", "v1", "A"), ("b", "v7", "B"), ("c", "v1", "bad"), ("d", "v1", "D")];
    stream.push(push(ADDRESS, "1", &resources, &[])).await;
    stream.push(push(ADDRESS, "2", &[("a", "v2", "bad")], &["d"])).await;
    stream.push(push(AUTHORIZATION, "3", &[("p", "", "P")], &[])).await;
    soon("readiness", client.state.wait_for(State::is_synced)).await.unwrap();
    server.kill();
    // The broken stream, and an attempt that nobody answered.
    let counts = client.counts.clone();
    let is_refused = |state: &State| !state.is_connected && counts.terminations.lock().len() >= 2;
    let state = soon("notice", client.state.wait_for(is_refused)).await.unwrap();
    assert!(state.disconnected_since.is_some() && state.last_error.is_some());
    assert!(state.is_synced(), "an outage takes no readiness away");
    let held = pairs(&[("a", "A"), ("b", "B"), ("p", "P")]);
    assert_eq!(client.recorder.held(), held);

    let mut server = ScriptedServer::start(&address.to_string()).await;
    let mut stream = server.stream().await;
    let opening = stream.opening().await;
    // Rejected forms carry a version that no server has, so that the server sends the present form or a removal.
    assert_eq!(versions(&opening[ADDRESS]), [("a", "rejected"), ("b", "v7"), ("c", "rejected")]);
    assert_eq!(versions(&opening[AUTHORIZATION]), [("p", "")]);
    assert_eq!(client.recorder.held(), held, "nothing is forgotten by reconnecting");
    stream.push(push(ADDRESS, "1", &[("a", "v3", "A3")], &["b", "c"])).await;
    assert_eq!(client.recorder.held(), pairs(&[("a", "A3"), ("p", "P")]));
    let state = soon("connection", client.state.wait_for(|state| state.is_connected)).await;
    assert_eq!(state.unwrap().disconnected_since, None);
    let failures = client.counts.terminations.lock().clone();
    assert!(failures[1..].iter().all(|it| *it == Termination::ConnectionError), "{failures:?}");
}

#[tokio::test]
async fn orderly_end_is_told_from_failure_and_followed_by_a_new_stream() {
    let mut server = ScriptedServer::start("127.0.0.1:0").await;
    let client = start(server.address, literal());
    let endings = [
        (None, Termination::Complete),
        (Some(Status::cancelled("")), Termination::Reconnect),
        (Some(Status::deadline_exceeded("")), Termination::Reconnect),
        (Some(Status::unavailable("transport is closing")), Termination::Reconnect),
        (Some(Status::resource_exhausted("too large")), Termination::Error),
        (Some(Status::unauthenticated("token")), Termination::Error),
    ];
    for (status, _) in endings.clone() {
        let mut stream = server.stream().await;
        stream.opening().await;
        stream.push(push(ADDRESS, "1", &[], &[])).await;
        if let Some(status) = status {
            stream.responses.send(Err(status)).await.unwrap();
        }
    }
    server.stream().await;
    let expected: Vec<_> = endings.into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(*client.counts.terminations.lock(), expected);
}

#[tokio::test]
async fn token_is_read_anew_for_every_connection() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let mut server = ScriptedServer::start("127.0.0.1:0").await;
    let mut client = start(server.address, TokenSource::File(file.clone()));
    // Without a token there is no attempt to connect, and the reason can be seen.
    let state = client.state.wait_for(|state| state.last_error.is_some());
    let error = soon("the error", state).await.unwrap().last_error.unwrap();
    assert!(error.contains("token file"), "{error}");
    std::fs::write(&file, "first\n").unwrap();
    let mut stream = server.stream().await;
    assert_eq!(stream.authorization(), "Bearer first");
    stream.opening().await;
    std::fs::write(&file, "second\n").unwrap();
    drop(stream);
    assert_eq!(server.stream().await.authorization(), "Bearer second");
}

#[tokio::test]
async fn large_response_is_applied_and_many_rejections_are_counted_not_listed() {
    let mut server = ScriptedServer::start("127.0.0.1:0").await;
    let client = start(server.address, literal());
    let mut stream = server.stream().await;
    stream.opening().await;
    // Beyond the default message bound of gRPC, 4 MiB.
    let text = "x".repeat(6 << 10);
    let names: Vec<_> = (0..1000).map(|n| format!("n{n:03}")).collect();
    let good: Vec<_> = names.iter().map(|name| (name.as_str(), "v1", text.as_str())).collect();
    assert_eq!(stream.push(push(ADDRESS, "1", &good, &[])).await.error_detail, None);
    assert_eq!(client.recorder.held().len(), 1000);
    let bad: Vec<_> = names.iter().map(|name| (name.as_str(), "v2", "bad")).collect();
    let detail = stream.push(push(ADDRESS, "2", &bad, &[])).await.error_detail.unwrap();
    assert!(detail.message.ends_with("and 936 more"), "{}", detail.message);
    assert!(detail.message.len() < 4096);
}

/// The whole way: a server's messages become a snapshot, and a broken one is refused without holding up the rest.
#[tokio::test]
async fn store_is_kept_in_step_by_the_client() {
    use crate::mesh::testing::{ip, pod, put_workload};
    use crate::mesh::{Store, StoreSettings, Update};
    let Update::Address { name, resource: Some(bytes) } = put_workload(pod("a", "10.0.0.1")) else {
        panic!()
    };
    let any = |value: Vec<u8>| Some(prost_types::Any { type_url: ADDRESS.into(), value });
    let mut server = ScriptedServer::start("127.0.0.1:0").await;
    let address = server.address;
    let store = Store::new(&StoreSettings::default());
    let reader = store.reader();
    let settings = XdsSettings {
        node: Node::default(),
        type_urls: vec![ADDRESS.into(), AUTHORIZATION.into()],
        token: TokenSource::Absent,
        cluster_id: "Kubernetes".into(),
        headers: vec![],
    };
    let channel: ChannelFactory = Box::new(move || {
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        async move { Ok(endpoint?.connect().await?) }.boxed()
    });
    let (client, _state) = Client::new(settings, channel, store, Arc::new(NoObserver));
    let task = tokio::spawn(client.run());
    let mut stream = server.stream().await;
    stream.opening().await;
    let mut response = push(ADDRESS, "1", &[(&name, "v1", ""), ("broken", "v1", "")], &[]);
    response.resources[0].resource = any(bytes.to_vec());
    response.resources[1].resource = any(vec![1]);
    let detail = stream.push(response).await.error_detail.unwrap();
    assert!(detail.message.starts_with("broken: "), "{}", detail.message);
    assert!(reader.load().workload_at("", ip("10.0.0.1")).is_some());
    task.abort();
}
