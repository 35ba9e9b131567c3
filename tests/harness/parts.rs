//! Starting the shipped programs: controller, node agents, ztunnels.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use weft_proto::contract::{DEFAULT_CLUSTER_ID, SYSTEM_NAMESPACE, port};

use crate::config;
use crate::http;
use crate::mesh::{Mesh, Node, Pod};
use crate::netns::Netns;
use crate::poll;
use crate::process::{Launch, Process};
use crate::wiring::NAMESERVER;

/// Time for a program to come up: a debug build on a busy machine, several times over.
pub(crate) const START_DEADLINE: Duration = Duration::from_secs(20);
/// Time for a new pod to be enrolled: controller, agent, rules, certificate.
const ENROL_DEADLINE: Duration = Duration::from_secs(20);

/// How the controller is started.
#[derive(Debug, Clone)]
pub struct ControllerSettings {
    /// Trust domain of all identities.
    pub trust_domain: String,
    /// Lifetime of workload certificates, as the flag takes it (`24h`, `60s`).
    pub cert_ttl: String,
    /// Further arguments.
    pub arguments: Vec<String>,
}

impl Default for ControllerSettings {
    fn default() -> Self {
        Self {
            trust_domain: weft_proto::contract::DEFAULT_TRUST_DOMAIN.to_owned(),
            cert_ttl: "24h".to_owned(),
            arguments: Vec::new(),
        }
    }
}

/// How a ztunnel is started.
#[derive(Debug, Clone, Default)]
pub struct ZtunnelSettings {
    /// Another binary than ours; it reads the same environment.
    pub program: Option<PathBuf>,
    /// Further environment; a key given here replaces the harness's own.
    pub environment: Vec<(String, String)>,
}

impl Mesh {
    /// Starts the controller on the control host and waits until it is ready.
    ///
    /// # Errors
    /// It isn't built, ends, or isn't ready in time; with the end of its log.
    pub fn start_controller(&self, settings: &ControllerSettings) -> Result<Arc<Process>> {
        let launch = self.controller_launch(settings)?;
        settings.trust_domain.clone_into(&mut crate::process::lock(&self.trust_domain));
        let process = self.start("controller", launch)?;
        self.wait_controller()?;
        Ok(process)
    }

    /// How the controller is run, for a restart with other settings.
    ///
    /// # Errors
    /// It isn't built.
    pub fn controller_launch(&self, settings: &ControllerSettings) -> Result<Launch> {
        let launch = Launch::new(config::binary("weft-controller")?, self.control().path());
        Ok(launch
            .arg("--manifests")
            .arg(self.manifests().folder())
            .arg("--state")
            .arg(self.folder().join("controller"))
            .args(["--listen", &format!("0.0.0.0:{}", port::CONTROLLER)])
            .args(["--admin", &format!("127.0.0.1:{}", port::CONTROLLER_ADMIN)])
            .args(["--advertise", &self.control_ip().to_string()])
            .args(["--trust-domain", &settings.trust_domain])
            .args(["--cluster-id", DEFAULT_CLUSTER_ID])
            .args(["--root-namespace", SYSTEM_NAMESPACE])
            .args(["--cert-ttl", &settings.cert_ttl])
            .args(settings.arguments.clone()))
    }

    /// Waits until the controller says that it is ready.
    ///
    /// # Errors
    /// It ends or isn't ready in time.
    pub fn wait_controller(&self) -> Result<()> {
        let process = self.process("controller")?;
        wait_ready(&process, self.control(), port::CONTROLLER_ADMIN, "/ready")
    }

