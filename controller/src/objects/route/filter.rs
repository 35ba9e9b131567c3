//! What routes do to requests on the way.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::matcher::{check_count, check_length};
use super::refs::{BackendRef, RawRef};
use crate::objects::Pool;
use crate::objects::fields::{self, FieldError, Port};
use crate::objects::meta::Meta;

/// A filter.
#[derive(Debug, Clone, PartialEq)]
pub enum RouteFilter {
    /// On requests.
    RequestHeaders(HeaderEdit),
    /// On responses.
    ResponseHeaders(HeaderEdit),
    /// Copies.
    Mirror(MirrorRule),
    /// An answer that sends the client elsewhere.
    Redirect(RedirectRule),
    /// New host and path.
    Rewrite(RewriteRule),
    /// Who may read responses from a script.
    Cors(CorsRule),
    /// One that isn't carried out: requests are answered 500. With its type.
    Unsupported(Arc<str>),
}

/// Edits of headers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderEdit {
    /// Replaces all values.
    pub set: Box<[(Arc<str>, Arc<str>)]>,
    /// A further value.
    pub add: Box<[(Arc<str>, Arc<str>)]>,
    /// Names.
    pub remove: Box<[Arc<str>]>,
}

/// Copies of some requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorRule {
    /// Where they go.
    pub to: BackendRef,
    /// Numerator and denominator of the share.
    pub share: (u32, u32),
}

/// How a path changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathChange {
    /// This path instead.
    Full(Arc<str>),
    /// In place of the prefix that matched.
    Prefix(Arc<str>),
}

/// Where a client is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectRule {
    /// `http` or `https`.
    pub scheme: Option<Arc<str>>,
    /// The new host.
    pub hostname: Option<Arc<str>>,
    /// The new path.
    pub path: Option<PathChange>,
    /// The new port.
    pub port: Option<u16>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// New host and path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewriteRule {
    /// The new host.
    pub hostname: Option<Arc<str>>,
    /// The new path.
    pub path: Option<PathChange>,
}

