//! HTTPRoute.

use serde::Deserialize;

use super::filter::{self, PathChange, RawFilter, RouteFilter};
use super::matcher::{self, RawNamed, RoutePath, check_count, check_length, checked_regex};
use super::raw::{self, RawRoute, Reading};
use super::refs::{self, BackendRef};
use super::session::RawSession;
use super::{RetryRule, Route, RouteBackend, RouteKind, RouteMatch, RouteRule};
use crate::objects::Pool;
use crate::objects::duration;
use crate::objects::fields::{self, FieldError, Port};
use crate::objects::meta::Meta;

/// The specification of one.
pub(in crate::objects) type RawHttpRoute = RawRoute<RawRule>;

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
    timeouts: Option<RawTimeouts>,
    retry: Option<RawRetry>,
    session_persistence: Option<RawSession>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawMatch {
    path: Option<RawPath>,
    #[serde(default, deserialize_with = "fields::or_default")]
    headers: Vec<RawNamed>,
    #[serde(default, deserialize_with = "fields::or_default")]
    query_params: Vec<RawNamed>,
    method: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPath {
    #[serde(rename = "type", default)]
    kind: PathType,
    value: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
enum PathType {
    Exact,
    #[default]
    PathPrefix,
    RegularExpression,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawBackend {
    group: Option<String>,
    kind: Option<String>,
    namespace: Option<String>,
    name: String,
    port: Option<Port>,
    weight: Option<u32>,
    #[serde(default, deserialize_with = "fields::or_default")]
    filters: Vec<RawFilter>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawTimeouts {
    request: Option<String>,
    backend_request: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawRetry {
    #[serde(default, deserialize_with = "fields::or_default")]
    codes: Vec<u16>,
    attempts: Option<u32>,
    backoff: Option<String>,
}

pub(in crate::objects) fn http_route(
    meta: Meta,
    raw: &RawHttpRoute,
    pool: &mut Pool,
) -> Result<Route, FieldError> {
    // The specification's default: one rule for everything, which has nowhere to go.
    let default = [RawRule::default()];
    let rules = if raw.rules.is_empty() { &default[..] } else { &raw.rules };
    raw::route(RouteKind::Http, meta, raw, rules, pool, rule)
}

fn rule(raw: &RawRule, reading: Reading<'_>) -> Result<RouteRule, FieldError> {
    let Reading { meta, field, pool } = reading;
    let session = raw.session_persistence.as_ref();
    let session = session.map(|it| it.build(&format!("{field}.sessionPersistence"), pool));
    let matches = raw::matches(&raw.matches, field, pool, matched)?;
    let filters = filter::filters(&raw.filters, meta, field, pool)?;
    check_filters(&filters, &matches, !raw.backend_refs.is_empty(), field)?;
    let limit = |text: Option<&String>, name: &str| {
        let field = || format!("{field}.timeouts.{name}");
        text.map(|text| duration::parse(text).map_err(|reason| FieldError::new(field(), reason)))
            .transpose()
    };
    let timeouts = raw.timeouts.as_ref();
    let request_timeout = limit(timeouts.and_then(|it| it.request.as_ref()), "request")?;
    let attempt_timeout =
        limit(timeouts.and_then(|it| it.backend_request.as_ref()), "backendRequest")?;
    if let (Some(request), Some(attempt)) = (request_timeout, attempt_timeout)
        && !request.is_zero()
        && attempt > request
    {
        let reason = "is longer than the whole request may take";
        return Err(FieldError::new(format!("{field}.timeouts.backendRequest"), reason));
    }
    Ok(RouteRule {
        name: raw.name.as_deref().map(|name| pool.text(name)),
        matches,
        filters,
        backends: backends(&raw.backend_refs, meta, field, pool)?,
        request_timeout,
        attempt_timeout,
        retry: raw.retry.as_ref().map(|it| it.build(&format!("{field}.retry"))).transpose()?,
        session: session.transpose()?,
    })
}

fn matched(raw: &RawMatch, field: &str, pool: &mut Pool) -> Result<RouteMatch, FieldError> {
    const METHODS: [&str; 9] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    if let Some(method) = raw.method.as_deref().filter(|it| !METHODS.contains(it)) {
        let reason = format!("{method:?} is none of {}", METHODS.join(", "));
        return Err(FieldError::new(format!("{field}.method"), reason));
    }
    Ok(RouteMatch {
        path: path(raw.path.as_ref(), &format!("{field}.path.value"), pool)?,
        method: raw.method.as_deref().map(|method| pool.text(method)),
        headers: matcher::headers(&raw.headers, &format!("{field}.headers"), pool)?,
        query: matcher::query(&raw.query_params, &format!("{field}.queryParams"), pool)?,
    })
}

fn path(raw: Option<&RawPath>, field: &str, pool: &mut Pool) -> Result<RoutePath, FieldError> {
    let (kind, text) = match raw {
        None => (PathType::PathPrefix, "/"),
        Some(RawPath { kind, value }) => (*kind, value.as_deref().unwrap_or("/")),
    };
    if let PathType::RegularExpression = kind {
        return Ok(RoutePath::Regex(checked_regex(text, field, pool)?));
    }
    // Proxies compare normalised paths, so that these would never match.
    const NEVER: [&str; 6] = ["//", "/./", "/../", "%2f", "%2F", "#"];
    let is_never = NEVER.iter().any(|part| text.contains(part))
        || text.ends_with("/..")
        || text.ends_with("/.");
    if !text.starts_with('/') || is_never {
        let reason = format!("{text:?} is no path that a request could have");
        return Err(FieldError::new(field, reason));
    }
    check_length(text, field)?;
    let text = pool.text(text);
    Ok(match kind {
        PathType::Exact => RoutePath::Exact(text),
        _ => RoutePath::Elements(text),
    })
}

/// Combinations that the specification forbids.
fn check_filters(
    filters: &[RouteFilter],
    matches: &[RouteMatch],
    has_backends: bool,
    field: &str,
) -> Result<(), FieldError> {
    let redirects = filters.iter().any(|it| matches!(it, RouteFilter::Redirect(_)));
    let rewrites = filters.iter().any(|it| matches!(it, RouteFilter::Rewrite(_)));
    let field = |name| format!("{field}.{name}");
    if redirects && has_backends {
        let reason = "can't be given together with a RequestRedirect";
        return Err(FieldError::new(field("backendRefs"), reason));
    }
    if redirects && rewrites {
        let reason = "a RequestRedirect and a URLRewrite can't be in one rule";
        return Err(FieldError::new(field("filters"), reason));
    }
    let replaces_prefix = filters.iter().any(|filter| {
        let path = match filter {
            RouteFilter::Redirect(redirect) => &redirect.path,
            RouteFilter::Rewrite(rewrite) => &rewrite.path,
            _ => return false,
        };
        matches!(path, Some(PathChange::Prefix(_)))
    });
    if replaces_prefix && !matches.iter().all(|it| matches!(it.path, RoutePath::Elements(_))) {
        let reason = "ReplacePrefixMatch needs matches of the type PathPrefix";
        return Err(FieldError::new(field("filters"), reason));
    }
    Ok(())
}

pub(super) fn backends(
    raw: &[RawBackend],
    meta: &Meta,
    field: &str,
    pool: &mut Pool,
) -> Result<Box<[RouteBackend]>, FieldError> {
    check_count(raw.len(), 16, &format!("{field}.backendRefs"))?;
    let backends = raw.iter().enumerate().map(|(at, raw)| {
        let field = format!("{field}.backendRefs[{at}]");
        Ok(RouteBackend {
            to: backend_ref(raw, meta, &field, pool)?,
            weight: raw.weight.unwrap_or(1),
            filters: filter::filters(&raw.filters, meta, &field, pool)?,
        })
    });
    backends.collect()
}

fn backend_ref(
    raw: &RawBackend,
    meta: &Meta,
    field: &str,
    pool: &mut Pool,
) -> Result<BackendRef, FieldError> {
    let raw = refs::RawRef::of_parts(
        [raw.group.as_ref(), raw.kind.as_ref(), raw.namespace.as_ref()],
        &raw.name,
        raw.port,
    );
    raw.build(meta, field, pool)
}

impl RawRetry {
    fn build(&self, field: &str) -> Result<RetryRule, FieldError> {
        check_count(self.codes.len(), 200, &format!("{field}.codes"))?;
        if let Some(code) = self.codes.iter().find(|code| !(400..600).contains(*code)) {
            let reason = format!("{code} is no status from 400 to 599");
            return Err(FieldError::new(format!("{field}.codes"), reason));
        }
        let backoff = self.backoff.as_deref().map(duration::parse).transpose();
        let bad = |reason| FieldError::new(format!("{field}.backoff"), reason);
        Ok(RetryRule {
            attempts: self.attempts.unwrap_or(1),
            codes: self.codes.as_slice().into(),
            backoff: backoff.map_err(bad)?,
        })
    }
}
