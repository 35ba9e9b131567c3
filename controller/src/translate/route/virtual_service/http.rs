//! HTTP rules of virtual services.

use std::sync::Arc;

use weft_proto::contract::route::RULES_MAX;
use weft_proto::route as proto;
use weft_proto::route::condition::Kind;
use weft_proto::route::filter::Kind as FilterKind;
use weft_proto::route::http_action::Outcome;
use weft_proto::route::path_condition::Kind as Path;
use weft_proto::route::path_rewrite::Kind as NewPath;
use weft_proto::route::weighted_backend::Target;

use crate::objects::{
    AbortAnswer, ClaimMatch, HeaderEdit, LabelPair, RedirectPort, RetryCondition, Share, TextMatch,
    VirtualCors, VirtualFault, VirtualHeaders, VirtualHttp, VirtualMatch, VirtualOutcome,
    VirtualRedirect, VirtualRetry, VirtualRewrite, VirtualRoute, VirtualService,
};
use crate::translate::route::backend::invalid;
use crate::translate::route::conditions::{condition, header, path, query, text};
use crate::translate::route::filters::edit;
use crate::translate::route::http::milliseconds;
use crate::translate::view::View;

use super::destination;

/// All of its rules, those that it delegates included.
pub(super) fn routes(view: &View<'_>, object: &VirtualService) -> proto::HttpRoutes {
    let mut built = proto::HttpRoutes::default();
    for rule in &object.http {
        if built.rules.len() > RULES_MAX {
            break;
        }
        let outer = alternatives(&rule.matches, has_prefix_rewrite(rule));
        let VirtualOutcome::Delegate { namespace, name } = &rule.outcome else {
            push(&mut built, outer, action(view, object, rule));
            continue;
        };
        // One that is for hosts of its own can't be delegated to, and neither can one that delegates itself.
        let delegate = view.model.virtual_service(namespace, name).filter(|it| it.hosts.is_empty());
        let Some(delegate) = delegate else {
            let reason = format!("there is no VirtualService {namespace}/{name} without hosts");
            push(&mut built, outer, broken(object, rule, reason));
            continue;
        };
        for inner in &delegate.http {
            if built.rules.len() > RULES_MAX {
                break;
            }
            let merged = inherit(rule, inner);
            let own = alternatives(&inner.matches, has_prefix_rewrite(&merged));
            // The delegate's path stands first: it is the narrower one, whose prefix a rewrite replaces.
            let both = own.iter().flat_map(|own| outer.iter().map(move |it| [&**own, it].concat()));
            // Alternatives multiply; a table that has no room for them is refused afterwards.
            let both = both.take(RULES_MAX + 1).collect();
            let action = match &inner.outcome {
                VirtualOutcome::Delegate { .. } => {
                    broken(delegate, inner, "a delegate can't delegate further".to_owned())
                }
                _ => action(view, delegate, &merged),
            };
            push(&mut built, both, action);
        }
    }
    built
}

fn push(
    built: &mut proto::HttpRoutes,
    alternatives: Vec<Vec<proto::Condition>>,
    action: proto::HttpAction,
) {
    let place = u32::try_from(built.actions.len()).unwrap_or(u32::MAX);
    let rules = alternatives.into_iter();
    built.rules.extend(rules.map(|conditions| proto::HttpRule { conditions, action: place }));
    built.actions.push(action);
}

/// What a delegate doesn't say holds as in the rule that delegates to it.
fn inherit(outer: &VirtualHttp, inner: &VirtualHttp) -> VirtualHttp {
    let mut merged = inner.clone();
    merged.rewrite = merged.rewrite.or_else(|| outer.rewrite.clone());
    merged.timeout = merged.timeout.or(outer.timeout);
    merged.retries = merged.retries.or_else(|| outer.retries.clone());
    merged.fault = merged.fault.or(outer.fault);
    merged.cors = merged.cors.or_else(|| outer.cors.clone());
    if merged.mirrors.is_empty() {
        merged.mirrors = outer.mirrors.clone();
    }
    if merged.headers == VirtualHeaders::default() {
        merged.headers = outer.headers.clone();
    }
    merged
}

