//! What of a request is hashed. The hash is xxHash64 with seed 0, so that all replicas agree.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::HeaderValue;
use rand::Rng;
use xxhash_rust::xxh64::{Xxh64, xxh64};

use super::settings::{HashCookie, HashKey};
use crate::cookie;

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
    /// Its value in a request's headers.
    fn value_in<'a>(&'a self, headers: &'a HeaderMap) -> Option<&'a [u8]> {
        cookie::values(headers, &self.name).next()
    }

    /// For a client without the cookie: the hash of a new value, and what to answer as `set-cookie`. `None` if clients
    /// are given none.
    pub fn give(&self, rng: &mut impl Rng) -> Option<(u64, HeaderValue)> {
        let ttl = self.ttl?;
        let value = format!("{:016x}{:016x}", rng.next_u64(), rng.next_u64());
        let max_age = (!ttl.is_zero()).then_some(ttl);
        let header = cookie::written((&self.name, &value), &self.path, max_age, &self.attributes)?;
        Some((hash_of(value.as_bytes()), header))
    }
}
