//! A discovery client, step by step.

use std::collections::{BTreeMap, HashMap};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use weft_controller::tokens::Component;
use weft_proto::contract::{MORE_OF_LOAD_FOLLOWS, type_url};
use weft_proto::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use weft_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use weft_proto::envoy::config::core::v3::Node;
use weft_proto::google::rpc;

use crate::mesh::{Mesh, PATIENCE, with_token};

/// An open stream.
pub struct Stream {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    is_identified: bool,
    _channel: Channel,
}

impl Stream {
    /// As the proxy or the agent of `node`.
    pub async fn open(mesh: &Mesh, component: Component, node: &str) -> Self {
        Self::open_with(mesh, &mesh.token(component, node)).await.unwrap()
    }

    /// With any token.
    pub async fn open_with(mesh: &Mesh, token: &str) -> Result<Self, Status> {
        let channel = mesh.channel().await;
        let (requests, receiver) = mpsc::channel(8);
        let mut client = AggregatedDiscoveryServiceClient::new(channel.clone())
            .max_decoding_message_size(256 * 1024 * 1024);
        let call = with_token(ReceiverStream::new(receiver), token);
        let responses = client.delta_aggregated_resources(call).await?.into_inner();
        Ok(Self { requests, responses, is_identified: false, _channel: channel })
    }

    pub async fn send(&mut self, mut request: DeltaDiscoveryRequest) {
        if !std::mem::replace(&mut self.is_identified, true) {
            request.node =
                Some(Node { id: "ztunnel~1.1.1.1~a.istio-system~x".into(), ..Default::default() });
        }
        self.send_raw(request).await;
    }

    /// Sends a request as it is.
    pub async fn send_raw(&mut self, request: DeltaDiscoveryRequest) {
        self.requests.send(request).await.unwrap();
    }

    /// Subscribes to everything of a type, holding `known` from before.
    pub async fn subscribe(&mut self, type_url: &str, known: &HashMap<String, String>) {
        self.send(DeltaDiscoveryRequest {
            type_url: type_url.to_owned(),
            initial_resource_versions: known.clone(),
            ..Default::default()
        })
        .await;
    }

    /// Subscribes to names; `*` taken back first, as on-demand clients do.
    pub async fn subscribe_names(&mut self, type_url: &str, names: &[&str]) {
        let names = names.iter().map(ToString::to_string);
        self.send(DeltaDiscoveryRequest {
            type_url: type_url.to_owned(),
            resource_names_subscribe: ["*".to_owned()].into_iter().chain(names).collect(),
            resource_names_unsubscribe: vec!["*".to_owned()],
            ..Default::default()
        })
        .await;
    }

    pub async fn ack(&mut self, response: &DeltaDiscoveryResponse) {
        self.answer(response, None).await;
    }

    pub async fn nack(&mut self, response: &DeltaDiscoveryResponse, reason: &str) {
        let error = rpc::Status { code: 3, message: reason.to_owned(), ..Default::default() };
        self.answer(response, Some(error)).await;
    }

    async fn answer(&mut self, response: &DeltaDiscoveryResponse, error: Option<rpc::Status>) {
        self.send(DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: error,
            ..Default::default()
        })
        .await;
    }

    /// The next response, not acknowledged.
    pub async fn next(&mut self) -> DeltaDiscoveryResponse {
        self.try_next().await.unwrap().expect("the stream goes on")
    }

    /// The next response, or how the stream ended.
    pub async fn try_next(&mut self) -> Result<Option<DeltaDiscoveryResponse>, Status> {
        tokio::time::timeout(PATIENCE, self.responses.message()).await.expect("a response in time")
    }

    /// The next response, acknowledged.
    pub async fn take(&mut self) -> DeltaDiscoveryResponse {
        let response = self.next().await;
        self.ack(&response).await;
        response
    }

    /// Responses until one does not announce more, acknowledged, as one.
    pub async fn take_load(&mut self) -> Load {
        let mut load = Load::default();
        loop {
            let response = self.take().await;
            let is_last = !response.system_version_info.ends_with(MORE_OF_LOAD_FOLLOWS);
            load.add(response);
            if is_last {
                return load;
            }
        }
    }

    /// Takes responses into `load` until `is_enough`.
    pub async fn take_until(&mut self, load: &mut Load, is_enough: impl Fn(&Load) -> bool) {
        while !is_enough(load) {
            let response = self.take().await;
            load.add(response);
        }
    }
}

/// What a client was told.
#[derive(Debug, Default)]
pub struct Load {
    pub messages: usize,
    pub resources: BTreeMap<String, String>,
    pub removed: Vec<String>,
}

impl Load {
    pub fn add(&mut self, response: DeltaDiscoveryResponse) {
        self.messages += 1;
        for resource in response.resources {
            assert!(resource.resource.is_some_and(|any| any.type_url == response.type_url));
            self.resources.insert(resource.name, resource.version);
        }
        self.removed.extend(response.removed_resources);
    }

    pub fn names(&self) -> Vec<&str> {
        self.resources.keys().map(String::as_str).collect()
    }
}

/// Everything of one type, by a new client of `node`.
pub async fn load_all(mesh: &Mesh, type_url: &str, known: &HashMap<String, String>) -> Load {
    let mut stream = Stream::open(mesh, Component::Ztunnel, "node1").await;
    stream.subscribe(type_url, known).await;
    stream.take_load().await
}

pub const ADDRESS: &str = type_url::ADDRESS;