fn has_prefix_rewrite(rule: &VirtualHttp) -> bool {
    rule.rewrite.as_ref().is_some_and(|rewrite| rewrite.uri.is_some())
}

/// Conditions of each alternative; one without any where everything matches.
fn alternatives(matches: &[VirtualMatch], rewrites: bool) -> Vec<Vec<proto::Condition>> {
    let none = [VirtualMatch::default()];
    let matches = if matches.is_empty() { &none[..] } else { matches };
    matches.iter().map(|it| conditions(it, rewrites)).collect()
}

fn conditions(it: &VirtualMatch, rewrites: bool) -> Vec<proto::Condition> {
    let mut built = Vec::new();
    let uri = it.uri.as_ref().and_then(|uri| match uri {
        TextMatch::Exact(text) => Some(Path::Exact(text.to_string())),
        TextMatch::Prefix(text) => Some(Path::TextPrefix(text.to_string())),
        TextMatch::Regex(text) => Some(Path::Regex(text.to_string())),
        TextMatch::Present => None,
    });
    // Without a path, a rewrite replaces the slash that every path starts with.
    let uri = uri.or_else(|| rewrites.then(|| Path::TextPrefix("/".to_owned())));
    if let Some(uri) = uri {
        let mut condition = path(uri);
        if let Some(Kind::Path(path)) = &mut condition.kind {
            path.ignore_case = it.ignores_uri_case && !matches!(path.kind, Some(Path::Regex(_)));
        }
        built.push(condition);
    }
    let parts = [
        it.scheme.as_ref().map(|it| Kind::Scheme(text(it))),
        it.method.as_ref().map(|it| Kind::Method(text(it))),
        it.authority.as_ref().map(|it| Kind::Authority(text(it))),
        it.port.map(|port| Kind::Ports(proto::PortsCondition { ports: vec![u32::from(port)] })),
        source(&it.source_labels, it.source_namespace.as_ref()).map(Kind::Source),
    ];
    built.extend(parts.into_iter().flatten().map(condition));
    let negated = |condition: proto::Condition| proto::Condition { negated: true, ..condition };
    built.extend(it.headers.iter().map(|(name, value)| header(name, value)));
    built.extend(it.without_headers.iter().map(|(name, value)| negated(header(name, value))));
    built.extend(it.claims.iter().map(claim));
    built.extend(it.without_claims.iter().map(|it| negated(claim(it))));
    built.extend(it.query.iter().map(|(name, value)| query(name, value)));
    built
}

fn claim(it: &ClaimMatch) -> proto::Condition {
    let path = it.path.iter().map(ToString::to_string).collect();
    condition(Kind::Claim(proto::ClaimCondition { path, value: Some(text(&it.value)) }))
}

pub(super) fn source(
    labels: &[LabelPair],
    namespace: Option<&Arc<str>>,
) -> Option<proto::SourceCondition> {
    (!labels.is_empty() || namespace.is_some()).then(|| proto::SourceCondition {
        namespaces: namespace.map(ToString::to_string).into_iter().collect(),
        labels: labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        principal: None,
    })
}

pub(super) fn origin(
    object: &VirtualService,
    place: usize,
    name: Option<&Arc<str>>,
) -> proto::Origin {
    proto::Origin {
        kind: "VirtualService".to_owned(),
        namespace: object.meta.namespace.to_string(),
        name: object.meta.name.to_string(),
        rule: name.map(ToString::to_string).unwrap_or_default(),
        index: u32::try_from(place).unwrap_or(u32::MAX),
    }
}

