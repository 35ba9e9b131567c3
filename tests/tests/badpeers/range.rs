//! The mesh that is attacked: a victim, its neighbours, and an attacker outside.

use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, anyhow, ensure};
use weft_harness::{ControllerSettings, Mesh, Pod, PodSpec, Process, ServiceSpec, ZtunnelSettings};

use crate::mint::Authority;
use crate::support::PORT;
use crate::support::load::{Connections, Load};
use crate::support::objects::{from_principals, policy};

/// Its folder; the logs in it are kept when a test fails.
const FOLDER: &str = "/run/weft/range";
/// Requests a second of the honest neighbour.
const NEIGHBOUR_RPS: u32 = 40;
/// Memory that a program under attack may take besides what it had, bytes. It goes into buffers, TLS sessions and the
/// allocator's own spare room; an attack that isn't bounded takes this within a second.
const GROWTH_MAX: u64 = 48 << 20;

/// An identity that a policy denies.
pub(crate) const DENIED: &str = "spiffe://cluster.local/ns/front/sa/banned";
/// An identity that nothing speaks against.
pub(crate) const WELCOME: &str = "spiffe://cluster.local/ns/front/sa/client";

/// The mesh and who is in it.
pub(crate) struct Range {
    pub(crate) mesh: Mesh,
    pub(crate) victim: Arc<Pod>,
    pub(crate) other: Arc<Pod>,
    pub(crate) attacker: Arc<Pod>,
    pub(crate) client: Arc<Pod>,
    pub(crate) authority: Authority,
}

/// The one range, built by the first test that asks for it.
pub(crate) fn range() -> Result<&'static Range> {
    static RANGE: OnceLock<Result<Range, String>> = OnceLock::new();
    let built = RANGE.get_or_init(|| Range::build().map_err(|error| format!("{error:?}")));
    built.as_ref().map_err(|error| anyhow!("the tests' mesh didn't come up: {error}"))
}

impl Range {
    fn build() -> Result<Self> {
        let mesh = Mesh::builder().folder(FOLDER).build()?;
        let manifests = mesh.manifests();
        for (namespace, enrolled) in [("front", true), ("shop", true), ("outside", false)] {
            manifests.namespace(namespace, enrolled)?;
        }
        let victim = mesh.declared_pod(PodSpec::new("shop", "victim", 1))?;
        let other = mesh.declared_pod(PodSpec::new("shop", "other", 1))?;
        let client = mesh.declared_pod(PodSpec::new("front", "client", 2))?;
        let attacker = mesh.declared_pod(PodSpec::new("outside", "attacker", 2))?;
        for pod in [&victim, &other] {
            mesh.serve(pod, PORT, &["serve", "--role", "checkout", "--no-upstreams"])?;
            manifests.service(&ServiceSpec {
                namespace: "shop",
                name: &pod.spec.name,
                ports: &[(80, PORT)],
                selector: &[("app", &pod.spec.name)],
            })?;
        }
        let banned = from_principals(&["cluster.local/ns/front/sa/banned"]);
        manifests.objects("banned", &[policy("shop", "banned", "victim", "DENY", banned)])?;
        mesh.start_all(&ControllerSettings::default(), &ZtunnelSettings::default())?;
        for pod in [&victim, &other, &client] {
            mesh.wait_enrolled(pod)?;
        }
        let authority = Authority::of_mesh(&mesh)?;
        Ok(Self { mesh, victim, other, attacker, client, authority })
    }

    /// The program that is attacked on the victim's node.
    pub(crate) fn ztunnel(&self) -> Result<Arc<Process>> {
        self.mesh.process("ztunnel-node1")
    }

    /// Runs an attack and checks that the honest neighbour's requests all succeed meanwhile, that neither program
    /// ends and that their memory stays within bounds.
    pub(crate) fn withstands<T>(&self, attack: impl FnOnce() -> Result<T>) -> Result<T> {
        let programs = [self.ztunnel()?, self.mesh.process("controller")?];
        let url = "http://victim.shop/health";
        let load = Load::start(&self.mesh, &self.client, url, NEIGHBOUR_RPS, Connections::New)?;
        let before: Vec<u64> =
            programs.iter().map(|program| program.resident_bytes()).collect::<Result<_>>()?;
        let outcome = attack();
        let served = load.finish().context("the neighbour's requests")?;
        for (program, before) in programs.iter().zip(before) {
            program.check_running()?;
            let after = program.resident_bytes()?;
            let grown = after.saturating_sub(before);
            let name = program.name();
            ensure!(grown <= GROWTH_MAX, "{name} grew by {grown} bytes from {before}");
        }
        ensure!(served > 0, "the neighbour made no request");
        outcome
    }
}
