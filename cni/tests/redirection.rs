//! The redirection of one pod, with real packets in namespaces that the test makes.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "clippy exempts test functions, not the helpers beside them"
)]

mod support;

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use support::*;
use weft_cni::netns::{NamespaceId, NetnsFolder};
use weft_cni::pod::Pod;
use weft_cni::redirect::{KernelRedirect, Redirect as _, RedirectError};
use weft_core::zds::PodIdentity;
use weft_proto::contract::{mark, port};

const APP: u16 = 8080;

fn pod_named(netns: &str) -> Pod {
    Pod {
        uid: "u1".parse().unwrap(),
        identity: PodIdentity {
            name: "cart".into(),
            namespace: "shop".into(),
            service_account: "cart".into(),
        },
        netns: Some(netns.parse().unwrap()),
        addresses: vec![],
        bypass_inbound_capture: false,
        bypass_dns_capture: false,
    }
}

/// The agent's side: a folder of names and the real redirection.
struct Agent {
    folder: tempfile::TempDir,
    redirect: KernelRedirect,
    runtime: tokio::runtime::Runtime,
}

impl Agent {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let redirect = KernelRedirect::new(NetnsFolder::new(folder.path().into()).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { folder, redirect, runtime }
    }

    fn knows(sandbox: &Sandbox) -> Self {
        let agent = Self::new();
        sandbox.name_in(agent.folder.path(), "pod");
        agent
    }

    fn apply(&self, pod: &Pod) -> Result<NamespaceId, RedirectError> {
        self.runtime.block_on(self.redirect.apply(pod))
    }

    fn undo(&self, pod: &Pod, namespace: Option<NamespaceId>) -> Result<(), RedirectError> {
        self.runtime.block_on(self.redirect.undo(pod, namespace))
    }
}

