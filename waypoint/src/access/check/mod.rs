//! Asking a service whether a request may go on (Envoy's external authorisation), by gRPC or by HTTP.
//!
//! ```text
//!  Checker (whom, how) + CheckedRequest ──CheckClient::check──▶ Allowed (edits) │ Denied (answer) │ Failed
//!                                             │ Dial: an open stream to the service, as the caller reaches it
//! ```
//!
//! Every exchange is under the checker's deadline. What the service answers is bounded, and can't set how messages are
//! framed or whom they are for.

mod answer;
mod client;
mod grpc;
mod http1;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use weft_core::identity::SpiffeId;
use weft_proto::route as proto;
use weft_proto::route::checker::Protocol as WireProtocol;

pub use answer::{Allowed, Denied, HeaderChange};
pub use client::{CheckClient, Dial};

pub(crate) use answer::editable;
pub(crate) use grpc::frame;

use super::decode;
use super::matcher::Texts;
use crate::limits::access as limits;

/// A service that is asked, and how.
#[derive(Debug)]
pub struct Checker {
    /// Its name in the mesh's configuration.
    pub name: Arc<str>,
    /// Where it is.
    pub target: Target,
    timeout: Duration,
    fails_open: bool,
    status_on_error: StatusCode,
    body: Option<BodyRule>,
    protocol: Protocol,
}

/// A service of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Its namespace; empty: whoever answers to the host.
    pub namespace: Arc<str>,
    /// Its host, as in the Address resources.
    pub hostname: Arc<str>,
    /// Its port.
    pub port: u16,
}

/// How much of a body is read before the check and sent with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyRule {
    /// So many bytes.
    pub bytes_max: usize,
    /// Of a longer body the beginning is sent; otherwise it is answered 413.
    pub allows_partial: bool,
    as_bytes: bool,
}

#[derive(Debug)]
enum Protocol {
    Grpc,
    Http(Box<HttpRules>),
}

#[derive(Debug)]
struct HttpRules {
    path_prefix: Box<str>,
    request_headers: Texts,
    additional: Box<[(HeaderName, HeaderValue)]>,
    to_upstream: Texts,
    to_downstream_allowed: Texts,
    to_downstream_denied: Texts,
}

/// What a service is told of a request.
#[derive(Debug, Clone)]
pub struct CheckedRequest<'a> {
    /// `x-request-id`
    pub id: &'a str,
    /// In its own case.
    pub method: &'a str,
    /// `http` or `https`
    pub scheme: &'a str,
    /// `:authority` or `Host`
    pub authority: &'a str,
    /// Normalised path and query, as they go on.
    pub path_and_query: &'a str,
    /// `HTTP/1.1` or `HTTP/2`
    pub protocol: &'a str,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Length of the body where that is known.
    pub size: Option<u64>,
    /// What was read of the body, if the checker's [`BodyRule`] asks for it.
    pub body: Option<ReadBody>,
    /// Who calls.
    pub source: Option<&'a SpiffeId>,
    /// From where.
    pub source_address: SocketAddr,
    /// Who is called: the waypoint.
    pub destination: Option<&'a SpiffeId>,
    /// Where.
    pub destination_address: SocketAddr,
    /// When it came.
    pub time: SystemTime,
}

/// The beginning of a body.
#[derive(Debug, Clone, Default)]
pub struct ReadBody {
    /// Not more than the rule says.
    pub bytes: Bytes,
    /// There is more.
    pub is_partial: bool,
}

/// What became of a check.
#[derive(Debug, Clone, PartialEq)]
pub enum CheckOutcome {
    /// The request goes on.
    Allowed(Allowed),
    /// It doesn't.
    Denied(Denied),
    /// The service couldn't be asked; response flag `UAEX` where the request is refused.
    Failed {
        /// Why.
        error: CheckError,
        /// Nothing: the request goes on all the same. Otherwise what it is answered.
        refusal: Option<StatusCode>,
    },
}

/// Why a service couldn't be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// No stream to it.
    #[error("can't connect: {0}")]
    Connect(String),
    /// The exchange broke.
    #[error("the exchange broke: {0}")]
    Exchange(String),
    /// What came back is no answer.
    #[error("not an answer: {0}")]
    Answer(String),
    /// It took too long.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
}

impl Checker {
    /// All or nothing: a checker that isn't understood refuses what it is asked about.
    pub(super) fn decode(message: &proto::Checker) -> Result<Self, String> {
        let port = u16::try_from(message.port).ok().filter(|port| *port > 0);
        if message.name.is_empty() || message.hostname.is_empty() {
            return Err("has no name or host".to_owned());
        }
        let timeout = match message.timeout_ms {
            0 => limits::CHECK_TIMEOUT_MAX,
            millis => Duration::from_millis(millis.into()).min(limits::CHECK_TIMEOUT_MAX),
        };
        let status = match message.status_on_error {
            0 => Ok(StatusCode::FORBIDDEN),
            code => u16::try_from(code)
                .map_err(|_| ())
                .and_then(|code| StatusCode::from_u16(code).map_err(|_| ())),
        };
        let protocol = match message.protocol.as_ref() {
            Some(WireProtocol::Grpc(_)) => Protocol::Grpc,
            Some(WireProtocol::Http(http)) => Protocol::Http(Box::new(http_rules(http)?)),
            None => return Err("is asked in a way that this version doesn't know".to_owned()),
        };
        Ok(Self {
            name: message.name.as_str().into(),
            target: Target {
                namespace: message.namespace.as_str().into(),
                hostname: message.hostname.as_str().into(),
                port: port.ok_or("has no port")?,
            },
            timeout,
            fails_open: message.fail_open,
            status_on_error: status.map_err(|()| "has a status that is none")?,
            body: message.body.as_ref().map(body_rule),
            protocol,
        })
    }

    /// How much of a body is to be read before the check; nothing: none of it.
    pub fn body(&self) -> Option<BodyRule> {
        self.body
    }

    fn failed(&self, error: CheckError) -> CheckOutcome {
        let refusal = (!self.fails_open).then_some(self.status_on_error);
        CheckOutcome::Failed { error, refusal }
    }
}

fn body_rule(message: &proto::CheckedBody) -> BodyRule {
    let bytes = usize::try_from(message.max_bytes).unwrap_or(usize::MAX);
    BodyRule {
        bytes_max: bytes.min(limits::CHECKED_BODY_BYTES_MAX),
        allows_partial: message.allow_partial,
        as_bytes: message.as_bytes,
    }
}

fn http_rules(message: &proto::HttpCheck) -> Result<HttpRules, String> {
    let header = |header: &proto::Header| {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        HeaderValue::from_str(&header.value).ok().map(|value| (name, value))
    };
    let additional = message.additional_headers.iter();
    let additional = additional
        .map(|it| header(it).ok_or_else(|| format!("{:?} is no header", it.name)))
        .collect::<Result<_, _>>()?;
    Ok(HttpRules {
        path_prefix: message.path_prefix.as_str().into(),
        request_headers: names(&message.request_headers)?,
        additional,
        to_upstream: names(&message.to_upstream)?,
        to_downstream_allowed: names(&message.to_downstream_allowed)?,
        to_downstream_denied: names(&message.to_downstream_denied)?,
    })
}

/// Names of headers are the same in either case.
fn names(messages: &[proto::TextMatch]) -> Result<Texts, String> {
    let mut texts = decode::texts(messages)?;
    texts.iter_mut().for_each(|text| text.ignores_case = true);
    Ok(texts)
}
