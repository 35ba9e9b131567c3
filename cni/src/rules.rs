//! The redirection of one pod as nftables documents (libnftables-json(5)), built without touching the system.
//!
//! The contract is Istio ambient's, so that either node proxy finds what it expects: three tables in the pod's own
//! network namespace, each with base chains that jump to a chain of rules.
//!
//! ```text
//!  outbound   output/nat      app ─▶ 15001, names ─▶ 15053; the proxy's own packets (mark 0x539) pass
//!  inbound    prerouting/nat  peer ─▶ 15006; 15008, health probes and the proxy's own packets pass
//!  return     prerouting/mangle  a connection that the proxy opened gets connection mark 0x111,
//!             output/mangle      and the app's replies on it that packet mark, which routes them to loopback:
//!                                the proxy gets them back although it used the peer's address
//!  names      raw             the proxy's own look-ups get a conntrack zone of their own, so that they can't
//!                             meet the application's translated ones
//! ```
//!
//! A document begins by adding, deleting and adding each table: nft applies it in one transaction, so packets see the
//! rules of before or of after, never something between, whatever stood there.

use serde_json::{Value, json};
use weft_proto::contract::{mark, port, probe};

/// What of a pod's traffic is redirected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capture {
    /// Inbound plaintext.
    pub inbound: bool,
    /// Name look-ups.
    pub dns: bool,
    /// Whether the namespace knows IPv6.
    pub v6: bool,
}

const NAT: &str = "istio-ambient-nat";
const MANGLE: &str = "istio-ambient-mangle";
const RAW: &str = "istio-ambient-raw";
const TABLES: [&str; 3] = [NAT, MANGLE, RAW];
const PREROUTING: &str = "istio-prerouting";
const OUTPUT: &str = "istio-output";
/// Conntrack zone of the proxy's own look-ups.
const DNS_ZONE: u32 = 1;
const DNS_PORT: u16 = 53;

/// The transaction that makes the redirection what `capture` says.
pub fn install(capture: Capture) -> Value {
    let mut commands: Vec<Value> = TABLES.into_iter().flat_map(renew).collect();
    let v4 = Family { protocol: "ip", loopback: "127.0.0.1", probe: probe::V4.to_string() };
    let v6 = Family { protocol: "ip6", loopback: "::1", probe: probe::V6.to_string() };
    let families = if capture.v6 { vec![v4, v6] } else { vec![v4] };
    commands.extend(mangle());
    commands.extend(nat(capture, &families));
    if capture.dns {
        commands.extend(raw());
    }
    json!({ "nftables": commands })
}

/// The transaction that leaves nothing of the redirection, whatever stood there.
pub fn remove() -> Value {
    let commands: Vec<Value> = TABLES.into_iter().flat_map(forget).collect();
    json!({ "nftables": commands })
}

/// One IP version, as nft names it.
struct Family {
    protocol: &'static str,
    loopback: &'static str,
    probe: String,
}

/// Deleting a table that isn't there fails the transaction; adding one that is there doesn't.
fn forget(table: &str) -> [Value; 2] {
    let table = json!({ "family": "inet", "name": table });
    [json!({ "add": { "table": table } }), json!({ "delete": { "table": table } })]
}

fn renew(table: &str) -> Vec<Value> {
    let [add, delete] = forget(table);
    vec![add.clone(), delete, add]
}

fn mangle() -> Vec<Value> {
    let mut commands = chains(MANGLE, PREROUTING, "prerouting", "filter", -150);
    // Type `route` looks the route up again after the mark has changed.
    commands.extend(chains(MANGLE, OUTPUT, "output", "route", -150));
    let kept = json!({ "&": [connection_mark(), !mark::MASK] });
    let marked = json!({ "|": [kept, mark::RETURN_PATH] });
    commands.push(rule(MANGLE, PREROUTING, vec![from_proxy("=="), set(connection_mark(), marked)]));
    let is_return = compare(masked(connection_mark()), "==", json!(mark::RETURN_PATH));
    let restore = set(json!({ "meta": { "key": "mark" } }), connection_mark());
    commands.push(rule(MANGLE, OUTPUT, vec![is_return, restore]));
    commands
}

fn nat(capture: Capture, families: &[Family]) -> Vec<Value> {
    let mut commands = chains(NAT, PREROUTING, "prerouting", "nat", -100);
    commands.extend(chains(NAT, OUTPUT, "output", "nat", -100));
    if capture.inbound {
        commands.extend(families.iter().flat_map(inbound));
    }
    for family in families {
        let to_probe = compare(address(family, "daddr"), "==", json!(family.probe));
        commands.push(rule(NAT, OUTPUT, vec![tcp(), to_probe, accept()]));
    }
    if capture.dns {
        commands.extend(dns(families));
    }
    // Replies of the application to the proxy, before translation is decided for their connection.
    let is_return = compare(packet_mark(), "==", json!(mark::RETURN_PATH));
    commands.push(rule(NAT, OUTPUT, vec![tcp(), is_return, accept()]));
    for family in families {
        // A pod that calls itself by its own address stays with itself.
        let to_self = compare(json!({ "meta": { "key": "oifname" } }), "==", json!("lo"));
        commands.push(rule(NAT, OUTPUT, vec![not_loopback(family), to_self, accept()]));
    }
    for family in families {
        let outbound =
            vec![tcp(), not_loopback(family), from_proxy("!="), redirect(port::OUTBOUND)];
        commands.push(rule(NAT, OUTPUT, outbound));
    }
    commands
}

