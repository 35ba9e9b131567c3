//! A message about sessions → what holds.

use std::time::Duration;

use http::header::HeaderName;
use weft_proto::route as proto;
use weft_proto::route::session::Carrier as WireCarrier;

use super::{Carrier, Scope, Session, SessionCookie};
use crate::limits;

/// `Err`: what isn't understood; then there are no sessions.
pub(crate) fn decode(message: &proto::Session) -> Result<Session, &'static str> {
    let carrier = match message.carrier.as_ref() {
        None => return Err("has no carrier that this version knows"),
        Some(WireCarrier::Header(name)) => {
            let name = HeaderName::from_bytes(name.as_bytes());
            Carrier::Header(name.map_err(|_| "has a header that is none")?)
        }
        Some(WireCarrier::Cookie(cookie)) => {
            // As names of headers are (RFC 6265 section 4.1.1: a token), but in their own case.
            HeaderName::from_bytes(cookie.name.as_bytes())
                .map_err(|_| "has a cookie whose name is none")?;
            Carrier::Cookie(SessionCookie {
                name: cookie.name.as_str().into(),
                path: (!cookie.path.is_empty()).then(|| cookie.path.as_str().into()),
                is_permanent: cookie.is_permanent,
                attributes: cookie.attributes.iter().map(|it| it.as_str().into()).collect(),
            })
        }
    };
    let limit = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms.min(limits::SESSION_MS_MAX)));
    Ok(Session {
        scope: Scope::of(&message.scope),
        carrier,
        absolute: limit(message.absolute_ms),
        idle: limit(message.idle_ms),
    })
}
