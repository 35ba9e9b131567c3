//! Rules of HTTPRoutes and GRPCRoutes, merged into one list.

use std::time::Duration;

use weft_proto::route as proto;
use weft_proto::route::http_action::Outcome;
use weft_proto::route::weighted_backend::Target;

use crate::objects::{RetryRule, Route, RouteFilter, RouteRule};
use crate::translate::view::View;

use super::rank::Rank;
use super::{backend, conditions, filters, session};

/// The rules of several routes of one kind. With `hosts`, the routes' host names are asked for.
pub(super) fn merged(view: &View<'_>, routes: &[&Route], with_hosts: bool) -> proto::HttpRoutes {
    let mut ranked: Vec<(Rank, proto::HttpRule)> = Vec::new();
    let mut actions = Vec::new();
    for route in routes {
        let hosts: Vec<Option<&str>> = match with_hosts && !route.hostnames.is_empty() {
            true => route.hostnames.iter().map(|host| Some(&**host)).collect(),
            false => vec![None],
        };
        for (at, rule) in route.rules.iter().enumerate() {
            let action = u32::try_from(actions.len()).unwrap_or(u32::MAX);
            actions.push(rule_action(view, route, (at, rule)));
            for (alternative, matched) in rule.matches.iter().enumerate() {
                ranked.extend(hosts.iter().map(|host| {
                    let rank = Rank::new(route, *host, matched, (at, alternative));
                    let conditions = conditions::matched(matched, *host);
                    (rank, proto::HttpRule { conditions, action })
                }));
            }
        }
    }
    ranked.sort_by(|(one, _), (other, _)| one.cmp(other));
    proto::HttpRoutes { rules: ranked.into_iter().map(|(_, rule)| rule).collect(), actions }
}

fn rule_action(
    view: &View<'_>,
    route: &Route,
    (at, rule): (usize, &RouteRule),
) -> proto::HttpAction {
    let filters = rule.filters.iter().filter_map(|it| filters::of_rule(view, route, it));
    proto::HttpAction {
        origin: Some(origin(route, (at, rule))),
        filters: filters.collect(),
        outcome: Some(outcome(view, route, (at, rule))),
    }
}

pub(super) fn origin(route: &Route, (at, rule): (usize, &RouteRule)) -> proto::Origin {
    proto::Origin {
        kind: route.kind.kind().to_string(),
        namespace: route.meta.namespace.to_string(),
        name: route.meta.name.to_string(),
        rule: rule.name.as_deref().unwrap_or_default().to_owned(),
        index: u32::try_from(at).unwrap_or(u32::MAX),
    }
}

fn outcome(view: &View<'_>, route: &Route, (at, rule): (usize, &RouteRule)) -> Outcome {
    for filter in &rule.filters {
        match filter {
            RouteFilter::Redirect(redirect) => {
                return Outcome::Redirect(filters::redirect(redirect));
            }
            RouteFilter::Unsupported(kind) => {
                let backends = vec![backend::invalid(1, unsupported(kind))];
                return Outcome::Forward(proto::Forward { backends, ..Default::default() });
            }
            _ => {}
        }
    }
    Outcome::Forward(proto::Forward {
        backends: rule.backends.iter().map(|it| weighted(view, route, it)).collect(),
        request_timeout_ms: milliseconds(rule.request_timeout),
        attempt_timeout_ms: milliseconds(rule.attempt_timeout),
        retry: rule.retry.as_ref().map(retry),
        session: session::of_rule(route, at, rule),
    })
}

pub(super) fn unsupported(kind: &str) -> String {
    format!("a filter of the type {kind} isn't carried out")
}

pub(super) fn weighted(
    view: &View<'_>,
    route: &Route,
    it: &crate::objects::RouteBackend,
) -> proto::WeightedBackend {
    let mut built = Vec::with_capacity(it.filters.len());
    for filter in &it.filters {
        match filters::of_backend(filter) {
            Some(filter) => built.push(filter),
            None => return backend::invalid(it.weight, unsupported(name(filter))),
        }
    }
    match backend::resolve(view, route, &it.to) {
        Ok(to) => proto::WeightedBackend {
            weight: it.weight,
            target: Some(Target::To(to)),
            filters: built,
        },
        Err(unresolved) => backend::invalid(it.weight, unresolved.message),
    }
}

/// The filter's type, as routes write it.
pub(super) fn name(filter: &RouteFilter) -> &str {
    match filter {
        RouteFilter::RequestHeaders(_) => "RequestHeaderModifier",
        RouteFilter::ResponseHeaders(_) => "ResponseHeaderModifier",
        RouteFilter::Mirror(_) => "RequestMirror",
        RouteFilter::Redirect(_) => "RequestRedirect",
        RouteFilter::Rewrite(_) => "URLRewrite",
        RouteFilter::Cors(_) => "CORS",
        RouteFilter::Unsupported(kind) => kind,
    }
}

/// Never 0 for a limit that is given: that would be none.
pub(in crate::translate) fn milliseconds(duration: Option<Duration>) -> u64 {
    let duration = duration.filter(|duration| !duration.is_zero());
    duration.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX).max(1))
}

/// HTTPRouteRetry: besides the codes, failures of connections are retried, and attempts that took too long.
fn retry(rule: &RetryRule) -> proto::Retry {
    let on = [
        proto::RetryOn::ConnectFailure,
        proto::RetryOn::RefusedStream,
        proto::RetryOn::Reset,
        proto::RetryOn::AttemptTimeout,
    ];
    proto::Retry {
        retries: rule.attempts,
        on: on.into_iter().map(Into::into).collect(),
        http_codes: rule.codes.iter().map(|code| u32::from(*code)).collect(),
        backoff_base_ms: milliseconds(rule.backoff),
        ..proto::Retry::default()
    }
}
