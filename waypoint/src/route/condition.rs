//! Conditions on a request, apart from the path.

use std::collections::BTreeMap;

use http::HeaderMap;
use http::header::HeaderName;
use serde_json::{Map, Value};

use crate::limits::JOINED_BYTES_STACK;

use super::path::PathMatch;
use super::query;
use super::request::{Request, Source, host_of};
use super::text::TextMatch;

/// One condition of a rule.
#[derive(Debug, Clone)]
pub struct Condition {
    pub(super) kind: Kind,
    /// It holds where `kind` doesn't.
    pub(super) is_negated: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Path(PathMatch),
    Method(TextMatch),
    Scheme(TextMatch),
    Authority(TextMatch),
    Header { name: HeaderName, value: TextMatch },
    Query { name: Box<str>, value: TextMatch },
    Hosts(Box<[HostPattern]>),
    Grpc { service: Option<TextMatch>, method: Option<TextMatch> },
    Claim { path: Box<[Box<str>]>, value: TextMatch },
    Source(SourceMatch),
    Ports(Box<[u16]>),
}

/// A host, or all below one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostPattern {
    Any,
    /// In lower case.
    Name(Box<str>),
    /// With its leading dot, in lower case.
    Below(Box<str>),
}

/// Who calls. All that is given must hold.
#[derive(Debug, Clone, Default)]
pub(super) struct SourceMatch {
    pub(super) namespaces: Box<[Box<str>]>,
    pub(super) labels: BTreeMap<Box<str>, Box<str>>,
    pub(super) principal: Option<TextMatch>,
}

impl Condition {
    /// Whether it holds.
    pub fn holds(&self, request: &Request<'_>) -> bool {
        self.kind.holds(request) != self.is_negated
    }

    /// What it costs to ask, in no unit: rules ask the cheap conditions first.
    pub(super) fn cost(&self) -> u8 {
        let is_pattern = match &self.kind {
            Kind::Ports(_) => return 0,
            Kind::Method(value) | Kind::Scheme(value) | Kind::Authority(value) => {
                value.is_pattern()
            }
            Kind::Header { value, .. } | Kind::Query { value, .. } | Kind::Claim { value, .. } => {
                value.is_pattern()
            }
            Kind::Path(_) | Kind::Hosts(_) | Kind::Grpc { .. } | Kind::Source(_) => false,
        };
        match &self.kind {
            _ if is_pattern => 9,
            Kind::Method(_) | Kind::Scheme(_) => 1,
            Kind::Path(_) | Kind::Authority(_) | Kind::Hosts(_) | Kind::Grpc { .. } => 2,
            Kind::Source(_) | Kind::Header { .. } => 3,
            _ => 4,
        }
    }
}

impl Kind {
    fn holds(&self, request: &Request<'_>) -> bool {
        match self {
            Self::Path(path) => path.cover(request.path).is_some(),
            Self::Method(value) => value.fits(request.method.as_bytes()),
            Self::Scheme(value) => value.fits(request.scheme.as_bytes()),
            Self::Authority(value) => value.fits(request.authority.as_bytes()),
            Self::Header { name, value } => header_fits(request.headers, name, value),
            Self::Query { name, value } => query::fits(request.query, name, value),
            Self::Hosts(hosts) => {
                let host = host_of(request.authority);
                hosts.iter().any(|pattern| pattern.covers(host))
            }
            Self::Grpc { service, method } => grpc_fits(request.path, service, method),
            Self::Claim { path, value } => {
                request.claims.is_some_and(|claims| claim_fits(claims, path, value))
            }
            Self::Source(source) => source.fits(&request.source),
            Self::Ports(ports) => ports.contains(&request.port),
        }
    }
}

impl HostPattern {
    /// Whether it covers `host`, in any case.
    pub(super) fn covers(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Name(name) => host.eq_ignore_ascii_case(name),
            Self::Below(suffix) => host.len().checked_sub(suffix.len()).is_some_and(|start| {
                start > 0 && host.get(start..).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
            }),
        }
    }
}

impl SourceMatch {
    pub(super) fn fits(&self, source: &Source<'_>) -> bool {
        let is_named = |namespace: &str| self.namespaces.iter().any(|own| **own == *namespace);
        let has = |key: &str, value: &str| {
            source.labels.and_then(|labels| labels.get(key)).is_some_and(|own| own == value)
        };
        (self.namespaces.is_empty() || source.namespace.is_some_and(is_named))
            && self.labels.iter().all(|(key, value)| has(key, value))
            && self.principal.as_ref().is_none_or(|value| {
                source.principal.is_some_and(|principal| value.fits(principal.as_bytes()))
            })
    }
}

/// RFC 9110 section 5.3: several fields of one name mean the same as their values joined by commas.
fn header_fits(headers: &HeaderMap, name: &HeaderName, value: &TextMatch) -> bool {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => false,
        (Some(only), None) => value.fits(only.as_bytes()),
        _ => joined_fits(headers, name, value),
    }
}

