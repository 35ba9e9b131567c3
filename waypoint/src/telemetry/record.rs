//! What is known of a request or a connection when it has ended. The request loop fills it in; nothing is copied.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method, Version};
use weft_core::telemetry::{Security, ServiceLabels, SharedParty};

use super::flags::ResponseFlags;

/// Between whom, as the mesh's configuration describes them.
#[derive(Debug, Clone, Copy)]
pub struct Parties<'a> {
    /// The client's workload, with the identity that it proved.
    pub source: &'a SharedParty,
    /// The endpoint that answered; the default if none was reached.
    pub destination: &'a SharedParty,
    /// The service that the client addressed.
    pub service: Option<&'a Arc<ServiceLabels>>,
    /// How the bytes from the client were protected.
    pub security: Security,
}

/// Where it came from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Downstream<'a> {
    /// The client's address: the pod's, with ztunnels in between.
    pub remote: Option<SocketAddr>,
    /// Who sent the HBONE connection, if that is another address.
    pub direct_remote: Option<SocketAddr>,
    /// The address that the client dialled: the service's.
    pub local: Option<SocketAddr>,
    /// The client's SPIFFE ID; empty if none was proved.
    pub peer_identity: &'a str,
    /// The SPIFFE ID that the client saw.
    pub local_identity: &'a str,
    /// The server name of a TLS connection that passes through; empty if none.
    pub server_name: &'a str,
    /// Numbers the client's connection within this process.
    pub connection_id: u64,
}

/// Where it went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Upstream<'a> {
    /// The endpoint: of the last attempt.
    pub address: Option<SocketAddr>,
    /// This end of the connection to it.
    pub local: Option<SocketAddr>,
    /// Such as `inbound-vip|8080|http|checkout.shop.svc.cluster.local`.
    pub cluster: &'a str,
    /// Why it couldn't be connected to; empty if it could.
    pub transport_failure: &'a str,
    /// Attempts made; 0 if the request was answered here.
    pub attempts: u32,
    /// From the last byte of the request to the first of the response: Envoy's `x-envoy-upstream-service-time`.
    pub service_time: Option<Duration>,
}

/// What HTTP requests and TCP connections have in common.
#[derive(Debug, Clone, Copy)]
pub struct Stream<'a> {
    /// When it began.
    pub start: SystemTime,
    /// From there to its end.
    pub duration: Duration,
    /// Between whom.
    pub parties: Parties<'a>,
    /// What went wrong.
    pub flags: ResponseFlags,
    /// Envoy's text of why the answer is what it is (`via_upstream`, `route_not_found`, …); may be empty.
    pub details: &'a str,
    /// Why the client's connection was ended from here; may be empty.
    pub termination_details: &'a str,
    /// Bytes of bodies, or of a connection.
    pub sizes: Sizes,
    /// The client's side.
    pub downstream: Downstream<'a>,
    /// The server's side.
    pub upstream: Upstream<'a>,
    /// The route's name; may be empty.
    pub route: &'a str,
}

/// How much went through.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sizes {
    /// Bytes of the request's body; all that a connection's client sent.
    pub received: u64,
    /// Bytes of the response's body; all that a connection's client got.
    pub sent: u64,
    /// Bytes of the request's header, as far as they are known.
    pub request_headers: u64,
    /// Bytes of the response's header, as far as they are known.
    pub response_headers: u64,
    /// gRPC messages of the request.
    pub request_messages: u64,
    /// gRPC messages of the response.
    pub response_messages: u64,
}

/// What a request speaks, as metrics tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RequestProtocol {
    /// HTTP.
    Http,
    /// gRPC: its content type is `application/grpc` or begins with `application/grpc+`.
    Grpc,
}

impl RequestProtocol {
    /// What a request with this content type speaks (gRPC over HTTP/2, "Requests").
    pub fn of(content_type: Option<&[u8]>) -> Self {
        let rest = content_type.and_then(|it| it.strip_prefix(b"application/grpc"));
        match rest {
            Some([] | [b'+' | b';', ..]) => Self::Grpc,
            _ => Self::Http,
        }
    }

    /// As the label says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
        }
    }
}

/// What only HTTP has.
#[derive(Debug, Clone, Copy)]
pub struct Http<'a> {
    /// HTTP or gRPC.
    pub protocol: RequestProtocol,
    /// The client's version of HTTP.
    pub version: Version,
    /// The method.
    pub method: &'a Method,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// As the client sent it; empty if it sent none.
    pub authority: &'a str,
    /// Path and query as the client sent them, before any rewrite.
    pub path: &'a str,
    /// The request's headers, with `x-request-id` as it went on.
    pub request_headers: &'a HeaderMap,
    /// 0 if the client got none.
    pub status: u16,
    /// The response's headers, if one began.
    pub response_headers: Option<&'a HeaderMap>,
    /// The response's trailers, if any came.
    pub response_trailers: Option<&'a HeaderMap>,
    /// Of a gRPC answer, from its trailers or its header.
    pub grpc_status: Option<u32>,
    /// From the start to the last byte of the request.
    pub request_duration: Option<Duration>,
    /// From the start to the first byte of the upstream's response.
    pub response_duration: Option<Duration>,
    /// From the first byte of the upstream's response to the last one that went to the client.
    pub response_tx_duration: Option<Duration>,
    /// The trace that it belongs to, 32 hexadecimal digits; empty if none.
    pub trace_id: &'a str,
}

