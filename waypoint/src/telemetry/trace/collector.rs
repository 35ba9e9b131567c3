//! A collector of spans, spoken to in OTLP: over gRPC, or over HTTP with protobuf bodies.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{CONTENT_TYPE, HOST};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use weft_proto::opentelemetry::collector::trace::v1::trace_service_client::TraceServiceClient;
use weft_proto::opentelemetry::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};

use crate::limits;

/// A connection to a collector: a socket, or a tunnel of the mesh.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Opens connections to one collector. The mesh decides how: this module knows neither names nor sockets.
pub trait Dial: Send + Sync + 'static {
    /// A new connection. Its own deadline is the dialler's to keep.
    fn dial(&self) -> BoxFuture<'static, io::Result<Box<dyn Io>>>;
}

/// What a collector speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// gRPC.
    Grpc,
    /// HTTP/1.1 with protobuf bodies.
    Http {
        /// Such as `/v1/traces`.
        path: String,
    },
}

/// A collector.
pub struct Collector {
    authority: Authority,
    dial: Arc<dyn Dial>,
    deadline: Duration,
    headers: HeaderMap,
    protocol: OtlpProtocol,
    /// Kept between batches.
    channel: Option<Channel>,
}

/// Why spans weren't taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportError {
    #[error("the collector can't be connected to: {0}")]
    Connect(#[from] io::Error),
    #[error("the collector didn't answer in time")]
    Deadline,
    #[error("the collector refused: {0}")]
    Grpc(Box<tonic::Status>),
    #[error("the collector answered {0}")]
    Status(http::StatusCode),
    #[error("the connection to the collector failed: {0}")]
    Connection(Box<dyn std::error::Error + Send + Sync>),
}

impl Collector {
    /// At `authority` (host and port, for the `Host` header alone), with `headers` in every request.
    pub fn new(
        authority: Authority,
        protocol: OtlpProtocol,
        dial: Arc<dyn Dial>,
        headers: HeaderMap,
        deadline: Option<Duration>,
    ) -> Self {
        let deadline = deadline.unwrap_or(limits::SPAN_EXPORT_DEADLINE);
        Self { authority, dial, deadline, headers, protocol, channel: None }
    }

    /// Its host and port.
    pub(super) fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// Hands over a batch. How many of its spans were refused.
    pub(super) async fn export(
        &mut self,
        request: ExportTraceServiceRequest,
    ) -> Result<u64, ExportError> {
        let deadline = self.deadline;
        let path = match &self.protocol {
            OtlpProtocol::Grpc => None,
            OtlpProtocol::Http { path } => Some(path.clone()),
        };
        let export = async {
            match path {
                None => self.export_grpc(request).await,
                Some(path) => self.export_http(&path, request).await,
            }
        };
        let response = match time::timeout(deadline, Box::pin(export)).await {
            Ok(Ok(response)) => response,
            failed => {
                // The next batch gets a new connection.
                self.channel = None;
                return Err(failed.map_or(ExportError::Deadline, |it| {
                    it.err().unwrap_or(ExportError::Deadline)
                }));
            }
        };
        let rejected = response.partial_success.map_or(0, |partial| partial.rejected_spans);
        Ok(u64::try_from(rejected).unwrap_or(0))
    }

    async fn export_grpc(
        &mut self,
        request: ExportTraceServiceRequest,
    ) -> Result<ExportTraceServiceResponse, ExportError> {
        let channel = match &self.channel {
            Some(channel) => channel.clone(),
            None => self.channel.insert(self.open_channel().await?).clone(),
        };
        let mut request = tonic::Request::new(request);
        *request.metadata_mut() = MetadataMap::from_headers(self.headers.clone());
        let answer = TraceServiceClient::new(channel).export(request).await;
        Ok(answer.map_err(|status| ExportError::Grpc(Box::new(status)))?.into_inner())
    }

    async fn open_channel(&self) -> Result<Channel, ExportError> {
        let uri =
            Uri::builder().scheme("http").authority(self.authority.clone()).path_and_query("/");
        let uri = uri.build().map_err(|error| ExportError::Connection(error.into()))?;
        let dial = Arc::clone(&self.dial);
        let connector = tower::service_fn(move |_: Uri| {
            let connection = dial.dial();
            async move { connection.await.map(TokioIo::new) }
        });
        let channel = Endpoint::from(uri).connect_with_connector(connector).await;
        channel.map_err(|error| ExportError::Connection(error.into()))
    }

    /// One connection a batch: a batch a second doesn't earn a pool.
    async fn export_http(
        &self,
        path: &str,
        request: ExportTraceServiceRequest,
    ) -> Result<ExportTraceServiceResponse, ExportError> {
        let failed = |error: hyper::Error| ExportError::Connection(error.into());
        let connection = TokioIo::new(self.dial.dial().await?);
        let (mut sender, driver) =
            hyper::client::conn::http1::handshake(connection).await.map_err(failed)?;
        let mut post = Request::new(Full::new(Bytes::from(request.encode_to_vec())));
        *post.method_mut() = Method::POST;
        *post.uri_mut() = path
            .parse()
            .map_err(|error: http::uri::InvalidUri| ExportError::Connection(error.into()))?;
        *post.headers_mut() = self.headers.clone();
        post.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if let Ok(host) = HeaderValue::from_str(self.authority.as_str()) {
            post.headers_mut().insert(HOST, host);
        }
        let exchange = async {
            let response = sender.send_request(post).await.map_err(failed)?;
            let status = response.status();
            if !status.is_success() {
                return Err(ExportError::Status(status));
            }
            let body = Limited::new(response.into_body(), limits::SPAN_ANSWER_BYTES_MAX);
            let body = body.collect().await.map_err(ExportError::Connection)?.to_bytes();
            // An answer that can't be read is still one that says success.
            Ok(ExportTraceServiceResponse::decode(body).unwrap_or_default())
        };
        tokio::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            // The driver may end first, with the answer in hand.
            _ = driver => exchange.await,
        }
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers may hold a secret.
        let mut shown = f.debug_struct("Collector");
        shown.field("authority", &self.authority).field("protocol", &self.protocol);
        shown.finish_non_exhaustive()
    }
}
