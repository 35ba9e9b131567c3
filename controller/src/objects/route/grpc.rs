//! GRPCRoute.

use serde::Deserialize;

use super::filter::{self, RawFilter, RouteFilter};
use super::http::{RawBackend, backends};
use super::matcher::{self, RawNamed, RoutePath, TextMatch, ValueType};
use super::raw::{self, RawRoute, Reading};
use super::session::RawSession;
use super::{Route, RouteKind, RouteMatch, RouteRule};
use crate::objects::Pool;
use crate::objects::fields::{self, FieldError};
use crate::objects::meta::Meta;

/// The specification of one.
pub(in crate::objects) type RawGrpcRoute = RawRoute<RawRule>;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::objects) struct RawRule {
    name: Option<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    matches: Vec<RawMatch>,
    #[serde(default, deserialize_with = "fields::or_default")]
    filters: Vec<RawFilter>,
    #[serde(default, deserialize_with = "fields::or_default")]
    backend_refs: Vec<RawBackend>,
    session_persistence: Option<RawSession>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawMatch {
    method: Option<RawMethod>,
    #[serde(default, deserialize_with = "fields::or_default")]
    headers: Vec<RawNamed>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawMethod {
    #[serde(rename = "type", default)]
    kind: ValueType,
    service: Option<String>,
    method: Option<String>,
}

pub(in crate::objects) fn grpc_route(
    meta: Meta,
    raw: &RawGrpcRoute,
    pool: &mut Pool,
) -> Result<Route, FieldError> {
    raw::route(RouteKind::Grpc, meta, raw, &raw.rules, pool, rule)
}

fn rule(raw: &RawRule, reading: Reading<'_>) -> Result<RouteRule, FieldError> {
    let Reading { meta, field, pool } = reading;
    let session = raw.session_persistence.as_ref();
    let session = session.map(|it| it.build(&format!("{field}.sessionPersistence"), pool));
    let matches = raw::matches(&raw.matches, field, pool, matched)?;
    let filters = filter::filters(&raw.filters, meta, field, pool)?;
    let is_known = |it: &RouteFilter| {
        !matches!(it, RouteFilter::Redirect(_) | RouteFilter::Rewrite(_) | RouteFilter::Cors(_))
    };
    if let Some(at) = filters.iter().position(|filter| !is_known(filter)) {
        let reason = "a GRPCRoute has no such filter";
        return Err(FieldError::new(format!("{field}.filters[{at}].type"), reason));
    }
    Ok(RouteRule {
        name: raw.name.as_deref().map(|name| pool.text(name)),
        matches,
        filters,
        backends: backends(&raw.backend_refs, meta, field, pool)?,
        request_timeout: None,
        attempt_timeout: None,
        retry: None,
        session: session.transpose()?,
    })
}

fn matched(raw: &RawMatch, field: &str, pool: &mut Pool) -> Result<RouteMatch, FieldError> {
    let (mut service, mut method) = (None, None);
    if let Some(raw) = &raw.method {
        let field = format!("{field}.method");
        let mut part = |text: &Option<String>, name: &str| {
            let text = text.as_deref().filter(|text| !text.is_empty());
            text.map(|text| name_match(raw.kind, text, &format!("{field}.{name}"), pool))
                .transpose()
        };
        (service, method) = (part(&raw.service, "service")?, part(&raw.method, "method")?);
        if service.is_none() && method.is_none() {
            return Err(FieldError::new(field, "needs a service or a method"));
        }
    }
    Ok(RouteMatch {
        path: RoutePath::Grpc { service, method },
        method: None,
        headers: matcher::headers(&raw.headers, &format!("{field}.headers"), pool)?,
        query: Box::default(),
    })
}

fn name_match(
    kind: ValueType,
    text: &str,
    field: &str,
    pool: &mut Pool,
) -> Result<TextMatch, FieldError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._".contains(&byte);
    if kind == ValueType::Exact && !text.bytes().all(is_plain) {
        return Err(FieldError::new(
            field,
            format!("{text:?} is no name in a protocol's definition"),
        ));
    }
    kind.build(text, field, pool)
}
