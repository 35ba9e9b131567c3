//! What is known of a request, gathered on its way, and told when it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Method, Version, request, response};
use tokio::time::Instant;
use weft_core::clock;
use weft_core::identity::SpiffeId;
use weft_core::mesh::{party, service_labels};
use weft_core::telemetry::{Security, ServiceLabels, SharedParty};

use crate::route::Origin;
use crate::serve::{Target, Tunnel};
use crate::telemetry::{
    Downstream, Http, Parties, RequestProtocol, RequestRecord, ResponseFlags, Sizes, Stream,
    Upstream,
};
use crate::upstream::Endpoint;

/// One request.
pub(crate) struct Record {
    start: SystemTime,
    began: Instant,
    method: Method,
    version: Version,
    authority: Box<str>,
    path: Box<str>,
    request_headers: HeaderMap,
    flags: ResponseFlags,
    details: &'static str,
    status: u16,
    grpc_status: Option<u32>,
    protocol: RequestProtocol,
    destination: Option<SharedParty>,
    service: Option<Arc<ServiceLabels>>,
    address: Option<SocketAddr>,
    cluster: String,
    took: Option<Duration>,
    responded_after: Option<Duration>,
    route: String,
    pub(crate) attempts: u32,
    pub(crate) read_bytes: u64,
    pub(crate) sent_bytes: u64,
}

impl Record {
    pub(crate) fn new(tunnel: &Tunnel, head: &request::Parts) -> Self {
        let service = match &tunnel.target {
            Target::Service { service, .. } => Some(service_labels(service)),
            Target::Workload { .. } => None,
        };
        let content_type = head.headers.get(http::header::CONTENT_TYPE);
        Self {
            start: clock::now(),
            began: Instant::now(),
            method: head.method.clone(),
            version: head.version,
            authority: "".into(),
            path: "".into(),
            request_headers: HeaderMap::new(),
            flags: ResponseFlags::NONE,
            details: "",
            status: 0,
            grpc_status: None,
            protocol: RequestProtocol::of(content_type.map(HeaderValue::as_bytes)),
            destination: None,
            service,
            address: None,
            cluster: String::new(),
            took: None,
            responded_after: None,
            route: String::new(),
            attempts: 0,
            read_bytes: 0,
            sent_bytes: 0,
        }
    }

    /// What was asked for, as it came.
    pub(crate) fn seen(&mut self, path: &str, authority: &str) {
        self.path = path.into();
        self.authority = authority.into();
    }

    /// Something that didn't go as it should, and Envoy's text for it.
    pub(crate) fn flag(&mut self, flag: ResponseFlags, details: &'static str) {
        self.flags.insert(flag);
        self.details = details;
    }

    /// The rule that it follows.
    pub(crate) fn route(&mut self, origin: Option<&Origin>) {
        if let Some(origin) = origin.filter(|origin| !origin.rule.is_empty()) {
            self.route = origin.rule.to_string();
        }
    }

    /// What was answered here.
    pub(crate) fn answered(&mut self, head: &response::Parts) {
        self.status = head.status.as_u16();
        self.ended(head.headers.get("grpc-status"));
    }

    /// What an application answered.
    pub(crate) fn responded(&mut self, head: &response::Parts, took: Duration, by: &Endpoint) {
        self.status = head.status.as_u16();
        self.took = Some(took);
        self.responded_after = Some(self.began.elapsed());
        self.details = "via_upstream";
        self.address = Some(by.address);
        let identity: Option<&SpiffeId> = by.hop.as_ref().map(|_| &by.workload.identity);
        self.destination = Some(party(Some(&by.workload), identity));
        self.ended(head.headers.get("grpc-status"));
    }

    /// The status of a gRPC call, from the head or the trailers.
    pub(crate) fn ended(&mut self, grpc_status: Option<&HeaderValue>) {
        let status = grpc_status.and_then(|it| it.to_str().ok()?.parse().ok());
        self.grpc_status = status.or(self.grpc_status);
    }

    /// Tells it.
    pub(crate) fn close(self, tunnel: &Tunnel) {
        let nobody = SharedParty::default();
        let caller = &tunnel.caller;
        let telling = RequestRecord {
            stream: Stream {
                start: self.start,
                duration: self.began.elapsed(),
                parties: Parties {
                    source: &caller.labels,
                    destination: self.destination.as_ref().unwrap_or(&nobody),
                    service: self.service.as_ref(),
                    security: Security::MutualTls,
                },
                flags: self.flags,
                details: self.details,
                termination_details: "",
                sizes: Sizes { received: self.read_bytes, sent: self.sent_bytes, ..Sizes::default() },
                downstream: Downstream {
                    remote: Some(caller.address),
                    peer_identity: caller.identity.as_str(),
                    ..Downstream::default()
                },
                upstream: Upstream {
                    address: self.address,
                    cluster: &self.cluster,
                    attempts: self.attempts,
                    service_time: self.took,
                    ..Upstream::default()
                },
                route: &self.route,
            },
            http: Http {
                protocol: self.protocol,
                version: self.version,
                method: &self.method,
                scheme: "http",
                authority: &self.authority,
                path: &self.path,
                request_headers: &self.request_headers,
                status: self.status,
                response_headers: None,
                response_trailers: None,
                grpc_status: self.grpc_status,
                request_duration: None,
                response_duration: self.responded_after,
                response_tx_duration: None,
                trace_id: "",
            },
        };
        tunnel.worker.shared.requests.record(&telling, None);
    }
}
