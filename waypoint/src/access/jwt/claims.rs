//! What a verified token says, and what it changes in its request.

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use crate::limits::access as limits;

/// The caller's verified token.
#[derive(Debug, Clone)]
pub struct Authenticated {
    claims: Map<String, Value>,
    space_delimited: Box<[Box<str>]>,
    pub(super) provider: usize,
    pub(super) set_headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) remove_headers: Vec<HeaderName>,
    pub(super) remove_params: Vec<Box<str>>,
}

/// Claims whose text is a list, as Envoy has it without being told (RFC 8693 section 4.2).
const SPACE_DELIMITED: [&str; 2] = ["scope", "permission"];

impl Authenticated {
    pub(in crate::access) fn new(
        claims: Map<String, Value>,
        space_delimited: &[Box<str>],
        provider: usize,
    ) -> Self {
        Self {
            claims,
            space_delimited: space_delimited.into(),
            provider,
            set_headers: Vec::new(),
            remove_headers: Vec::new(),
            remove_params: Vec::new(),
        }
    }

    /// All claims, for routes.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// `iss`
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }

    /// `sub`
    pub fn subject(&self) -> Option<&str> {
        self.claims.get("sub")?.as_str()
    }

    /// `iss` and `sub` with a slash between, for logs. Rules compare the two one by one.
    pub fn principal(&self) -> Option<String> {
        Some(format!("{}/{}", self.issuer()?, self.subject()?))
    }

    /// Headers that are set on the request: claims and payload as the issuer's object asks.
    pub fn set_headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.set_headers
    }

    /// Headers that are removed from the request: the token isn't forwarded.
    pub fn remove_headers(&self) -> &[HeaderName] {
        &self.remove_headers
    }

    /// The query without its token; nothing if it stays as it is.
    pub fn query_without_token(&self, query: &str) -> Option<String> {
        if self.remove_params.is_empty() {
            return None;
        }
        let is_kept = |pair: &&str| {
            let name = pair.split('=').next().unwrap_or_default();
            !self.remove_params.iter().any(|param| **param == *name)
        };
        Some(query.split('&').filter(is_kept).collect::<Vec<_>>().join("&"))
    }

    /// Whether an entry of `aud` fits.
    pub(in crate::access) fn has_audience(&self, fits: impl Fn(&str) -> bool) -> bool {
        audiences(&self.claims).any(fits)
    }

    /// Whether the claim at `path` fits, or one element of it.
    pub(in crate::access) fn has_claim(
        &self,
        path: &[Box<str>],
        fits: &dyn Fn(&str) -> bool,
    ) -> bool {
        let Some(value) = self.value(path) else { return false };
        let is_list = |name: &str| {
            SPACE_DELIMITED.contains(&name) || self.space_delimited.iter().any(|it| **it == *name)
        };
        match (value, path) {
            (Value::String(text), [name]) if is_list(name) => text.split(' ').any(fits),
            (Value::Array(values), _) => values.iter().any(|value| scalar_fits(value, fits)),
            (value, _) => scalar_fits(value, fits),
        }
    }

    /// A text, a number or a truth value as a text; lists and objects as base64url of their JSON.
    pub(super) fn text_of(&self, path: &[Box<str>]) -> Option<String> {
        use base64::Engine;
        Some(match self.value(path)? {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(value) => value.to_string(),
            Value::Null => return None,
            value @ (Value::Array(_) | Value::Object(_)) => {
                base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string())
            }
        })
    }

    fn value(&self, path: &[Box<str>]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        let mut value = self.claims.get(&**first)?;
        for name in rest.iter().take(limits::CLAIM_DEPTH_MAX) {
            value = value.as_object()?.get(&**name)?;
        }
        (rest.len() <= limits::CLAIM_DEPTH_MAX).then_some(value)
    }
}

/// `aud`: one text or a list (RFC 7519 section 4.1.3).
pub(super) fn audiences(claims: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let value = claims.get("aud");
    let one = value.and_then(Value::as_str);
    let list = value.and_then(Value::as_array).into_iter().flatten();
    one.into_iter().chain(list.filter_map(Value::as_str))
}

fn scalar_fits(value: &Value, fits: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => fits(text),
        Value::Bool(true) => fits("true"),
        Value::Bool(false) => fits("false"),
        Value::Number(number) => fits(&number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}
