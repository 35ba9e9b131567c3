//! Hosts, pods and the network between them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fs, process};

use anyhow::{Context, Result, bail};

use crate::config;
use crate::manifests::{Manifests, PodState};
use crate::netns::Netns;
use crate::process::{Launch, Process, lock};
use crate::wiring::{
    CONTROL_HOST, NAMESERVER, plug, pod_address6, pod_range_routes, resolver_of, switch_address,
    wire_pod,
};

/// Last byte of a node's first pod.
const FIRST_POD: u8 = 10;
/// How folders begin that nobody named.
pub(crate) const FOLDER_PREFIX: &str = "mesh-";
/// More nodes would run into the control host's number.
const NODES_MAX: u8 = 99;
/// Pods with a TIME_WAIT for each of 20,000 connections a second would run out of ports. Refusals of datagrams come at
/// once however many there are, or look-ups that nobody serves would wait for their time to be up.
const HOST_SETTINGS: [(&str, &str); 3] = [
    ("net/ipv4/ip_local_port_range", "1024 65535"),
    ("net/ipv4/tcp_tw_reuse", "1"),
    ("net/ipv4/icmp_ratelimit", "0"),
];

/// Two (or more) nodes, a control host, and pods.
#[derive(Debug)]
pub struct Mesh {
    prefix: String,
    folder: PathBuf,
    ipv6: bool,
    switch: Netns,
    control: Netns,
    nodes: Vec<Node>,
    pods: Mutex<BTreeMap<String, Arc<Pod>>>,
    processes: Mutex<BTreeMap<String, Arc<Process>>>,
    manifests: Manifests,
    pub(crate) trust_domain: Mutex<String>,
}

/// How a [`Mesh`] is to be.
#[derive(Debug, Clone)]
pub struct MeshBuilder {
    prefix: String,
    nodes: u8,
    ipv6: bool,
    folder: Option<PathBuf>,
}

/// A node: a network namespace with a router's settings.
#[derive(Debug)]
pub struct Node {
    /// Counted from 1.
    pub number: u8,
    /// `node1`, `node2`, …
    pub name: String,
    /// Its network namespace.
    pub netns: Netns,
    next_pod: AtomicU8,
}

/// What a pod is to be.
#[derive(Debug, Clone)]
pub struct PodSpec {
    /// Its name.
    pub name: String,
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its service account.
    pub service_account: String,
    /// Number of its node.
    pub node: u8,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl PodSpec {
    /// A pod `name` in `namespace` on node `node`, with a service account and an `app` label of
    /// its own name.
    #[must_use]
    pub fn new(namespace: &str, name: &str, node: u8) -> Self {
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            service_account: name.to_owned(),
            node,
            labels: BTreeMap::from([("app".to_owned(), name.to_owned())]),
        }
    }

    /// With another service account.
    #[must_use]
    pub fn service_account(mut self, name: &str) -> Self {
        name.clone_into(&mut self.service_account);
        self
    }

    /// With one more label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }
}

/// A pod: a network namespace with one way out, to its node.
#[derive(Debug)]
pub struct Pod {
    /// What it is.
    pub spec: PodSpec,
    /// Its address.
    pub ip: Ipv4Addr,
    /// Its IPv6 address, in a mesh that has them.
    pub ip6: Option<Ipv6Addr>,
    /// Its network namespace.
    pub netns: Netns,
    resolv_conf: PathBuf,
}

impl Pod {
    /// Its IPv4 address and a port.
    #[must_use]
    pub fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.ip), port)
    }

    /// A program in this pod: in its network namespace, resolving names as a pod does.
    pub fn launch(&self, program: impl Into<PathBuf>) -> Launch {
        Launch::new(program, self.netns.path()).bind(&self.resolv_conf, "/etc/resolv.conf")
    }
}

impl MeshBuilder {
    /// Number of nodes, 2 if not given.
    #[must_use]
    pub fn nodes(mut self, count: u8) -> Self {
        self.nodes = count;
        self
    }

    /// With IPv6 addresses beside the IPv4 ones.
    #[must_use]
    pub fn ipv6(mut self) -> Self {
        self.ipv6 = true;
        self
    }

