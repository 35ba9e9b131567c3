//! Conditions of rules: understood entirely, or their rule never matches.

use http::header::HeaderName;
use weft_proto::route as proto;
use weft_proto::route::condition::Kind as WireKind;
use weft_proto::route::path_condition::Kind as WirePath;
use weft_proto::route::text_match::Kind as WireText;

use super::at::At;
use super::{Bad, Report};
use crate::limits;
use crate::route::condition::{Condition, HostPattern, Kind, SourceMatch};
use crate::route::path::{PathKind, PathMatch};
use crate::route::pattern::Pattern;
use crate::route::text::{Compared, TextMatch};
use crate::text::How;

pub(super) fn all(
    conditions: &[proto::Condition],
    at: &At<'_>,
    report: &mut Report,
) -> Result<Vec<Condition>, Bad> {
    if conditions.len() > limits::CONDITIONS_MAX {
        let reason = format!("has more than {} entries", limits::CONDITIONS_MAX);
        return Err(Bad::new(&at.field("conditions"), reason));
    }
    let conditions = conditions.iter().enumerate();
    conditions
        .map(|(place, condition)| {
            let at = at.entry("conditions", place);
            let kind = condition.kind.as_ref().ok_or_else(|| Bad::unknown(&at))?;
            Ok(Condition { kind: typed(kind, &at, report)?, is_negated: condition.negated })
        })
        .collect()
}

fn typed(kind: &WireKind, at: &At<'_>, report: &mut Report) -> Result<Kind, Bad> {
    Ok(match kind {
        WireKind::Path(it) => Kind::Path(path(it, &at.field("path"), report)?),
        WireKind::Method(it) => Kind::Method(text(it, &at.field("method"), report)?),
        WireKind::Scheme(it) => Kind::Scheme(text(it, &at.field("scheme"), report)?),
        WireKind::Authority(it) => Kind::Authority(text(it, &at.field("authority"), report)?),
        WireKind::Header(it) => header(it, &at.field("header"), report)?,
        WireKind::Query(it) => {
            let at = at.field("query");
            let value = required(it.value.as_ref(), &at, report)?;
            Kind::Query { name: bounded(&it.name, &at.field("name"))?, value }
        }
        WireKind::Hosts(it) => Kind::Hosts(hosts(it, &at.field("hosts"))?),
        WireKind::Grpc(it) => {
            let at = at.field("grpc");
            let mut part = |part: &Option<proto::TextMatch>, field| {
                part.as_ref().map(|it| text(it, &at.field(field), report)).transpose()
            };
            Kind::Grpc {
                service: part(&it.service, "service")?,
                method: part(&it.method, "method")?,
            }
        }
        WireKind::Claim(it) => {
            let at = at.field("claim");
            let value = required(it.value.as_ref(), &at, report)?;
            if it.path.is_empty() || it.path.len() > limits::CONDITIONS_MAX {
                return Err(Bad::new(&at.field("path"), "names no claim"));
            }
            let names = it.path.iter().map(|name| bounded(name, &at.field("path")));
            Kind::Claim { path: names.collect::<Result<_, _>>()?, value }
        }
        WireKind::Source(it) => Kind::Source(source(it, &at.field("source"), report)?),
        WireKind::Ports(it) => Kind::Ports(ports(it, &at.field("ports"))?),
    })
}

fn path(path: &proto::PathCondition, at: &At<'_>, report: &mut Report) -> Result<PathMatch, Bad> {
    let how = match path.kind.as_ref().ok_or_else(|| Bad::unknown(at))? {
        WirePath::Exact(text) => PathKind::Exact(bounded(text, at)?),
        WirePath::ElementPrefix(text) => {
            PathKind::Elements(bounded(text.strip_suffix('/').unwrap_or(text), at)?)
        }
        WirePath::TextPrefix(text) => PathKind::Text(bounded(text, at)?),
        WirePath::Regex(text) => PathKind::Pattern(pattern(text, at, report)?),
    };
    Ok(PathMatch { how, ignores_case: path.ignore_case })
}