fn broken(object: &VirtualService, rule: &VirtualHttp, reason: String) -> proto::HttpAction {
    let backends = vec![invalid(1, reason)];
    proto::HttpAction {
        origin: Some(origin(object, rule.place, rule.name.as_ref())),
        filters: Vec::new(),
        outcome: Some(Outcome::Forward(proto::Forward { backends, ..Default::default() })),
    }
}

fn action(view: &View<'_>, object: &VirtualService, rule: &VirtualHttp) -> proto::HttpAction {
    let mut filters = header_filters(&rule.headers);
    filters.extend(rule.rewrite.as_ref().map(rewrite));
    let mirrors = rule.mirrors.iter().filter_map(|(to, share)| {
        let to = destination::resolve(view, &object.meta, to).ok()?;
        let mirror = proto::Mirror { to: Some(to), share: Some(fraction(*share)) };
        Some(filter(FilterKind::Mirror(mirror)))
    });
    filters.extend(mirrors);
    filters.extend(rule.cors.as_ref().map(cors));
    filters.extend(rule.fault.as_ref().map(fault));
    let outcome = match &rule.outcome {
        VirtualOutcome::Route(routes) => Outcome::Forward(proto::Forward {
            backends: routes.iter().map(|it| backend(view, object, it)).collect(),
            request_timeout_ms: milliseconds(rule.timeout),
            attempt_timeout_ms: milliseconds(
                rule.retries.as_ref().and_then(|it| it.attempt_timeout),
            ),
            retry: rule.retries.as_ref().map(retry),
            session: None,
        }),
        VirtualOutcome::Redirect(it) => Outcome::Redirect(redirect(it)),
        VirtualOutcome::Direct { status, body } => Outcome::Direct(proto::DirectResponse {
            status: u32::from(*status),
            body: body.to_vec(),
            content_type: String::new(),
        }),
        VirtualOutcome::Delegate { .. } => Outcome::Forward(proto::Forward::default()),
    };
    proto::HttpAction {
        origin: Some(origin(object, rule.place, rule.name.as_ref())),
        filters,
        outcome: Some(outcome),
    }
}

fn filter(kind: FilterKind) -> proto::Filter {
    proto::Filter { kind: Some(kind) }
}

fn header_filters(headers: &VirtualHeaders) -> Vec<proto::Filter> {
    let some = |edits: &HeaderEdit| (*edits != HeaderEdit::default()).then(|| edit(edits));
    let request = some(&headers.request).map(FilterKind::RequestHeaders);
    let response = some(&headers.response).map(FilterKind::ResponseHeaders);
    request.into_iter().chain(response).map(filter).collect()
}

pub(super) fn backend(
    view: &View<'_>,
    object: &VirtualService,
    it: &VirtualRoute,
) -> proto::WeightedBackend {
    match destination::resolve(view, &object.meta, &it.to) {
        Ok(to) => proto::WeightedBackend {
            weight: it.weight,
            target: Some(Target::To(to)),
            filters: header_filters(&it.headers),
        },
        Err(unresolved) => invalid(it.weight, unresolved.message),
    }
}

fn rewrite(it: &VirtualRewrite) -> proto::Filter {
    let path = match (&it.uri, &it.regex) {
        (Some(uri), _) => Some(NewPath::Prefix(uri.to_string())),
        (None, Some((pattern, replacement))) => Some(NewPath::Regex(proto::RegexRewrite {
            pattern: pattern.to_string(),
            replacement: replacement.to_string(),
        })),
        (None, None) => None,
    };
    filter(FilterKind::Rewrite(proto::Rewrite {
        authority: it.authority.as_deref().unwrap_or_default().to_owned(),
        path: path.map(|kind| proto::PathRewrite { kind: Some(kind) }),
    }))
}

fn fraction(share: Share) -> proto::Fraction {
    proto::Fraction { numerator: share.0, denominator: 1_000_000 }
}

