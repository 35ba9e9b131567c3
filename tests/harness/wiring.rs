//! Addresses of hosts and pods, and the cables and routes between them.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use crate::netns::Netns;

/// Last byte of the control host's address on the switch.
pub(crate) const CONTROL_HOST: u8 = 100;
/// Where pods are told to ask for names. Nodes have the address and nobody serves it: a look-up is
/// answered because it is captured, and refused at once otherwise.
pub(crate) const NAMESERVER: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// Address of host `number` on the switch.
#[must_use]
pub(crate) fn switch_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 43, 0, number)
}

/// IPv6 address `number` of the pod range of `node`; 1 is the node's own.
pub(crate) fn pod_address6(node: u8, number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd44, 0, 0, u16::from(node), 0, 0, 0, u16::from(number))
}

/// What a pod's `/etc/resolv.conf` says.
pub(crate) fn resolver_of(namespace: &str) -> String {
    format!(
        "nameserver {NAMESERVER}\n\
         search {namespace}.svc.cluster.local svc.cluster.local cluster.local\n\
         options ndots:5 timeout:2 attempts:2\n"
    )
}

/// A cable from the switch to a host's `eth0`.
pub(crate) fn plug(switch: &Netns, host: &Netns, number: u8, ipv6: bool) -> Result<()> {
    switch.ip(&[
        format!("link add h{number} type veth peer name eth0 netns {}", host.name()),
        format!("link set h{number} master br0"),
        format!("link set h{number} up"),
    ])?;
    let mut lines = vec![
        format!("addr add {}/24 dev eth0", switch_address(number)),
        "link set eth0 up".to_owned(),
    ];
    if ipv6 {
        lines.push(format!("addr add fd43::{number:x}/64 dev eth0 nodad"));
    }
    host.ip(&lines)
}

/// A cable from a node to a pod's `eth0`, and the routes at both ends.
pub(crate) fn wire_pod(
    node: &Netns,
    node_number: u8,
    pod: &Netns,
    number: u8,
    ip: Ipv4Addr,
    ip6: Option<Ipv6Addr>,
) -> Result<()> {
    let gateway = format!("10.44.{}.1", node_number);
    let gateway6 = pod_address6(node_number, 1);
    let mut outside = vec![
        format!("link add p{number} type veth peer name eth0 netns {}", pod.name()),
        format!("link set p{number} up"),
        format!("route add {ip}/32 dev p{number} src {gateway}"),
    ];
    let mut inside = vec![
        format!("addr add {ip}/32 dev eth0"),
        "link set eth0 up".to_owned(),
        format!("route add {gateway}/32 dev eth0"),
        format!("route add default via {gateway} dev eth0"),
    ];
    if let Some(ip6) = ip6 {
        // Unlike ARP, neighbour discovery answers only for the addresses of its own link.
        outside.push(format!("addr add {gateway6}/128 dev p{number} nodad"));
        outside.push(format!("route add {ip6}/128 dev p{number}"));
        inside.push(format!("addr add {ip6}/128 dev eth0 nodad"));
        inside.push(format!("route add {gateway6}/128 dev eth0"));
        inside.push(format!("route add default via {gateway6} dev eth0"));
    }
    node.ip(&outside)?;
    pod.ip(&inside)
}

/// Routes to the pods of a node, for the other hosts.
pub(crate) fn pod_range_routes(node: u8, ipv6: bool) -> Vec<String> {
    let mut lines = vec![format!("route add 10.44.{node}.0/24 via {}", switch_address(node))];
    if ipv6 {
        lines.push(format!("route add fd44:0:0:{node:x}::/64 via fd43::{node:x}"));
    }
    lines
}
