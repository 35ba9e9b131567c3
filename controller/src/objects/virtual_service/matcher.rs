//! What rules ask.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::{ClaimMatch, LabelPair, VirtualMatch, names_mesh};
use crate::objects::Pool;
use crate::objects::fields::{self, FieldError, Port};
use crate::objects::meta::Labels;
use crate::objects::route::{TextMatch, check_count, check_length, checked_regex};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawText {
    exact: Option<String>,
    prefix: Option<String>,
    regex: Option<String>,
}

type RawTexts = BTreeMap<String, Option<RawText>>;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawMatch {
    #[expect(dead_code, reason = "for logs of other proxies")]
    name: Option<String>,
    #[expect(dead_code, reason = "for metrics of other proxies")]
    stat_prefix: Option<String>,
    uri: Option<RawText>,
    scheme: Option<RawText>,
    method: Option<RawText>,
    authority: Option<RawText>,
    #[serde(default, deserialize_with = "fields::or_default")]
    headers: RawTexts,
    #[serde(default, deserialize_with = "fields::or_default")]
    without_headers: RawTexts,
    #[serde(default, deserialize_with = "fields::or_default")]
    query_params: RawTexts,
    #[serde(default, deserialize_with = "fields::or_default")]
    ignore_uri_case: bool,
    port: Option<Port>,
    #[serde(default, deserialize_with = "fields::or_default")]
    source_labels: BTreeMap<String, String>,
    source_namespace: Option<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    gateways: Vec<String>,
}

/// Alternatives of a rule; nothing where all of them are for ingress gateways.
pub(super) fn all(
    raw: &[RawMatch],
    field: &str,
    pool: &mut Pool,
) -> Result<Option<Box<[VirtualMatch]>>, FieldError> {
    let mut built = Vec::with_capacity(raw.len());
    for (at, it) in raw.iter().enumerate() {
        let read = matched(it, &format!("{field}[{at}]"), pool)?;
        if names_mesh(&it.gateways) {
            built.push(read);
        }
    }
    Ok((raw.is_empty() || !built.is_empty()).then(|| built.into()))
}

fn matched(raw: &RawMatch, field: &str, pool: &mut Pool) -> Result<VirtualMatch, FieldError> {
    let count = raw.headers.len() + raw.without_headers.len() + raw.query_params.len();
    if count > COUNT_MAX {
        let reason = format!("asks for more than {COUNT_MAX} headers and parameters");
        return Err(FieldError::new(field, reason));
    }
    let mut part = |raw: &Option<RawText>, name: &str| {
        raw.as_ref().map(|it| text(it, &format!("{field}.{name}"), pool)).transpose()
    };
    let (uri, scheme) = (part(&raw.uri, "uri")?, part(&raw.scheme, "scheme")?);
    let (method, authority) = (part(&raw.method, "method")?, part(&raw.authority, "authority")?);
    let (headers, claims) = headers(&raw.headers, &format!("{field}.headers"), pool)?;
    let (without_headers, without_claims) =
        self::headers(&raw.without_headers, &format!("{field}.withoutHeaders"), pool)?;
    let query = raw.query_params.iter().map(|(name, value)| {
        let field = format!("{field}.queryParams.{name}");
        check_length(name, &field)?;
        Ok((pool.text(name), value_text(value, &field, pool)?))
    });
    let query = query.collect::<Result<_, FieldError>>()?;
    Ok(VirtualMatch {
        uri,
        ignores_uri_case: raw.ignore_uri_case,
        scheme,
        method,
        authority,
        headers,
        claims,
        without_headers,
        without_claims,
        query,
        port: raw.port.map(Port::get),
        source_labels: labels(&raw.source_labels, &format!("{field}.sourceLabels"), pool)?,
        source_namespace: raw.source_namespace.as_deref().map(|it| pool.text(it)),
    })
}

/// Room is left for everything else that a match, and one that delegates to it, may ask.
const COUNT_MAX: usize = 24;

pub(super) fn labels(
    raw: &BTreeMap<String, String>,
    field: &str,
    pool: &mut Pool,
) -> Result<Box<[LabelPair]>, FieldError> {
    check_count(raw.len(), 64, field)?;
    let labels = Labels::of_selector(raw, field, pool)?;
    Ok(labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// No comparison at all is one for presence.
fn value_text(
    raw: &Option<RawText>,
    field: &str,
    pool: &mut Pool,
) -> Result<TextMatch, FieldError> {
    match raw {
        None | Some(RawText { exact: None, prefix: None, regex: None }) => Ok(TextMatch::Present),
        // Istio has read this so before there was another way.
        Some(RawText { exact: None, prefix: None, regex: Some(all) }) if all == "*" => {
            Ok(TextMatch::Present)
        }
        Some(raw) => text(raw, field, pool),
    }
}

pub(super) fn text(raw: &RawText, field: &str, pool: &mut Pool) -> Result<TextMatch, FieldError> {
    match (&raw.exact, &raw.prefix, &raw.regex) {
        (Some(text), None, None) => {
            check_length(text, field)?;
            Ok(TextMatch::Exact(pool.text(text)))
        }
        (None, Some(text), None) => {
            check_length(text, field)?;
            Ok(TextMatch::Prefix(pool.text(text)))
        }
        (None, None, Some(text)) => {
            Ok(TextMatch::Regex(checked_regex(text, &format!("{field}.regex"), pool)?))
        }
        _ => Err(FieldError::new(field, "needs one of exact, prefix and regex")),
    }
}

type Headers = Box<[(Arc<str>, TextMatch)]>;
type Claims = Box<[ClaimMatch]>;

/// Headers, and claims of the caller's token, which Istio writes as headers of a special name.
fn headers(raw: &RawTexts, field: &str, pool: &mut Pool) -> Result<(Headers, Claims), FieldError> {
    let (mut headers, mut claims) = (Vec::new(), Vec::new());
    for (name, value) in raw {
        let field = format!("{field}.{name}");
        let value = value_text(value, &field, pool)?;
        if let Some(path) = name.strip_prefix("@request.auth.claims") {
            let path = claim_path(path, pool);
            let path = path.ok_or_else(|| FieldError::new(&field, "names no claim"))?;
            claims.push(ClaimMatch { path, value });
            continue;
        }
        let lower = name.to_ascii_lowercase();
        let is_pseudo = [":authority", ":method", ":scheme"].contains(&lower.as_str());
        if !is_pseudo && ::http::HeaderName::from_bytes(lower.as_bytes()).is_err() {
            let reason = format!("{name:?} is no header's name");
            return Err(FieldError::new(field, reason));
        }
        headers.push((pool.text(&lower), value));
    }
    Ok((headers.into(), claims.into()))
}

/// `.a.b` or `[a][b]`.
fn claim_path(text: &str, pool: &mut Pool) -> Option<Box<[Arc<str>]>> {
    let names: Vec<&str> = match text.strip_prefix('.') {
        Some(rest) => rest.split('.').collect(),
        None => text.strip_prefix('[')?.strip_suffix(']')?.split("][").collect(),
    };
    let is_sound = names.len() <= 16 && names.iter().all(|it| !it.is_empty() && it.len() <= 253);
    is_sound.then(|| names.into_iter().map(|name| pool.text(name)).collect())
}
