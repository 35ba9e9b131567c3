//! One stream to the control plane, from the token to its end.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{MetadataKey, MetadataValue};
use tonic::{Code, Request, Status, Streaming};
use weft_proto::contract::MORE_OF_LOAD_FOLLOWS;
use weft_proto::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use weft_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use weft_proto::google::rpc;

use super::{Change, Client, Handler, Rejected, Termination, XdsSettings};
use crate::{clock, limits};

/// How a session ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) reason: Termination,
    /// For the log, the admin server and whoever runs the mesh.
    pub(super) error: String,
    pub(super) had_response: bool,
}

/// Stands for the version of a rejected resource. No control plane gives it to anything, so that on a reconnect the
/// resource is sent again, or its removal.
const REJECTED_VERSION: &str = "rejected";

/// Runs one session. Returns when it is over, never on account of a bad resource.
pub(super) async fn run<H: Handler>(client: &mut Client<H>) -> Ended {
    let ended = |reason, error, had_response| Ended { reason, error, had_response };
    let (requests, mut responses) = match Box::pin(open(client)).await {
        Ok(stream) => stream,
        Err(error) => return ended(Termination::ConnectionError, error, false),
    };
    client.state.send_modify(super::State::connected);
    tracing::info!("discovery stream open");
    let mut had_response = false;
    loop {
        // Without a deadline: there may be nothing to say for hours, and the channel's keepalive notices a dead peer.
        let response = match responses.message().await {
            Ok(Some(response)) => response,
            Ok(None) => {
                return ended(Termination::Complete, "the stream ended".to_owned(), had_response);
            }
            Err(status) => return ended(reason_of(&status), describe(&status), had_response),
        };
        let answer = take(client, response).await;
        had_response = true;
        if let Err(error) = send(&requests, answer).await {
            return ended(Termination::Error, error, had_response);
        }
    }
}

type Requests = mpsc::Sender<DeltaDiscoveryRequest>;
type Stream = (Requests, Streaming<DeltaDiscoveryResponse>);

async fn open<H: Handler>(client: &Client<H>) -> Result<Stream, String> {
    let prepare = async {
        let authorization =
            client.settings.token.authorization().await.map_err(|error| error.to_string())?;
        let channel = (client.channel)().await.map_err(|error| error.to_string())?;
        Ok::<_, String>((authorization, channel))
    };
    let (authorization, channel) = within(limits::XDS_CONNECT_DEADLINE, "connect", prepare).await?;
    let (requests, receiver) = mpsc::channel(limits::XDS_REQUESTS_QUEUED_MAX);
    let mut request = Request::new(ReceiverStream::new(receiver));
    let metadata = request.metadata_mut();
    if let Some(authorization) = authorization {
        metadata.insert("authorization", authorization);
    }
    let cluster_id = ("clusterid", client.settings.cluster_id.as_str());
    let headers = client.settings.headers.iter().map(|(name, value)| (&**name, &**value));
    for (name, value) in headers.chain([cluster_id]) {
        let name: MetadataKey<_> = name.parse().map_err(|_| format!("{name} is no header name"))?;
        let value: MetadataValue<_> =
            value.parse().map_err(|_| format!("the value of header {name} has bad characters"))?;
        metadata.insert(name, value);
    }
    let mut stub = AggregatedDiscoveryServiceClient::new(channel)
        .max_decoding_message_size(limits::XDS_MESSAGE_BYTES_MAX);
    // The first requests are queued while the stream opens: a server may answer only once it has one.
    let subscribe = async {
        for first in first_requests(client) {
            send(&requests, first).await?;
        }
        Ok::<_, String>(())
    };
    let accept = async {
        let response = stub.delta_aggregated_resources(request).await;
        response.map_err(|status| describe(&status))
    };
    let both = async { tokio::try_join!(accept, subscribe) };
    let opened = Box::pin(within(limits::XDS_OPEN_DEADLINE, "open a stream", both));
    let (response, ()) = opened.await?;
    Ok((requests, response.into_inner()))
}

/// One request a type: all its resources, and what is held already.
fn first_requests<H>(client: &Client<H>) -> impl Iterator<Item = DeltaDiscoveryRequest> {
    let XdsSettings { node, type_urls, .. } = &client.settings;
    type_urls.iter().enumerate().map(|(index, type_url)| DeltaDiscoveryRequest {
        // Required on the first request of a stream only.
        node: (index == 0).then(|| node.clone()),
        type_url: type_url.to_string(),
        initial_resource_versions: client
            .held
            .get(type_url)
            .into_iter()
            .flat_map(|held| &held.versions)
            .map(|(name, version)| (name.to_string(), version.to_string()))
            .collect(),
        ..Default::default()
    })
}

