//! HTTP rules.

use std::sync::Arc;

use serde::Deserialize;

use super::matcher::{self, RawMatch};
use super::parts::{
    self, RawCors, RawDestination, RawFault, RawHeaders, RawPercent, RawRetry, RawRoute,
};
use super::{
    RedirectPort, Share, VirtualDestination, VirtualHttp, VirtualOutcome, VirtualRedirect,
    VirtualRewrite,
};
use crate::objects::Pool;
use crate::objects::fields::{self, FieldError, Port};
use crate::objects::meta::Meta;
use crate::objects::route::{check_count, check_length, checked_regex};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawHttp {
    name: Option<String>,
    #[serde(rename = "match", default, deserialize_with = "fields::or_default")]
    matches: Vec<RawMatch>,
    #[serde(default, deserialize_with = "fields::or_default")]
    route: Vec<RawRoute>,
    redirect: Option<RawRedirect>,
    direct_response: Option<RawDirect>,
    delegate: Option<RawDelegate>,
    rewrite: Option<RawRewrite>,
    timeout: Option<String>,
    retries: Option<RawRetry>,
    fault: Option<RawFault>,
    mirror: Option<RawDestination>,
    #[serde(alias = "mirror_percent")]
    mirror_percent: Option<u32>,
    mirror_percentage: Option<RawPercent>,
    #[serde(default, deserialize_with = "fields::or_default")]
    mirrors: Vec<RawMirror>,
    cors_policy: Option<RawCors>,
    headers: Option<RawHeaders>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMirror {
    destination: RawDestination,
    percentage: Option<RawPercent>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawRedirect {
    uri: Option<String>,
    authority: Option<String>,
    port: Option<Port>,
    derive_port: Option<DerivePort>,
    scheme: Option<String>,
    redirect_code: Option<u16>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum DerivePort {
    FromProtocolDefault,
    FromRequestPort,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDirect {
    status: u16,
    body: Option<RawBody>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBody {
    string: Option<String>,
    bytes: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDelegate {
    name: String,
    namespace: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawRewrite {
    uri: Option<String>,
    authority: Option<String>,
    uri_regex_rewrite: Option<RawRegexRewrite>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRegexRewrite {
    #[serde(rename = "match")]
    pattern: String,
    rewrite: String,
}

/// A rule; nothing if it is for ingress gateways alone.
pub(super) fn rule(
    raw: &RawHttp,
    place: usize,
    meta: &Meta,
    ignored: &mut Vec<String>,
    pool: &mut Pool,
) -> Result<Option<VirtualHttp>, FieldError> {
    let field = format!("spec.http[{place}]");
    let matches = matcher::all(&raw.matches, &format!("{field}.match"), pool)?;
    let retries = raw.retries.as_ref();
    let fault = raw.fault.as_ref();
    let cors = raw.cors_policy.as_ref();
    let built = VirtualHttp {
        place,
        name: raw.name.as_deref().map(|name| pool.text(name)),
        matches: matches.clone().unwrap_or_default(),
        outcome: outcome(raw, meta, &field, pool)?,
        rewrite: raw
            .rewrite
            .as_ref()
            .map(|it| it.build(&format!("{field}.rewrite"), pool))
            .transpose()?,
        timeout: parts::limit(raw.timeout.as_ref(), &format!("{field}.timeout"))?,
        retries: retries.map(|it| it.build(&format!("{field}.retries"), ignored)).transpose()?,
        fault: fault.map(|it| it.build(&format!("{field}.fault"), ignored)).transpose()?,
        mirrors: mirrors(raw, &field, pool)?,
        cors: cors.map(|it| it.build(&format!("{field}.corsPolicy"), pool)).transpose()?,
        headers: parts::headers(raw.headers.as_ref(), &format!("{field}.headers"), pool)?,
    };
    Ok(matches.is_some().then_some(built))
}

fn outcome(
    raw: &RawHttp,
    meta: &Meta,
    field: &str,
    pool: &mut Pool,
) -> Result<VirtualOutcome, FieldError> {
    let given = [
        !raw.route.is_empty(),
        raw.redirect.is_some(),
        raw.direct_response.is_some(),
        raw.delegate.is_some(),
    ];
    if given.into_iter().filter(|it| *it).count() != 1 {
        let reason = "needs one of route, redirect, directResponse and delegate";
        return Err(FieldError::new(field, reason));
    }
    if let Some(redirect) = &raw.redirect {
        return redirect.build(&format!("{field}.redirect"), pool).map(VirtualOutcome::Redirect);
    }
    if let Some(direct) = &raw.direct_response {
        return direct.build(&format!("{field}.directResponse"));
    }
    if let Some(delegate) = &raw.delegate {
        let namespace = delegate.namespace.as_deref().filter(|it| !it.is_empty());
        return Ok(VirtualOutcome::Delegate {
            namespace: namespace.map_or_else(|| meta.namespace.clone(), |it| pool.text(it)),
            name: pool.text(&delegate.name),
        });
    }
    Ok(VirtualOutcome::Route(parts::routes(&raw.route, &format!("{field}.route"), pool)?))
}

impl RawRedirect {
    fn build(&self, field: &str, pool: &mut Pool) -> Result<VirtualRedirect, FieldError> {
        let status = self.redirect_code.unwrap_or(301);
        if ![301, 302, 303, 307, 308].contains(&status) {
            let reason = format!("{status} is none of 301, 302, 303, 307, 308");
            return Err(FieldError::new(format!("{field}.redirectCode"), reason));
        }
        if let Some(scheme) = self.scheme.as_deref().filter(|it| !["http", "https"].contains(it)) {
            let reason = format!("{scheme:?} is neither http nor https");
            return Err(FieldError::new(format!("{field}.scheme"), reason));
        }
        let port = match (self.port, self.derive_port) {
            (None, None) => RedirectPort::Unset,
            (Some(port), None) => RedirectPort::Number(port.get()),
            (None, Some(DerivePort::FromProtocolDefault)) => RedirectPort::Protocol,
            (None, Some(DerivePort::FromRequestPort)) => RedirectPort::Request,
            (Some(_), Some(_)) => {
                let reason = "can't be given together with derivePort";
                return Err(FieldError::new(format!("{field}.port"), reason));
            }
        };
        Ok(VirtualRedirect {
            uri: path(self.uri.as_deref(), &format!("{field}.uri"), pool)?,
            authority: authority(self.authority.as_deref(), field, pool)?,
            port,
            scheme: self.scheme.as_deref().map(|scheme| pool.text(scheme)),
            status,
        })
    }
}

impl RawDirect {
    fn build(&self, field: &str) -> Result<VirtualOutcome, FieldError> {
        use base64::Engine as _;
        let bad =
            |name: &str, reason: String| Err(FieldError::new(format!("{field}.{name}"), reason));
        if !(200..600).contains(&self.status) {
            return bad("status", format!("{} is no status from 200 to 599", self.status));
        }
        let body: Vec<u8> = match &self.body {
            None | Some(RawBody { string: None, bytes: None }) => Vec::new(),
            Some(RawBody { string: Some(text), bytes: None }) => text.as_bytes().into(),
            Some(RawBody { string: None, bytes: Some(text) }) => {
                match base64::engine::general_purpose::STANDARD.decode(text) {
                    Ok(bytes) => bytes,
                    Err(error) => return bad("body.bytes", format!("is no base64: {error}")),
                }
            }
            Some(_) => return bad("body", "needs one of string and bytes".to_owned()),
        };
        const MAX: usize = weft_proto::contract::route::DIRECT_BODY_BYTES_MAX;
        match body.len() > MAX {
            true => bad("body", format!("is longer than {MAX} bytes")),
            false => Ok(VirtualOutcome::Direct { status: self.status, body: body.into() }),
        }
    }
}

impl RawRewrite {
    fn build(&self, field: &str, pool: &mut Pool) -> Result<VirtualRewrite, FieldError> {
        let regex = match &self.uri_regex_rewrite {
            None => None,
            Some(_) if self.uri.is_some() => {
                let reason = "can't be given together with uri";
                return Err(FieldError::new(format!("{field}.uriRegexRewrite"), reason));
            }
            Some(it) => {
                let field = format!("{field}.uriRegexRewrite");
                let pattern = checked_regex(&it.pattern, &format!("{field}.match"), pool)?;
                let rewrite = path(Some(&it.rewrite), &format!("{field}.rewrite"), pool)?;
                check_groups(&it.pattern, &it.rewrite, &format!("{field}.rewrite"))?;
                rewrite.map(|rewrite| (pattern, rewrite))
            }
        };
        Ok(VirtualRewrite {
            uri: path(self.uri.as_deref(), &format!("{field}.uri"), pool)?,
            regex,
            authority: authority(self.authority.as_deref(), field, pool)?,
        })
    }
}

/// `\1` and the like have to name groups that the pattern has.
fn check_groups(pattern: &str, rewrite: &str, field: &str) -> Result<(), FieldError> {
    let hir = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build().parse(pattern);
    let groups = hir.map_or(0, |hir| hir.properties().explicit_captures_len());
    let mut characters = rewrite.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            continue;
        }
        let is_sound = match characters.next() {
            Some('\\') => true,
            Some(digit) => digit
                .to_digit(10)
                .is_some_and(|digit| usize::try_from(digit).is_ok_and(|digit| digit <= groups)),
            None => false,
        };
        if !is_sound {
            let reason = "has a backslash before neither a group's number nor a backslash";
            return Err(FieldError::new(field, reason));
        }
    }
    Ok(())
}

fn path(text: Option<&str>, field: &str, pool: &mut Pool) -> Result<Option<Arc<str>>, FieldError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    check_length(text, field)?;
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"?#".contains(&byte);
    match text.bytes().all(is_plain) {
        true => Ok(Some(pool.text(text))),
        false => Err(FieldError::new(field, format!("{text:?} is no path"))),
    }
}

fn authority(
    text: Option<&str>,
    field: &str,
    pool: &mut Pool,
) -> Result<Option<Arc<str>>, FieldError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    parts::check_authority(text, &format!("{field}.authority"))?;
    Ok(Some(pool.text(text)))
}

type Mirrors = Box<[(VirtualDestination, Share)]>;

fn mirrors(raw: &RawHttp, field: &str, pool: &mut Pool) -> Result<Mirrors, FieldError> {
    let all = Share(1_000_000);
    let mut built = Vec::new();
    if let Some(mirror) = &raw.mirror {
        let share = match (&raw.mirror_percentage, raw.mirror_percent) {
            (Some(percentage), _) => percentage.share(&format!("{field}.mirrorPercentage"))?,
            (None, Some(percent)) => {
                parts::share(f64::from(percent), &format!("{field}.mirrorPercent"))?
            }
            (None, None) => all,
        };
        built.push((mirror.build(&format!("{field}.mirror"), pool)?, share));
    }
    check_count(raw.mirrors.len(), 16, &format!("{field}.mirrors"))?;
    for (at, mirror) in raw.mirrors.iter().enumerate() {
        let field = format!("{field}.mirrors[{at}]");
        let share = match &mirror.percentage {
            Some(percentage) => percentage.share(&format!("{field}.percentage"))?,
            None => all,
        };
        built.push((mirror.destination.build(&format!("{field}.destination"), pool)?, share));
    }
    Ok(built.into())
}
