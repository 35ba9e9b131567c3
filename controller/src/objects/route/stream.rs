//! TCPRoute and TLSRoute: where whole connections go.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::http::{RawBackend, backends, hostnames};
use super::matcher::check_count;
use super::refs::{self, RawParentRef};
use super::{Route, RouteKind, RouteRule};
use crate::objects::Pool;
use crate::objects::fields::{self, FieldError};
use crate::objects::meta::Meta;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::objects) struct RawStreamRoute {
    #[serde(default, deserialize_with = "fields::or_default")]
    parent_refs: Vec<RawParentRef>,
    #[serde(default, deserialize_with = "fields::or_default")]
    hostnames: Vec<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    rules: Vec<RawRule>,
    use_default_gateways: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawRule {
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
    check_count(raw.rules.len(), 16, "spec.rules")?;
    let mut rules = Vec::with_capacity(raw.rules.len());
    for (at, raw) in raw.rules.iter().enumerate() {
        let backends = backends(&raw.backend_refs, &meta, &format!("spec.rules[{at}]"), pool)?;
        if let Some(at_fault) = backends.iter().position(|it| !it.filters.is_empty()) {
            let field = format!("spec.rules[{at}].backendRefs[{at_fault}].filters");
            return Err(FieldError::new(field, "connections have no filters"));
        }
        rules.push(RouteRule {
            name: raw.name.as_deref().map(|name| pool.text(name)),
            matches: Box::default(),
            filters: Box::default(),
            backends,
            request_timeout: None,
            attempt_timeout: None,
            retry: None,
        });
    }
    let ignored = raw.use_default_gateways.iter().map(|_| "spec.useDefaultGateways".to_owned());
    Ok(Route {
        kind,
        parents: refs::parents(&raw.parent_refs, &meta, pool)?,
        hostnames: hostnames(&raw.hostnames, pool)?,
        rules: rules.into(),
        ignored: ignored.collect(),
        meta,
    })
}