    /// Puts `prefix` before the names of all network namespaces, for several meshes at a time.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// Keeps state, manifests and logs in `folder`; by default in one that ends with the harness.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Makes the hosts and the switch.
    ///
    /// # Errors
    /// What the kernel doesn't let us make.
    pub fn build(self) -> Result<Mesh> {
        if self.nodes == 0 || self.nodes > NODES_MAX {
            bail!("a mesh has 1 to {NODES_MAX} nodes");
        }
        let folder = self.folder.clone().unwrap_or_else(default_folder);
        for part in ["manifests", "logs", "pods"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).with_context(|| format!("making {}", part.display()))?;
        }
        let switch = Netns::create(&format!("{}switch", self.prefix))?;
        switch.ip(&["link add br0 type bridge".to_owned(), "link set br0 up".to_owned()])?;
        let control = Netns::create(&format!("{}control", self.prefix))?;
        plug(&switch, &control, CONTROL_HOST, self.ipv6)?;
        let nodes = (1..=self.nodes)
            .map(|number| make_node(&self, &switch, number))
            .collect::<Result<Vec<_>>>()?;
        let mesh = Mesh {
            prefix: self.prefix,
            manifests: Manifests::new(folder.join("manifests")),
            folder,
            ipv6: self.ipv6,
            switch,
            control,
            nodes,
            pods: Mutex::default(),
            processes: Mutex::default(),
            trust_domain: Mutex::new(weft_proto::contract::DEFAULT_TRUST_DOMAIN.to_owned()),
        };
        mesh.route_pod_ranges()?;
        Ok(mesh)
    }
}

impl Mesh {
    /// A mesh of two nodes unless told otherwise.
    #[must_use]
    pub fn builder() -> MeshBuilder {
        MeshBuilder { prefix: String::new(), nodes: 2, ipv6: false, folder: None }
    }

    /// Its folder: `manifests/`, `logs/`, `controller/`, `node<n>/`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of manifests that the controller watches.
    #[must_use]
    pub fn manifests(&self) -> &Manifests {
        &self.manifests
    }

    /// The host of the controller.
    #[must_use]
    pub fn control(&self) -> &Netns {
        &self.control
    }

    /// The controller host's address as nodes see it.
    #[must_use]
    pub fn control_ip(&self) -> Ipv4Addr {
        switch_address(CONTROL_HOST)
    }

    /// The switch between the hosts.
    #[must_use]
    pub fn switch(&self) -> &Netns {
        &self.switch
    }

    /// All nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Node `number`, counted from 1.
    ///
    /// # Errors
    /// There is no such node.
    pub fn node(&self, number: u8) -> Result<&Node> {
        self.nodes.iter().find(|node| node.number == number).with_context(|| {
            format!("there is no node {number}: the mesh has {}", self.nodes.len())
        })
    }

    /// Makes a pod's network, without declaring it to the controller (see [`Self::declare`]).
    ///
    /// # Errors
    /// The node doesn't exist, the pod does already, or the kernel refuses.
    pub fn pod(&self, spec: PodSpec) -> Result<Arc<Pod>> {
        let key = format!("{}.{}", spec.namespace, spec.name);
        if lock(&self.pods).contains_key(&key) {
            bail!("there is a pod {key} already");
        }
        let node = self.node(spec.node)?;
        let number = node.next_pod.fetch_add(1, Ordering::Relaxed);
        let ip = Ipv4Addr::new(10, 44, node.number, number);
        let ip6 = self.ipv6.then(|| pod_address6(node.number, number));
        let netns = Netns::create(&format!("{}{key}", self.prefix))?;
        wire_pod(&node.netns, node.number, &netns, number, ip, ip6)?;
        netns.sysctl(&HOST_SETTINGS)?;
        let resolv_conf = self.folder.join("pods").join(format!("{key}.resolv.conf"));
        fs::write(&resolv_conf, resolver_of(&spec.namespace))?;
        let pod = Arc::new(Pod { spec, ip, ip6, netns, resolv_conf });
        lock(&self.pods).insert(key, Arc::clone(&pod));
        Ok(pod)
    }

    /// Writes a pod's manifest, so that the controller learns of it.
    ///
    /// # Errors
    /// The manifest can't be written.
    pub fn declare(&self, pod: &Pod) -> Result<()> {
        self.declare_as(pod, PodState::Ready)
    }

    /// Writes a pod's manifest with another state.
    ///
    /// # Errors
    /// The manifest can't be written.
    pub fn declare_as(&self, pod: &Pod, state: PodState) -> Result<()> {
        let node = &self.node(pod.spec.node)?.name;
        self.manifests.pod(pod, node, state)
    }

    /// [`Self::pod`] and [`Self::declare`].
    ///
    /// # Errors
    /// As theirs.
    pub fn declared_pod(&self, spec: PodSpec) -> Result<Arc<Pod>> {
        let pod = self.pod(spec)?;
        self.declare(&pod)?;
        Ok(pod)
    }

