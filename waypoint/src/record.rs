//! What is known of a request, gathered on its way, and told when it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Method, Version, request, response};
use tokio::time::Instant;
use weft_core::clock;
use weft_core::mesh::{Service, party, service_labels};
use weft_core::telemetry::{Security, ServiceLabels, SharedParty};

use crate::route::Origin;
use crate::serve::{Target, Tunnel};
use crate::telemetry::trace::{Attempt, AttemptEnd, ServerSpan};
use crate::telemetry::{
    Downstream, Http, Parties, RequestProtocol, RequestRecord, ResponseFlags, Sizes, Stream, Told,
    Upstream,
};
use crate::upstream::Endpoint;

/// One request.
pub(crate) struct Record {
    start: SystemTime,
    began: Instant,
    told: Option<Arc<Told>>,
    /// What only logs and traces ask for; absent if there are none.
    details_of: Option<Box<Detailed>>,
    method: Method,
    version: Version,
    flags: ResponseFlags,
    details: std::borrow::Cow<'static, str>,
    status: u16,
    grpc_status: Option<u32>,
    protocol: RequestProtocol,
    destination: Option<SharedParty>,
    service: Option<Arc<ServiceLabels>>,
    address: Option<SocketAddr>,
    took: Option<Duration>,
    responded_after: Option<Duration>,
    pub(crate) attempts: u32,
    sizes: Sizes,
}

#[derive(Default)]
struct Detailed {
    authority: Box<str>,
    path: Box<str>,
    request: HeaderMap,
    response: Option<HeaderMap>,
    trailers: Option<HeaderMap>,
    cluster: String,
    route: Box<str>,
    span: Option<ServerSpan>,
    attempt: Option<Attempt>,
}

impl Record {
    pub(crate) fn new(tunnel: &Tunnel, told: Option<Arc<Told>>, head: &request::Parts) -> Self {
        let service = match &tunnel.target {
            Target::Service { service, .. } => Some(service_labels(service)),
            Target::Workload { .. } => None,
        };
        let span = told.as_ref().and_then(|told| told.begin(&head.headers));
        let has_logs = told.as_ref().is_some_and(|told| told.has_logs());
        let detailed = (has_logs || span.is_some()).then(|| {
            let path = head.uri.path_and_query().map_or("", |it| it.as_str());
            Box::new(Detailed {
                request: head.headers.clone(),
                path: path.into(),
                span,
                ..Detailed::default()
            })
        });
        let content_type = head.headers.get(http::header::CONTENT_TYPE);
        Self {
            start: clock::now(),
            began: Instant::now(),
            told,
            details_of: detailed,
            method: head.method.clone(),
            version: head.version,
            flags: ResponseFlags::NONE,
            details: "".into(),
            status: 0,
            grpc_status: None,
            protocol: RequestProtocol::of(content_type.map(HeaderValue::as_bytes)),
            destination: None,
            service,
            address: None,
            took: None,
            responded_after: None,
            attempts: 0,
            sizes: Sizes::default(),
        }
    }

    /// Whether a gRPC client asks.
    pub(crate) fn is_grpc(&self) -> bool {
        self.protocol == RequestProtocol::Grpc
    }

    /// The host that was asked for.
    pub(crate) fn asked(&mut self, authority: &str) {
        if let Some(detailed) = &mut self.details_of {
            detailed.authority = authority.into();
        }
    }

    /// Something that didn't go as it should, and Envoy's text for it.
    pub(crate) fn flag(
        &mut self,
        flag: ResponseFlags,
        details: impl Into<std::borrow::Cow<'static, str>>,
    ) {
        self.flags.insert(flag);
        self.details = details.into();
    }

    /// The rule that it follows.
    pub(crate) fn route(&mut self, origin: Option<&Origin>) {
        if let (Some(detailed), Some(origin)) = (&mut self.details_of, origin) {
            detailed.route = origin.rule.clone();
        }
    }

    /// The service that it goes to.
    pub(crate) fn backed(&mut self, service: Option<&Service>, port: u16) {
        if let (Some(detailed), Some(service)) = (&mut self.details_of, service) {
            detailed.cluster = format!("inbound-vip|{port}|http|{}", service.hostname);
        }
    }

    /// The headers that go on.
    pub(crate) fn sends(&mut self, headers: &HeaderMap) {
        if let Some(detailed) = &mut self.details_of
            && let Some(id) = headers.get("x-request-id")
        {
            detailed.request.insert("x-request-id", id.clone());
        }
    }

    /// An attempt at an endpoint begins, with these headers.
    pub(crate) fn tries(&mut self, to: &Endpoint, headers: &mut HeaderMap) {
        self.attempts += 1;
        self.address = Some(to.address);
        if let Some(detailed) = &mut self.details_of
            && let Some(span) = &detailed.span
        {
            detailed.attempt = Some(span.attempt(headers, clock::now()));
        }
    }

