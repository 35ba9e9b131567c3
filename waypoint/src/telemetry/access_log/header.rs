//! Which header a command shows: `REQ(:PATH)`, `RESP(X-A?X-B):10`.

use http::{HeaderMap, HeaderName};

use super::Subject;
use super::value::Value;

/// One or two headers and how much of the value is shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HeaderValues {
    first: Header,
    /// Shown where the first is missing.
    second: Option<Header>,
    bytes_max: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Header {
    Method,
    Path,
    Authority,
    Scheme,
    Status,
    Named(HeaderName),
}

/// Which headers are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Request,
    /// As [`Of::Request`]; a path without its query.
    RequestWithoutQuery,
    Response,
    Trailers,
}

impl HeaderValues {
    /// From what stands in the parentheses. `None`: it names no header.
    pub(super) fn parse(text: &str, bytes_max: usize) -> Option<Self> {
        let (first, second) = match text.split_once('?') {
            Some((first, second)) => (first, Some(Header::parse(second)?)),
            None => (text, None),
        };
        Some(Self { first: Header::parse(first)?, second, bytes_max })
    }

    /// The value of a request; a connection has none.
    pub(super) fn value<'a>(&self, of: Of, subject: &Subject<'a>) -> Value<'a> {
        let second = || self.second.as_ref().and_then(|it| it.bytes(of, subject));
        match self.first.bytes(of, subject) {
            Some(Found::Number(number)) => Value::Number(number),
            Some(Found::Bytes(bytes)) => Value::Peer(super::escape::cut(bytes, self.bytes_max)),
            None => match second() {
                Some(Found::Number(number)) => Value::Number(number),
                Some(Found::Bytes(bytes)) => Value::Peer(super::escape::cut(bytes, self.bytes_max)),
                None => Value::Missing,
            },
        }
    }
}

enum Found<'a> {
    Bytes(&'a [u8]),
    Number(u64),
}

impl Header {
    fn parse(text: &str) -> Option<Self> {
        Some(match text.trim().to_ascii_lowercase().as_str() {
            ":method" => Self::Method,
            ":path" => Self::Path,
            ":authority" | "host" => Self::Authority,
            ":scheme" => Self::Scheme,
            ":status" => Self::Status,
            name => Self::Named(HeaderName::from_bytes(name.as_bytes()).ok()?),
        })
    }

    fn bytes<'a>(&self, of: Of, subject: &Subject<'a>) -> Option<Found<'a>> {
        let http = subject.http?;
        let text = |text: &'a str| Some(text.as_bytes()).filter(|it| !it.is_empty());
        let found = match (of, self) {
            (Of::Request | Of::RequestWithoutQuery, header) => match header {
                Self::Method => text(http.method.as_str()),
                Self::Path if of == Of::RequestWithoutQuery => {
                    text(http.path.split('?').next().unwrap_or_default())
                }
                Self::Path => text(http.path),
                Self::Authority => text(http.authority),
                Self::Scheme => text(http.scheme),
                Self::Status => None,
                Self::Named(name) => named(http.request_headers, name),
            },
            (Of::Response, Self::Status) => {
                return Some(Found::Number(u64::from(http.status))).filter(|_| http.status != 0);
            }
            (Of::Response, Self::Named(name)) => {
                return http
                    .response_headers
                    .and_then(|headers| named(headers, name))
                    .map(Found::Bytes)
                    .or_else(|| service_time(name, subject));
            }
            (Of::Trailers, Self::Named(name)) => {
                http.response_trailers.and_then(|headers| named(headers, name))
            }
            (Of::Response | Of::Trailers, _) => None,
        };
        found.map(Found::Bytes)
    }
}

fn named<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    headers.get(name).map(http::HeaderValue::as_bytes)
}

/// Envoy puts it into a header, which a waypoint needn't send for the log to show it.
fn service_time<'a>(name: &HeaderName, subject: &Subject<'a>) -> Option<Found<'a>> {
    let is_asked = name == "x-envoy-upstream-service-time";
    let took = subject.stream.upstream.service_time.filter(|_| is_asked)?;
    Some(Found::Number(super::super::metrics::millis(took)))
}