/// Everything that the redirection could leave behind. The kernel's own routes come and go as addresses settle.
fn traces(sandbox: &Sandbox) -> String {
    sandbox.sh("nft list ruleset; ip rule; ip route show table all | grep -v 'proto kernel' || true
         test ! -e /proc/sys/net/ipv6 || ip -6 rule
         ip -6 route show table all | grep -v 'proto kernel' || true")
}

fn any(family: IpAddr, port: u16) -> SocketAddr {
    let address = if family.is_ipv4() {
        IpAddr::from(Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::from(Ipv6Addr::UNSPECIFIED)
    };
    SocketAddr::new(address, port)
}

fn call_plainly(sandbox: &Sandbox, to: impl Into<IpAddr>, port: u16) -> std::io::Result<String> {
    call(sandbox, SocketAddr::new(to.into(), port), Call::default())
}

#[test]
fn rules_are_one_transaction_and_leave_nothing_behind() {
    privileged("rules_are_one_transaction_and_leave_nothing_behind", || {
        let (_node, pod) = node_and_pod();
        let agent = Agent::knows(&pod);
        let before = traces(&pod);
        let namespace = agent.apply(&pod_named("pod")).unwrap();
        let installed = traces(&pod);
        for table in ["istio-ambient-nat", "istio-ambient-mangle", "istio-ambient-raw"] {
            assert!(installed.contains(&format!("table inet {table} ")), "{installed}");
        }
        assert_eq!(installed.matches("fwmark 0x111/0xfff lookup 100").count(), families().len());

        let generations = Generations::watch(&pod);
        let begin = generations.made_by_table(&pod, "begin");
        assert_eq!(agent.apply(&pod_named("pod")).unwrap(), namespace);
        let applied = generations.made_by_table(&pod, "applied");
        assert_eq!(applied, begin + 2, "the redirection took more than one transaction");
        pod.sh("nft delete table inet begin; nft delete table inet applied");
        assert_eq!(traces(&pod), installed, "applying again changed something");

        let begin = generations.made_by_table(&pod, "begin");
        agent.undo(&pod_named("pod"), Some(namespace)).unwrap();
        let undone = generations.made_by_table(&pod, "undone");
        assert_eq!(undone, begin + 2, "undoing took more than one transaction");
        pod.sh("nft delete table inet begin; nft delete table inet undone");
        assert_eq!(traces(&pod), before);
        agent.undo(&pod_named("pod"), None).unwrap();
        assert_eq!(traces(&pod), before, "undoing again changed something");
    });
}

#[test]
fn rules_of_anybody_else_are_left_alone() {
    privileged("rules_of_anybody_else_are_left_alone", || {
        let (_node, pod) = node_and_pod();
        let agent = Agent::knows(&pod);
        pod.sh("nft add table inet theirs; ip rule add fwmark 0x222 priority 32764 lookup 200");
        pod.sh("ip route add local 10.9.9.9 dev lo table 100");
        let before = traces(&pod);
        agent.apply(&pod_named("pod")).unwrap();
        agent.undo(&pod_named("pod"), None).unwrap();
        assert_eq!(traces(&pod), before);
    });
}

#[test]
fn outbound_goes_to_the_proxy_and_is_refused_while_there_is_none() {
    privileged("outbound_goes_to_the_proxy_and_is_refused_while_there_is_none", || {
        let (node, pod) = node_and_pod();
        let agent = Agent::knows(&pod);
        agent.apply(&pod_named("pod")).unwrap();
        for (outside, own, _) in families() {
            answer_tcp(&node, any(outside, APP), "outside");
            let refused = call_plainly(&pod, outside, APP).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            answer_tcp(&pod, SocketAddr::new(any(own, 0).ip(), port::OUTBOUND), "proxy");
            assert_eq!(call_plainly(&pod, outside, APP).unwrap(), format!("proxy {own}"));
            // The proxy's own way out.
            let marked = Call { mark: Some(mark::PROXY), ..Call::default() };
            let to = SocketAddr::new(outside, APP);
            assert_eq!(call(&pod, to, marked).unwrap(), format!("outside {own}"));
            // Itself, by its own address and by loopback.
            answer_tcp(&pod, any(own, APP), "itself");
            assert_eq!(call_plainly(&pod, own, APP).unwrap(), format!("itself {own}"));
            let loopback = if own.is_ipv4() { "127.0.0.1" } else { "::1" };
            let loopback: IpAddr = loopback.parse().unwrap();
            assert_eq!(call_plainly(&pod, loopback, APP).unwrap(), format!("itself {loopback}"));
        }
    });
}

#[test]
fn inbound_goes_to_the_proxy_but_tunnels_and_probes_do_not() {
    privileged("inbound_goes_to_the_proxy_but_tunnels_and_probes_do_not", || {
        let (node, pod) = node_and_pod();
        let agent = Agent::knows(&pod);
        agent.apply(&pod_named("pod")).unwrap();
        for (peer, own, probe) in families() {
            answer_tcp(&pod, any(own, APP), "app");
            let refused = call_plainly(&node, own, APP).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            answer_tcp(&pod, any(own, port::INBOUND_PLAINTEXT), "proxy");
            assert_eq!(call_plainly(&node, own, APP).unwrap(), format!("proxy {peer}"));
            answer_tcp(&pod, any(own, port::HBONE), "tunnel");
            assert_eq!(call_plainly(&node, own, port::HBONE).unwrap(), format!("tunnel {peer}"));
            let as_probe = Call { from: Some(probe), ..Call::default() };
            let answer = call(&node, SocketAddr::new(own, APP), as_probe).unwrap();
            assert_eq!(answer, format!("app {probe}"));
        }
        // Without capture of inbound traffic it reaches the application.
        let bypassed = Pod { bypass_inbound_capture: true, ..pod_named("pod") };
        agent.apply(&bypassed).unwrap();
        for (peer, own, _) in families() {
            assert_eq!(call_plainly(&node, own, APP).unwrap(), format!("app {peer}"));
        }
    });
}

#[test]
fn replies_to_a_connection_with_a_foreign_source_address_come_back() {
    privileged("replies_to_a_connection_with_a_foreign_source_address_come_back", || {
        let (_node, pod) = node_and_pod();
        let agent = Agent::knows(&pod);
        let spoofed = |own: IpAddr| {
            let foreign = if own.is_ipv4() { "10.44.2.10" } else { "fd00:44:2::10" };
            let from = Some(foreign.parse().unwrap());
            let how = Call { from, mark: Some(mark::PROXY), transparent: true };
            (foreign, call(&pod, SocketAddr::new(own, APP), how))
        };
        for (_, own, _) in families() {
            answer_tcp(&pod, any(own, APP), "app");
        }
        agent.apply(&pod_named("pod")).unwrap();
        // Reverse path filters of every strictness, as distributions set them: no other setting is needed.
        for filter in ["0", "1", "2"] {
            pod.sh(&format!(
                "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo {filter} > $f; done"
            ));
            for (_, own, _) in families() {
                let (foreign, answer) = spoofed(own);
                assert_eq!(answer.unwrap(), format!("app {foreign}"), "rp_filter {filter}");
            }
        }
    });
}

#[test]
fn look_ups_go_to_the_proxy_and_its_own_go_out() {
    privileged("look_ups_go_to_the_proxy_and_its_own_go_out", || {
        let (node, pod) = node_and_pod();
        let agent = Agent::knows(&pod);
        agent.apply(&pod_named("pod")).unwrap();
        let dns = 53;
        for (resolver, own, _) in families() {
            let loopback: IpAddr =
                if own.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            let proxy = SocketAddr::new(loopback, port::DNS);
            // The proxy marks its answers too; a socket on a real resolver doesn't.
            answer_udp(&pod, proxy, Some(mark::PROXY), "proxy");
            answer_tcp(&pod, proxy, "proxy");
            answer_udp(&node, SocketAddr::new(resolver, dns), None, "resolver");
            answer_tcp(&node, SocketAddr::new(resolver, dns), "resolver");
            let resolver = SocketAddr::new(resolver, dns);
            let plain = Call::default();
            assert_eq!(ask(&pod, resolver, None).unwrap(), format!("proxy {own}"));
            assert_eq!(call(&pod, resolver, plain).unwrap(), format!("proxy {own}"));
            let marked = Call { mark: Some(mark::PROXY), ..plain };
            assert_eq!(ask(&pod, resolver, marked.mark).unwrap(), format!("resolver {own}"));
            assert_eq!(call(&pod, resolver, marked).unwrap(), format!("resolver {own}"));
            // The pod's own resolver on loopback.
            answer_udp(&pod, SocketAddr::new(loopback, dns), None, "local");
            let local = ask(&pod, SocketAddr::new(loopback, dns), None).unwrap();
            assert_eq!(local, format!("local {loopback}"));
        }
        let bypassed = Pod { bypass_dns_capture: true, ..pod_named("pod") };
        agent.apply(&bypassed).unwrap();
        for (resolver, own, _) in families() {
            let answer = ask(&pod, SocketAddr::new(resolver, dns), None).unwrap();
            assert_eq!(answer, format!("resolver {own}"));
        }
    });
}

#[test]
fn namespace_without_ipv6_is_enrolled_for_ipv4() {
    privileged("namespace_without_ipv6_is_enrolled_for_ipv4", || {
        let (_node, pod) = node_and_pod();
        let agent = Agent::knows(&pod);
        if has_ipv6() {
            pod.sh("for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > $f; done");
        }
        let before = traces(&pod);
        let namespace = agent.apply(&pod_named("pod")).unwrap();
        assert_eq!(traces(&pod).matches("fwmark 0x111/0xfff lookup 100").count(), 1);
        agent.undo(&pod_named("pod"), Some(namespace)).unwrap();
        assert_eq!(traces(&pod), before);
    });
}

#[test]
fn namespace_that_took_over_a_name_is_not_touched() {
    privileged("namespace_that_took_over_a_name_is_not_touched", || {
        let (pod, successor) = (Sandbox::new(), Sandbox::new());
        let agent = Agent::knows(&pod);
        let namespace = agent.apply(&pod_named("pod")).unwrap();
        std::fs::remove_file(agent.folder.path().join("pod")).unwrap();
        // Gone: there is nothing to undo, and nothing to apply to.
        agent.undo(&pod_named("pod"), Some(namespace)).unwrap();
        assert!(agent.apply(&pod_named("pod")).unwrap_err().is_gone());
        successor.name_in(agent.folder.path(), "pod");
        let theirs = agent.apply(&pod_named("pod")).unwrap();
        let installed = traces(&successor);
        agent.undo(&pod_named("pod"), Some(namespace)).unwrap();
        assert_eq!(traces(&successor), installed);
        assert_eq!(agent.redirect.identify(pod_named("pod").netns.as_ref()).unwrap(), theirs);
    });
}

#[test]
fn namespace_that_is_not_ready_says_why_and_is_left_clean() {
    privileged("namespace_that_is_not_ready_says_why_and_is_left_clean", || {
        let pod = Sandbox::new();
        let agent = Agent::knows(&pod);
        pod.sh("ip link set lo down");
        let error = agent.apply(&pod_named("pod")).unwrap_err().to_string();
        assert!(error.starts_with("ip: ") && error.contains("not up"), "{error}");
        assert_eq!(pod.sh("nft list ruleset"), "");
        pod.sh("ip link set lo up");
        agent.apply(&pod_named("pod")).unwrap();
    });
}