    /// Starts a node's agent with a new join token and waits for its socket.
    ///
    /// # Errors
    /// It isn't built, ends, or has no socket in time; with the end of its log.
    pub fn start_agent(&self, number: u8) -> Result<Arc<Process>> {
        let node = self.node(number)?;
        let state = self.node_folder(node)?;
        let token = self.join_token(node)?;
        let token_file = state.join("join-token");
        fs::write(&token_file, token)?;
        let socket = state.join("run/ztunnel.sock");
        let controller = format!("{}:{}", self.control_ip(), port::CONTROLLER);
        let launch = self
            .on_node(node, config::binary("weft-cni")?)?
            .args(["agent", "--node", &node.name, "--controller", &controller])
            .arg("--join-token-file")
            .arg(token_file)
            .arg("--state")
            .arg(&state);
        let process = self.start(&format!("agent-{}", node.name), launch)?;
        poll::until(&format!("agent of {}", node.name), START_DEADLINE, || {
            process.check_running()?;
            for file in [&socket, &state.join("root-cert.pem"), &state.join("ztunnel-token")] {
                if !file.exists() {
                    bail!("{} isn't there yet; log:\n{}", file.display(), process.log_tail(15));
                }
            }
            Ok(())
        })?;
        Ok(process)
    }

    /// A token with which a node's agent may join, as `weft token` prints it.
    ///
    /// # Errors
    /// The controller's program says no.
    pub fn join_token(&self, node: &Node) -> Result<String> {
        Launch::new(config::binary("weft-controller")?, self.control().path())
            .args(["token", "--state"])
            .arg(self.folder().join("controller"))
            .args(["--node", &node.name])
            .run(START_DEADLINE)?
            .success()
            .map(|token| token.trim().to_owned())
            .context("making a join token")
    }

    /// Starts a node's ztunnel; see [`Self::wait_ztunnel`].
    ///
    /// # Errors
    /// It isn't built.
    pub fn start_ztunnel(&self, number: u8, settings: &ZtunnelSettings) -> Result<Arc<Process>> {
        let node = self.node(number)?;
        let launch = self.ztunnel_launch(node, settings)?;
        self.start(&format!("ztunnel-{}", node.name), launch)
    }

    /// How a node's ztunnel is run.
    ///
    /// # Errors
    /// It isn't built.
    pub fn ztunnel_launch(&self, node: &Node, settings: &ZtunnelSettings) -> Result<Launch> {
        let program = match &settings.program {
            Some(program) => program.clone(),
            None => config::binary("ztunnel")?,
        };
        let state = self.node_folder(node)?;
        let address = crate::wiring::switch_address(node.number).to_string();
        let own = [
            ("NODE_NAME", node.name.as_str()),
            ("INSTANCE_IP", &address),
            ("POD_NAME", &format!("ztunnel-{}", node.name)),
            ("POD_NAMESPACE", SYSTEM_NAMESPACE),
            ("SERVICE_ACCOUNT", "ztunnel"),
            ("PROXY_MODE", "shared"),
            ("INPOD_ENABLED", "true"),
            ("ISTIO_META_DNS_CAPTURE", "true"),
        ];
        let launch = self.on_node(node, program)?;
        Ok(self.as_proxy(launch, (&state, "ztunnel-token"), &own, &settings.environment))
    }

    /// What every proxy is told of the mesh, with the roots and the token of this name in a node's folder; then what is
    /// its own, then what a test gives. The last of several equal keys stands.
    pub(crate) fn as_proxy(
        &self,
        launch: Launch,
        (folder, token): (&Path, &str),
        own: &[(&str, &str)],
        given: &[(String, String)],
    ) -> Launch {
        let controller = format!("https://{}:{}", self.control_ip(), port::CONTROLLER);
        let root = folder.join("root-cert.pem").display().to_string();
        let token = folder.join(token).display().to_string();
        let trust_domain = crate::process::lock(&self.trust_domain).clone();
        let shared = [
            ("XDS_ADDRESS", controller.as_str()),
            ("CA_ADDRESS", &controller),
            ("XDS_ROOT_CA", &root),
            ("CA_ROOT_CA", &root),
            ("AUTH_TOKEN", &token),
            ("CLUSTER_ID", DEFAULT_CLUSTER_ID),
            ("TRUST_DOMAIN", &trust_domain),
            ("TERMINATION_GRACE_PERIOD_SECONDS", "30"),
            ("RUST_LOG", "info"),
        ];
        let given = given.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let all = shared.into_iter().chain(own.iter().copied()).chain(given);
        all.fold(launch, |launch, (key, value)| launch.env(key, value))
    }

