//! The test bed: nodes and pods, once for each side.
//!
//! ```text
//!            node 1                    node 2
//!   client ─┬─ (on one node) ─ near
//!           └─ (across nodes) ────────── far
//! ```
//!
//! Plain and mesh are pods side by side on the same two nodes; what the peer's ztunnels carry is on
//! two further nodes with a controller of their own, so that sides can take turns without restarts.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use weft_harness::{ControllerSettings, Mesh, Pod, PodSpec, Process, ZtunnelSettings};

use crate::arguments::Plan;
use crate::progress::say;
use crate::report::{Place, Side};
use crate::resident::Resident;

/// Where the bench servers listen.
pub(crate) const PORT: u16 = 9000;
/// Namespace of the pods in the mesh.
pub(crate) const NAMESPACE: &str = "bench";
/// Number of the client's node, and of the far server's.
const NODES: [u8; 2] = [1, 2];

/// All sides of a run.
#[derive(Debug)]
pub(crate) struct Bed {
    sites: Vec<Site>,
}

/// One side's pods, and the mesh that they are in.
#[derive(Debug)]
pub(crate) struct Site {
    /// Whose.
    pub(crate) side: Side,
    /// Its nodes; plain shares them with the mesh.
    pub(crate) mesh: Arc<Mesh>,
    /// The client, on node 1.
    pub(crate) client: Arc<Pod>,
    /// The server on node 1.
    pub(crate) near: Arc<Pod>,
    /// The server on node 2.
    pub(crate) far: Arc<Pod>,
    program: Option<PathBuf>,
}

impl Bed {
    /// Builds it and starts everything.
    ///
    /// # Errors
    /// The first thing that doesn't come up.
    pub(crate) fn build(plan: &Plan) -> Result<Self> {
        let own = Arc::new(Mesh::builder().build()?);
        let mut sites = vec![Site::lay_out(Side::Plain, &own, None)?];
        if !plan.plain_only {
            sites.push(Site::lay_out(Side::Mesh, &own, None)?);
        }
        if let Some(program) = &plan.peer {
            let other = Arc::new(Mesh::builder().prefix("peer-").build()?);
            sites.push(Site::lay_out(Side::Peer, &other, Some(program.clone()))?);
        }
        for site in sites.iter().filter(|site| site.has_ztunnels()) {
            say(&format!("starting the {}'s controller, agents and ztunnels", site.side));
            site.start().with_context(|| format!("starting the {} side", site.side))?;
        }
        Ok(Self { sites })
    }

    /// All sides, in the order of a round: every other one goes backwards, so that none is always
    /// the one that finds the caches warm.
    pub(crate) fn round(&self, number: u16) -> Vec<&Site> {
        let mut sites: Vec<&Site> = self.sites.iter().collect();
        if number % 2 == 1 {
            sites.reverse();
        }
        sites
    }

    /// The sides that have ztunnels.
    pub(crate) fn proxied(&self) -> impl Iterator<Item = &Site> {
        self.sites.iter().filter(|site| site.has_ztunnels())
    }
}

impl Site {
    fn lay_out(side: Side, mesh: &Arc<Mesh>, program: Option<PathBuf>) -> Result<Self> {
        let namespace = if side == Side::Plain { "plain" } else { NAMESPACE };
        mesh.manifests().namespace(namespace, side != Side::Plain)?;
        let [first, second] = NODES;
        let pod = |name, node| mesh.declared_pod(PodSpec::new(namespace, name, node));
        let site = Self {
            side,
            mesh: Arc::clone(mesh),
            client: pod("client", first)?,
            near: pod("near", first)?,
            far: pod("far", second)?,
            program,
        };
        for server in [&site.near, &site.far] {
            mesh.serve(server, PORT, &["bench-server"])?;
        }
        Ok(site)
    }

    /// Whether its pods are in a mesh.
    pub(crate) fn has_ztunnels(&self) -> bool {
        self.side != Side::Plain
    }

    /// The server at a place.
    pub(crate) fn server(&self, place: Place) -> &Pod {
        match place {
            Place::Across => &self.far,
            Place::Local => &self.near,
        }
    }

    fn start(&self) -> Result<()> {
        let controller = ControllerSettings::default();
        self.mesh.start_all(&controller, &self.ztunnel(None)).and_then(|()| self.wait_enrolled())
    }

    /// Starts both ztunnels anew, with a number of worker threads or their own default, and waits
    /// until they serve.
    ///
    /// # Errors
    /// One doesn't come up.
    pub(crate) fn restart_ztunnels(&self, workers: Option<u16>) -> Result<()> {
        for node in NODES {
            // Gone before the next one asks for its ports.
            self.mesh.process(&format!("ztunnel-node{node}"))?.kill()?;
            self.mesh.start_ztunnel(node, &self.ztunnel(workers))?;
        }
        for node in NODES {
            self.mesh.wait_ztunnel(node)?;
        }
        self.wait_enrolled()
    }

    fn wait_enrolled(&self) -> Result<()> {
        [&self.client, &self.near, &self.far]
            .iter()
            .try_for_each(|pod| self.mesh.wait_enrolled(pod))
    }

    fn ztunnel(&self, workers: Option<u16>) -> ZtunnelSettings {
        let threads = workers.map(|count| ("ZTUNNEL_WORKER_THREADS".to_owned(), count.to_string()));
        ZtunnelSettings {
            program: self.program.clone(),
            environment: threads.into_iter().collect(),
        }
    }

    /// Both ztunnels.
    ///
    /// # Errors
    /// They were never started.
    pub(crate) fn ztunnels(&self) -> Result<Vec<Arc<Process>>> {
        NODES.iter().map(|node| self.mesh.process(&format!("ztunnel-node{node}"))).collect()
    }

    /// Memory of the larger ztunnel: a node has one of them.
    ///
    /// # Errors
    /// One doesn't run.
    pub(crate) fn ztunnel_memory(&self) -> Result<Resident> {
        let mut largest = Resident::default();
        for ztunnel in self.ztunnels()? {
            largest = largest.larger(Resident::of(ztunnel.pid()?)?);
        }
        Ok(largest)
    }

    /// The ends of its logs, after a failure.
    pub(crate) fn log_tails(&self) -> String {
        if self.has_ztunnels() { self.mesh.log_tails(8) } else { String::new() }
    }
}
