//! What tells one series of requests from another.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use http::Method;
use weft_core::telemetry::{Edge, Reporter, Security, ServiceLabels, SharedParty};

use super::super::flags::ResponseFlags;
use super::super::record::{RequestProtocol, RequestRecord};
use super::view::{Attribute, View};

/// Status codes of HTTP that have a label of their own (RFC 9110, section 15); 0 is "none".
const CODES: std::ops::RangeInclusive<u16> = 100..=599;
/// Status codes of gRPC are 0 to 16.
const GRPC_CODE_MAX: u32 = 16;

/// A key that borrows, so that looking for a series takes no memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key<'a> {
    pub(super) source: &'a SharedParty,
    pub(super) destination: &'a SharedParty,
    pub(super) service: Option<&'a Arc<ServiceLabels>>,
    pub(super) view: Option<&'a Arc<View>>,
    pub(super) traits: Traits,
    /// The route's name, where the view shows it.
    pub(super) route: &'a str,
}

/// What has few values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Traits {
    security: Security,
    protocol: RequestProtocol,
    /// `None`: one that is no status code.
    code: Option<u16>,
    grpc_code: GrpcCode,
    flags: ResponseFlags,
    /// Where the view shows it; else empty.
    method: &'static str,
    /// Where the view shows it; else 0.
    port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum GrpcCode {
    NotGrpc,
    Known(u32),
    /// None came, or one that doesn't exist.
    Unknown,
}

impl<'a> Key<'a> {
    pub(super) fn of(record: &RequestRecord<'a>, view: Option<&'a Arc<View>>) -> Self {
        let (stream, http) = (&record.stream, &record.http);
        let shows = |attribute| view.is_some_and(|view| view.shows(attribute));
        let grpc_code = match (http.protocol, http.grpc_status) {
            (RequestProtocol::Http, _) => GrpcCode::NotGrpc,
            (RequestProtocol::Grpc, Some(code @ ..=GRPC_CODE_MAX)) => GrpcCode::Known(code),
            (RequestProtocol::Grpc, _) => GrpcCode::Unknown,
        };
        let traits = Traits {
            security: stream.parties.security,
            protocol: http.protocol,
            code: Some(http.status).filter(|code| *code == 0 || CODES.contains(code)),
            grpc_code,
            flags: stream.flags,
            method: if shows(Attribute::RequestMethod) { method(http.method) } else { "" },
            port: match stream.downstream.local {
                Some(local) if shows(Attribute::DestinationPort) => local.port(),
                _ => 0,
            },
        };
        Self {
            source: stream.parties.source,
            destination: stream.parties.destination,
            service: stream.parties.service,
            view,
            traits,
            route: if shows(Attribute::RouteName) { stream.route } else { "" },
        }
    }

    /// What is left of it when there are too many series: everything that has few values.
    pub(super) fn overflow(self, nobody: &'a SharedParty) -> Self {
        let traits = Traits { method: "", port: 0, ..self.traits };
        let (source, destination) = (nobody, nobody);
        Self { source, destination, service: None, view: None, traits, route: "" }
    }

    pub(super) fn to_owned_key(self) -> OwnedKey {
        OwnedKey {
            source: self.source.clone(),
            destination: self.destination.clone(),
            service: self.service.cloned(),
            view: self.view.cloned(),
            traits: self.traits,
            route: self.route.into(),
        }
    }

    fn view_address(&self) -> usize {
        self.view.map_or(0, |view| Arc::as_ptr(view).addr())
    }

    pub(super) fn protocol(&self) -> RequestProtocol {
        self.traits.protocol
    }

    /// Between whom.
    pub(super) fn edge(&self) -> Edge<'a> {
        Edge {
            reporter: Reporter::Waypoint,
            source: self.source.party(),
            destination: self.destination.party(),
            service: self.service.map(|service| &**service),
        }
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.traits == other.traits
            && self.view_address() == other.view_address()
            && self.route == other.route
            && self.source == other.source
            && self.destination == other.destination
            && self.service == other.service
    }
}

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.source.hash(state);
        self.destination.hash(state);
        // Services that share a host name and differ otherwise are told apart by comparing.
        self.service.map(|service| &*service.host).hash(state);
        self.view_address().hash(state);
        self.route.hash(state);
        let Traits { protocol, code, grpc_code, flags, port, .. } = self.traits;
        (protocol, code, grpc_code, flags, port).hash(state);
    }
}

/// The key that a series keeps.
#[derive(Debug)]
pub(super) struct OwnedKey {
    source: SharedParty,
    destination: SharedParty,
    service: Option<Arc<ServiceLabels>>,
    view: Option<Arc<View>>,
    traits: Traits,
    route: Box<str>,
}

impl OwnedKey {
    pub(super) fn borrowed(&self) -> Key<'_> {
        Key {
            source: &self.source,
            destination: &self.destination,
            service: self.service.as_ref(),
            view: self.view.as_ref(),
            traits: self.traits,
            route: &self.route,
        }
    }
}

impl Traits {
    /// Hands each label to `write`.
    pub(super) fn write(self, write: &mut dyn FnMut(&'static str, &str)) {
        write("request_protocol", self.protocol.as_str());
        match self.code {
            Some(code) => write("response_code", &code.to_string()),
            None => write("response_code", "unknown"),
        }
        match self.grpc_code {
            GrpcCode::NotGrpc => {}
            GrpcCode::Known(code) => write("grpc_response_status", &code.to_string()),
            GrpcCode::Unknown => write("grpc_response_status", "unknown"),
        }
        write("response_flags", &self.flags.to_string());
        write("connection_security_policy", self.security.as_str());
    }

    pub(super) fn value(self, attribute: Attribute) -> Option<String> {
        match attribute {
            Attribute::RequestMethod => Some(self.method.to_owned()),
            Attribute::RequestProtocol => Some(self.protocol.as_str().to_owned()),
            Attribute::ResponseCode => self.code.map(|code| code.to_string()),
            Attribute::ResponseFlags => Some(self.flags.to_string()),
            Attribute::DestinationPort => Some(self.port.to_string()),
            Attribute::ConnectionMtls => Some((self.security == Security::MutualTls).to_string()),
            _ => None,
        }
    }
}

/// A method as a label says it: one of the registered ones, since a client may send any token (RFC 9110, section 9.1).
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::CONNECT => "CONNECT",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}
