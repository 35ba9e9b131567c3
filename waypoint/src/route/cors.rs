//! Who may read responses from a script in a browser (Fetch standard, section "CORS protocol").

use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};

use super::request::Request;
use super::text::TextMatch;

/// Who may read responses from a script.
#[derive(Debug, Clone)]
pub struct Cors {
    /// Origins, one of which must fit.
    pub(super) origins: Box<[TextMatch]>,
    /// Any origin is allowed.
    pub(super) is_any_origin: bool,
    pub(super) methods: Listed,
    pub(super) headers: Listed,
    /// Ready for the header; `None`: not sent.
    pub(super) exposed: Option<HeaderValue>,
    pub(super) max_age: Option<HeaderValue>,
    pub(super) allows_credentials: bool,
    /// Preflights from an origin that isn't allowed go to the backend.
    pub(super) forwards_unmatched: bool,
}

/// Names that a preflight's answer lists.
#[derive(Debug, Clone)]
pub(super) enum Listed {
    /// The header isn't sent.
    None,
    /// Ready for the header.
    These(HeaderValue),
    Any,
}

/// What becomes of a request with an origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preflight {
    /// It is none, or one for the backend: it is forwarded.
    Forward,
    /// It is answered 200 with these headers and no body.
    Answer(HeaderMap),
}

impl Cors {
    /// Answers a preflight.
    pub fn preflight(&self, request: &Request<'_>) -> Preflight {
        let asked = request.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD);
        let (Some(origin), Some(asked), "OPTIONS") =
            (request.headers.get(header::ORIGIN), asked, request.method)
        else {
            return Preflight::Forward;
        };
        let mut answer = HeaderMap::new();
        if !self.allow(origin, &mut answer) {
            return match self.forwards_unmatched {
                true => Preflight::Forward,
                false => Preflight::Answer(answer),
            };
        }
        let names = request.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
        self.list(header::ACCESS_CONTROL_ALLOW_METHODS, &self.methods, Some(asked), &mut answer);
        self.list(header::ACCESS_CONTROL_ALLOW_HEADERS, &self.headers, names, &mut answer);
        if let Some(max_age) = &self.max_age {
            answer.insert(header::ACCESS_CONTROL_MAX_AGE, max_age.clone());
        }
        Preflight::Answer(answer)
    }

    /// Marks a response as readable, if `origin`, the request's, is allowed. What the backend said of it is replaced.
    pub fn mark(&self, origin: Option<&HeaderValue>, response: &mut HeaderMap) {
        let Some(origin) = origin else {
            return;
        };
        if self.allow(origin, response)
            && let Some(exposed) = &self.exposed
        {
            response.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
        }
    }

    /// `*` means nothing to a browser that sends credentials, so that it gets the origin itself then.
    fn allow(&self, origin: &HeaderValue, response: &mut HeaderMap) -> bool {
        let is_allowed =
            self.is_any_origin || self.origins.iter().any(|own| own.fits(origin.as_bytes()));
        response.remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        response.remove(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
        if !is_allowed {
            return false;
        }
        let is_wildcard = self.is_any_origin && !self.allows_credentials;
        let shown = if is_wildcard { HeaderValue::from_static("*") } else { origin.clone() };
        response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, shown);
        if !is_wildcard {
            response.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        if self.allows_credentials {
            let value = HeaderValue::from_static("true");
            response.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, value);
        }
        true
    }

    /// As with origins: with credentials, "any" is what was asked for.
    fn list(
        &self,
        name: HeaderName,
        listed: &Listed,
        asked: Option<&HeaderValue>,
        answer: &mut HeaderMap,
    ) {
        let value = match listed {
            Listed::None => None,
            Listed::These(value) => Some(value.clone()),
            Listed::Any if self.allows_credentials => asked.cloned(),
            Listed::Any => Some(HeaderValue::from_static("*")),
        };
        if let Some(value) = value {
            answer.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::request::Source;

    fn cors() -> Cors {
        Cors {
            origins: [TextMatch::exact("https://a.example")].into(),
            is_any_origin: false,
            methods: Listed::These(HeaderValue::from_static("GET, PUT")),
            headers: Listed::Any,
            exposed: Some(HeaderValue::from_static("x-id")),
            max_age: Some(HeaderValue::from_static("5")),
            allows_credentials: false,
            forwards_unmatched: false,
        }
    }

    fn preflight(cors: &Cors, origin: &'static str) -> Preflight {
        let headers: HeaderMap = [
            (header::ORIGIN, HeaderValue::from_static(origin)),
            (header::ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("PUT")),
            (header::ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static("x-b")),
        ]
        .into_iter()
        .collect();
        cors.preflight(&Request {
            method: "OPTIONS",
            scheme: "http",
            authority: "b.example",
            path: "/",
            query: "",
            headers: &headers,
            port: 80,
            source: Source::default(),
            claims: None,
        })
    }

    fn told<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
        headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn preflight_of_an_allowed_origin_is_answered_in_full() {
        let Preflight::Answer(answer) = preflight(&cors(), "https://a.example") else {
            panic!("it was forwarded");
        };
        for (name, value) in [
            ("access-control-allow-origin", "https://a.example"),
            ("access-control-allow-methods", "GET, PUT"),
            ("access-control-allow-headers", "*"),
            ("access-control-max-age", "5"),
            ("vary", "Origin"),
        ] {
            assert_eq!(told(&answer, name), Some(value), "{name}");
        }
        assert_eq!(told(&answer, "access-control-allow-credentials"), None);
    }

    #[test]
    fn preflight_of_another_origin_gets_no_permission() {
        let Preflight::Answer(answer) = preflight(&cors(), "https://b.example") else {
            panic!("it was forwarded");
        };
        assert!(answer.is_empty());
        let lax = Cors { forwards_unmatched: true, ..cors() };
        assert_eq!(preflight(&lax, "https://b.example"), Preflight::Forward);
    }

    #[test]
    fn credentials_turn_wildcards_into_what_was_asked_for() {
        let any = Cors { is_any_origin: true, allows_credentials: true, ..cors() };
        let Preflight::Answer(answer) = preflight(&any, "https://b.example") else {
            panic!("it was forwarded");
        };
        assert_eq!(told(&answer, "access-control-allow-origin"), Some("https://b.example"));
        assert_eq!(told(&answer, "access-control-allow-headers"), Some("x-b"));
        assert_eq!(told(&answer, "access-control-allow-credentials"), Some("true"));
    }

    #[test]
    fn permission_of_the_backend_is_replaced() {
        let mut response = HeaderMap::new();
        response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        let origin = HeaderValue::from_static("https://b.example");
        cors().mark(Some(&origin), &mut response);
        assert!(response.is_empty());
        let origin = HeaderValue::from_static("https://a.example");
        cors().mark(Some(&origin), &mut response);
        assert_eq!(told(&response, "access-control-expose-headers"), Some("x-id"));
    }
}
