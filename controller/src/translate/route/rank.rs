//! Precedence between rules of several routes.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::objects::{Route, RouteMatch, RoutePath, TextMatch, Timestamp};

/// Where a rule stands: the smallest is asked first. HTTPRouteRule and GRPCRouteRule of the Gateway API, field `matches`,
/// say what comes before what; regular expressions are left to implementations, and stand here between exact paths and
/// prefixes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// Of the host: an exact one before a wildcard, the longer before the shorter, any last.
    host: Reverse<(u8, usize)>,
    /// HTTP: kind of path, its length, whether a method is asked for, headers, query parameters.
    /// gRPC: length of the service, of the method, headers.
    detail: Reverse<[usize; 5]>,
    created: Timestamp,
    namespace: Arc<str>,
    name: Arc<str>,
    rule: usize,
    alternative: usize,
}

impl Rank {
    pub(super) fn new(
        route: &Route,
        host: Option<&str>,
        matched: &RouteMatch,
        (rule, alternative): (usize, usize),
    ) -> Self {
        let headers = matched.headers.len();
        let http = |class, path: &str| {
            let length = path.strip_suffix('/').unwrap_or(path).chars().count();
            let method = usize::from(matched.method.is_some());
            [class, length, method, headers, matched.query.len()]
        };
        Self {
            host: Reverse(host_rank(host)),
            detail: Reverse(match &matched.path {
                RoutePath::Exact(path) => http(3, path),
                RoutePath::Regex(path) => http(2, path),
                RoutePath::Elements(path) => http(1, path),
                RoutePath::Grpc { service, method } => {
                    [length(service), length(method), headers, 0, 0]
                }
            }),
            created: route.meta.created,
            namespace: route.meta.namespace.clone(),
            name: route.meta.name.clone(),
            rule,
            alternative,
        }
    }
}

/// The larger, the nearer: a name, then what stands for all below one, then any.
pub(super) fn host_rank(host: Option<&str>) -> (u8, usize) {
    match host {
        None => (0, 0),
        Some(host) if host.starts_with('*') => (1, host.len()),
        Some(host) => (2, host.len()),
    }
}

fn length(text: &Option<TextMatch>) -> usize {
    match text {
        Some(TextMatch::Exact(text) | TextMatch::Prefix(text) | TextMatch::Regex(text)) => {
            text.chars().count()
        }
        Some(TextMatch::Present) | None => 0,
    }
}
