//! The discovery service on the wire: admission, then a session each stream.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status, Streaming};
use tower::Service;
use weft_proto::discovery::DeltaDiscoveryRequest;
use weft_proto::discovery::aggregated_discovery_service_server::SERVICE_NAME;

use super::clients::Clients;
use super::codec::{DeltaCodec, PreparedResponse};
use super::log::Log;
use super::session::{Session, Shared};
use crate::metrics::Metrics;
use crate::rate::Bucket;
use crate::serving_limits::{
    ADMISSION_WAIT, REQUEST_BYTES_MAX, RESPONSE_QUEUE, STREAMS_PER_SECOND,
};
use crate::tls::PeerAddress;
use crate::tokens::{Caller, TokenIssuer, bearer_token};

const DELTA: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// What every stream needs.
pub struct Discovery {
    sessions: Shared,
    tasks: TaskTracker,
    tokens: Arc<TokenIssuer>,
    admission: Bucket,
    is_synced: watch::Receiver<bool>,
}

type Outgoing = ReceiverStream<Result<PreparedResponse, Status>>;

impl Discovery {
    /// Serves `log`. Streams are refused until `is_synced` is true: a client must not take a half-filled log for
    /// the whole. `stop` ends all streams.
    pub fn new(
        log: Log,
        clients: Clients,
        metrics: Arc<Metrics>,
        (tokens, root_namespace): (Arc<TokenIssuer>, &str),
        (is_synced, stop): (watch::Receiver<bool>, CancellationToken),
    ) -> Self {
        let root_namespace = root_namespace.into();
        Self {
            sessions: Shared { log, clients, metrics, root_namespace, stop },
            tasks: TaskTracker::new(),
            tokens,
            admission: Bucket::new(STREAMS_PER_SECOND, STREAMS_PER_SECOND),
            is_synced,
        }
    }

    async fn open(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Outgoing>, Status> {
        let caller = self.admit(&request).await.inspect_err(|status| {
            self.sessions.metrics.streams_refused.inc();
            tracing::warn!(code = ?status.code(), reason = status.message(), "stream not admitted");
        })?;
        let peer = request.extensions().get::<PeerAddress>().map(|peer| peer.0);
        let (sender, receiver) = mpsc::channel(RESPONSE_QUEUE);
        let session = Session::new(self.sessions.clone(), caller, peer);
        self.tasks.spawn(session.run(request.into_inner(), sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn admit(
        &self,
        request: &Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Caller, Status> {
        if !*self.is_synced.borrow() {
            return Err(Status::unavailable("the controller has not read its objects yet"));
        }
        let caller = bearer_token(request.metadata().as_ref())
            .and_then(|token| self.tokens.verify(token))
            .map_err(|error| Status::unauthenticated(error.to_string()))?;
        self.admission.take_within(ADMISSION_WAIT).await.map_err(|wait| {
            let wait = wait.as_millis();
            Status::unavailable(format!("many clients come back now; try again in {wait} ms"))
        })?;
        Ok(caller)
    }
}

/// [`Discovery`] as a gRPC service. Written by hand because of the codec; the generated server has its own.
#[derive(Clone)]
pub struct DiscoveryService {
    discovery: Arc<Discovery>,
}

impl DiscoveryService {
    /// Puts `discovery` on the wire.
    pub fn new(discovery: Arc<Discovery>) -> Self {
        Self { discovery }
    }
}

impl NamedService for DiscoveryService {
    const NAME: &'static str = SERVICE_NAME;
}

impl Service<http::Request<Body>> for DiscoveryService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != DELTA {
            // State-of-the-world discovery, for one.
            let refusal = Status::unimplemented("only delta discovery is served");
            return Box::pin(async move { Ok(refusal.into_http()) });
        }
        let discovery = self.discovery.clone();
        Box::pin(async move {
            let open = tower::service_fn(move |request| {
                let discovery = discovery.clone();
                async move { discovery.open(request).await }
            });
            let mut grpc = Grpc::new(DeltaCodec).max_decoding_message_size(REQUEST_BYTES_MAX);
            Ok(grpc.streaming(open, request).await)
        })
    }
}