/// Applies a response and makes its answer.
async fn take<H: Handler>(
    client: &mut Client<H>,
    response: DeltaDiscoveryResponse,
) -> DeltaDiscoveryRequest {
    client.observer.received(&response.type_url, response.encoded_len());
    let DeltaDiscoveryResponse { system_version_info, type_url, nonce, .. } = &response;
    let mut answer = DeltaDiscoveryRequest {
        type_url: type_url.clone(),
        response_nonce: nonce.clone(),
        ..Default::default()
    };
    let Some((type_url, _)) = client.held.get_key_value(type_url.as_str()) else {
        answer.error_detail = Some(refusal(format!("type {type_url} was not asked for")));
        return answer;
    };
    let (type_url, version) = (Arc::clone(type_url), system_version_info.clone());
    let is_end_of_load = !version.ends_with(MORE_OF_LOAD_FOLLOWS);
    let changes = changes(response, &type_url);
    let outcomes: Vec<_> = changes
        .iter()
        .map(|it| (Arc::clone(&it.name), it.resource.as_ref().map(|_| Box::from(&*it.version))))
        .collect();
    let rejected = apply(client, &type_url, changes).await;
    remember(client, &type_url, outcomes, &rejected);
    if !rejected.is_empty() {
        let message = list(&rejected);
        tracing::warn!(%type_url, count = rejected.len(), %message, "resources rejected");
        answer.error_detail = Some(refusal(message));
    }
    let held = client.held.get(&type_url);
    let (resources, rejected_now) =
        held.map_or((0, 0), |held| (held.versions.len(), held.rejected.len()));
    client.state.send_modify(|state| {
        let state = state.types.entry(type_url).or_default();
        state.is_loaded |= is_end_of_load;
        let when = if rejected.is_empty() { &mut state.last_ack } else { &mut state.last_nack };
        *when = Some(clock::now());
        state.version = version;
        state.resources = resources;
        state.rejected = rejected_now;
    });
    answer
}

/// Removals come first, so that a name that is in both lists is kept.
fn changes(response: DeltaDiscoveryResponse, type_url: &str) -> Vec<Change> {
    let removals = response.removed_resources.into_iter().map(|name| Change {
        name: name.into(),
        version: String::new(),
        resource: None,
    });
    let additions =
        response.resources.into_iter().map(|Resource { name, version, resource, .. }| {
            // No content, or content of another type, is content that can't be decoded: the handler decides what follows
            // from that, since for a policy it is not the same as having none.
            let content = resource.filter(|any| any.type_url == type_url);
            let resource = content.map_or_else(Bytes::new, |any| Bytes::from(any.value));
            Change { name: name.into(), version, resource: Some(resource) }
        });
    removals.chain(additions).collect()
}

async fn apply<H: Handler>(
    client: &Client<H>,
    type_url: &Arc<str>,
    changes: Vec<Change>,
) -> Vec<Rejected> {
    if changes.len() <= limits::XDS_INLINE_CHANGES_MAX {
        return client.handler.lock().apply(type_url, changes);
    }
    let (handler, type_url) = (Arc::clone(&client.handler), Arc::clone(type_url));
    let task = tokio::task::spawn_blocking(move || handler.lock().apply(&type_url, changes));
    match task.await {
        Ok(rejected) => rejected,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Cancelled: the runtime is going down, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}

fn remember<H>(
    client: &mut Client<H>,
    type_url: &Arc<str>,
    outcomes: Vec<(Arc<str>, Option<Box<str>>)>,
    rejected: &[Rejected],
) {
    let Some(held) = client.held.get_mut(type_url) else {
        return;
    };
    let rejected: HashSet<&str> = rejected.iter().map(|it| &*it.name).collect();
    for (name, version) in outcomes {
        held.rejected.remove(&name);
        match version {
            None => {
                held.versions.remove(&name);
            }
            Some(_) if rejected.contains(&*name) => {
                held.rejected.insert(Arc::clone(&name));
                held.versions.insert(name, REJECTED_VERSION.into());
            }
            Some(version) => {
                held.versions.insert(name, version);
            }
        }
    }
}

async fn send(requests: &Requests, request: DeltaDiscoveryRequest) -> Result<(), String> {
    let send = async {
        requests.send(request).await.map_err(|_| "the stream takes no more requests".to_owned())
    };
    within(limits::XDS_SEND_DEADLINE, "send a request", send).await
}

async fn within<T>(
    deadline: Duration,
    what: &str,
    attempt: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    timeout(deadline, attempt)
        .await
        .unwrap_or_else(|_| Err(format!("could not {what} within {} s", deadline.as_secs())))
}

fn refusal(message: String) -> rpc::Status {
    rpc::Status { code: Code::InvalidArgument.into(), message, details: Vec::new() }
}

fn list(rejected: &[Rejected]) -> String {
    let shown = rejected.iter().take(limits::XDS_REJECTIONS_LISTED_MAX);
    let mut parts: Vec<_> = shown.map(|it| format!("{}: {}", it.name, it.reason)).collect();
    let hidden = rejected.len().saturating_sub(parts.len());
    if hidden > 0 {
        parts.push(format!("and {hidden} more"));
    }
    parts.join("; ")
}

/// A stream that the server, a proxy in between or its deadline ended in order is not a failure. Servers end streams
/// after half an hour to spread load; gRPC shows that under any of these codes, or as what HTTP/2 said.
fn reason_of(status: &Status) -> Termination {
    let is_orderly =
        matches!(status.code(), Code::Unknown | Code::Cancelled | Code::DeadlineExceeded)
            || status.message().contains("transport is closing")
            || sources(status).any(|error| {
                error.downcast_ref::<h2::Error>().is_some_and(|error| {
                    error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR)
                })
            });
    if is_orderly { Termination::Reconnect } else { Termination::Error }
}

fn describe(status: &Status) -> String {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    for error in sources(status) {
        text.push_str(": ");
        text.push_str(&error.to_string());
    }
    text
}

fn sources(status: &Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(status), |error| error.source())
}
