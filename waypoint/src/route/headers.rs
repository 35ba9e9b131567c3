//! Edits of headers.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

/// What is set, added and removed, in this order. Several edits add up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderEdit {
    pub(super) set: Vec<(HeaderName, HeaderValue)>,
    pub(super) add: Vec<(HeaderName, HeaderValue)>,
    pub(super) remove: Vec<HeaderName>,
}

impl HeaderEdit {
    /// Carries it out. A header that doesn't fit any more (the map holds 32,768) is left out.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.set {
            // Fails only for a full map.
            let _replaced = headers.try_insert(name, value.clone());
        }
        for (name, value) in &self.add {
            let _appended = headers.try_append(name, value.clone());
        }
        for name in &self.remove {
            headers.remove(name);
        }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

/// Headers that say where a message ends or what the connection does. Whoever could edit them could smuggle requests
/// past the next hop (RFC 9112 section 11.2).
pub(crate) fn is_framing(name: &HeaderName) -> bool {
    const FRAMING: [&str; 8] = [
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    FRAMING.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &'static str, value: &'static str) -> (HeaderName, HeaderValue) {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    }

    #[test]
    fn edits_set_then_add_then_remove() {
        let edit = HeaderEdit {
            set: vec![pair("a", "set"), pair("gone", "x")],
            add: vec![pair("a", "added"), pair("b", "new")],
            remove: vec![HeaderName::from_static("gone")],
        };
        let mut headers: HeaderMap = [pair("a", "old"), pair("c", "kept")].into_iter().collect();
        headers.append("a", HeaderValue::from_static("older"));
        edit.apply(&mut headers);
        let mut found: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        found.sort_unstable();
        assert_eq!(found, [("a", "added"), ("a", "set"), ("b", "new"), ("c", "kept")]);
    }
}