/// Who may read responses from a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorsRule {
    /// Origins, with `*` for a whole one or within the host.
    pub origins: Box<[Arc<str>]>,
    /// Methods, or `*`.
    pub methods: Box<[Arc<str>]>,
    /// Headers of requests, or `*`.
    pub headers: Box<[Arc<str>]>,
    /// Headers of responses, or `*`.
    pub exposed: Box<[Arc<str>]>,
    /// Requests may carry cookies and the like.
    pub allows_credentials: bool,
    /// Seconds that a browser remembers the answer.
    pub max_age_s: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawFilter {
    #[serde(rename = "type")]
    kind: String,
    request_header_modifier: Option<RawHeaderEdit>,
    response_header_modifier: Option<RawHeaderEdit>,
    request_mirror: Option<RawMirror>,
    request_redirect: Option<RawRedirect>,
    url_rewrite: Option<RawRewrite>,
    cors: Option<RawCors>,
    #[expect(dead_code, reason = "known; filters of this type answer 500")]
    extension_ref: Option<IgnoredAny>,
    #[expect(dead_code, reason = "known; filters of this type answer 500")]
    external_auth: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawHeaderEdit {
    #[serde(default, deserialize_with = "fields::or_default")]
    set: Vec<RawHeader>,
    #[serde(default, deserialize_with = "fields::or_default")]
    add: Vec<RawHeader>,
    #[serde(default, deserialize_with = "fields::or_default")]
    remove: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHeader {
    name: String,
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawMirror {
    backend_ref: RawRef,
    percent: Option<u32>,
    fraction: Option<RawFraction>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFraction {
    numerator: u32,
    denominator: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawRedirect {
    scheme: Option<String>,
    hostname: Option<String>,
    path: Option<RawPathChange>,
    port: Option<Port>,
    status_code: Option<u16>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawRewrite {
    hostname: Option<String>,
    path: Option<RawPathChange>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawPathChange {
    #[serde(rename = "type")]
    kind: PathChangeType,
    replace_full_path: Option<String>,
    replace_prefix_match: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum PathChangeType {
    ReplaceFullPath,
    ReplacePrefixMatch,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawCors {
    #[serde(default, deserialize_with = "fields::or_default")]
    allow_origins: Vec<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    allow_credentials: bool,
    #[serde(default, deserialize_with = "fields::or_default")]
    allow_methods: Vec<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    allow_headers: Vec<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    expose_headers: Vec<String>,
    max_age: Option<u32>,
}

pub(super) fn filters(
    raw: &[RawFilter],
    meta: &Meta,
    field: &str,
    pool: &mut Pool,
) -> Result<Box<[RouteFilter]>, FieldError> {
    check_count(raw.len(), 16, &format!("{field}.filters"))?;
    let raw = raw.iter().enumerate();
    raw.map(|(at, raw)| filter(raw, meta, &format!("{field}.filters[{at}]"), pool)).collect()
}

fn filter(
    raw: &RawFilter,
    meta: &Meta,
    field: &str,
    pool: &mut Pool,
) -> Result<RouteFilter, FieldError> {
    fn given<'a, T>(value: &'a Option<T>, field: &str, name: &str) -> Result<&'a T, FieldError> {
        let missing = || FieldError::new(format!("{field}.{name}"), "is missing");
        value.as_ref().ok_or_else(missing)
    }
    Ok(match raw.kind.as_str() {
        "RequestHeaderModifier" => {
            let name = "requestHeaderModifier";
            let edit = given(&raw.request_header_modifier, field, name)?;
            RouteFilter::RequestHeaders(edit.build(&format!("{field}.{name}"), pool)?)
        }
        "ResponseHeaderModifier" => {
            let name = "responseHeaderModifier";
            let edit = given(&raw.response_header_modifier, field, name)?;
            RouteFilter::ResponseHeaders(edit.build(&format!("{field}.{name}"), pool)?)
        }
        "RequestMirror" => {
            let mirror = given(&raw.request_mirror, field, "requestMirror")?;
            RouteFilter::Mirror(mirror.build(meta, &format!("{field}.requestMirror"), pool)?)
        }
        "RequestRedirect" => {
            let redirect = given(&raw.request_redirect, field, "requestRedirect")?;
            RouteFilter::Redirect(redirect.build(&format!("{field}.requestRedirect"), pool)?)
        }
        "URLRewrite" => {
            let rewrite = given(&raw.url_rewrite, field, "urlRewrite")?;
            let field = format!("{field}.urlRewrite");
            RouteFilter::Rewrite(RewriteRule {
                hostname: hostname(rewrite.hostname.as_deref(), &field, pool)?,
                path: path_change(rewrite.path.as_ref(), &field, pool)?,
            })
        }
        "CORS" => RouteFilter::Cors(
            given(&raw.cors, field, "cors")?.build(&format!("{field}.cors"), pool)?,
        ),
        // The specification: a filter must never be skipped, its requests get an error instead.
        other => RouteFilter::Unsupported(pool.text(other)),
    })
}

impl RawHeaderEdit {
    pub(super) fn build(&self, field: &str, pool: &mut Pool) -> Result<HeaderEdit, FieldError> {
        let counts = [self.set.len(), self.add.len(), self.remove.len()];
        check_count(counts.into_iter().max().unwrap_or_default(), 16, field)?;
        let mut pairs = |raw: &[RawHeader], list: &str| {
            let pairs = raw.iter().enumerate().map(|(at, header)| {
                let field = format!("{field}.{list}[{at}]");
                check_header(&header.name, Some(&header.value), &field)?;
                Ok((pool.text(&header.name), pool.text(&header.value)))
            });
            pairs.collect::<Result<Box<[_]>, FieldError>>()
        };
        let (set, add) = (pairs(&self.set, "set")?, pairs(&self.add, "add")?);
        for (at, name) in self.remove.iter().enumerate() {
            check_header(name, None, &format!("{field}.remove[{at}]"))?;
        }
        let remove = self.remove.iter().map(|name| pool.text(name)).collect();
        Ok(HeaderEdit { set, add, remove })
    }
}

/// Whether an edit may touch a header: what says where a message ends or what a connection does is the proxy's.
pub(in crate::objects) fn check_header(
    name: &str,
    value: Option<&str>,
    field: &str,
) -> Result<(), FieldError> {
    const FRAMING: [&str; 8] = [
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    check_length(value.unwrap_or(name), field)?;
    let lower = name.to_ascii_lowercase();
    let is_authority = lower == ":authority" || lower == "host";
    let is_name = ::http::HeaderName::from_bytes(lower.as_bytes()).is_ok();
    let reason = match value {
        _ if FRAMING.contains(&lower.as_str()) => format!("{name} is not for rules to edit"),
        // Replacing it is a rewrite of the host; it can't be absent or twice there.
        None if is_authority => format!("{name} can't be removed"),
        _ if !is_name && !is_authority => format!("{name:?} is no header's name"),
        Some(value) if ::http::HeaderValue::from_str(value).is_err() => {
            format!("{value:?} is no header's value")
        }
        _ => return Ok(()),
    };
    Err(FieldError::new(field, reason))
}

impl RawMirror {
    fn build(&self, meta: &Meta, field: &str, pool: &mut Pool) -> Result<MirrorRule, FieldError> {
        let share = match (self.percent, &self.fraction) {
            (None, None) => (1, 1),
            (Some(percent), None) => (percent, 100),
            (None, Some(fraction)) => (fraction.numerator, fraction.denominator.unwrap_or(100)),
            (Some(_), Some(_)) => {
                let reason = "can't be given together with fraction";
                return Err(FieldError::new(format!("{field}.percent"), reason));
            }
        };
        if share.1 == 0 || share.0 > share.1 {
            return Err(FieldError::new(field, "its share is more than the whole"));
        }
        let to = self.backend_ref.build(meta, &format!("{field}.backendRef"), pool)?;
        Ok(MirrorRule { to, share })
    }
}

impl RawRedirect {
    fn build(&self, field: &str, pool: &mut Pool) -> Result<RedirectRule, FieldError> {
        let status = self.status_code.unwrap_or(302);
        if ![301, 302, 303, 307, 308].contains(&status) {
            let reason = format!("{status} is none of 301, 302, 303, 307, 308");
            return Err(FieldError::new(format!("{field}.statusCode"), reason));
        }
        if let Some(scheme) = self.scheme.as_deref().filter(|it| !["http", "https"].contains(it)) {
            let reason = format!("{scheme:?} is neither http nor https");
            return Err(FieldError::new(format!("{field}.scheme"), reason));
        }
        Ok(RedirectRule {
            scheme: self.scheme.as_deref().map(|scheme| pool.text(scheme)),
            hostname: hostname(self.hostname.as_deref(), field, pool)?,
            path: path_change(self.path.as_ref(), field, pool)?,
            port: self.port.map(Port::get),
            status,
        })
    }
}

impl RawCors {
    fn build(&self, field: &str, pool: &mut Pool) -> Result<CorsRule, FieldError> {
        let mut texts = |list: &[String], name: &str, are_names: bool| {
            let field = format!("{field}.{name}");
            check_count(list.len(), 64, &field)?;
            let texts = list.iter().map(|text| {
                check_length(text, &field)?;
                // Methods have the same letters as names of headers (RFC 9110 section 9.1).
                match !are_names || ::http::HeaderName::from_bytes(text.as_bytes()).is_ok() {
                    true => Ok(pool.text(text)),
                    false => Err(FieldError::new(&field, format!("{text:?} is no name"))),
                }
            });
            texts.collect::<Result<Box<[_]>, FieldError>>()
        };
        Ok(CorsRule {
            origins: texts(&self.allow_origins, "allowOrigins", false)?,
            methods: texts(&self.allow_methods, "allowMethods", true)?,
            headers: texts(&self.allow_headers, "allowHeaders", true)?,
            exposed: texts(&self.expose_headers, "exposeHeaders", true)?,
            allows_credentials: self.allow_credentials,
            // The Gateway API's default.
            max_age_s: self.max_age.unwrap_or(5),
        })
    }
}

fn hostname(
    text: Option<&str>,
    field: &str,
    pool: &mut Pool,
) -> Result<Option<Arc<str>>, FieldError> {
    let Some(text) = text else {
        return Ok(None);
    };
    match fields::is_dns_subdomain(text) {
        true => Ok(Some(pool.text(text))),
        false => {
            let reason = format!("{text:?} is no host's name in lower case");
            Err(FieldError::new(format!("{field}.hostname"), reason))
        }
    }
}

fn path_change(
    raw: Option<&RawPathChange>,
    field: &str,
    pool: &mut Pool,
) -> Result<Option<PathChange>, FieldError> {
    let Some(raw) = raw else {
        return Ok(None);
    };
    let (name, text) = match raw.kind {
        PathChangeType::ReplaceFullPath => ("replaceFullPath", &raw.replace_full_path),
        PathChangeType::ReplacePrefixMatch => ("replacePrefixMatch", &raw.replace_prefix_match),
    };
    let field = format!("{field}.path.{name}");
    let text = text.as_deref().ok_or_else(|| FieldError::new(&field, "is missing"))?;
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"?#".contains(&byte);
    check_length(text, &field)?;
    if !text.bytes().all(is_plain) {
        return Err(FieldError::new(field, format!("{text:?} is no path")));
    }
    let text = pool.text(text);
    Ok(Some(match raw.kind {
        PathChangeType::ReplaceFullPath => PathChange::Full(text),
        PathChangeType::ReplacePrefixMatch => PathChange::Prefix(text),
    }))
}
