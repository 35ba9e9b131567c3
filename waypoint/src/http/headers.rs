//! Headers that are of one connection and not of the message.

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE,
    TRANSFER_ENCODING, UPGRADE,
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Takes out what concerns the connection alone (RFC 9110, section 7.6.1), and what `Connection` names besides.
pub(super) fn strip_connection(headers: &mut HeaderMap) {
    // Most messages have none of them, and one look over the names says so.
    if !headers.keys().any(is_of_connection) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // Whoever names these would make us drop what routing and policy looked at.
        .filter(|name| !is_end_to_end(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
    let wants_trailers = headers.get_all(TE).iter().any(|value| {
        let value = value.to_str().unwrap_or_default();
        value.split(',').any(|one| one.trim().eq_ignore_ascii_case("trailers"))
    });
    for name in OF_CONNECTION {
        headers.remove(name);
    }
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

const OF_CONNECTION: [HeaderName; 7] =
    [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TRANSFER_ENCODING, UPGRADE, HTTP2_SETTINGS, TE];

fn is_of_connection(name: &HeaderName) -> bool {
    const { OF_CONNECTION }.contains(name)
}

/// Whether `Connection` names headers that aren't the connection's anyway.
pub(super) fn names_others(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().any(|value| {
        let value = value.to_str().unwrap_or_default();
        value.split(',').map(str::trim).any(|one| {
            !["keep-alive", "close", "upgrade"].iter().any(|known| one.eq_ignore_ascii_case(known))
        })
    })
}

fn is_end_to_end(name: &HeaderName) -> bool {
    const KEPT: [&str; 6] =
        ["host", "content-length", "authorization", "cookie", "x-request-id", "forwarded"];
    KEPT.contains(&name.as_str()) || name.as_str().starts_with("x-forwarded-")
}

/// What the client wants to change to, if it asks for that in a way that can be passed on.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asks = headers.get_all(CONNECTION).iter().any(|value| {
        let value = value.to_str().unwrap_or_default();
        value.split(',').any(|one| one.trim().eq_ignore_ascii_case("upgrade"))
    });
    let mut wanted = headers.get_all(UPGRADE).iter();
    let only = wanted.next().filter(|_| asks && wanted.next().is_none())?;
    // h2c is a matter between neighbours; what is passed on is what applications speak. An application that finds it in a
    // list would speak HTTP/2 past all that is checked here.
    let is_h2c = |one: &str| {
        let name = one.split('/').next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("h2c")
    };
    let names_none = only.to_str().is_ok_and(|text| !text.split(',').any(is_h2c));
    names_none.then(|| only.clone())
}

/// Whether the headers of a response say once where its body ends (RFC 9112, section 6.3). One that says it twice would go on
/// with the wrong one: hyper takes the chunks, and who reads from us the length.
pub(super) fn is_framed_once(headers: &HeaderMap) -> bool {
    let lengths = headers.get_all(CONTENT_LENGTH).iter().count();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match codings.next() {
        None => lengths <= 1,
        Some(coding) => {
            let is_chunked = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
            is_chunked && codings.next().is_none() && lengths == 0
        }
    }
}

/// Whether a response is a stream of events (HTML, section 9.2), which may be quiet for as long as nothing happens.
pub(super) fn is_events(headers: &HeaderMap) -> bool {
    const EVENTS: &[u8] = b"text/event-stream";
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    kind.get(..EVENTS.len()).is_some_and(|it| it.eq_ignore_ascii_case(EVENTS))
}

/// Whether a request is gRPC, so that what is answered here has to be gRPC too.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let rest = kind.strip_prefix("application/grpc");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let mut map = HeaderMap::new();
        for (name, value) in pairs.iter().map(pair) {
            map.append(name, value);
        }
        map
    }

    #[test]
    fn what_concerns_the_connection_is_not_passed_on() {
        let mut map = headers(&[
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("te", "gzip, trailers"),
            ("accept", "*/*"),
        ]);
        strip_connection(&mut map);
        assert_eq!(map, headers(&[("te", "trailers"), ("accept", "*/*")]));
    }

    #[test]
    fn connection_can_not_take_away_what_policies_look_at() {
        let mut map = headers(&[
            ("connection", "authorization, x-forwarded-for, host"),
            ("authorization", "Bearer x"),
            ("x-forwarded-for", "10.0.0.1"),
            ("host", "a"),
        ]);
        strip_connection(&mut map);
        assert_eq!(map.len(), 3);
    }

    #[test]
    fn upgrade_is_passed_on_only_if_it_is_asked_for_once() {
        let asked = |pairs| upgrade(&headers(pairs)).is_some();
        assert!(asked(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]));
        assert!(!asked(&[("upgrade", "websocket")]));
        assert!(!asked(&[("connection", "upgrade"), ("upgrade", "h2c")]));
        assert!(!asked(&[("connection", "upgrade"), ("upgrade", "websocket, H2C")]));
        assert!(!asked(&[("connection", "upgrade"), ("upgrade", "h2c/1,websocket")]));
        assert!(!asked(&[("connection", "upgrade"), ("upgrade", "a"), ("upgrade", "b")]));
    }

    #[test]
    fn grpc_is_told_by_its_type() {
        for (kind, wanted) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(is_grpc(&headers(&[("content-type", kind)])), wanted, "{kind}");
        }
    }
}