/// One HTTP request.
#[derive(Debug, Clone, Copy)]
pub struct RequestRecord<'a> {
    /// What it has in common with connections.
    pub stream: Stream<'a>,
    /// The rest.
    pub http: Http<'a>,
}

/// One TCP connection.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionRecord<'a> {
    /// All that is known of it.
    pub stream: Stream<'a>,
    /// A policy refused it, or cut it off.
    pub is_denied: bool,
}

#[cfg(test)]
pub(crate) mod tests {
    use weft_core::telemetry::Party;

    use super::*;

    pub(crate) fn party(name: &str) -> SharedParty {
        Party {
            workload: format!("{name}-v1").into(),
            canonical_service: name.into(),
            canonical_revision: "v1".into(),
            namespace: "shop".into(),
            principal: format!("spiffe://cluster.local/ns/shop/sa/{name}").into(),
            app: name.into(),
            version: "v1".into(),
            cluster: "Kubernetes".into(),
            ..Party::default()
        }
        .share()
    }

    pub(crate) fn service() -> Arc<ServiceLabels> {
        Arc::new(ServiceLabels {
            host: "checkout.shop.svc.cluster.local".into(),
            namespace: "shop".into(),
            name: "checkout".into(),
        })
    }

    /// What a record borrows from.
    pub(crate) struct Owned {
        pub(crate) source: SharedParty,
        pub(crate) destination: SharedParty,
        pub(crate) service: Arc<ServiceLabels>,
        pub(crate) request: HeaderMap,
        pub(crate) response: HeaderMap,
        pub(crate) trailers: HeaderMap,
    }

    impl Owned {
        pub(crate) fn new() -> Self {
            let mut request = HeaderMap::new();
            for (name, value) in [
                ("user-agent", "curl/8"),
                ("x-request-id", "0f1e"),
                ("x-forwarded-for", "10.9.9.9"),
                ("x-tenant", "blue"),
            ] {
                request.insert(name, value.parse().unwrap());
            }
            let mut response = HeaderMap::new();
            response.insert("x-envoy-upstream-service-time", "7".parse().unwrap());
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            Self {
                source: party("web"),
                destination: party("checkout"),
                service: service(),
                request,
                response,
                trailers,
            }
        }

        pub(crate) fn stream(&self) -> Stream<'_> {
            Stream {
                start: SystemTime::UNIX_EPOCH + Duration::from_millis(1_709_251_199_042),
                duration: Duration::from_micros(8_400),
                parties: Parties {
                    source: &self.source,
                    destination: &self.destination,
                    service: Some(&self.service),
                    security: Security::MutualTls,
                },
                flags: ResponseFlags::NONE,
                details: "via_upstream",
                termination_details: "",
                sizes: Sizes { received: 120, sent: 2_048, ..Sizes::default() },
                downstream: Downstream {
                    remote: Some("10.44.1.10:33772".parse().unwrap()),
                    local: Some("10.96.0.7:8080".parse().unwrap()),
                    peer_identity: "spiffe://cluster.local/ns/shop/sa/web",
                    local_identity: "spiffe://cluster.local/ns/shop/sa/waypoint",
                    connection_id: 3,
                    ..Downstream::default()
                },
                upstream: Upstream {
                    address: Some("10.44.2.10:8080".parse().unwrap()),
                    local: Some("10.44.2.2:40000".parse().unwrap()),
                    cluster: "inbound-vip|8080|http|checkout.shop.svc.cluster.local",
                    attempts: 1,
                    service_time: Some(Duration::from_millis(7)),
                    ..Upstream::default()
                },
                route: "default",
            }
        }

        pub(crate) fn request(&self) -> RequestRecord<'_> {
            let http = Http {
                protocol: RequestProtocol::Http,
                version: Version::HTTP_11,
                method: &Method::GET,
                scheme: "http",
                authority: "checkout.shop:8080",
                path: "/stock?id=7",
                request_headers: &self.request,
                status: 200,
                response_headers: Some(&self.response),
                response_trailers: Some(&self.trailers),
                grpc_status: None,
                request_duration: Some(Duration::from_millis(1)),
                response_duration: Some(Duration::from_millis(8)),
                response_tx_duration: Some(Duration::ZERO),
                trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
            };
            RequestRecord { stream: self.stream(), http }
        }
    }

    #[test]
    fn protocol_follows_the_content_type() {
        for (content_type, protocol) in [
            (Some("application/grpc"), RequestProtocol::Grpc),
            (Some("application/grpc+proto"), RequestProtocol::Grpc),
            (Some("application/grpc; charset=x"), RequestProtocol::Grpc),
            (Some("application/grpc-web"), RequestProtocol::Http),
            (Some("text/plain"), RequestProtocol::Http),
            (None, RequestProtocol::Http),
        ] {
            assert_eq!(RequestProtocol::of(content_type.map(str::as_bytes)), protocol);
        }
    }
}
