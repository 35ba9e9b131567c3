//! A message about a limit → what holds.

use std::time::Duration;

use http::StatusCode;
use http::header::HeaderName;
use weft_proto::route as wire;
use weft_proto::route::limit_entry::Value as WireValue;

use super::{Attribute, Entry, GlobalLimit, Value};
use crate::access::check::Target;
use crate::limits;

impl GlobalLimit {
    /// `Err`: what isn't understood; then there is no such limit.
    pub(crate) fn decode(message: &wire::GlobalRateLimit) -> Result<Self, &'static str> {
        let port = u16::try_from(message.port).ok().filter(|port| *port > 0);
        if message.hostname.is_empty() || message.domain.is_empty() {
            return Err("has no host or no domain");
        }
        if message.descriptors.len() > limits::LIMIT_DESCRIPTORS_MAX {
            return Err("has too many descriptors");
        }
        let status = match message.status_on_error {
            0 => Some(StatusCode::INTERNAL_SERVER_ERROR),
            code => u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok()),
        };
        let status =
            status.filter(|it| !it.is_informational()).ok_or("has a status that is none")?;
        let timeout = match message.timeout_ms {
            0 => limits::LIMITER_TIMEOUT,
            ms => Duration::from_millis(ms.into()).min(limits::LIMITER_TIMEOUT_MAX),
        };
        Ok(Self {
            provider: message.provider.as_str().into(),
            target: Target {
                namespace: message.namespace.as_str().into(),
                hostname: message.hostname.as_str().into(),
                port: port.ok_or("has no port")?,
            },
            timeout,
            refusal: message.fails_closed.then_some(status),
            as_resource_exhausted: message.as_resource_exhausted,
            domain: message.domain.as_str().into(),
            descriptors: message.descriptors.iter().map(entries).collect::<Result<_, _>>()?,
        })
    }
}

fn entries(message: &wire::LimitDescriptor) -> Result<Box<[Entry]>, &'static str> {
    match message.entries.len() {
        0 => Err("has a descriptor without entries"),
        count if count > limits::LIMIT_ENTRIES_MAX => Err("has a descriptor of too many entries"),
        _ => Ok(message.entries.iter().map(entry).collect()),
    }
}

/// A value that isn't known is none, so that its descriptor isn't made: with less it would count more than it says.
fn entry(message: &wire::LimitEntry) -> Entry {
    let value = match &message.value {
        None => Value::Unknown,
        Some(WireValue::Literal(text)) => Value::Literal(text.as_str().into()),
        Some(WireValue::Header(name)) => {
            HeaderName::from_bytes(name.as_bytes()).map_or(Value::Unknown, Value::Header)
        }
        Some(WireValue::Attribute(number)) => {
            attribute(*number).map_or(Value::Unknown, Value::Attribute)
        }
    };
    Entry { key: message.key.as_str().into(), value }
}

fn attribute(number: i32) -> Option<Attribute> {
    Some(match wire::LimitAttribute::try_from(number).ok()? {
        wire::LimitAttribute::Unknown => return None,
        wire::LimitAttribute::SourcePrincipal => Attribute::SourcePrincipal,
        wire::LimitAttribute::SourceNamespace => Attribute::SourceNamespace,
        wire::LimitAttribute::RemoteAddress => Attribute::RemoteAddress,
        wire::LimitAttribute::Path => Attribute::Path,
        wire::LimitAttribute::Method => Attribute::Method,
        wire::LimitAttribute::DestinationService => Attribute::DestinationService,
    })
}
