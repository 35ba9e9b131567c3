//! Actions: understood entirely, or they answer 500.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::HeaderValue;
use weft_proto::route as proto;
use weft_proto::route::http_action::Outcome as WireOutcome;
use weft_proto::route::redirect::Port as WirePort;
use weft_proto::route::weighted_backend::Target as WireTarget;

use super::at::At;
use super::{Bad, Effect, Report, filters};
use crate::limits;
use crate::route::action::{Action, DirectResponse, Filters, Forward, Origin, Outcome};
use crate::route::backend::{Backend, Backends, Destination, Protocol, Subset, Target};
use crate::route::headers::HeaderEdit;
use crate::route::redirect::{Redirect, RedirectPort};
use crate::route::resilience::{Retry, RetryOn, Timeouts};
use crate::session::{self, Session};

pub(super) fn action(action: &proto::HttpAction, at: &At<'_>, report: &mut Report) -> Action {
    let built = filters::all(&action.filters, at, report)
        .and_then(|filters| Ok((filters, outcome(action.outcome.as_ref(), at, report)?)));
    let (filters, outcome) = built.unwrap_or_else(|bad| {
        report.note(bad, Effect::Answers500);
        (Filters::default(), Outcome::Broken)
    });
    Action { origin: origin(action.origin.as_ref()), filters, outcome }
}

pub(super) fn origin(origin: Option<&proto::Origin>) -> Origin {
    origin.map_or_else(Origin::default, |it| Origin {
        kind: it.kind.as_str().into(),
        namespace: it.namespace.as_str().into(),
        name: it.name.as_str().into(),
        rule: it.rule.as_str().into(),
        index: it.index,
    })
}

fn outcome(
    outcome: Option<&WireOutcome>,
    at: &At<'_>,
    report: &mut Report,
) -> Result<Outcome, Bad> {
    Ok(match outcome.ok_or_else(|| Bad::unknown(&at.field("outcome")))? {
        WireOutcome::Forward(it) => {
            let at = at.field("forward");
            let limit = |ms: u64| (ms > 0).then(|| milliseconds(ms));
            Outcome::Forward(Forward {
                backends: backends(&it.backends, &at, report),
                timeouts: Timeouts {
                    request: limit(it.request_timeout_ms),
                    attempt: limit(it.attempt_timeout_ms),
                },
                retry: it.retry.as_ref().map(|retry| typed_retry(retry, &at, report)),
                session: it
                    .session
                    .as_ref()
                    .and_then(|session| typed_session(session, &at, report)),
            })
        }
        WireOutcome::Redirect(it) => {
            Outcome::Redirect(redirect(it, &at.field("redirect"), report)?)
        }
        WireOutcome::Direct(it) => Outcome::Direct(direct(it, &at.field("direct"))?),
    })
}

pub(super) fn backends(
    backends: &[proto::WeightedBackend],
    at: &At<'_>,
    report: &mut Report,
) -> Backends {
    let mut built = Vec::with_capacity(backends.len().min(limits::LIST_MAX));
    for (place, it) in backends.iter().enumerate() {
        let at = at.entry("backends", place);
        let backend = match place < limits::LIST_MAX {
            true => backend(it, &at, report),
            false => Err(Bad::new(&at, format!("is beyond the {} of one rule", limits::LIST_MAX))),
        };
        let backend = backend.unwrap_or_else(|bad| {
            let reason = format!("{}: {}", bad.field, bad.reason);
            report.note(bad, Effect::BackendAnswers500);
            Backend {
                target: Target::Invalid(reason.into()),
                request_headers: HeaderEdit::default(),
                response_headers: HeaderEdit::default(),
                authority: None,
            }
        });
        built.push((it.weight, backend));
    }
    Backends::new(built)
}

fn backend(
    backend: &proto::WeightedBackend,
    at: &At<'_>,
    report: &mut Report,
) -> Result<Backend, Bad> {
    let target = match backend.target.as_ref().ok_or_else(|| Bad::unknown(&at.field("target")))? {
        WireTarget::To(it) => Target::To(destination(it, &at.field("to"))?),
        WireTarget::Invalid(reason) => Target::Invalid(reason.as_str().into()),
    };
    let filters = filters::all(&backend.filters, at, report)?;
    let is_more = filters.path.is_some()
        || filters.cors.is_some()
        || !filters.mirrors.is_empty()
        || filters.fault != Default::default();
    if is_more {
        let reason = "has a filter that a backend can't have";
        return Err(Bad::new(&at.field("filters"), reason));
    }
    Ok(Backend {
        target,
        request_headers: filters.request_headers,
        response_headers: filters.response_headers,
        authority: filters.authority,
    })
}

pub(super) fn destination(it: &proto::Destination, at: &At<'_>) -> Result<Destination, Bad> {
    if it.hostname.is_empty() {
        return Err(Bad::new(&at.field("hostname"), "is missing"));
    }
    let port = u16::try_from(it.port)
        .map_err(|_| Bad::new(&at.field("port"), format!("{} is no port", it.port)))?;
    Ok(Destination {
        namespace: it.namespace.as_str().into(),
        hostname: it.hostname.as_str().into(),
        port: (port > 0).then_some(port),
        subset: it.subset.as_ref().map(|subset| Subset {
            name: subset.name.as_str().into(),
            labels: subset
                .labels
                .iter()
                .map(|(key, value)| (key.as_str().into(), value.as_str().into()))
                .collect(),
        }),
        protocol: match proto::Protocol::try_from(it.protocol) {
            Ok(proto::Protocol::Http1) => Protocol::Http1,
            Ok(proto::Protocol::Http2) => Protocol::Http2,
            Ok(proto::Protocol::Auto) | Err(_) => Protocol::Auto,
        },
    })
}

