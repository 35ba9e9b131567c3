//! What of a request is hashed. The hash is xxHash64 with seed 0, so that all replicas agree.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{COOKIE, HeaderValue};
use rand::Rng;
use xxhash_rust::xxh64::{Xxh64, xxh64};

use super::settings::{HashCookie, HashKey};

/// The hash of a text.
pub fn hash_of(bytes: &[u8]) -> u64 {
    xxh64(bytes, 0)
}

impl HashKey {
    /// The hash of a request; `None` if it has no such thing.
    ///
    /// `query` is what stands behind the path's question mark.
    pub fn hash(&self, headers: &HeaderMap, query: &str, source: Option<IpAddr>) -> Option<u64> {
        match self {
            Self::Header(name) => {
                let mut values = headers.get_all(name).iter().peekable();
                values.peek()?;
                let mut hasher = Xxh64::new(0);
                for (at, value) in values.enumerate() {
                    if at > 0 {
                        hasher.update(b",");
                    }
                    hasher.update(value.as_bytes());
                }
                Some(hasher.digest())
            }
            Self::Cookie(cookie) => cookie.value_in(headers).map(hash_of),
            Self::SourceAddress => source.map(|address| match address.to_canonical() {
                IpAddr::V4(address) => hash_of(&address.octets()),
                IpAddr::V6(address) => hash_of(&address.octets()),
            }),
            Self::Query(name) => {
                let pairs = query.split('&');
                let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
                pairs.find(|(own, _)| *own == &**name).map(|(_, value)| hash_of(value.as_bytes()))
            }
        }
    }
}

impl HashCookie {
    /// Its value in a request's headers (RFC 6265 section 4.2). An empty one is none.
    fn value_in<'a>(&self, headers: &'a HeaderMap) -> Option<&'a [u8]> {
        let lists = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
        let mut pairs = lists.flat_map(|list| list.split(|byte| *byte == b';'));
        let value = pairs.find_map(|pair| {
            let pair = pair.trim_ascii();
            let rest = pair.strip_prefix(self.name.as_bytes())?;
            rest.strip_prefix(b"=").map(|value| value.trim_ascii())
        });
        let value = value.map(|value| {
            let inner = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
            inner.unwrap_or(value)
        });
        value.filter(|value| !value.is_empty())
    }

    /// For a client without the cookie: the hash of a new value, and what to answer as `set-cookie`. `None` if clients
    /// are given none.
    pub fn give(&self, rng: &mut impl Rng) -> Option<(u64, HeaderValue)> {
        let ttl = self.ttl?;
        let value = format!("{:016x}{:016x}", rng.next_u64(), rng.next_u64());
        let mut text = format!("{}={value}", self.name);
        if !self.path.is_empty() {
            text.push_str("; Path=");
            text.push_str(&self.path);
        }
        if !ttl.is_zero() {
            // A browser takes whole seconds, and 0 for "at once".
            text.push_str(&format!("; Max-Age={}", ttl.as_secs().max(1)));
        }
        text.push_str("; HttpOnly");
        for attribute in &self.attributes {
            text.push_str("; ");
            text.push_str(attribute);
        }
        let header = HeaderValue::from_str(&text).ok()?;
        Some((hash_of(value.as_bytes()), header))
    }
}
