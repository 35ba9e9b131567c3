//! TCPRoute and TLSRoute: where whole connections go.

use serde::Deserialize;

use super::http::{RawBackend, backends};
use super::raw::{self, RawRoute, Reading};
use super::{Route, RouteKind, RouteRule};
use crate::objects::Pool;
use crate::objects::fields::{self, FieldError};
use crate::objects::meta::Meta;

/// The specification of one.
pub(in crate::objects) type RawStreamRoute = RawRoute<RawRule>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::objects) struct RawRule {
    name: Option<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    backend_refs: Vec<RawBackend>,
}

pub(in crate::objects) fn stream_route(
    kind: RouteKind,
    meta: Meta,
    raw: &RawStreamRoute,
    pool: &mut Pool,
) -> Result<Route, FieldError> {
    let is_named = !raw.hostnames.is_empty();
    match kind {
        RouteKind::Tls if !is_named => {
            return Err(FieldError::new("spec.hostnames", "at least one is needed"));
        }
        RouteKind::Tls => {}
        _ if is_named => {
            return Err(FieldError::new("spec.hostnames", "bytes over TCP have no host's name"));
        }
        _ => {}
    }
    if raw.rules.is_empty() {
        return Err(FieldError::new("spec.rules", "at least one is needed"));
    }
    raw::route(kind, meta, raw, &raw.rules, pool, rule)
}

fn rule(raw: &RawRule, reading: Reading<'_>) -> Result<RouteRule, FieldError> {
    let Reading { meta, field, pool } = reading;
    let backends = backends(&raw.backend_refs, meta, field, pool)?;
    if let Some(at) = backends.iter().position(|it| !it.filters.is_empty()) {
        let field = format!("{field}.backendRefs[{at}].filters");
        return Err(FieldError::new(field, "connections have no filters"));
    }
    Ok(RouteRule {
        name: raw.name.as_deref().map(|name| pool.text(name)),
        matches: Box::default(),
        filters: Box::default(),
        backends,
        request_timeout: None,
        attempt_timeout: None,
        retry: None,
        session: None,
    })
}