fn inbound(family: &Family) -> [Value; 2] {
    let from_probe = compare(address(family, "saddr"), "==", json!(family.probe));
    let not_hbone = compare(port_of("tcp", "dport"), "!=", json!(port::HBONE));
    let not_proxy = from_proxy("!=");
    let redirected =
        vec![not_loopback(family), not_hbone, not_proxy, redirect(port::INBOUND_PLAINTEXT)];
    [rule(NAT, PREROUTING, vec![tcp(), from_probe, accept()]), rule(NAT, PREROUTING, redirected)]
}

fn dns(families: &[Family]) -> Vec<Value> {
    // A resolver of the pod's own, on loopback, is left alone.
    let not_via_loopback = compare(json!({ "meta": { "key": "oifname" } }), "!=", json!("lo"));
    let is_udp = compare(port_of("udp", "dport"), "==", json!(DNS_PORT));
    let udp = vec![not_via_loopback, is_udp, from_proxy("!="), redirect(port::DNS)];
    let mut commands = vec![rule(NAT, OUTPUT, udp)];
    for family in families {
        let is_tcp = compare(port_of("tcp", "dport"), "==", json!(DNS_PORT));
        let tcp = vec![not_loopback(family), is_tcp, from_proxy("!="), redirect(port::DNS)];
        commands.push(rule(NAT, OUTPUT, tcp));
    }
    commands
}

fn raw() -> Vec<Value> {
    let mut commands = chains(RAW, PREROUTING, "prerouting", "filter", -300);
    commands.extend(chains(RAW, OUTPUT, "output", "filter", -300));
    let zone = || set(json!({ "ct": { "key": "zone" } }), json!(DNS_ZONE));
    let question = compare(port_of("udp", "dport"), "==", json!(DNS_PORT));
    commands.push(rule(RAW, OUTPUT, vec![question, from_proxy("=="), zone()]));
    let answer = compare(port_of("udp", "sport"), "==", json!(DNS_PORT));
    // The proxy's own answers to the application carry its mark and belong to the application's connections.
    commands.push(rule(RAW, PREROUTING, vec![answer, from_proxy("!="), zone()]));
    commands
}

/// A chain of rules and the base chain that jumps to it.
fn chains(table: &str, chain: &str, hook: &str, kind: &str, priority: i32) -> Vec<Value> {
    let base = json!({
        "family": "inet", "table": table, "name": hook,
        "type": kind, "hook": hook, "prio": priority, "policy": "accept",
    });
    let regular = json!({ "family": "inet", "table": table, "name": chain });
    vec![
        json!({ "add": { "chain": regular } }),
        json!({ "add": { "chain": base } }),
        rule(table, hook, vec![json!({ "jump": { "target": chain } })]),
    ]
}

fn rule(table: &str, chain: &str, statements: Vec<Value>) -> Value {
    let rule = json!({ "family": "inet", "table": table, "chain": chain, "expr": statements });
    json!({ "add": { "rule": rule } })
}

fn compare(left: Value, operator: &str, right: Value) -> Value {
    json!({ "match": { "op": operator, "left": left, "right": right } })
}

fn set(key: Value, value: Value) -> Value {
    json!({ "mangle": { "key": key, "value": value } })
}

fn masked(mark: Value) -> Value {
    json!({ "&": [mark, mark::MASK] })
}

fn packet_mark() -> Value {
    masked(json!({ "meta": { "key": "mark" } }))
}

fn connection_mark() -> Value {
    json!({ "ct": { "key": "mark" } })
}

fn from_proxy(operator: &str) -> Value {
    compare(packet_mark(), operator, json!(mark::PROXY))
}

fn tcp() -> Value {
    compare(json!({ "meta": { "key": "l4proto" } }), "==", json!("tcp"))
}

fn port_of(protocol: &str, field: &str) -> Value {
    json!({ "payload": { "protocol": protocol, "field": field } })
}

fn address(family: &Family, field: &str) -> Value {
    json!({ "payload": { "protocol": family.protocol, "field": field } })
}

fn not_loopback(family: &Family) -> Value {
    compare(address(family, "daddr"), "!=", json!(family.loopback))
}

fn redirect(port: u16) -> Value {
    json!({ "redirect": { "port": port } })
}

fn accept() -> Value {
    json!({ "accept": null })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Capture = Capture { inbound: true, dns: true, v6: true };

    fn commands(document: &Value) -> Vec<Value> {
        document["nftables"].as_array().unwrap().clone()
    }

    #[test]
    fn every_table_is_renewed_before_anything_is_put_into_it() {
        for (i, table) in TABLES.iter().enumerate() {
            let commands = commands(&install(ALL));
            let own: Vec<_> = commands[3 * i..3 * i + 3].to_vec();
            assert_eq!(own[0]["add"]["table"]["name"], *table);
            assert_eq!(own[1]["delete"]["table"]["name"], *table);
            assert_eq!(own[2], own[0]);
        }
    }

    #[test]
    fn bypassed_traffic_has_no_rule() {
        let text = |capture| install(capture).to_string();
        assert!(text(ALL).contains("15006") && text(ALL).contains("15053"));
        assert!(!text(Capture { inbound: false, ..ALL }).contains("15006"));
        let without_dns = text(Capture { dns: false, ..ALL });
        assert!(!without_dns.contains("15053") && !without_dns.contains("zone"));
        assert!(!text(Capture { v6: false, ..ALL }).contains("ip6"));
    }

    #[test]
    fn removal_forgets_exactly_the_three_tables() {
        assert_eq!(commands(&remove()).len(), 6);
        assert!(!remove().to_string().contains("chain"));
    }
}