pub(super) fn text(
    text: &proto::TextMatch,
    at: &At<'_>,
    report: &mut Report,
) -> Result<TextMatch, Bad> {
    let how = match text.kind.as_ref().ok_or_else(|| Bad::unknown(at))? {
        WireText::Exact(text) => How::Exact(bounded(text, at)?),
        WireText::Prefix(text) => How::Prefix(bounded(text, at)?),
        WireText::Suffix(text) => How::Suffix(bounded(text, at)?),
        WireText::Regex(text) => {
            return Ok(TextMatch(Compared::Pattern(pattern(text, at, report)?)));
        }
        WireText::Present(_) => How::Present,
    };
    Ok(TextMatch::text(how, text.ignore_case))
}

fn required(
    value: Option<&proto::TextMatch>,
    at: &At<'_>,
    report: &mut Report,
) -> Result<TextMatch, Bad> {
    let at = at.field("value");
    text(value.ok_or_else(|| Bad::new(&at, "is missing"))?, &at, report)
}

fn header(it: &proto::HeaderCondition, at: &At<'_>, report: &mut Report) -> Result<Kind, Bad> {
    let value = required(it.value.as_ref(), at, report)?;
    Ok(match it.name.as_str() {
        ":authority" => Kind::Authority(value),
        ":method" => Kind::Method(value),
        ":scheme" => Kind::Scheme(value),
        ":path" => {
            let reason = "is asked for by a path condition";
            return Err(Bad::new(&at.field("name"), reason));
        }
        // HTTP/2 has no such header, and HTTP/1 no other place for it.
        name if name.eq_ignore_ascii_case("host") => Kind::Authority(value),
        name => {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
                Bad::new(&at.field("name"), format!("{name:?} is no header's name"))
            })?;
            Kind::Header { name, value }
        }
    })
}

pub(super) fn hosts(it: &proto::HostsCondition, at: &At<'_>) -> Result<Box<[HostPattern]>, Bad> {
    if it.hosts.is_empty() || it.hosts.len() > limits::LIST_MAX {
        return Err(Bad::new(&at.field("hosts"), "has no entry, or too many"));
    }
    let hosts = it.hosts.iter().enumerate().map(|(place, host)| {
        let at = at.entry("hosts", place);
        let host = host.to_ascii_lowercase();
        Ok(match host.strip_prefix('*') {
            Some("") => HostPattern::Any,
            Some(rest) if rest.starts_with('.') && !rest.contains('*') => {
                HostPattern::Below(bounded(rest, &at)?)
            }
            None if !host.is_empty() && !host.contains('*') => {
                HostPattern::Name(bounded(&host, &at)?)
            }
            _ => return Err(Bad::new(&at, "is neither a host's name nor one behind `*.`")),
        })
    });
    hosts.collect()
}

pub(super) fn source(
    it: &proto::SourceCondition,
    at: &At<'_>,
    report: &mut Report,
) -> Result<SourceMatch, Bad> {
    if it.namespaces.len() > limits::LIST_MAX || it.labels.len() > limits::LIST_MAX {
        return Err(Bad::new(at, "has too many entries"));
    }
    let principal = it.principal.as_ref();
    Ok(SourceMatch {
        namespaces: it.namespaces.iter().map(|it| it.as_str().into()).collect(),
        labels: it
            .labels
            .iter()
            .map(|(key, value)| (key.as_str().into(), value.as_str().into()))
            .collect(),
        principal: principal.map(|it| text(it, &at.field("principal"), report)).transpose()?,
    })
}

pub(super) fn ports(it: &proto::PortsCondition, at: &At<'_>) -> Result<Box<[u16]>, Bad> {
    if it.ports.len() > limits::LIST_MAX {
        return Err(Bad::new(&at.field("ports"), "has too many entries"));
    }
    let ports = it.ports.iter().map(|port| u16::try_from(*port));
    ports
        .collect::<Result<_, _>>()
        .map_err(|_| Bad::new(&at.field("ports"), "has no port's number"))
}

fn pattern(text: &str, at: &At<'_>, report: &mut Report) -> Result<Pattern, Bad> {
    let built = report.count_pattern().and_then(|()| Pattern::whole(text));
    built.map_err(|reason| Bad::new(&at.field("regex"), reason))
}

pub(super) fn bounded(text: &str, at: &At<'_>) -> Result<Box<str>, Bad> {
    match text.len() > limits::TEXT_BYTES_MAX {
        true => Err(Bad::new(at, format!("is longer than {} bytes", limits::TEXT_BYTES_MAX))),
        false => Ok(text.into()),
    }
}