fn redirect(it: &proto::Redirect, at: &At<'_>, report: &mut Report) -> Result<Redirect, Bad> {
    const STATUSES: [u32; 5] = [301, 302, 303, 307, 308];
    let status = status(it.status).filter(|_| STATUSES.contains(&it.status));
    let port = match it.port {
        None => RedirectPort::Authority,
        Some(WirePort::Number(number)) => {
            let number = u16::try_from(number).ok().filter(|number| *number > 0);
            let bad = || Bad::new(&at.field("number"), "is no port");
            RedirectPort::Number(number.ok_or_else(bad)?)
        }
        Some(WirePort::PortFrom(source)) => match proto::PortSource::try_from(source) {
            Ok(proto::PortSource::Authority) => RedirectPort::Authority,
            Ok(proto::PortSource::Scheme) => RedirectPort::Scheme,
            Ok(proto::PortSource::Request) => RedirectPort::Request,
            Err(_) => return Err(Bad::unknown(&at.field("port_from"))),
        },
    };
    for (field, text) in [("scheme", &it.scheme), ("authority", &it.authority)] {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:_[]+".contains(&byte);
        if !text.bytes().all(is_plain) {
            return Err(Bad::new(&at.field(field), format!("{text:?} is none")));
        }
    }
    let some = |text: &str| (!text.is_empty()).then(|| text.into());
    let path = it.path.as_ref();
    Ok(Redirect {
        scheme: some(&it.scheme),
        authority: some(&it.authority),
        port,
        path: path.map(|it| filters::path_rewrite(it, &at.field("path"), report)).transpose()?,
        status: status
            .ok_or_else(|| Bad::new(&at.field("status"), format!("{} is none", it.status)))?,
    })
}

fn direct(it: &proto::DirectResponse, at: &At<'_>) -> Result<DirectResponse, Bad> {
    if it.body.len() > limits::DIRECT_BODY_BYTES_MAX {
        let reason = format!("is longer than {} bytes", limits::DIRECT_BODY_BYTES_MAX);
        return Err(Bad::new(&at.field("body"), reason));
    }
    let content_type = match it.content_type.as_str() {
        "" => Ok(HeaderValue::from_static("text/plain")),
        text => HeaderValue::from_str(text),
    };
    Ok(DirectResponse {
        status: final_status(it.status, &at.field("status"))?,
        body: it.body.as_slice().into(),
        content_type: content_type
            .map_err(|_| Bad::new(&at.field("content_type"), "is no header's value"))?,
    })
}

/// A status that ends an exchange.
pub(super) fn final_status(number: u32, at: &At<'_>) -> Result<StatusCode, Bad> {
    let status = status(number).filter(|_| (200..600).contains(&number));
    status.ok_or_else(|| Bad::new(at, format!("{number} is no status of an answer")))
}

fn status(number: u32) -> Option<StatusCode> {
    u16::try_from(number).ok().and_then(|number| StatusCode::from_u16(number).ok())
}

pub(super) fn milliseconds(number: u64) -> Duration {
    Duration::from_millis(number.min(limits::MILLISECONDS_MAX))
}

/// Without what isn't understood requests are balanced, as where an endpoint has gone.
fn typed_session(it: &proto::Session, at: &At<'_>, report: &mut Report) -> Option<Arc<Session>> {
    let decoded = session::decode(it);
    decoded
        .map(Arc::new)
        .map_err(|reason| {
            report.note(Bad::new(&at.field("session"), reason), Effect::Skipped);
        })
        .ok()
}

fn typed_retry(it: &proto::Retry, at: &At<'_>, report: &mut Report) -> Retry {
    let at = at.field("retry");
    let mut on = Vec::new();
    for (place, number) in it.on.iter().enumerate() {
        match retry_on(*number) {
            Some(Some(condition)) => on.push(condition),
            Some(None) => {}
            None => report.note(Bad::unknown(&at.entry("on", place)), Effect::Skipped),
        }
    }
    let base = if it.backoff_base_ms == 0 { 25 } else { it.backoff_base_ms };
    let max = if it.backoff_max_ms == 0 { base.saturating_mul(10) } else { it.backoff_max_ms };
    let http_codes = it.http_codes.iter().filter_map(|code| u16::try_from(*code).ok());
    Retry {
        retries: it.retries.min(limits::RETRIES_MAX),
        on: on.into(),
        http_codes: http_codes.collect(),
        grpc_codes: it.grpc_codes.as_slice().into(),
        backoff_base: milliseconds(base.min(max)),
        backoff_max: milliseconds(max),
        reuses_endpoints: it.reuses_endpoints,
        is_any_locality: it.any_locality,
    }
}

/// `None`: a later version's.
fn retry_on(number: i32) -> Option<Option<RetryOn>> {
    Some(match proto::RetryOn::try_from(number).ok()? {
        proto::RetryOn::Never => None,
        proto::RetryOn::ConnectFailure => Some(RetryOn::ConnectFailure),
        proto::RetryOn::RefusedStream => Some(RetryOn::RefusedStream),
        proto::RetryOn::Reset => Some(RetryOn::Reset),
        proto::RetryOn::ResetBeforeRequest => Some(RetryOn::ResetBeforeRequest),
        proto::RetryOn::GatewayError => Some(RetryOn::GatewayError),
        proto::RetryOn::ServerError => Some(RetryOn::ServerError),
        proto::RetryOn::Conflict => Some(RetryOn::Conflict),
        proto::RetryOn::AttemptTimeout => Some(RetryOn::AttemptTimeout),
        proto::RetryOn::RateLimited => Some(RetryOn::RateLimited),
    })
}