    /// Waits until a node's ztunnel is ready: configured, connected to its agent, all pods served.
    ///
    /// # Errors
    /// It ends or isn't ready in time; with the end of its log.
    pub fn wait_ztunnel(&self, number: u8) -> Result<()> {
        let node = self.node(number)?;
        let process = self.process(&format!("ztunnel-{}", node.name))?;
        wait_ready(&process, &node.netns, port::READY, "/healthz/ready")
    }

    /// Starts everything: the controller, then an agent and a ztunnel on each node.
    ///
    /// # Errors
    /// The first that doesn't come up.
    pub fn start_all(
        &self,
        controller: &ControllerSettings,
        ztunnel: &ZtunnelSettings,
    ) -> Result<()> {
        self.start_each(controller, |_| ztunnel.clone())
    }

    /// The same, with settings for each node's ztunnel.
    ///
    /// # Errors
    /// The first of them that doesn't come up.
    pub fn start_each(
        &self,
        controller: &ControllerSettings,
        ztunnel: impl Fn(u8) -> ZtunnelSettings,
    ) -> Result<()> {
        self.start_controller(controller)?;
        for node in self.nodes() {
            self.start_agent(node.number)?;
            self.start_ztunnel(node.number, &ztunnel(node.number))?;
        }
        for node in self.nodes() {
            self.wait_ztunnel(node.number)?;
        }
        Ok(())
    }

    /// Waits until a pod's traffic is carried: its node's ztunnel listens in its namespace.
    ///
    /// # Errors
    /// It isn't within the deadline.
    pub fn wait_enrolled(&self, pod: &Pod) -> Result<()> {
        let what = format!("enrolment of {}/{}", pod.spec.namespace, pod.spec.name);
        poll::until_true(&what, ENROL_DEADLINE, || {
            Ok(pod.netns.has_tcp_listener(port::HBONE)? && is_redirected(&pod.netns)?)
        })
        .with_context(|| self.log_tails(12))
    }

    /// A node's ztunnel's whole state, as its admin server gives it.
    ///
    /// # Errors
    /// It doesn't answer, or not in JSON.
    pub fn config_dump(&self, number: u8) -> Result<serde_json::Value> {
        let body = http::get(&self.node(number)?.netns, port::ADMIN, "/config_dump")?;
        serde_json::from_str(&body).context("the config dump isn't JSON")
    }

    /// A node's ztunnel's metrics.
    ///
    /// # Errors
    /// It doesn't answer.
    pub fn ztunnel_metrics(&self, number: u8) -> Result<crate::metrics::Samples> {
        let body = http::get(&self.node(number)?.netns, port::METRICS, "/metrics")?;
        Ok(crate::metrics::Samples::parse(&body))
    }

    /// A program on a node: its network namespace, its own `/run/ztunnel`, and a name server that refuses at once
    /// instead of the machine's, which can't be reached from here.
    fn on_node(&self, node: &Node, program: PathBuf) -> Result<Launch> {
        let folder = self.node_folder(node)?;
        let (run, resolver) = (folder.join("run"), folder.join("resolv.conf"));
        fs::create_dir_all(&run)?;
        fs::write(&resolver, format!("nameserver {NAMESERVER}\n"))?;
        let launch = Launch::new(program, node.netns.path());
        Ok(launch.bind(run, "/run/ztunnel").bind(resolver, "/etc/resolv.conf"))
    }

    pub(crate) fn node_folder(&self, node: &Node) -> Result<PathBuf> {
        let folder = self.folder().join(&node.name);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(folder)
    }
}

/// Whether a pod's namespace has redirection rules: any rule that names the outbound port.
///
/// # Errors
/// `nft` fails.
pub fn is_redirected(netns: &Netns) -> Result<bool> {
    let rules = netns.output("nft", &["list", "ruleset"])?;
    Ok(rules.contains(&format!(":{}", port::OUTBOUND)))
}

pub(crate) fn wait_ready(process: &Process, netns: &Netns, port: u16, path: &str) -> Result<()> {
    let what = format!("{} ready", process.name());
    poll::until(&what, START_DEADLINE, || {
        process.check_running()?;
        http::get(netns, port, path).map(drop)
    })
    .with_context(|| format!("its log:\n{}", process.log_tail(15)))
}
