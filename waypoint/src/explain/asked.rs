//! The question: a request that nobody sends.

use http::header::{HOST, HeaderName, HeaderValue};
use http::{Method, Request, request};
use weft_core::mesh::Service;

use super::ExplainError;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Asked {
    /// Who calls: `NAMESPACE/NAME` of a pod, of what owns it, or of a service account.
    pub(crate) source: String,
    /// What is called: `NAMESPACE/NAME`, `NAMESPACE/HOST` or a host name.
    pub(crate) service: String,
    /// Its port; `None`: the only one, or 80.
    pub(crate) port: Option<u16>,
    /// The method.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// Headers as `name:value`.
    pub(crate) headers: Vec<String>,
    /// The server that a client of TLS asks for.
    pub(crate) server_name: Option<String>,
}

impl Asked {
    /// From the pairs of a query.
    pub(crate) fn read(query: &[(String, String)]) -> Result<Self, ExplainError> {
        let mut asked = Self { method: "GET".into(), path: "/".into(), ..Self::default() };
        for (key, value) in query {
            match key.as_str() {
                "source" => asked.source.clone_from(value),
                "service" => asked.service.clone_from(value),
                "method" => asked.method.clone_from(value),
                "path" => asked.path.clone_from(value),
                "sni" => asked.server_name = Some(value.clone()),
                "header" => asked.headers.push(value.clone()),
                "port" => asked.port = Some(port(value)?),
                other => return Err(question(format!("{other:?} is no part of a question"))),
            }
        }
        match asked.source.is_empty() || asked.service.is_empty() {
            true => Err(question("say who calls and what: ?source=…&service=…")),
            false => Ok(asked),
        }
    }

    /// The head of the request. Without a `host` header it is for the service's own host name.
    pub(super) fn head(&self, service: &Service) -> Result<request::Parts, ExplainError> {
        let method = Method::from_bytes(self.method.as_bytes());
        let method = method.map_err(|_| question(format!("{:?} is no method", self.method)))?;
        let mut request = Request::builder().method(method).uri(&*self.path);
        for header in &self.headers {
            let (name, value) = header_of(header)?;
            request = request.header(name, value);
        }
        let request = request.body(()).map_err(|error| question(format!("{error}")))?;
        let (mut head, ()) = request.into_parts();
        if !head.headers.contains_key(HOST)
            && let Ok(host) = HeaderValue::from_str(&service.hostname)
        {
            head.headers.insert(HOST, host);
        }
        Ok(head)
    }
}

fn question(text: impl Into<String>) -> ExplainError {
    ExplainError::Question(text.into())
}

fn port(text: &str) -> Result<u16, ExplainError> {
    text.parse().map_err(|_| question(format!("{text:?} is no port")))
}

fn header_of(text: &str) -> Result<(HeaderName, HeaderValue), ExplainError> {
    let pair = text.split_once(':').and_then(|(name, value)| {
        let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
        Some((name, HeaderValue::from_str(value.trim()).ok()?))
    });
    // The text isn't repeated: it may be a token.
    pair.ok_or_else(|| question("a header is not written as name:value"))
}
