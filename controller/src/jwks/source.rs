//! The keys of one source.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use serde::Deserialize;

use super::limits;
use super::web::Get;
use crate::objects::{KeySource, key_set};

/// Why a source gave no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// It can't be reached, or the exchange broke.
    #[error("{0}")]
    Exchange(String),
    /// It answered otherwise than 200. Redirections aren't followed: they would lead to another issuer.
    #[error("HTTP status {0}")]
    Status(u16),
    /// The answer is too long.
    #[error("more than {} bytes", limits::ANSWER_BYTES_MAX)]
    TooLong,
    /// The answer isn't what it should be.
    #[error("{0}")]
    Content(String),
    /// It took too long.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
}

/// Fetches the keys of `source` in at most `timeout`, cut down to what verifies signatures.
pub(super) async fn keys(
    get: &impl Get,
    source: &KeySource,
    timeout: Duration,
) -> Result<Arc<str>, FetchError> {
    let timeout = timeout.min(limits::TIMEOUT_MAX);
    let fetched = tokio::time::timeout(timeout, Box::pin(fetch(get, source))).await;
    let bytes = fetched.map_err(|_| FetchError::Timeout(timeout))??;
    let text = std::str::from_utf8(&bytes).map_err(|_| content("no text"))?;
    key_set::trimmed(text).map(Arc::from).map_err(FetchError::Content)
}

async fn fetch(get: &impl Get, source: &KeySource) -> Result<Bytes, FetchError> {
    match source {
        KeySource::Inline(keys) => Ok(Bytes::copy_from_slice(keys.as_bytes())),
        KeySource::Uri(uri) => get.get(&address(uri)?).await,
        KeySource::Issuer(issuer) => {
            let base = issuer.strip_suffix('/').unwrap_or(issuer);
            let at = address(&format!("{base}/.well-known/openid-configuration"))?;
            let document = get.get(&at).await?;
            let to = discovered(&document, issuer)?;
            // Otherwise whoever is on the way could give the keys.
            if at.scheme_str() == Some("https") && to.scheme_str() != Some("https") {
                return Err(content("jwks_uri of an https issuer is not https"));
            }
            get.get(&to).await
        }
    }
}

/// OpenID Connect Discovery 1.0, section 4.3: the document has to name the issuer that was asked.
fn discovered(document: &[u8], issuer: &str) -> Result<Uri, FetchError> {
    #[derive(Deserialize)]
    struct Document {
        issuer: String,
        jwks_uri: String,
    }
    let document: Document = serde_json::from_slice(document)
        .map_err(|error| FetchError::Content(format!("no discovery document: {error}")))?;
    if document.issuer != *issuer {
        return Err(FetchError::Content(format!(
            "the document is of issuer {:?}",
            document.issuer
        )));
    }
    address(&document.jwks_uri)
}

fn address(text: &str) -> Result<Uri, FetchError> {
    let uri: Uri =
        text.parse().map_err(|_| FetchError::Content(format!("{text:?} is no address")))?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
    is_web.then_some(uri).ok_or_else(|| content("no http or https address"))
}

fn content(what: &str) -> FetchError {
    FetchError::Content(what.to_owned())
}