fn joined_fits(headers: &HeaderMap, name: &HeaderName, value: &TextMatch) -> bool {
    let pieces = || {
        headers.get_all(name).iter().enumerate().flat_map(|(at, piece)| {
            let separator: &[u8] = if at == 0 { b"" } else { b"," };
            [separator, piece.as_bytes()]
        })
    };
    let length: usize = pieces().map(<[u8]>::len).sum();
    let mut stack = [0; JOINED_BYTES_STACK];
    let mut heap = Vec::new();
    let buffer = match stack.get_mut(..length) {
        Some(buffer) => buffer,
        None => {
            heap.resize(length, 0);
            heap.as_mut_slice()
        }
    };
    for (slot, byte) in buffer.iter_mut().zip(pieces().flatten()) {
        *slot = *byte;
    }
    value.fits(buffer)
}

/// The path of a gRPC request has exactly two elements.
fn grpc_fits(path: &str, service: &Option<TextMatch>, method: &Option<TextMatch>) -> bool {
    let names = path.strip_prefix('/').and_then(|rest| rest.split_once('/'));
    let fits = |value: &Option<TextMatch>, name: &str| {
        value.as_ref().is_none_or(|value| value.fits(name.as_bytes()))
    };
    names.is_some_and(|(own_service, own_method)| {
        !own_service.is_empty()
            && !own_method.is_empty()
            && !own_method.contains('/')
            && fits(service, own_service)
            && fits(method, own_method)
    })
}

/// Texts and lists of texts are compared; numbers and the like have no one spelling.
fn claim_fits(claims: &Map<String, Value>, path: &[Box<str>], value: &TextMatch) -> bool {
    let Some((last, outer)) = path.split_last() else {
        return false;
    };
    let mut object = claims;
    for name in outer {
        match object.get(&**name) {
            Some(Value::Object(inner)) => object = inner,
            _ => return false,
        }
    }
    match object.get(&**last) {
        Some(Value::String(text)) => value.fits(text.as_bytes()),
        Some(Value::Array(list)) => {
            list.iter().filter_map(Value::as_str).any(|text| value.fits(text.as_bytes()))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::text::How;

    fn headers(values: &[&'static str]) -> HeaderMap {
        let name = HeaderName::from_static("x-a");
        values.iter().map(|value| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn values_of_one_header_are_compared_as_one_text() {
        let name = HeaderName::from_static("x-a");
        let of = |how| TextMatch::text(how, false);
        assert!(header_fits(&headers(&["1", "2"]), &name, &of(How::Exact("1,2".into()))));
        assert!(!header_fits(&headers(&["1", "2"]), &name, &of(How::Exact("1".into()))));
        assert!(header_fits(&headers(&["1"]), &name, &of(How::Exact("1".into()))));
        assert!(!header_fits(&headers(&[]), &name, &of(How::Present)));
        let long: &'static str = "x".repeat(JOINED_BYTES_STACK).leak();
        assert!(header_fits(&headers(&[long, "y"]), &name, &of(How::Suffix("x,y".into()))));
    }

    #[test]
    fn hosts_cover_what_is_below_them() {
        let below = HostPattern::Below(".example".into());
        for (host, covers) in
            [("a.example", true), ("a.b.EXAMPLE", true), ("example", false), (".example", false)]
        {
            assert_eq!(below.covers(host), covers, "{host}");
        }
        assert!(HostPattern::Name("a.example".into()).covers("A.example"));
    }

    #[test]
    fn grpc_path_has_two_names() {
        let service = Some(TextMatch::exact("a.B"));
        for (path, fits) in [
            ("/a.B/C", true),
            ("/a.B/", false),
            ("/a.B", false),
            ("/a.B/C/D", false),
            ("//C", false),
        ] {
            assert_eq!(grpc_fits(path, &service, &None), fits, "{path}");
        }
        assert!(!grpc_fits("/a.B/C", &service, &Some(TextMatch::exact("D"))));
    }

    #[test]
    fn claims_are_found_by_path_and_in_lists() {
        let claims = serde_json::json!({"sub": "a", "realm": {"roles": ["x", "y"], "n": 1}});
        let claims = claims.as_object().unwrap();
        let fits = |path: &[&str], text: &str| {
            let path: Vec<Box<str>> = path.iter().map(|name| (*name).into()).collect();
            claim_fits(claims, &path, &TextMatch::exact(text))
        };
        assert!(fits(&["sub"], "a") && fits(&["realm", "roles"], "y"));
        assert!(!fits(&["realm", "n"], "1") && !fits(&["sub", "a"], "a") && !fits(&[], "a"));
    }

    #[test]
    fn caller_without_identity_fits_no_namespace() {
        let of_shop = SourceMatch { namespaces: ["shop".into()].into(), ..SourceMatch::default() };
        assert!(!of_shop.fits(&Source::default()));
        assert!(of_shop.fits(&Source { namespace: Some("shop"), ..Source::default() }));
        let labelled =
            SourceMatch { labels: [("app".into(), "web".into())].into(), ..SourceMatch::default() };
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        assert!(!labelled.fits(&Source::default()));
        assert!(labelled.fits(&Source { labels: Some(&labels), ..Source::default() }));
    }
}