    /// The attempt has come to this: a status, or the reason why there is none.
    pub(crate) fn tried(&mut self, status: Result<u16, &dyn std::fmt::Display>) {
        let Some(detailed) = &mut self.details_of else { return };
        let (Some(span), Some(attempt)) = (&mut detailed.span, detailed.attempt.take()) else {
            return;
        };
        let failure = status.as_ref().err().map(ToString::to_string).unwrap_or_default();
        span.end(
            attempt,
            &AttemptEnd {
                at: clock::now(),
                address: self.address,
                cluster: &detailed.cluster,
                status: status.ok(),
                failure: &failure,
            },
        );
    }

    /// What was answered here.
    pub(crate) fn answered(&mut self, head: &response::Parts) {
        self.status = head.status.as_u16();
        self.headers(&head.headers);
    }

    /// What an application answered.
    pub(crate) fn responded(&mut self, head: &response::Parts, took: Duration, by: &Endpoint) {
        self.status = head.status.as_u16();
        self.took = Some(took);
        self.responded_after = Some(self.began.elapsed());
        if self.details.is_empty() {
            self.details = "via_upstream".into();
        }
        let identity = by.hop.as_ref().map(|_| &by.workload.identity);
        self.destination = Some(party(Some(&by.workload), identity));
        self.headers(&head.headers);
    }

    fn headers(&mut self, headers: &HeaderMap) {
        self.grpc(headers);
        if let Some(detailed) = &mut self.details_of {
            detailed.response = Some(headers.clone());
        }
    }

    /// The response is over, with these trailers.
    pub(crate) fn ended(&mut self, trailers: Option<&HeaderMap>) {
        let Some(trailers) = trailers else { return };
        self.grpc(trailers);
        if let Some(detailed) = &mut self.details_of {
            detailed.trailers = Some(trailers.clone());
        }
    }

    fn grpc(&mut self, headers: &HeaderMap) {
        let status = headers.get("grpc-status").and_then(|it| it.to_str().ok()?.parse().ok());
        self.grpc_status = status.or(self.grpc_status);
    }

    /// What came of the client so far: bytes of the body, and gRPC messages.
    pub(crate) fn read(&mut self, bytes: u64, messages: u64) {
        (self.sizes.received, self.sizes.request_messages) = (bytes, messages);
    }

    /// The same of what went to it.
    pub(crate) fn sent(&mut self, bytes: u64, messages: u64) {
        (self.sizes.sent, self.sizes.response_messages) = (bytes, messages);
    }

    /// Tells it.
    pub(crate) fn close(mut self, tunnel: &Tunnel) {
        let told = self.told.take().unwrap_or_default();
        let mut detailed = self.details_of.take();
        let span = detailed.as_mut().and_then(|it| it.span.take());
        let nothing = Detailed::default();
        let detailed = detailed.as_deref().unwrap_or(&nothing);
        let trace = span.as_ref().map(|span| span.trace().to_string()).unwrap_or_default();
        let nobody = SharedParty::default();
        let telling = self.telling(tunnel, detailed, &nobody, &trace);
        tunnel.worker.shared.hub.request(&told, &telling, span);
    }

    fn telling<'a>(
        &'a self,
        tunnel: &'a Tunnel,
        detailed: &'a Detailed,
        nobody: &'a SharedParty,
        trace_id: &'a str,
    ) -> RequestRecord<'a> {
        let caller = &tunnel.caller;
        RequestRecord {
            stream: Stream {
                start: self.start,
                duration: self.began.elapsed(),
                parties: Parties {
                    source: &caller.labels,
                    destination: self.destination.as_ref().unwrap_or(nobody),
                    service: self.service.as_ref(),
                    security: Security::MutualTls,
                },
                flags: self.flags,
                details: &self.details,
                termination_details: "",
                sizes: self.sizes,
                downstream: Downstream {
                    remote: Some(caller.address),
                    local: tunnel.target.address(),
                    peer_identity: caller.identity.as_str(),
                    local_identity: tunnel.worker.shared.own.identity.as_str(),
                    connection_id: tunnel.number,
                    ..Downstream::default()
                },
                upstream: Upstream {
                    address: self.address,
                    cluster: &detailed.cluster,
                    attempts: self.attempts,
                    service_time: self.took,
                    ..Upstream::default()
                },
                route: &detailed.route,
            },
            http: Http {
                protocol: self.protocol,
                version: self.version,
                method: &self.method,
                scheme: "http",
                authority: &detailed.authority,
                path: &detailed.path,
                request_headers: &detailed.request,
                status: self.status,
                response_headers: detailed.response.as_ref(),
                response_trailers: detailed.trailers.as_ref(),
                grpc_status: self.grpc_status,
                request_duration: None,
                response_duration: self.responded_after,
                response_tx_duration: None,
                trace_id,
            },
        }
    }
}
