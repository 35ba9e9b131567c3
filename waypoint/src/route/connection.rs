//! Rules for connections that aren't routed by HTTP.

use std::net::SocketAddr;

use ipnet::IpNet;

use super::action::Origin;
use super::backend::Backends;
use super::condition::{HostPattern, SourceMatch};
use super::request::Source;

/// Rules for connections, in order of precedence.
#[derive(Debug, Default)]
pub struct ConnectionRoutes {
    pub(super) rules: Box<[ConnectionRule]>,
}

/// One rule for connections.
#[derive(Debug)]
pub struct ConnectionRule {
    /// All must hold; `None`: it was not understood and never matches.
    pub(super) conditions: Option<Box<[ConnectionCondition]>>,
    /// Where matching connections go.
    pub backends: Backends,
    /// Where it comes from.
    pub origin: Origin,
}

#[derive(Debug)]
pub(super) enum ConnectionCondition {
    ServerNames(Box<[HostPattern]>),
    Source(SourceMatch),
    Ports(Box<[u16]>),
    Destinations(Box<[IpNet]>),
}

/// A connection, as routing sees it.
#[derive(Debug, Clone, Copy)]
pub struct Connection<'a> {
    /// The name in the TLS handshake, if there is one.
    pub server_name: Option<&'a str>,
    /// What it was made to: the service's address and port.
    pub destination: SocketAddr,
    /// Who calls.
    pub source: Source<'a>,
}

impl ConnectionRoutes {
    /// The first rule that matches. `None`: the connection is closed.
    pub fn find(&self, connection: &Connection<'_>) -> Option<&ConnectionRule> {
        self.find_ranked(connection).map(|(_, rule)| rule)
    }

    /// The same with its place, from 0.
    pub fn find_ranked(&self, connection: &Connection<'_>) -> Option<(usize, &ConnectionRule)> {
        self.rules.iter().enumerate().find(|(_, rule)| rule.matches(connection))
    }

    /// All rules, in order of precedence.
    pub fn rules(&self) -> &[ConnectionRule] {
        &self.rules
    }
}

impl ConnectionRule {
    /// Whether every condition holds.
    pub fn matches(&self, connection: &Connection<'_>) -> bool {
        let holds = |condition: &ConnectionCondition| match condition {
            ConnectionCondition::ServerNames(names) => connection
                .server_name
                .is_some_and(|name| names.iter().any(|pattern| pattern.covers(name))),
            ConnectionCondition::Source(source) => source.fits(&connection.source),
            ConnectionCondition::Ports(ports) => ports.contains(&connection.destination.port()),
            ConnectionCondition::Destinations(subnets) => {
                let address = connection.destination.ip().to_canonical();
                subnets.iter().any(|subnet| subnet.contains(&address))
            }
        };
        self.conditions.as_ref().is_some_and(|all| all.iter().all(holds))
    }
}
