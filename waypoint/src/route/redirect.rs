//! Where a client is sent instead.

use http::StatusCode;

use super::path::Span;
use super::request::{Request, host_of, port_of};
use super::rewrite::PathRewrite;

/// A redirect.
#[derive(Debug, Clone)]
pub struct Redirect {
    /// `None`: as requested.
    pub scheme: Option<Box<str>>,
    /// `None`: as requested.
    pub authority: Option<Box<str>>,
    /// Which port is named.
    pub port: RedirectPort,
    /// `None`: as requested.
    pub path: Option<PathRewrite>,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
}

/// The port that a redirect names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedirectPort {
    /// This one.
    Number(u16),
    /// The one that the new authority has, or the request's if it stays.
    Authority,
    /// The scheme's, so none.
    Scheme,
    /// The one that the request came to.
    Request,
}

impl Redirect {
    /// The value of `Location`. A port that is the scheme's own isn't written, but for one that the authority carried.
    pub fn location(&self, request: &Request<'_>, span: Span) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(request.scheme);
        let authority = self.authority.as_deref().unwrap_or(request.authority);
        let port = match self.port {
            RedirectPort::Number(port) => Some(port),
            // One that was the old scheme's own isn't the new one's.
            RedirectPort::Authority => port_of(authority)
                .filter(|port| self.authority.is_some() || own_port(request.scheme) != Some(*port)),
            RedirectPort::Scheme => None,
            RedirectPort::Request => Some(request.port),
        };
        let port = port.filter(|port| own_port(scheme) != Some(*port));
        let host = host_of(authority);
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let path = match &self.path {
            Some(rewrite) => rewrite.apply(request.path, span),
            None => request.path.to_owned(),
        };
        let mark = if request.query.is_empty() { "" } else { "?" };
        format!("{scheme}://{open}{host}{close}{port}{path}{mark}{}", request.query)
    }
}

fn own_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::route::request::Source;

    fn location(redirect: &Redirect, authority: &str, query: &str) -> String {
        let headers = HeaderMap::new();
        let request = Request {
            method: "GET",
            scheme: "http",
            authority,
            path: "/a/b",
            query,
            headers: &headers,
            port: 8080,
            source: Source::default(),
            claims: None,
        };
        redirect.location(&request, Span::Elements(2))
    }

    fn redirect() -> Redirect {
        Redirect {
            scheme: None,
            authority: None,
            port: RedirectPort::Authority,
            path: None,
            status: StatusCode::FOUND,
        }
    }

    #[test]
    fn what_is_not_named_stays() {
        assert_eq!(location(&redirect(), "x.example:81", "q=1"), "http://x.example:81/a/b?q=1");
        let path = Some(PathRewrite::Prefix("/new".into()));
        let moved = Redirect { path, authority: Some("y.example".into()), ..redirect() };
        assert_eq!(location(&moved, "x.example:81", ""), "http://y.example/new/b");
    }

    #[test]
    fn port_of_the_scheme_is_not_written() {
        let secure = Redirect { scheme: Some("https".into()), ..redirect() };
        for (port, wanted) in [
            (RedirectPort::Scheme, "https://x.example/a/b"),
            (RedirectPort::Number(443), "https://x.example/a/b"),
            (RedirectPort::Number(80), "https://x.example:80/a/b"),
            (RedirectPort::Request, "https://x.example:8080/a/b"),
            (RedirectPort::Authority, "https://x.example:81/a/b"),
        ] {
            let found = location(&Redirect { port, ..secure.clone() }, "x.example:81", "");
            assert_eq!(found, wanted, "{port:?}");
        }
        assert_eq!(location(&redirect(), "[fd00::1]:80", ""), "http://[fd00::1]/a/b");
        assert_eq!(location(&secure, "x.example:80", ""), "https://x.example/a/b");
    }
}
