//! What of a request is counted.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::HeaderName;
use weft_core::identity::SpiffeId;
use weft_proto::ratelimit as proto;
use weft_proto::ratelimit::rate_limit_descriptor as wire;

use crate::limits;

/// One entry of a descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Under which the service knows it.
    pub key: Box<str>,
    /// What it is of a request.
    pub value: Value,
}

/// Where an entry's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// The same for every request.
    Literal(Box<str>),
    /// The first value of a header.
    Header(HeaderName),
    /// Something else of the request.
    Attribute(Attribute),
    /// A later version's: there is none.
    Unknown,
}

/// What there is of a request besides its headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "as the message has them")]
pub enum Attribute {
    SourcePrincipal,
    SourceNamespace,
    RemoteAddress,
    Path,
    Method,
    DestinationService,
}

/// A request that is counted.
#[derive(Debug, Clone, Copy)]
pub struct Counted<'a> {
    /// Who calls.
    pub source: &'a SpiffeId,
    /// From where.
    pub address: IpAddr,
    /// In its own case.
    pub method: &'a str,
    /// Normalised, without the query.
    pub path: &'a str,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Host of the service that it goes to.
    pub service: &'a str,
}

/// A descriptor of a request; nothing where the request lacks one of its entries, as Envoy has it.
pub(super) fn made(entries: &[Entry], of: &Counted<'_>) -> Option<proto::RateLimitDescriptor> {
    let entries = entries.iter().map(|entry| {
        let value = entry.value.of(of).filter(|it| !it.is_empty())?;
        Some(wire::Entry { key: entry.key.to_string(), value: cut(value) })
    });
    Some(proto::RateLimitDescriptor { entries: entries.collect::<Option<_>>()? })
}

impl Value {
    fn of(&self, request: &Counted<'_>) -> Option<String> {
        Some(match self {
            Self::Literal(text) => text.to_string(),
            Self::Header(name) => {
                String::from_utf8_lossy(request.headers.get(name)?.as_bytes()).into_owned()
            }
            Self::Attribute(Attribute::SourcePrincipal) => request.source.to_string(),
            Self::Attribute(Attribute::SourceNamespace) => request.source.namespace().to_string(),
            Self::Attribute(Attribute::RemoteAddress) => request.address.to_canonical().to_string(),
            Self::Attribute(Attribute::Path) => request.path.to_owned(),
            Self::Attribute(Attribute::Method) => request.method.to_owned(),
            Self::Attribute(Attribute::DestinationService) => request.service.to_owned(),
            Self::Unknown => return None,
        })
    }
}

/// To the bound, between characters.
fn cut(mut text: String) -> String {
    let end = (0..=limits::LIMIT_VALUE_BYTES_MAX.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or(0));
    text
}
