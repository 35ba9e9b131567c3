//! Cookies (RFC 6265): reading those of requests, writing those of responses.

use std::time::Duration;

use http::HeaderMap;
use http::header::{COOKIE, HeaderValue};

/// The values of a cookie in a request's headers (section 4.2), in order. An empty one is none. There may be several: clients
/// send those of every path that covers the request's.
pub(crate) fn values<'a>(
    headers: &'a HeaderMap,
    name: &'a str,
) -> impl Iterator<Item = &'a [u8]> + 'a {
    let lists = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let pairs = lists.flat_map(|list| list.split(|byte| *byte == b';'));
    let values = pairs.filter_map(move |pair| {
        let rest = pair.trim_ascii().strip_prefix(name.as_bytes())?;
        let value = rest.strip_prefix(b"=")?.trim_ascii();
        let inner = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        Some(inner.unwrap_or(value))
    });
    values.filter(|value| !value.is_empty())
}

/// What a response has as `set-cookie`, out of reach for scripts. `path` empty: none is written. `max_age`: else the cookie
/// ends with the client's session.
pub(crate) fn written(
    (name, value): (&str, &str),
    path: &str,
    max_age: Option<Duration>,
    attributes: &[Box<str>],
) -> Option<HeaderValue> {
    let mut text = format!("{name}={value}");
    if !path.is_empty() {
        text.push_str("; Path=");
        text.push_str(path);
    }
    if let Some(max_age) = max_age {
        // A browser takes whole seconds, and 0 for "at once".
        text.push_str(&format!("; Max-Age={}", max_age.as_secs().max(1)));
    }
    text.push_str("; HttpOnly");
    for attribute in attributes {
        text.push_str("; ");
        text.push_str(attribute);
    }
    HeaderValue::from_str(&text).ok()
}
