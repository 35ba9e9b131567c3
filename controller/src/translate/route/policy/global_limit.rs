//! A service's limit that another service counts: an annotation of the Service or ServiceEntry, and a provider in the mesh's
//! configuration.

use serde::Deserialize;
use weft_proto::contract::limit;
use weft_proto::route as proto;
use weft_proto::route::limit_entry::Value;

use crate::objects::{ExtensionLimiter, MeshConfig, Meta};

/// Whom to ask about what, as YAML.
pub(super) const ANNOTATION: &str = "weft.io/global-rate-limit";

/// Why there is no limit: a condition's reason, and what is wrong.
pub(super) type Fault = (&'static str, String);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    provider: String,
    domain: String,
    descriptors: Vec<Vec<RawEntry>>,
}

/// One of the last three.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    key: Option<String>,
    from: Option<Part>,
    header: Option<String>,
    value: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Part {
    SourcePrincipal,
    SourceNamespace,
    RemoteAddress,
    Path,
    Method,
    DestinationService,
}

/// Nothing where there is no annotation; otherwise the limit, or what is wrong with it.
pub(super) fn of(
    meta: &Meta,
    mesh: Option<&MeshConfig>,
) -> Option<Result<proto::GlobalRateLimit, Fault>> {
    let text = meta.annotations.get(ANNOTATION)?;
    Some(built(text, mesh))
}

fn built(text: &str, mesh: Option<&MeshConfig>) -> Result<proto::GlobalRateLimit, Fault> {
    let bad = |reason: String| ("InvalidValue", reason);
    let raw: Raw = serde_saphyr::from_str(text).map_err(|error| bad(error.to_string()))?;
    let descriptors = descriptors(&raw).map_err(bad)?;
    let missing = |reason: String| ("ProviderNotFound", reason);
    let limiter = match mesh.and_then(|mesh| mesh.limiters.get(&*raw.provider)) {
        None => {
            let name = &raw.provider;
            let reason = format!("the mesh's configuration has no envoyRateLimitGrpc {name}");
            return Err(missing(reason));
        }
        Some(Err(reason)) => {
            return Err(missing(format!("provider {} can't be used: {reason}", raw.provider)));
        }
        Some(Ok(limiter)) => limiter,
    };
    Ok(limit_of(&raw, limiter, descriptors))
}

fn limit_of(
    raw: &Raw,
    limiter: &ExtensionLimiter,
    descriptors: Vec<proto::LimitDescriptor>,
) -> proto::GlobalRateLimit {
    let asked = &limiter.asked;
    proto::GlobalRateLimit {
        provider: raw.provider.clone(),
        namespace: asked.namespace.as_deref().unwrap_or_default().to_owned(),
        hostname: asked.host.to_string(),
        port: asked.port.into(),
        timeout_ms: asked.timeout_ms(),
        fails_closed: !asked.fails_open,
        status_on_error: asked.status_on_error.map_or(0, u32::from),
        as_resource_exhausted: limiter.as_resource_exhausted,
        domain: raw.domain.clone(),
        descriptors,
    }
}

fn descriptors(raw: &Raw) -> Result<Vec<proto::LimitDescriptor>, String> {
    check_text("domain", &raw.domain)?;
    check_count("descriptors", raw.descriptors.len(), limit::DESCRIPTORS_MAX)?;
    let descriptor = |(at, entries): (usize, &Vec<RawEntry>)| {
        let field = format!("descriptors[{at}]");
        check_count(&field, entries.len(), limit::ENTRIES_MAX)?;
        let entries = entries.iter().enumerate();
        let entries = entries.map(|(place, raw)| entry(raw, &format!("{field}[{place}]")));
        Ok(proto::LimitDescriptor { entries: entries.collect::<Result<_, String>>()? })
    };
    raw.descriptors.iter().enumerate().map(descriptor).collect()
}