    /// Forgets a pod: its manifest goes, its namespace when the last holder of it lets go.
    ///
    /// # Errors
    /// The manifest can't be removed.
    pub fn remove_pod(&self, pod: &Pod) -> Result<()> {
        let key = format!("{}.{}", pod.spec.namespace, pod.spec.name);
        lock(&self.pods).remove(&key);
        self.manifests.remove(&format!("pod-{key}"))
    }

    /// All pods.
    #[must_use]
    pub fn pods(&self) -> Vec<Arc<Pod>> {
        lock(&self.pods).values().cloned().collect()
    }

    /// Starts `launch` as a process of this mesh; one of the same name is killed first.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(&self, name: &str, launch: Launch) -> Result<Arc<Process>> {
        // Out of the map first: the old one must be gone before the new one asks for its ports.
        drop(lock(&self.processes).remove(name));
        let process = Arc::new(Process::start(name, launch, &self.folder.join("logs"))?);
        lock(&self.processes).insert(name.to_owned(), Arc::clone(&process));
        Ok(process)
    }

    /// Starts one of our programs in a pod and waits until it listens on `port`.
    ///
    /// # Errors
    /// It isn't built, ends, or doesn't listen in time.
    pub fn serve(&self, pod: &Pod, port: u16, arguments: &[&str]) -> Result<Arc<Process>> {
        let name = format!("{}.{}", pod.spec.namespace, pod.spec.name);
        let process =
            self.start(&name, pod.launch(config::binary("shop")?).args(arguments.to_vec()))?;
        self.wait_listening(&pod.netns, port, &process)?;
        Ok(process)
    }

    /// Waits until `process` listens on a port of `netns`.
    ///
    /// # Errors
    /// It ends or doesn't listen in time.
    pub fn wait_listening(&self, netns: &Netns, port: u16, process: &Process) -> Result<()> {
        let deadline = Duration::from_secs(10);
        let what = format!("{} listening on {port}", process.name());
        crate::poll::until_true(&what, deadline, || {
            process.check_running()?;
            netns.has_tcp_listener(port)
        })
    }

    /// The process called `name`: `controller`, `agent-node1`, `ztunnel-node1`, `<ns>.<pod>`.
    ///
    /// # Errors
    /// None of that name was started.
    pub fn process(&self, name: &str) -> Result<Arc<Process>> {
        lock(&self.processes).get(name).cloned().with_context(|| format!("no process {name}"))
    }

    /// Names of all processes started.
    #[must_use]
    pub fn process_names(&self) -> Vec<String> {
        lock(&self.processes).keys().cloned().collect()
    }

    /// The ends of all logs, for a failed test.
    #[must_use]
    pub fn log_tails(&self, lines: usize) -> String {
        let processes: Vec<_> = lock(&self.processes).values().cloned().collect();
        processes
            .iter()
            .map(|process| format!("--- {}\n{}\n", process.name(), process.log_tail(lines)))
            .collect()
    }

    fn route_pod_ranges(&self) -> Result<()> {
        let hosts = self.nodes.iter().map(|node| (Some(node.number), &node.netns));
        for (own, netns) in hosts.chain([(None, &self.control)]) {
            let others = self.nodes.iter().filter(|node| Some(node.number) != own);
            let lines = others.flat_map(|other| pod_range_routes(other.number, self.ipv6));
            netns.ip(&lines.collect::<Vec<_>>())?;
        }
        Ok(())
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        // Programs before the namespaces that they are in.
        lock(&self.processes).clear();
        lock(&self.pods).clear();
    }
}

fn default_folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    Path::new("/run/weft").join(format!("{FOLDER_PREFIX}{}-{count}", process::id()))
}

fn make_node(builder: &MeshBuilder, switch: &Netns, number: u8) -> Result<Node> {
    let name = format!("node{number}");
    let netns = Netns::create(&format!("{}{name}", builder.prefix))?;
    plug(switch, &netns, number, builder.ipv6)?;
    netns.sysctl(&[("net/ipv4/ip_forward", "1"), ("net/ipv4/conf/all/rp_filter", "0")])?;
    netns.sysctl(&HOST_SETTINGS)?;
    if builder.ipv6 {
        netns.sysctl(&[("net/ipv6/conf/all/forwarding", "1")])?;
    }
    netns.ip(&[
        format!("addr add 10.44.{number}.1/32 dev lo"),
        format!("addr add {NAMESERVER}/32 dev lo"),
    ])?;
    Ok(Node { number, name, netns, next_pod: AtomicU8::new(FIRST_POD) })
}
