//! What a checker's answer changes.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::route;

/// A request that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allowed {
    /// For the request, before it goes on.
    pub request: Vec<HeaderChange>,
    /// For the response, whenever it comes.
    pub response: Vec<HeaderChange>,
}

/// The answer to a request that doesn't.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: Vec<HeaderChange>,
    /// Its body.
    pub body: Bytes,
}

/// One edit of headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderChange {
    /// Replaces all values.
    Set(HeaderName, HeaderValue),
    /// A further value.
    Append(HeaderName, HeaderValue),
    /// Only where there is none.
    AddIfAbsent(HeaderName, HeaderValue),
    /// Replaces all values, only where there is one.
    ReplaceIfPresent(HeaderName, HeaderValue),
    /// Takes all values away.
    Remove(HeaderName),
}

impl HeaderChange {
    /// Carries it out. A header that doesn't fit any more (the map holds 32,768) is left out.
    pub fn apply(&self, headers: &mut HeaderMap) {
        match self {
            Self::Set(name, value) => {
                let _old = headers.try_insert(name, value.clone());
            }
            Self::Append(name, value) => {
                let _old = headers.try_append(name, value.clone());
            }
            Self::AddIfAbsent(name, _) if headers.contains_key(name) => {}
            Self::AddIfAbsent(name, value) => {
                let _old = headers.try_insert(name, value.clone());
            }
            Self::ReplaceIfPresent(name, value) => {
                if headers.contains_key(name) {
                    let _old = headers.try_insert(name, value.clone());
                }
            }
            Self::Remove(name) => {
                headers.remove(name);
            }
        }
    }
}

/// Whether a checker has no say about a header: how a message is framed, and whom it is for.
pub(super) fn is_framing(name: &HeaderName) -> bool {
    route::is_framing(name) || matches!(name.as_str(), "host" | "http2-settings")
}

/// A name that a checker may change, from its answer.
pub(crate) fn editable(name: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).ok().filter(|name| !is_framing(name))
}
