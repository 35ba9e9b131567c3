//! Filters: understood entirely, or their action answers 500.

use http::header::{HeaderName, HeaderValue};
use weft_proto::route as proto;
use weft_proto::route::abort::Answer as WireAnswer;
use weft_proto::route::filter::Kind as WireKind;
use weft_proto::route::path_rewrite::Kind as WireRewrite;

use super::at::At;
use super::{Bad, Report, actions, conditions};
use crate::limits;
use crate::route::action::{Filters, Mirror};
use crate::route::cors::{Cors, Listed};
use crate::route::fraction::Fraction;
use crate::route::headers::is_framing;
use crate::route::pattern::Pattern;
use crate::route::resilience::{Abort, Fault};
use crate::route::rewrite::{PathRewrite, Replacement};

pub(super) fn all(
    filters: &[proto::Filter],
    at: &At<'_>,
    report: &mut Report,
) -> Result<Filters, Bad> {
    let mut built = Filters::default();
    if filters.len() > limits::LIST_MAX {
        return Err(Bad::new(&at.field("filters"), "has too many entries"));
    }
    for (place, filter) in filters.iter().enumerate() {
        let at = at.entry("filters", place);
        match filter.kind.as_ref().ok_or_else(|| Bad::unknown(&at))? {
            WireKind::RequestHeaders(it) => {
                request_headers(it, &at.field("request_headers"), &mut built)?;
            }
            WireKind::ResponseHeaders(it) => {
                response_headers(it, &at.field("response_headers"), &mut built)?;
            }
            WireKind::Rewrite(it) => {
                let at = at.field("rewrite");
                if !it.authority.is_empty() {
                    built.authority = Some(authority(&it.authority, &at.field("authority"))?);
                }
                if let Some(path) = &it.path {
                    built.path = Some(path_rewrite(path, &at.field("path"), report)?);
                }
            }
            WireKind::Mirror(it) => built.mirrors.push(mirror(it, &at.field("mirror"))?),
            WireKind::Cors(it) => built.cors = Some(cors(it, &at.field("cors"), report)?),
            WireKind::Fault(it) => built.fault = fault(it, &at.field("fault"))?,
        }
    }
    Ok(built)
}

fn request_headers(edit: &proto::HeaderEdit, at: &At<'_>, built: &mut Filters) -> Result<(), Bad> {
    check_length(edit, at)?;
    for (place, header) in edit.set.iter().enumerate() {
        let at = at.entry("set", place);
        if is_authority(&header.name) {
            built.authority = Some(authority(&header.value, &at)?);
        } else {
            built.request_headers.set.push(pair(header, &at)?);
        }
    }
    for (place, header) in edit.add.iter().enumerate() {
        built.request_headers.add.push(pair(header, &at.entry("add", place))?);
    }
    for (place, header) in edit.remove.iter().enumerate() {
        built.request_headers.remove.push(name(header, &at.entry("remove", place))?);
    }
    Ok(())
}

fn response_headers(edit: &proto::HeaderEdit, at: &At<'_>, built: &mut Filters) -> Result<(), Bad> {
    check_length(edit, at)?;
    let headers = &mut built.response_headers;
    for (place, header) in edit.set.iter().enumerate() {
        headers.set.push(pair(header, &at.entry("set", place))?);
    }
    for (place, header) in edit.add.iter().enumerate() {
        headers.add.push(pair(header, &at.entry("add", place))?);
    }
    for (place, header) in edit.remove.iter().enumerate() {
        headers.remove.push(name(header, &at.entry("remove", place))?);
    }
    Ok(())
}

fn check_length(edit: &proto::HeaderEdit, at: &At<'_>) -> Result<(), Bad> {
    match edit.set.len() + edit.add.len() + edit.remove.len() > limits::LIST_MAX {
        true => Err(Bad::new(at, "has too many entries")),
        false => Ok(()),
    }
}

fn is_authority(name: &str) -> bool {
    name == ":authority" || name.eq_ignore_ascii_case("host")
}

/// What stands for a host and a port. Anything else in it would end up in a request line.
fn authority(text: &str, at: &At<'_>) -> Result<HeaderValue, Bad> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:_[]%~".contains(&byte);
    let value = HeaderValue::from_str(text).ok();
    let value = value.filter(|_| !text.is_empty() && text.bytes().all(is_plain));
    value.ok_or_else(|| Bad::new(at, format!("{text:?} is no host with an optional port")))
}

fn pair(header: &proto::Header, at: &At<'_>) -> Result<(HeaderName, HeaderValue), Bad> {
    let value = HeaderValue::from_str(&header.value)
        .map_err(|_| Bad::new(&at.field("value"), "is no header's value"))?;
    conditions::bounded(&header.value, &at.field("value"))?;
    Ok((name(&header.name, &at.field("name"))?, value))
}

