//! Faults of the network: links down, packets lost.

use anyhow::{Context, Result};

use crate::mesh::Mesh;
use crate::netns::Netns;
use crate::wiring::{CONTROL_HOST, switch_address};

/// A host on the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// A node, counted from 1.
    Node(u8),
    /// The controller's host.
    Control,
}

impl Host {
    fn number(self) -> u8 {
        match self {
            Self::Node(number) => number,
            Self::Control => CONTROL_HOST,
        }
    }

    /// Everything that this host or a pod on it sends from.
    fn sources(self) -> String {
        match self {
            Self::Node(n) => format!("{{ {}, 10.44.{n}.0/24 }}", switch_address(n)),
            Self::Control => format!("{{ {} }}", switch_address(CONTROL_HOST)),
        }
    }

    fn sources6(self) -> String {
        match self {
            Self::Node(n) => format!("{{ fd43::{n:x}, fd44:0:0:{n:x}::/64 }}"),
            Self::Control => format!("{{ fd43::{CONTROL_HOST:x} }}"),
        }
    }
}

/// A fault in force; it ends when dropped.
#[derive(Debug)]
#[must_use = "a fault ends when it is dropped"]
pub struct Fault<'a> {
    tables: Vec<(&'a Netns, String)>,
}

impl Fault<'_> {
    /// Ends it, and says if that fails.
    ///
    /// # Errors
    /// What `nft` says.
    pub fn heal(mut self) -> Result<()> {
        for (netns, table) in std::mem::take(&mut self.tables) {
            netns.nft(&format!("delete table inet {table}"))?;
        }
        Ok(())
    }
}

impl Drop for Fault<'_> {
    fn drop(&mut self) {
        for (netns, table) in &self.tables {
            // The namespace, and the rule with it, may be gone already.
            let _gone = netns.nft(&format!("delete table inet {table}"));
        }
    }
}

impl Mesh {
    /// Drops every packet between two hosts (and the pods on them), both ways, in silence.
    ///
    /// # Errors
    /// What `nft` says.
    pub fn partition(&self, one: Host, other: Host) -> Result<Fault<'_>> {
        self.lose(one, other, 100)
    }

    /// Drops `percent` of the packets between two hosts at random, both ways.
    ///
    /// # Errors
    /// What `nft` says.
    pub fn lose(&self, one: Host, other: Host, percent: u8) -> Result<Fault<'_>> {
        let mut fault = Fault { tables: Vec::new() };
        for (at, from) in [(one, other), (other, one)] {
            let netns = self.host(at)?;
            let table = format!("fault_from_{}", from.number());
            netns.nft(&loss_script(&table, from, percent))?;
            fault.tables.push((netns, table));
        }
        Ok(fault)
    }

    /// Takes a host's cable out, or puts it back.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn set_link(&self, host: Host, up: bool) -> Result<()> {
        let state = if up { "up" } else { "down" };
        // At the switch's end: the host's own routes would go with its own end.
        self.switch()
            .ip(&[format!("link set h{} {state}", host.number())])
            .with_context(|| format!("cable of {host:?}"))
    }

    fn host(&self, host: Host) -> Result<&Netns> {
        match host {
            Host::Node(number) => Ok(&self.node(number)?.netns),
            Host::Control => Ok(self.control()),
        }
    }
}

/// Before routing, so that it covers what is for the host and what is for its pods.
fn loss_script(table: &str, from: Host, percent: u8) -> String {
    let chance =
        if percent >= 100 { String::new() } else { format!("numgen random mod 100 < {percent} ") };
    format!(
        "table inet {table} {{\n\
           chain lost {{\n\
             type filter hook prerouting priority raw;\n\
             iifname eth0 ip saddr {} {chance}drop\n\
             iifname eth0 ip6 saddr {} {chance}drop\n\
           }}\n\
         }}",
        from.sources(),
        from.sources6()
    )
}
