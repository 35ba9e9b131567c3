//! `:authority` of a CONNECT (RFC 9113, section 8.5): where the tunnel shall lead.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::HostName;

/// Why a text is no authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// There is no port, or it is no decimal number from 1 to 65535 in its shortest form.
    #[error("the authority of a tunnel ends in a port from 1 to 65535")]
    Port,
    /// The part before the port is neither an address nor a DNS name.
    #[error("the authority of a tunnel starts with an IP address or a DNS name")]
    Host,
}

/// Where a tunnel shall lead.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Authority {
    /// An address of a workload or service.
    Address(SocketAddr),
    /// A service by name, as used through gateways between networks.
    Name {
        /// Host name of the service.
        host: HostName,
        /// Port of the service.
        port: u16,
    },
}

impl Authority {
    /// An address in its canonical form: an IPv4 address mapped into IPv6 (RFC 4291, section 2.5.5.2) is the IPv4
    /// address, or a policy on one could be avoided by the other.
    pub fn address(ip: IpAddr, port: u16) -> Self {
        Self::Address(SocketAddr::new(ip.to_canonical(), port))
    }

    /// The port.
    pub fn port(&self) -> u16 {
        match self {
            Self::Address(address) => address.port(),
            Self::Name { port, .. } => *port,
        }
    }
}

impl From<SocketAddr> for Authority {
    fn from(address: SocketAddr) -> Self {
        Self::address(address.ip(), address.port())
    }
}

impl FromStr for Authority {
    type Err = AuthorityError;

    fn from_str(text: &str) -> Result<Self, AuthorityError> {
        let (host, port) = text.rsplit_once(':').ok_or(AuthorityError::Port)?;
        let port = parse_port(port)?;
        if let Some(inner) = host.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(AuthorityError::Host)?;
            let ip: Ipv6Addr = inner.parse().map_err(|_| AuthorityError::Host)?;
            return Ok(Self::address(ip.into(), port));
        }
        if let Ok(ip) = host.parse::<Ipv4Addr>() {
            return Ok(Self::address(ip.into(), port));
        }
        Ok(Self::Name { host: host.parse()?, port })
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => {
                // A scope or flow label has no place in an authority, so the parts are written one by one.
                match address.ip() {
                    IpAddr::V4(ip) => write!(f, "{ip}:{}", address.port()),
                    IpAddr::V6(ip) => write!(f, "[{ip}]:{}", address.port()),
                }
            }
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// The standard parser also takes a sign and leading zeros.
fn parse_port(text: &str) -> Result<u16, AuthorityError> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    if !is_plain {
        return Err(AuthorityError::Port);
    }
    text.parse().map_err(|_| AuthorityError::Port)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_and_names_are_told_apart() {
        let address = |text: &str| Authority::Address(text.parse().unwrap());
        for (text, expected) in [
            ("10.1.2.3:80", address("10.1.2.3:80")),
            ("[fd00::1]:8080", address("[fd00::1]:8080")),
            ("[::ffff:10.1.2.3]:80", address("10.1.2.3:80")),
            (
                "Shop.demo.svc.cluster.local:443",
                Authority::Name { host: "shop.demo.svc.cluster.local".parse().unwrap(), port: 443 },
            ),
        ] {
            assert_eq!(text.parse::<Authority>(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            ":",
            ":80",
            "a",
            "a:",
            "a:0",
            "a:65536",
            "a:+80",
            "a:080",
            "a: 80",
            "a:80 ",
            "a:80/x",
            "u@a:80",
            "1.2.3:80",
            "1.2.3.4.5:80",
            "0x7f.1:80.",
            "127.1:80",
            "2130706433:80",
            "010.1.2.3:80",
            "a..b:80",
            "-a:80",
            "a-:80",
            "a.:80",
            "[::1:80",
            "::1:80",
            "[::1]80",
            "[fe80::1%1]:80",
            "[10.0.0.1]:80",
            "[]:80",
            "http://a:80",
            "a\0b:80",
            "caf\u{e9}:80",
            "*.example:80",
        ] {
            assert!(text.parse::<Authority>().is_err(), "{text:?} was accepted");
        }
        let long = format!("{}:80", "a.".repeat(126) + "ab");
        assert!(long.parse::<Authority>().is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in ".{0,80}") {
            if let Ok(authority) = text.parse::<Authority>() {
                prop_assert_eq!(authority.to_string().parse::<Authority>(), Ok(authority));
            }
        }

        #[test]
        fn encoded_address_reads_back(ip in any::<IpAddr>(), port in 1..=u16::MAX) {
            let authority = Authority::address(ip, port);
            prop_assert_eq!(authority.to_string().parse::<Authority>(), Ok(authority));
        }

        #[test]
        fn encoded_name_reads_back(host in "[a-z]([a-z0-9_]{0,20}[a-z0-9])?(\\.[a-z][a-z0-9]{0,20}){0,6}", port in 1..=u16::MAX) {
            let authority = Authority::Name { host: host.parse().unwrap(), port };
            prop_assert_eq!(authority.to_string().parse::<Authority>(), Ok(authority));
        }
    }
}
