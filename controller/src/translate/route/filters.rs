//! Filters of the Gateway API, as the table has them.

use weft_proto::route as proto;
use weft_proto::route::filter::Kind;
use weft_proto::route::path_rewrite::Kind as NewPath;
use weft_proto::route::text_match::Kind as Text;

use crate::objects::{CorsRule, HeaderEdit, PathChange, RedirectRule, Route, RouteFilter};
use crate::translate::view::View;

use super::backend;

/// A filter of a rule. Nothing for a redirect, which is an outcome, and for a mirror that leads nowhere.
pub(super) fn of_rule(
    view: &View<'_>,
    route: &Route,
    filter: &RouteFilter,
) -> Option<proto::Filter> {
    let kind = match filter {
        RouteFilter::Mirror(mirror) => {
            let to = backend::resolve(view, route, &mirror.to).ok()?;
            let (numerator, denominator) = mirror.share;
            let share = Some(proto::Fraction { numerator, denominator });
            Kind::Mirror(proto::Mirror { to: Some(to), share })
        }
        RouteFilter::Rewrite(rewrite) => Kind::Rewrite(proto::Rewrite {
            authority: rewrite.hostname.as_deref().unwrap_or_default().to_owned(),
            path: rewrite.path.as_ref().map(path),
        }),
        RouteFilter::Cors(rule) => Kind::Cors(cors(rule)),
        filter => return of_backend(filter),
    };
    Some(proto::Filter { kind: Some(kind) })
}

/// A filter that a backend may have, too.
pub(super) fn of_backend(filter: &RouteFilter) -> Option<proto::Filter> {
    let kind = match filter {
        RouteFilter::RequestHeaders(it) => Kind::RequestHeaders(edit(it)),
        RouteFilter::ResponseHeaders(it) => Kind::ResponseHeaders(edit(it)),
        _ => return None,
    };
    Some(proto::Filter { kind: Some(kind) })
}

pub(in crate::translate) fn edit(edit: &HeaderEdit) -> proto::HeaderEdit {
    let pairs = |pairs: &[(std::sync::Arc<str>, std::sync::Arc<str>)]| {
        let headers = pairs.iter();
        headers
            .map(|(name, value)| proto::Header { name: name.to_string(), value: value.to_string() })
            .collect()
    };
    proto::HeaderEdit {
        set: pairs(&edit.set),
        add: pairs(&edit.add),
        remove: edit.remove.iter().map(ToString::to_string).collect(),
    }
}

fn path(change: &PathChange) -> proto::PathRewrite {
    let kind = match change {
        PathChange::Full(text) => NewPath::Full(text.to_string()),
        PathChange::Prefix(text) => NewPath::Prefix(text.to_string()),
    };
    proto::PathRewrite { kind: Some(kind) }
}

/// HTTPRequestRedirectFilter, field `port`: one that isn't given is that of a given scheme, or else the one that the
/// request came to.
pub(super) fn redirect(rule: &RedirectRule) -> proto::Redirect {
    use weft_proto::route::redirect::Port;
    let source = match rule.scheme.is_some() {
        true => proto::PortSource::Scheme,
        false => proto::PortSource::Request,
    };
    proto::Redirect {
        scheme: rule.scheme.as_deref().unwrap_or_default().to_owned(),
        authority: rule.hostname.as_deref().unwrap_or_default().to_owned(),
        port: Some(match rule.port {
            Some(port) => Port::Number(u32::from(port)),
            None => Port::PortFrom(source.into()),
        }),
        path: rule.path.as_ref().map(path),
        status: u32::from(rule.status),
    }
}

fn cors(rule: &CorsRule) -> proto::Cors {
    let texts = |list: &[std::sync::Arc<str>]| list.iter().map(ToString::to_string).collect();
    proto::Cors {
        allow_origins: rule.origins.iter().map(|origin| cors_origin(origin)).collect(),
        allow_methods: texts(&rule.methods),
        allow_headers: texts(&rule.headers),
        expose_headers: texts(&rule.exposed),
        max_age_s: Some(rule.max_age_s),
        allow_credentials: rule.allows_credentials,
        forwards_unmatched_preflights: false,
    }
}

/// A `*` within an origin stands for one or more characters of its host.
fn cors_origin(origin: &str) -> proto::TextMatch {
    let kind = match origin.contains('*') && origin != "*" {
        true => {
            let parts: Vec<String> = origin.split('*').map(regex_syntax::escape).collect();
            Text::Regex(parts.join("[^/:]+"))
        }
        false => Text::Exact(origin.to_owned()),
    };
    proto::TextMatch { kind: Some(kind), ignore_case: false }
}