fn check_count(field: &str, count: usize, max: usize) -> Result<(), String> {
    match (1..=max).contains(&count) {
        true => Ok(()),
        false => Err(format!("{field} has {count} entries, which has to be 1 to {max}")),
    }
}

fn check_text(field: &str, text: &str) -> Result<(), String> {
    match (1..=limit::TEXT_BYTES_MAX).contains(&text.len()) {
        true => Ok(()),
        false => Err(format!("{field} has to have 1 to {} bytes", limit::TEXT_BYTES_MAX)),
    }
}

/// Keys are Envoy's, where it has such an entry and none is given.
fn entry(raw: &RawEntry, field: &str) -> Result<proto::LimitEntry, String> {
    let (key, value) = match (raw.from, &raw.header, &raw.value) {
        (Some(source), None, None) => {
            let (key, attribute) = attribute(source);
            (key.to_owned(), Value::Attribute(attribute.into()))
        }
        (None, Some(header), None) => {
            let name = header.to_ascii_lowercase();
            http::HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("{field}.header {header:?} is no header's name"))?;
            (name.clone(), Value::Header(name))
        }
        (None, None, Some(value)) => {
            check_text(&format!("{field}.value"), value)?;
            ("generic_key".to_owned(), Value::Literal(value.clone()))
        }
        _ => return Err(format!("{field} needs one of from, header and value")),
    };
    let key = raw.key.clone().unwrap_or(key);
    check_text(&format!("{field}.key"), &key)?;
    Ok(proto::LimitEntry { key, value: Some(value) })
}

fn attribute(source: Part) -> (&'static str, proto::LimitAttribute) {
    use proto::LimitAttribute as Wire;
    match source {
        Part::SourcePrincipal => ("source_principal", Wire::SourcePrincipal),
        Part::SourceNamespace => ("source_namespace", Wire::SourceNamespace),
        Part::RemoteAddress => ("remote_address", Wire::RemoteAddress),
        Part::Path => ("path", Wire::Path),
        Part::Method => ("method", Wire::Method),
        Part::DestinationService => ("destination_service", Wire::DestinationService),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_read_strictly() {
        let reason = |text: &str| built(text, None).unwrap_err();
        let whole = "{provider: a, domain: b, descriptors: [[{from: path}, {header: X-User, key: user}, {value: free}]]}";
        assert_eq!(reason(whole).0, "ProviderNotFound");
        let raw: Raw = serde_saphyr::from_str(whole).unwrap();
        let entries = descriptors(&raw).unwrap().remove(0).entries;
        let keys: Vec<_> = entries.iter().map(|it| &*it.key).collect();
        assert_eq!(keys, ["path", "user", "generic_key"]);
        assert_eq!(entries[1].value, Some(Value::Header("x-user".into())));
        for (text, word) in [
            ("", "unexpected end"),
            ("{provider: a, domain: b}", "descriptors"),
            ("{provider: a, domain: b, descriptors: []}", "descriptors has 0"),
            ("{provider: a, domain: b, descriptors: [[]]}", "descriptors[0] has 0"),
            ("{provider: a, domain: '', descriptors: [[{from: path}]]}", "domain"),
            ("{provider: a, domain: b, descriptors: [[{from: sky}]]}", "sky"),
            ("{provider: a, domain: b, descriptors: [[{}]]}", "descriptors[0][0] needs one"),
            ("{provider: a, domain: b, descriptors: [[{from: path, value: x}]]}", "needs one"),
            ("{provider: a, domain: b, descriptors: [[{header: 'a b'}]]}", "header"),
            ("{provider: a, domain: b, descriptors: [[{value: x, key: ''}]]}", "[0].key"),
            ("{provider: a, domain: b, descriptors: [[{value: x}]], more: 1}", "more"),
        ] {
            let (kind, message) = reason(text);
            assert_eq!(kind, "InvalidValue", "{text}");
            assert!(message.contains(word), "{text}: {message}");
        }
    }
}
