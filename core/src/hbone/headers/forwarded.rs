//! `Forwarded` (RFC 7239): who opened the connection, and which service it named.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::{Authority, HostName};
use crate::limits;

/// One hop. Of the peer's claim only `host` has a use, and only to choose a metric's service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forwarded {
    /// `for`: the address that opened the connection.
    pub client: Option<SocketAddr>,
    /// `host`: the service that the client addressed.
    pub host: Option<HostName>,
}

impl Forwarded {
    /// `None` unless it is exactly one well-formed hop. Parameters other than `for` and `host` are skipped, as are
    /// those two with a value that is no socket address and no host name (`for=unknown` is legal).
    pub fn parse(field: &[u8]) -> Option<Self> {
        if field.len() > limits::FORWARDED_BYTES_MAX {
            return None;
        }
        let text = str::from_utf8(field).ok()?;
        let (mut forwarded, mut has_for, mut has_host) = (Self::default(), false, false);
        // Neither separator can stand inside a value that is accepted, so splitting first is safe: a quoted value
        // that holds one falls apart into malformed pieces.
        for parameter in text.split(';') {
            let (name, value) = parameter.trim_matches([' ', '\t']).split_once('=')?;
            let value = unquote(value)?;
            if name.eq_ignore_ascii_case("for") {
                if std::mem::replace(&mut has_for, true) {
                    return None;
                }
                forwarded.client = parse_address(value);
            } else if name.eq_ignore_ascii_case("host") {
                if std::mem::replace(&mut has_host, true) {
                    return None;
                }
                forwarded.host = value.parse().ok();
            } else if name.is_empty() || !name.bytes().all(is_token) {
                return None;
            }
        }
        Some(forwarded)
    }
}

/// The header's value; empty if nothing is known. The address is quoted, because a token has no colon.
impl fmt::Display for Forwarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(client) = self.client {
            write!(f, "for=\"{}\"", Authority::from(client))?;
        }
        if let Some(host) = &self.host {
            let separator = if self.client.is_some() { ";" } else { "" };
            write!(f, "{separator}host={host}")?;
        }
        Ok(())
    }
}

fn parse_address(text: &str) -> Option<SocketAddr> {
    match text.parse() {
        Ok(Authority::Address(address)) => Some(address),
        _ => None,
    }
}

/// A token, or a quoted string without escapes. A stock ztunnel sends the address quoted and the host bare; bare
/// addresses are taken too.
fn unquote(value: &str) -> Option<&str> {
    let inner = match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => value,
    };
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && !b"\"\\,".contains(&byte);
    if !inner.is_empty() && inner.bytes().all(is_allowed) { Some(inner) } else { None }
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

impl Forwarded {
    /// What a proxy says of a connection that it takes from `client`.
    pub fn new(client: SocketAddr, host: Option<HostName>) -> Self {
        let ip: IpAddr = client.ip().to_canonical();
        Self { client: Some(SocketAddr::new(ip, client.port())), host }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_quoted_and_bare_hosts_are_read() {
        for text in [
            "for=\"10.0.0.1:1234\";host=shop.demo",
            "For=\"10.0.0.1:1234\"; Host=\"SHOP.demo\"",
            "host=shop.demo;proto=tcp;for=10.0.0.1:1234",
        ] {
            let forwarded = Forwarded::parse(text.as_bytes()).unwrap();
            assert_eq!(forwarded.client, Some("10.0.0.1:1234".parse().unwrap()), "{text}");
            assert_eq!(forwarded.host.unwrap().as_str(), "shop.demo", "{text}");
        }
        let v6 = Forwarded::parse(b"for=\"[fd00::1]:9\"").unwrap();
        assert_eq!(v6.to_string(), "for=\"[fd00::1]:9\"");
    }

    #[test]
    fn malformed_hop_is_ignored() {
        for text in [
            "",
            "for",
            "for=",
            "for=\"a",
            "for=a\"",
            "for=a;for=b",
            "host=a;host=b",
            "for=a,for=b",
            "=a",
            "a b=c",
            "host=\"a\\\"b\"",
            "host=caf\u{e9}",
        ] {
            assert_eq!(Forwarded::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(Forwarded::parse(&[b'a'; limits::FORWARDED_BYTES_MAX + 1]), None);
        assert_eq!(Forwarded::parse(b"for=unknown;host=10.0.0.1"), Some(Forwarded::default()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = Forwarded::parse(&bytes);
        }

        #[test]
        fn encoded_hop_reads_back(ip in any::<IpAddr>(), port in 1..=u16::MAX, host in proptest::option::of("[a-z]{1,20}(\\.[a-z]{1,9}){0,3}")) {
            let host = host.map(|host| host.parse().unwrap());
            let forwarded = Forwarded::new(SocketAddr::new(ip, port), host);
            prop_assert_eq!(Forwarded::parse(forwarded.to_string().as_bytes()), Some(forwarded));
        }
    }
}