fn fault(it: &VirtualFault) -> proto::Filter {
    use weft_proto::route::abort::Answer;
    let delay = it.delay.map(|(share, length)| proto::Delay {
        share: Some(fraction(share)),
        delay_ms: milliseconds(Some(length)),
    });
    let abort = it.abort.map(|(share, answer)| proto::Abort {
        share: Some(fraction(share)),
        answer: Some(match answer {
            AbortAnswer::Http(status) => Answer::HttpStatus(u32::from(status)),
            AbortAnswer::Grpc(status) => Answer::GrpcStatus(status),
        }),
    });
    filter(FilterKind::Fault(proto::Fault { delay, abort }))
}

fn cors(it: &VirtualCors) -> proto::Filter {
    let texts = |list: &[Arc<str>]| list.iter().map(ToString::to_string).collect();
    filter(FilterKind::Cors(proto::Cors {
        allow_origins: it.origins.iter().map(text).collect(),
        allow_methods: texts(&it.methods),
        allow_headers: texts(&it.headers),
        expose_headers: texts(&it.exposed),
        max_age_s: it.max_age.map(|age| u32::try_from(age.as_secs()).unwrap_or(u32::MAX)),
        allow_credentials: it.allows_credentials,
        forwards_unmatched_preflights: it.forwards_unmatched,
    }))
}

fn redirect(it: &VirtualRedirect) -> proto::Redirect {
    use weft_proto::route::redirect::Port;
    let from = |source: proto::PortSource| Port::PortFrom(source.into());
    proto::Redirect {
        scheme: it.scheme.as_deref().unwrap_or_default().to_owned(),
        authority: it.authority.as_deref().unwrap_or_default().to_owned(),
        port: Some(match it.port {
            RedirectPort::Unset => from(proto::PortSource::Authority),
            RedirectPort::Number(port) => Port::Number(u32::from(port)),
            RedirectPort::Protocol => from(proto::PortSource::Scheme),
            RedirectPort::Request => from(proto::PortSource::Request),
        }),
        path: it
            .uri
            .as_ref()
            .map(|uri| proto::PathRewrite { kind: Some(NewPath::Full(uri.to_string())) }),
        status: u32::from(it.status),
    }
}

/// Istio's default where no condition is given: what the peer surely didn't process, and gRPC's statuses that say so.
const DEFAULT: [RetryCondition; 4] = [
    RetryCondition::ConnectFailure,
    RetryCondition::RefusedStream,
    RetryCondition::Grpc(14),
    RetryCondition::Grpc(1),
];

fn retry(it: &VirtualRetry) -> proto::Retry {
    let mut built = proto::Retry {
        retries: it.attempts,
        backoff_base_ms: milliseconds(it.backoff),
        reuses_endpoints: it.reuses_endpoints,
        any_locality: it.is_any_locality,
        ..proto::Retry::default()
    };
    let conditions = if it.on.is_empty() { &DEFAULT[..] } else { &it.on };
    for condition in conditions {
        let on = match condition {
            RetryCondition::ServerError => proto::RetryOn::ServerError,
            RetryCondition::GatewayError => proto::RetryOn::GatewayError,
            RetryCondition::Reset => proto::RetryOn::Reset,
            RetryCondition::ResetBeforeRequest => proto::RetryOn::ResetBeforeRequest,
            RetryCondition::ConnectFailure => proto::RetryOn::ConnectFailure,
            RetryCondition::RefusedStream => proto::RetryOn::RefusedStream,
            RetryCondition::Conflict => proto::RetryOn::Conflict,
            RetryCondition::RateLimited => proto::RetryOn::RateLimited,
            RetryCondition::Codes | RetryCondition::Headers => continue,
            RetryCondition::Http(code) => {
                built.http_codes.push(u32::from(*code));
                continue;
            }
            RetryCondition::Grpc(code) => {
                built.grpc_codes.push(*code);
                continue;
            }
        };
        built.on.push(on.into());
    }
    built
}
