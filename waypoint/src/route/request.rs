//! What routing looks at.

use std::collections::BTreeMap;

use http::HeaderMap;
use serde_json::{Map, Value};

/// A request, as routing sees it. Borrowed from the HTTP engine, whichever that is.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Its method's name.
    pub method: &'a str,
    /// `http` or `https`, as the client named it.
    pub scheme: &'a str,
    /// `:authority` or `Host` as the client sent it, port included.
    pub authority: &'a str,
    /// The normalised path, without the query.
    pub path: &'a str,
    /// What stands behind the question mark; empty if nothing does.
    pub query: &'a str,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// The service's port that it came to.
    pub port: u16,
    /// Who calls.
    pub source: Source<'a>,
    /// Claims of the caller's verified token.
    pub claims: Option<&'a Map<String, Value>>,
}

/// Who calls. From the verified certificate, never from a header.
#[derive(Debug, Clone, Copy, Default)]
pub struct Source<'a> {
    /// The identity without `spiffe://`.
    pub principal: Option<&'a str>,
    /// The identity's namespace.
    pub namespace: Option<&'a str>,
    /// Labels of the workload that has the caller's address and identity.
    pub labels: Option<&'a BTreeMap<String, String>>,
}

/// The host of an authority: without a port, and an IPv6 address without its brackets.
pub fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(host, _)| host);
    }
    match authority.rsplit_once(':') {
        // Two colons and no brackets: an IPv6 address, written wrong.
        Some((host, _)) if !host.contains(':') => host,
        _ => authority,
    }
}

/// The port that an authority names.
pub fn port_of(authority: &str) -> Option<u16> {
    let (host, port) = authority.rsplit_once(':')?;
    let is_whole = !host.contains(':') || host.ends_with(']');
    port.parse().ok().filter(|_| is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authority_splits_into_host_and_port() {
        for (authority, host, port) in [
            ("a.example", "a.example", None),
            ("a.example:80", "a.example", Some(80)),
            ("10.0.0.1:8080", "10.0.0.1", Some(8080)),
            ("[fd00::1]:80", "fd00::1", Some(80)),
            ("[fd00::1]", "fd00::1", None),
            ("fd00::1", "fd00::1", None),
            ("a.example:", "a.example", None),
            ("", "", None),
            ("[", "", None),
        ] {
            assert_eq!((host_of(authority), port_of(authority)), (host, port), "{authority}");
        }
    }
}
