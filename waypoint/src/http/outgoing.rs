//! The heads of messages as they go on.

use http::header::{CONNECTION, EXPECT, HOST, HeaderName, HeaderValue, SET_COOKIE, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderMap, Uri, request};

use super::exchange::Seen;
use super::forward::{Plan, Taken};
use super::headers;
use crate::route::Backend;
use crate::telemetry::trace::ensure_request_id;

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Whether an application gets other headers than policies saw, but for those of the connection and such as are added to
/// every request.
pub(super) fn is_edited(headers: &HeaderMap, plan: &Plan<'_>, taken: &Taken<'_>) -> bool {
    let by_rule = plan.action.is_some_and(|it| !it.filters.request_headers.is_empty());
    let by_backend = taken.backed.rule.is_some_and(|it| !it.request_headers.is_empty());
    by_rule || by_backend || !taken.counted.request.is_empty() || headers::names_others(headers)
}

/// The head of a request as the application gets it.
pub(super) fn request_head(
    mut head: request::Parts,
    seen: &Seen,
    plan: &Plan<'_>,
    backend: Option<&Backend>,
    upgrade: Option<&HeaderValue>,
) -> request::Parts {
    headers::strip_connection(&mut head.headers);
    head.headers.remove(EXPECT);
    if let Some(upgrade) = upgrade {
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(UPGRADE, upgrade.clone());
    }
    let _id = ensure_request_id(&mut head.headers);
    if !head.headers.contains_key(FORWARDED_PROTO) {
        head.headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    let filters = plan.action.map(|action| &action.filters);
    let mut path = seen.path.to_string();
    let mut authority = HeaderValue::from_str(&seen.authority).ok();
    if let Some(filters) = filters {
        filters.request_headers.apply(&mut head.headers);
        if let Some(rewrite) = &filters.path {
            path = rewrite.apply(&seen.path, plan.span);
        }
        authority = filters.authority.clone().or(authority);
    }
    if let Some(backend) = backend {
        backend.request_headers.apply(&mut head.headers);
        authority = backend.authority.clone().or(authority);
    }
    let text = match seen.query.is_empty() {
        true => path,
        false => format!("{path}?{}", seen.query),
    };
    let path = PathAndQuery::try_from(text).unwrap_or_else(|_| PathAndQuery::from_static("/"));
    let named = authority.as_ref().and_then(|it| it.to_str().ok()?.parse().ok());
    if let Some(authority) = authority {
        head.headers.insert(HOST, authority);
    }
    head.uri = uri(named, path);
    head
}

/// With the authority in it: HTTP/2 takes `:authority` from there, and HTTP/1.1 sends the path alone.
fn uri(authority: Option<http::uri::Authority>, path: PathAndQuery) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(path);
    if let Some(authority) = authority {
        parts.authority = Some(authority);
        parts.scheme = Some(http::uri::Scheme::HTTP);
    }
    Uri::from_parts(parts).unwrap_or_default()
}

/// Changes the headers of a response as the rule says.
pub(super) fn edit_response(
    headers: &mut HeaderMap,
    plan: &Plan<'_>,
    backend: Option<&Backend>,
    origin: Option<&HeaderValue>,
    cookie: Option<HeaderValue>,
) {
    if let Some(backend) = backend {
        backend.response_headers.apply(headers);
    }
    if let Some(action) = plan.action {
        action.filters.response_headers.apply(headers);
        if let Some(cors) = &action.filters.cors {
            cors.mark(origin, headers);
        }
    }
    if let Some(cookie) = cookie {
        headers.append(SET_COOKIE, cookie);
    }
}
