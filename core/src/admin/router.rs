//! Which closure answers which path, and who may call it.

use crate::config::AdminConfig;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, HOST, HeaderName};
use http::{HeaderMap, Method, StatusCode};

use super::parse_query;

/// A request whose body has been read.
#[derive(Debug, Clone)]
pub struct Request {
    /// Method; a HEAD is shown as the GET that it stands for.
    pub method: Method,
    /// Path without the query.
    pub path: String,
    /// Query, decoded.
    pub query: Vec<(String, String)>,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, at most [`crate::limits::ADMIN_BODY_BYTES_MAX`].
    pub body: Bytes,
}

impl Request {
    /// The first value of a query key.
    pub fn query(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// A header's text.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn new(parts: &http::request::Parts, body: Bytes) -> Self {
        let method = if parts.method == Method::HEAD { Method::GET } else { parts.method.clone() };
        Self {
            method,
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().map(parse_query).unwrap_or_default(),
            headers: parts.headers.clone(),
            body,
        }
    }
}

/// What a route answers.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status.
    pub status: StatusCode,
    /// Content type.
    pub content_type: &'static str,
    /// Body.
    pub body: Bytes,
}

impl Response {
    /// Plain text.
    pub fn text(status: StatusCode, text: impl Into<String>) -> Self {
        let body = Bytes::from(text.into());
        Self { status, content_type: "text/plain; charset=utf-8", body }
    }

    /// 200 with plain text.
    pub fn ok(text: impl Into<String>) -> Self {
        Self::text(StatusCode::OK, text)
    }

    /// 200 with indented JSON.
    pub fn json<T: serde::Serialize>(value: &T) -> Self {
        match serde_json::to_vec_pretty(value) {
            Ok(body) => {
                let (status, content_type) = (StatusCode::OK, "application/json");
                Self { status, content_type, body: body.into() }
            }
            Err(error) => Self::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }
}

type Handler = Arc<dyn Fn(Request) -> BoxFuture<'static, Response> + Send + Sync>;

struct Route {
    handler: Handler,
    help: &'static str,
    changes: bool,
}

/// Which `Host` a request may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hosts {
    /// `localhost` or a loopback address, with any port: for a server on loopback.
    Loopback,
    /// Any: for a server that is meant to be reached over the network.
    Any,
}

/// Who may call a route that changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeAccess {
    /// Nobody.
    Closed,
    /// Who sends the file's content as a bearer token. It is read for each request, so it can be replaced.
    TokenFile(PathBuf),
    /// Anybody, as the incumbent has it.
    Open,
}

impl ChangeAccess {
    /// As the operator chose.
    pub fn of(config: &AdminConfig) -> Self {
        match (&config.token_file, config.open) {
            (_, true) => Self::Open,
            (Some(file), false) => Self::TokenFile(file.clone()),
            (None, false) => Self::Closed,
        }
    }
}

/// The routes of a server.
pub struct Router {
    hosts: Hosts,
    access: ChangeAccess,
    routes: BTreeMap<(&'static str, &'static str), Route>,
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("routes", &self.routes.keys()).finish_non_exhaustive()
    }
}

impl Router {
    /// Without routes, apart from `/`, which lists them.
    pub fn new(hosts: Hosts, access: ChangeAccess) -> Self {
        Self { hosts, access, routes: BTreeMap::new() }
    }

    /// A GET route, which must change nothing.
    pub fn get<F, R>(&mut self, path: &'static str, help: &'static str, handler: F)
    where
        F: Fn(Request) -> R + Send + Sync + 'static,
        R: Future<Output = Response> + Send + 'static,
    {
        self.add((path, "GET"), help, false, handler);
    }

    /// A POST route, which may change something and so needs the token.
    pub fn change<F, R>(&mut self, path: &'static str, help: &'static str, handler: F)
    where
        F: Fn(Request) -> R + Send + Sync + 'static,
        R: Future<Output = Response> + Send + 'static,
    {
        self.add((path, "POST"), help, true, handler);
    }

    fn add<F, R>(
        &mut self,
        key: (&'static str, &'static str),
        help: &'static str,
        changes: bool,
        handler: F,
    ) where
        F: Fn(Request) -> R + Send + Sync + 'static,
        R: Future<Output = Response> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |request| Box::pin(handler(request)));
        self.routes.insert(key, Route { handler, help, changes });
    }

    /// The answer to `request`.
    pub async fn answer(&self, request: Request) -> Response {
        if self.hosts == Hosts::Loopback && !names_loopback(request.header(HOST)) {
            let text =
                "this server answers only requests that name localhost in their Host header\n";
            return Response::text(StatusCode::FORBIDDEN, text);
        }
        let path = request.path.as_str();
        let found =
            self.routes.iter().find(|((of, method), _)| *of == path && request.method == *method);
        let Some((_, route)) = found else {
            if path == "/" && request.method == Method::GET {
                return Response::ok(self.index());
            }
            let is_known = self.routes.keys().any(|(of, _)| *of == path);
            let status =
                if is_known { StatusCode::METHOD_NOT_ALLOWED } else { StatusCode::NOT_FOUND };
            return Response::text(status, format!("{status}; GET / lists what there is\n"));
        };
        if route.changes
            && let Err(text) = self.may_change(request.header(AUTHORIZATION)).await
        {
            return Response::text(StatusCode::FORBIDDEN, format!("{text}\n"));
        }
        (route.handler)(request).await
    }

    fn index(&self) -> String {
        let line = |((path, method), route): (&(&str, &str), &Route)| {
            format!("{method:4} {path:24} {}\n", route.help)
        };
        self.routes.iter().map(line).collect()
    }

    async fn may_change(&self, authorization: Option<&str>) -> Result<(), String> {
        let file = match &self.access {
            ChangeAccess::Open => return Ok(()),
            ChangeAccess::Closed => {
                return Err("changes are off: this process was given no token file".into());
            }
            ChangeAccess::TokenFile(file) => file,
        };
        let shown = file.display();
        let expected = read_token(file).await.map_err(|e| format!("token file {shown}: {e}"))?;
        let given = authorization.and_then(|text| text.strip_prefix("Bearer ")).unwrap_or_default();
        // An empty file would otherwise let everybody in.
        let is_same = !expected.is_empty()
            && aws_lc_rs::constant_time::verify_slices_are_equal(
                expected.as_bytes(),
                given.trim().as_bytes(),
            )
            .is_ok();
        if is_same {
            Ok(())
        } else {
            Err(format!("send \"Authorization: Bearer …\" with the content of {shown}"))
        }
    }
}

async fn read_token(file: &Path) -> std::io::Result<String> {
    Ok(tokio::fs::read_to_string(file).await?.trim().to_owned())
}

fn names_loopback(host: Option<&str>) -> bool {
    let Some(host) = host else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(address, _)| address),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_pass_the_host_check() {
        for host in
            ["localhost", "LocalHost:15000", "127.0.0.1:15000", "127.9.9.9", "[::1]:1", "[::1]"]
        {
            assert!(names_loopback(Some(host)), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example:15000",
            "10.0.0.1",
            "[::2]:1",
            "[::1",
            "::1",
        ] {
            assert!(!names_loopback(Some(host)), "{host}");
        }
        assert!(!names_loopback(None));
    }
}