fn name(text: &str, at: &At<'_>) -> Result<HeaderName, Bad> {
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| Bad::new(at, format!("{text:?} is no header's name")))?;
    if is_framing(&name) || is_authority(text) {
        return Err(Bad::new(at, format!("{name} is not for rules to edit")));
    }
    Ok(name)
}

pub(super) fn path_rewrite(
    it: &proto::PathRewrite,
    at: &At<'_>,
    report: &mut Report,
) -> Result<PathRewrite, Bad> {
    Ok(match it.kind.as_ref().ok_or_else(|| Bad::unknown(at))? {
        WireRewrite::Full(text) => PathRewrite::Full(path(text, &at.field("full"))?),
        WireRewrite::Prefix(text) => PathRewrite::Prefix(path(text, &at.field("prefix"))?),
        WireRewrite::Regex(it) => {
            let at = at.field("regex");
            let built = report.count_pattern().and_then(|()| Pattern::anywhere(&it.pattern));
            let pattern = built.map_err(|reason| Bad::new(&at.field("pattern"), reason))?;
            let groups = pattern.regex().captures_len();
            path(&it.replacement, &at.field("replacement"))?;
            let replacement = Replacement::parse(&it.replacement, groups)
                .map_err(|reason| Bad::new(&at.field("replacement"), reason))?;
            PathRewrite::Pattern { pattern, replacement }
        }
    })
}

/// What may stand in a request line. A query would be taken for the client's.
fn path(text: &str, at: &At<'_>) -> Result<Box<str>, Bad> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"?#".contains(&byte);
    match text.bytes().all(is_plain) {
        true => conditions::bounded(text, at),
        false => Err(Bad::new(at, format!("{text:?} is no path"))),
    }
}

fn mirror(it: &proto::Mirror, at: &At<'_>) -> Result<Mirror, Bad> {
    let to = it.to.as_ref().ok_or_else(|| Bad::new(&at.field("to"), "is missing"))?;
    Ok(Mirror {
        to: actions::destination(to, &at.field("to"))?,
        share: it.share.map_or(Fraction::ALL, fraction),
    })
}

/// A share above the whole is the whole.
fn fraction(it: proto::Fraction) -> Fraction {
    let denominator = if it.denominator == 0 { 100 } else { it.denominator };
    Fraction { numerator: it.numerator.min(denominator), denominator }
}

fn fault(it: &proto::Fault, at: &At<'_>) -> Result<Fault, Bad> {
    let delay = it.delay.as_ref().map(|delay| {
        let share = delay.share.map_or(Fraction::ALL, fraction);
        (share, actions::milliseconds(delay.delay_ms))
    });
    let abort = it.abort.as_ref().map(|abort| {
        let at = at.field("abort");
        let share = abort.share.map_or(Fraction::ALL, fraction);
        let answer = match abort.answer.as_ref().ok_or_else(|| Bad::unknown(&at.field("answer")))? {
            WireAnswer::HttpStatus(number) => {
                Abort::Http(actions::final_status(*number, &at.field("http_status"))?)
            }
            WireAnswer::GrpcStatus(number) => Abort::Grpc(*number),
        };
        Ok((share, answer))
    });
    Ok(Fault { delay, abort: abort.transpose()? })
}

fn cors(it: &proto::Cors, at: &At<'_>, report: &mut Report) -> Result<Cors, Bad> {
    if it.allow_origins.len() > limits::LIST_MAX {
        return Err(Bad::new(&at.field("allow_origins"), "has too many entries"));
    }
    let mut is_any_origin = false;
    let mut origins = Vec::with_capacity(it.allow_origins.len());
    for (place, origin) in it.allow_origins.iter().enumerate() {
        let origin = conditions::text(origin, &at.entry("allow_origins", place), report)?;
        is_any_origin |= origin.only() == Some("*");
        origins.push(origin);
    }
    let exposed = match listed(&it.expose_headers, &at.field("expose_headers"))? {
        Listed::None => None,
        Listed::These(value) => Some(value),
        Listed::Any => Some(HeaderValue::from_static("*")),
    };
    Ok(Cors {
        origins: origins.into(),
        is_any_origin,
        methods: listed(&it.allow_methods, &at.field("allow_methods"))?,
        headers: listed(&it.allow_headers, &at.field("allow_headers"))?,
        exposed,
        max_age: it.max_age_s.map(HeaderValue::from),
        allows_credentials: it.allow_credentials,
        forwards_unmatched: it.forwards_unmatched_preflights,
    })
}

fn listed(names: &[String], at: &At<'_>) -> Result<Listed, Bad> {
    if names.len() > limits::LIST_MAX {
        return Err(Bad::new(at, "has too many entries"));
    }
    if names.iter().any(|name| name == "*") {
        return Ok(Listed::Any);
    }
    for name in names {
        HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Bad::new(at, format!("{name:?} is no name")))?;
    }
    let joined = HeaderValue::from_str(&names.join(", "));
    match names {
        [] => Ok(Listed::None),
        _ => joined.map(Listed::These).map_err(|_| Bad::new(at, "is no header's value")),
    }
}
