//! Retries, faults, CORS, edits of headers, destinations.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::matcher::{self, RawText};
use super::{
    AbortAnswer, RetryCondition, Share, VirtualCors, VirtualDestination, VirtualFault,
    VirtualHeaders, VirtualRetry, VirtualRoute,
};
use crate::objects::Pool;
use crate::objects::duration;
use crate::objects::fields::{self, FieldError, Port};
use crate::objects::route::{HeaderEdit, TextMatch, check_count, check_header, check_length};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawDestination {
    host: String,
    subset: Option<String>,
    port: Option<RawPort>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPort {
    number: Option<Port>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPercent {
    #[serde(default)]
    value: f64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawRoute {
    destination: RawDestination,
    weight: Option<u32>,
    headers: Option<RawHeaders>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHeaders {
    #[serde(default, deserialize_with = "fields::or_default")]
    request: RawEdit,
    #[serde(default, deserialize_with = "fields::or_default")]
    response: RawEdit,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEdit {
    #[serde(default, deserialize_with = "fields::or_default")]
    set: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    add: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    remove: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawRetry {
    #[serde(default, deserialize_with = "fields::or_default")]
    attempts: u32,
    per_try_timeout: Option<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    retry_on: String,
    retry_remote_localities: Option<bool>,
    retry_ignore_previous_hosts: Option<bool>,
    backoff: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawFault {
    delay: Option<RawDelay>,
    abort: Option<RawAbort>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawDelay {
    percent: Option<u32>,
    percentage: Option<RawPercent>,
    fixed_delay: Option<String>,
    exponential_delay: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawAbort {
    percentage: Option<RawPercent>,
    http_status: Option<u16>,
    grpc_status: Option<String>,
    http2_error: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawCors {
    #[serde(default, deserialize_with = "fields::or_default")]
    allow_origin: Vec<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    allow_origins: Vec<RawText>,
    #[serde(default, deserialize_with = "fields::or_default")]
    allow_methods: Vec<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    allow_headers: Vec<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    expose_headers: Vec<String>,
    max_age: Option<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    allow_credentials: bool,
    unmatched_preflights: Option<UnmatchedPreflights>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum UnmatchedPreflights {
    Unspecified,
    Forward,
    Ignore,
}

pub(super) fn limit(
    text: Option<&String>,
    field: &str,
) -> Result<Option<std::time::Duration>, FieldError> {
    let read = |text: &String| duration::parse(text).map_err(|it| FieldError::new(field, it));
    text.map(read).transpose()
}

/// Millionths, so that Istio's smallest share, 0.0001 %, is exact.
pub(super) fn share(percent: f64, field: &str) -> Result<Share, FieldError> {
    let bad = || FieldError::new(field, format!("{percent} is no percentage"));
    if !(0.0..=100.0).contains(&percent) {
        return Err(bad());
    }
    // A whole number below seven digits survives both conversions.
    format!("{:.0}", percent * 10_000.0).parse().map(Share).map_err(|_| bad())
}

impl RawPercent {
    pub(super) fn share(&self, field: &str) -> Result<Share, FieldError> {
        share(self.value, &format!("{field}.value"))
    }
}

impl RawDestination {
    pub(super) fn build(
        &self,
        field: &str,
        pool: &mut Pool,
    ) -> Result<VirtualDestination, FieldError> {
        let host = self.host.to_ascii_lowercase();
        if !fields::is_dns_subdomain(&host) {
            let reason = format!("{:?} is no host's name", self.host);
            return Err(FieldError::new(format!("{field}.host"), reason));
        }
        let subset = self.subset.as_deref().filter(|name| !name.is_empty());
        Ok(VirtualDestination {
            host: pool.text(&host),
            subset: subset.map(|name| pool.text(name)),
            port: self.port.as_ref().and_then(|port| port.number).map(Port::get),
        })
    }
}

/// Backends with their shares. One alone needs no weight.
pub(super) fn routes(
    raw: &[RawRoute],
    field: &str,
    pool: &mut Pool,
) -> Result<Box<[VirtualRoute]>, FieldError> {
    check_count(raw.len(), weft_proto::contract::route::LIST_MAX, field)?;
    let mut built = Vec::with_capacity(raw.len());
    for (at, it) in raw.iter().enumerate() {
        let field = format!("{field}[{at}]");
        built.push(VirtualRoute {
            to: it.destination.build(&format!("{field}.destination"), pool)?,
            weight: it.weight.unwrap_or(u32::from(raw.len() == 1)),
            headers: headers(it.headers.as_ref(), &format!("{field}.headers"), pool)?,
        });
    }
    match built.as_mut_slice() {
        [only] => only.weight = only.weight.max(1),
        many if many.iter().all(|it| it.weight == 0) && !many.is_empty() => {
            return Err(FieldError::new(field, "the weights sum up to nothing"));
        }
        _ => {}
    }
    Ok(built.into())
}

pub(super) fn headers(
    raw: Option<&RawHeaders>,
    field: &str,
    pool: &mut Pool,
) -> Result<VirtualHeaders, FieldError> {
    let Some(raw) = raw else {
        return Ok(VirtualHeaders::default());
    };
    Ok(VirtualHeaders {
        request: edit(&raw.request, &format!("{field}.request"), pool)?,
        response: edit(&raw.response, &format!("{field}.response"), pool)?,
    })
}

fn edit(raw: &RawEdit, field: &str, pool: &mut Pool) -> Result<HeaderEdit, FieldError> {
    let is_request = field.ends_with(".request");
    let counts = [raw.set.len(), raw.add.len(), raw.remove.len()];
    check_count(counts.into_iter().sum(), weft_proto::contract::route::LIST_MAX, field)?;
    let mut pairs = |map: &BTreeMap<String, String>, list: &str| {
        let pairs = map.iter().map(|(name, value)| {
            let field = format!("{field}.{list}.{name}");
            check_header(name, Some(value), &field)?;
            // Replacing a request's host is a rewrite; it can be nothing else.
            let is_host = name.eq_ignore_ascii_case("host") || name == ":authority";
            if is_host && !(is_request && list == "set") {
                return Err(FieldError::new(field, "can only be set, on requests"));
            }
            // Envoy would put something of the request or the connection here.
            if value.contains('%') {
                let reason = "commands of Envoy's between percent signs aren't understood";
                return Err(FieldError::new(field, reason));
            }
            if is_host {
                check_authority(value, &field)?;
            }
            Ok((pool.text(name), pool.text(value)))
        });
        pairs.collect::<Result<Box<[_]>, FieldError>>()
    };
    let (set, add) = (pairs(&raw.set, "set")?, pairs(&raw.add, "add")?);
    for (at, name) in raw.remove.iter().enumerate() {
        check_header(name, None, &format!("{field}.remove[{at}]"))?;
    }
    let remove = raw.remove.iter().map(|name| pool.text(name)).collect();
    Ok(HeaderEdit { set, add, remove })
}

/// A host, and a port if one is given.
pub(super) fn check_authority(text: &str, field: &str) -> Result<(), FieldError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:_[]".contains(&byte);
    match !text.is_empty() && text.len() <= 260 && text.bytes().all(is_plain) {
        true => Ok(()),
        false => Err(FieldError::new(field, format!("{text:?} is no host with an optional port"))),
    }
}

impl RawRetry {
    /// Envoy takes names of headers from its own configuration, to which no field of Istio's leads, or from the request, by
    /// which clients would decide how often applications are asked. So that `retriable-headers` can only be named as ignored.
    pub(super) fn build(
        &self,
        field: &str,
        ignored: &mut Vec<String>,
    ) -> Result<VirtualRetry, FieldError> {
        let mut on = Vec::new();
        for token in self.retry_on.split(',').map(str::trim).filter(|token| !token.is_empty()) {
            let condition = retry_condition(token).ok_or_else(|| {
                let reason = format!("{token:?} is no condition that retries know");
                FieldError::new(format!("{field}.retryOn"), reason)
            })?;
            on.push(condition);
        }
        if on.contains(&RetryCondition::Headers) {
            ignored.push(format!("{field}.retryOn (retriable-headers)"));
        }
        Ok(VirtualRetry {
            attempts: self.attempts,
            attempt_timeout: limit(
                self.per_try_timeout.as_ref(),
                &format!("{field}.perTryTimeout"),
            )?,
            on: on.into(),
            backoff: limit(self.backoff.as_ref(), &format!("{field}.backoff"))?,
            is_any_locality: self.retry_remote_localities.unwrap_or(false),
            reuses_endpoints: !self.retry_ignore_previous_hosts.unwrap_or(true),
        })
    }
}

fn retry_condition(token: &str) -> Option<RetryCondition> {
    Some(match token {
        "5xx" => RetryCondition::ServerError,
        "gateway-error" => RetryCondition::GatewayError,
        "reset" => RetryCondition::Reset,
        "reset-before-request" => RetryCondition::ResetBeforeRequest,
        "connect-failure" => RetryCondition::ConnectFailure,
        "refused-stream" => RetryCondition::RefusedStream,
        "retriable-4xx" => RetryCondition::Conflict,
        "retriable-status-codes" => RetryCondition::Codes,
        "retriable-headers" => RetryCondition::Headers,
        "envoy-ratelimited" => RetryCondition::RateLimited,
        number if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            RetryCondition::Http(number.parse().ok().filter(|code| (100..600).contains(code))?)
        }
        grpc => RetryCondition::Grpc(match grpc {
            "cancelled" => 1,
            "deadline-exceeded" => 4,
            "resource-exhausted" => 8,
            "internal" => 13,
            "unavailable" => 14,
            _ => return None,
        }),
    })
}

impl RawFault {
    /// A fault without a percentage is none, as Istio says.
    pub(super) fn build(
        &self,
        field: &str,
        ignored: &mut Vec<String>,
    ) -> Result<VirtualFault, FieldError> {
        let mut built = VirtualFault::default();
        if let Some(delay) = &self.delay {
            let field = format!("{field}.delay");
            if delay.exponential_delay.is_some() {
                ignored.push(format!("{field}.exponentialDelay"));
            }
            let share = match (&delay.percentage, delay.percent) {
                (Some(percentage), _) => percentage.share(&format!("{field}.percentage"))?,
                (None, percent) => {
                    share(f64::from(percent.unwrap_or(0)), &format!("{field}.percent"))?
                }
            };
            let fixed = limit(delay.fixed_delay.as_ref(), &format!("{field}.fixedDelay"))?;
            built.delay = fixed.map(|fixed| (share, fixed));
        }
        if let Some(abort) = &self.abort {
            let field = format!("{field}.abort");
            let share = match &abort.percentage {
                Some(percentage) => percentage.share(&format!("{field}.percentage"))?,
                None => Share(0),
            };
            if abort.http2_error.is_some() {
                ignored.push(format!("{field}.http2Error"));
            } else {
                built.abort = Some((share, abort.answer(&field)?));
            }
        }
        Ok(built)
    }
}

impl RawAbort {
    fn answer(&self, field: &str) -> Result<AbortAnswer, FieldError> {
        match (self.http_status, &self.grpc_status) {
            (Some(status), None) if (200..600).contains(&status) => Ok(AbortAnswer::Http(status)),
            (Some(status), None) => {
                let reason = format!("{status} is no status from 200 to 599");
                Err(FieldError::new(format!("{field}.httpStatus"), reason))
            }
            (None, Some(name)) => grpc_status(name).map(AbortAnswer::Grpc).ok_or_else(|| {
                let reason = format!("{name:?} is no status of gRPC such as UNAVAILABLE");
                FieldError::new(format!("{field}.grpcStatus"), reason)
            }),
            _ => Err(FieldError::new(field, "needs one of httpStatus and grpcStatus")),
        }
    }
}

fn grpc_status(name: &str) -> Option<u32> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let number = NAMES.iter().position(|own| *own == name);
    number.and_then(|at| u32::try_from(at).ok()).or_else(|| name.parse().ok().filter(|it| *it < 17))
}

impl RawCors {
    pub(super) fn build(&self, field: &str, pool: &mut Pool) -> Result<VirtualCors, FieldError> {
        let mut origins: Vec<TextMatch> =
            self.allow_origin.iter().map(|text| TextMatch::Exact(pool.text(text))).collect();
        for (at, origin) in self.allow_origins.iter().enumerate() {
            origins.push(matcher::text(origin, &format!("{field}.allowOrigins[{at}]"), pool)?);
        }
        check_count(origins.len(), 64, field)?;
        let mut names = |list: &[String], name: &str| {
            let field = format!("{field}.{name}");
            check_count(list.len(), 64, &field)?;
            let names = list.iter().map(|text| {
                check_length(text, &field)?;
                match ::http::HeaderName::from_bytes(text.as_bytes()).is_ok() {
                    true => Ok(pool.text(text)),
                    false => Err(FieldError::new(&field, format!("{text:?} is no name"))),
                }
            });
            names.collect::<Result<Box<[Arc<str>]>, FieldError>>()
        };
        Ok(VirtualCors {
            methods: names(&self.allow_methods, "allowMethods")?,
            headers: names(&self.allow_headers, "allowHeaders")?,
            exposed: names(&self.expose_headers, "exposeHeaders")?,
            max_age: limit(self.max_age.as_ref(), &format!("{field}.maxAge"))?,
            allows_credentials: self.allow_credentials,
            forwards_unmatched: self.unmatched_preflights != Some(UnmatchedPreflights::Ignore),
            origins: origins.into(),
        })
    }
}
