//! A discovery client that times what arrives: another node's ztunnel, as far as the controller
//! can tell.

use std::time::Duration;

use anyhow::{Context, Result};
use prost::Message as _;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};
use weft_core::limits::XDS_MESSAGE_BYTES_MAX;
use weft_core::tls::{ControlSettings, RootSource, control_channel};
use weft_core::xds::{NodeSettings, TokenSource, node};
use weft_harness::Mesh;
use weft_proto::contract::{DEFAULT_CLUSTER_ID, SYSTEM_NAMESPACE, port, type_url};
use weft_proto::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use weft_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};

use super::estate::{Estate, PREFIX};

/// The node whose token and place on the network it uses.
const NODE: u8 = 1;
/// Longest wait for a message.
const DEADLINE: Duration = Duration::from_secs(30);
/// Requests that may wait: one a type, and acknowledgements one after the other.
const REQUESTS: usize = 8;

/// One client's first load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FullLoad {
    /// From the subscription to the last resource.
    pub(crate) time: Duration,
    /// Encoded responses.
    pub(crate) bytes: usize,
    /// Number of responses.
    pub(crate) messages: usize,
}

/// Loads everything a number of times, each with a new connection.
///
/// # Errors
/// The controller can't be reached or doesn't send the whole estate.
pub(crate) fn full_loads(mesh: &Mesh, estate: &Estate, count: usize) -> Result<Vec<FullLoad>> {
    inside(mesh, |runtime| (0..count).map(|_| runtime.block_on(full_load(mesh, estate))).collect())
}

async fn full_load(mesh: &Mesh, estate: &Estate) -> Result<FullLoad> {
    let mut client = Client::open(mesh).await?;
    let expected = estate.workloads() + estate.services();
    let (mut known, mut bytes, mut messages) = (0, 0, 0);
    let start = Instant::now();
    client.subscribe(type_url::ADDRESS).await?;
    loop {
        let response = client.next().await?;
        let arrived = start.elapsed();
        messages += 1;
        bytes += response.encoded_len();
        known += response.resources.iter().filter(|it| it.name.contains(PREFIX)).count();
        if known >= expected {
            return Ok(FullLoad { time: arrived, bytes, messages });
        }
    }
}

/// Runs `work` with a runtime in the node's network namespace.
pub(super) fn inside<T: Send>(
    mesh: &Mesh,
    work: impl FnOnce(&Runtime) -> Result<T> + Send,
) -> Result<T> {
    mesh.node(NODE)?.netns.run(|| work(&Builder::new_current_thread().enable_all().build()?))
}

/// An open stream to the controller.
pub(super) struct Client {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Client {
    /// Connects, and returns when the controller has answered: what follows is the stream alone,
    /// without TCP and TLS.
    pub(super) async fn open(mesh: &Mesh) -> Result<Self> {
        timeout(DEADLINE, Box::pin(connect(mesh))).await.context("no stream in time")?
    }

    /// Asks for all resources of a type.
    pub(super) async fn subscribe(&self, type_url: &str) -> Result<()> {
        let request = DeltaDiscoveryRequest { type_url: type_url.to_owned(), ..Default::default() };
        self.requests.send(request).await.context("the stream has ended")
    }

    /// The next response, acknowledged.
    pub(super) async fn next(&mut self) -> Result<DeltaDiscoveryResponse> {
        let message = timeout(DEADLINE, self.responses.message()).await;
        let response = message
            .with_context(|| format!("nothing from the controller for {DEADLINE:?}"))?
            .context("the controller ended the stream")?
            .context("the controller ended the stream")?;
        let ack = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..Default::default()
        };
        self.requests.send(ack).await.context("the stream has ended")?;
        Ok(response)
    }
}

async fn connect(mesh: &Mesh) -> Result<Client> {
    let state = mesh.folder().join(&mesh.node(NODE)?.name);
    let channel = control_channel(ControlSettings {
        address: format!("https://{}:{}", mesh.control_ip(), port::CONTROLLER),
        roots: RootSource::File(state.join("root-cert.pem")),
        server_name: None,
    })?;
    let (requests, receiver) = mpsc::channel(REQUESTS);
    let mut request = Request::new(ReceiverStream::new(receiver));
    let metadata = request.metadata_mut();
    metadata.insert("clusterid", DEFAULT_CLUSTER_ID.parse()?);
    if let Some(token) = TokenSource::File(state.join("ztunnel-token")).authorization().await? {
        metadata.insert("authorization", token);
    }
    // Policies first: there are few, and their answer shows that the stream is open.
    requests.send(hello(mesh)?).await?;
    let mut stub = AggregatedDiscoveryServiceClient::new(channel)
        .max_decoding_message_size(XDS_MESSAGE_BYTES_MAX);
    let responses = stub.delta_aggregated_resources(request).await?.into_inner();
    let mut client = Client { requests, responses };
    client.next().await?;
    Ok(client)
}

fn hello(mesh: &Mesh) -> Result<DeltaDiscoveryRequest> {
    let node = node(&NodeSettings {
        kind: "ztunnel".to_owned(),
        instance_ip: None,
        pod_name: "bench".to_owned(),
        namespace: SYSTEM_NAMESPACE.to_owned(),
        node_name: mesh.node(NODE)?.name.clone(),
        cluster_domain: "cluster.local".to_owned(),
        metadata: [].into(),
    });
    let type_url = type_url::AUTHORIZATION.to_owned();
    Ok(DeltaDiscoveryRequest { node: Some(node), type_url, ..Default::default() })
}
