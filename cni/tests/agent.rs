//! The shipped program: restarted while the controller is down, stopped, cleaned up.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "clippy exempts test functions, not the helpers beside them"
)]

#[expect(dead_code, reason = "another test file uses the rest")]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use support::{PATIENCE, Sandbox, node_and_pod, privileged};
use tokio::time::Instant;
use weft_cni::pod::Pod;
use weft_cni::state::{PODS, PodsFile};
use weft_core::zds::{Answer, AsyncSeqpacket, PodIdentity, Request, encode_hello};

struct Node {
    folder: tempfile::TempDir,
    agent: Child,
}

impl Node {
    /// A node whose agent knew, when it last ran, one pod in the namespace called `pod`.
    fn restart(pod: &Sandbox) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["state", "netns"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        pod.name_in(&folder.path().join("netns"), "pod");
        let known = Pod {
            uid: "u1".parse().unwrap(),
            identity: PodIdentity {
                name: "cart-0".into(),
                namespace: "shop".into(),
                service_account: "cart".into(),
            },
            netns: Some("pod".parse().unwrap()),
            addresses: vec!["10.44.1.10".parse().unwrap()],
            bypass_inbound_capture: false,
            bypass_dns_capture: false,
        };
        let file = PodsFile {
            node: "node1".into(),
            wanted: Some([(known.uid.clone(), known)].into()),
            enrolled: vec![],
        };
        let text = serde_json::to_vec(&file).unwrap();
        std::fs::write(folder.path().join("state").join(PODS), text).unwrap();
        let agent = command("agent", folder.path())
            .args(["--node", "node1", "--log-format", "json"])
            // Nobody listens there.
            .args(["--controller", "127.0.0.1:1"])
            .args(["--zds-socket", socket(folder.path()).to_str().unwrap()])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { folder, agent }
    }

    fn run(&self, name: &str) -> Output {
        command(name, self.folder.path()).output().unwrap()
    }

    fn stop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.agent.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        assert!(self.agent.wait().unwrap().success());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

fn command(name: &str, folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft-cni"));
    command.arg(name).arg("--state").arg(folder.join("state"));
    if name != "status" {
        command.arg("--netns-dir").arg(folder.join("netns"));
    }
    command
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("run/ztunnel.sock")
}

fn eventually<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        assert!(Instant::now() < deadline, "it did not come to be so");
        std::thread::yield_now();
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Plays the proxy through its snapshot, which brings the pod's own namespace.
async fn take_snapshot(proxy: &AsyncSeqpacket, pod: &Sandbox) {
    proxy.send(&encode_hello(), None).await.unwrap();
    let (packet, descriptors) = proxy.recv().await.unwrap();
    let Request::Add { uid, identity, netns } = Request::decode(&packet, descriptors).unwrap()
    else {
        panic!("the pod comes first")
    };
    assert_eq!((uid.as_str(), identity.unwrap().name.as_str()), ("u1", "cart-0"));
    let inode = nix::sys::stat::fstat(&netns).unwrap().st_ino;
    assert_eq!(pod.sh("readlink /proc/self/ns/net").trim(), format!("net:[{inode}]"));
    proxy.send(&Answer::Done.encode(), None).await.unwrap();
    let (packet, descriptors) = proxy.recv().await.unwrap();
    assert!(matches!(Request::decode(&packet, descriptors).unwrap(), Request::SnapshotSent));
    proxy.send(&Answer::Done.encode(), None).await.unwrap();
}

#[test]
fn agent_restarted_without_its_controller_serves_what_it_knew_and_stopping_leaves_it() {
    let name = "agent_restarted_without_its_controller_serves_what_it_knew_and_stopping_leaves_it";
    privileged(name, || {
        let (_node, pod) = node_and_pod();
        let mut node = Node::restart(&pod);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _proxy = runtime.block_on(async {
            let proxy = eventually(|| AsyncSeqpacket::connect(&socket(node.folder.path())).ok());
            tokio::time::timeout(PATIENCE, take_snapshot(&proxy, &pod)).await.unwrap();
            proxy
        });
        assert!(pod.sh("nft list ruleset").contains("redirect to :15001"));
        let status = eventually(|| {
            let status = text(&node.run("status"));
            status.contains("pod shop/cart-0  enrolled").then_some(status)
        });
        assert!(status.contains("not joined"), "{status}");
        assert!(status.contains("serves 1 pods"), "{status}");
        // One agent a folder.
        let cleanup = node.run("cleanup");
        assert!(!cleanup.status.success());
        assert!(String::from_utf8_lossy(&cleanup.stderr).contains("another agent"));
        node.stop();
        assert!(pod.sh("nft list ruleset").contains("redirect to :15001"));
        let cleanup = node.run("cleanup");
        assert!(cleanup.status.success() && text(&cleanup).contains("u1: out of the mesh"));
        assert_eq!(pod.sh("nft list ruleset; ip rule | grep 0x111 || true"), "");
        assert!(!node.folder.path().join("state").join(PODS).exists());
    });
}

#[test]
fn help_shows_an_example() {
    let help = Command::new(env!("CARGO_BIN_EXE_weft-cni")).args(["agent", "--help"]).output();
    let help = text(&help.unwrap());
    assert!(help.contains("--join-token-file") && help.contains("Example:"), "{help}");
}
