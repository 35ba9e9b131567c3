//! References to waypoints and network gateways, and the addresses that all resources are made of.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use weft_proto::{contract, workload as proto};

use super::DecodeError;
use super::intern::Interner;

/// A reference to a waypoint or a network gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayAddress {
    /// What it points at.
    pub destination: GatewayDestination,
    /// Where the gateway takes HBONE; 15008 if the control plane leaves it out.
    pub hbone_port: u16,
}

/// What a [`GatewayAddress`] points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatewayDestination {
    /// A workload or service by address.
    Address {
        /// The network in which the address means something.
        network: Arc<str>,
        /// The address.
        ip: IpAddr,
    },
    /// A service by name.
    Hostname {
        /// Its namespace.
        namespace: Arc<str>,
        /// Its host name.
        hostname: Arc<str>,
    },
    /// A kind of a later version. It never resolves, so what it guards is unreachable rather than unguarded.
    Unknown,
}

impl fmt::Display for GatewayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.destination {
            GatewayDestination::Address { network, ip } => write!(f, "{network}/{ip}"),
            GatewayDestination::Hostname { namespace, hostname } => {
                write!(f, "{namespace}/{hostname}")
            }
            GatewayDestination::Unknown => f.write_str("a gateway of an unknown kind"),
        }?;
        write!(f, ":{}", self.hbone_port)
    }
}

impl GatewayAddress {
    pub(super) fn decode(
        message: &proto::GatewayAddress,
        interner: &mut Interner,
    ) -> Result<Self, DecodeError> {
        use proto::gateway_address::Destination;
        let destination = match &message.destination {
            Some(Destination::Address(address)) => GatewayDestination::Address {
                network: interner.text(&address.network),
                ip: ip(&address.address)?,
            },
            Some(Destination::Hostname(name)) => GatewayDestination::Hostname {
                namespace: interner.text(&name.namespace),
                hostname: interner.text(&name.hostname),
            },
            None => GatewayDestination::Unknown,
        };
        let hbone_port = match port(message.hbone_mtls_port)? {
            0 => contract::port::HBONE,
            port => port,
        };
        Ok(Self { destination, hbone_port })
    }

    /// Boxed, because most workloads and services have none.
    pub(super) fn decode_optional(
        message: Option<&proto::GatewayAddress>,
        interner: &mut Interner,
    ) -> Result<Option<Box<Self>>, DecodeError> {
        message.map(|message| Self::decode(message, interner).map(Box::new)).transpose()
    }
}

/// An address of either family, in canonical form: an IPv4 address written as IPv6 is an IPv4 address.
pub(super) fn ip(bytes: &[u8]) -> Result<IpAddr, DecodeError> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        Ok(IpAddr::from(v4))
    } else if let Ok(v6) = <[u8; 16]>::try_from(bytes) {
        Ok(IpAddr::from(v6).to_canonical())
    } else {
        Err(DecodeError::Address(bytes.len()))
    }
}

pub(super) fn port(number: u32) -> Result<u16, DecodeError> {
    u16::try_from(number).map_err(|_| DecodeError::Port(number))
}
