//! The test bed of HTTP: a client on node 1, its server on node 2, and what each side has between them.
//!
//! ```text
//!   plain        client ──────────────────────────────────────── server
//!   mesh         client ─ ztunnel ═══ waypoint ═══ ztunnel ────── server      ═══ mutual TLS
//!   envoy        client ──────────── envoy ───────────────────── server
//!   envoy pair   client ─ envoy ═══════════════════════ envoy ── server
//! ```
//!
//! The waypoint routes (a header rule and a default one), counts, and is told by a policy who may call.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weft_harness::{
    ControllerSettings, Mesh, Pod, PodSpec, ServiceSpec, WaypointSettings, WaypointSpec,
    ZtunnelSettings, http, manifests, poll,
};
use weft_proto::contract::{port, type_url};

use super::envoy;
use crate::arguments::Plan;
use crate::client::Load;
use crate::progress::say;
use crate::report::Side;

/// Where the servers listen.
pub(super) const PORT: u16 = 9080;
/// Namespace of the pods in the mesh, and of the waypoint.
pub(super) const NAMESPACE: &str = "bench";
/// Namespace of all others.
const OUTSIDE: &str = "plain";
/// Name of the waypoint.
pub(super) const WAYPOINT: &str = "waypoint";
/// Address of the service that the mesh's client calls.
const SERVICE: [u8; 4] = [10, 99, 0, 1];
/// Address of another one behind the same waypoint.
const STEADY: [u8; 4] = [10, 99, 0, 2];
/// Time for the waypoint to take the routes of many services.
const LOAD_DEADLINE: Duration = Duration::from_secs(120);
/// Pause between two looks at the controller's status.
const LOOK_PAUSE: Duration = Duration::from_millis(200);
/// Time for a change to reach all proxies.
const SOON: Duration = Duration::from_secs(20);

/// All sides of a run.
#[derive(Debug)]
pub(crate) struct Bed {
    pub(super) mesh: Mesh,
    pub(super) sites: Vec<Site>,
    /// The waypoint's only instance.
    pub(super) waypoint: Arc<Pod>,
}

/// One side.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) side: Side,
    pub(super) client: Arc<Pod>,
    /// What the client calls.
    pub(super) target: SocketAddr,
    /// Its Envoys' processes.
    pub(super) envoys: Vec<String>,
}

impl Bed {
    /// Builds it and starts everything.
    ///
    /// # Errors
    /// The first thing that doesn't come up, or requests that don't come through the waypoint.
    pub(crate) fn build(plan: &Plan) -> Result<Self> {
        say("starting a mesh with a waypoint");
        let mesh = Mesh::builder().prefix("l7-").build()?;
        mesh.manifests().namespace(OUTSIDE, false)?;
        mesh.manifests().namespace(NAMESPACE, true)?;
        let plain = Site::plain(&mesh)?;
        let own = Site::meshed(&mesh)?;
        write_objects(&mesh)?;
        let spec = WaypointSpec::new(NAMESPACE, WAYPOINT);
        mesh.declare_waypoint(&spec)?;
        mesh.start_all(&ControllerSettings::default(), &ZtunnelSettings::default())?;
        let settings = WaypointSettings::default();
        let waypoint = mesh.add_waypoint(&spec, ("waypoint", 2), &settings)?;
        for pod in mesh.pods().iter().filter(|pod| pod.spec.namespace == NAMESPACE) {
            if pod.ip != waypoint.ip {
                mesh.wait_enrolled(pod)?;
            }
        }
        let mut sites = vec![plain, own];
        if let Some(program) = &plan.envoy {
            sites.push(Site::hop(&mesh, program)?);
            sites.push(Site::pair(&mesh, program)?);
        }
        let bed = Self { mesh, sites, waypoint };
        bed.wait_through()?;
        Ok(bed)
    }

    /// All sides, in the order of a round: every other one goes backwards, so that none is always
    /// the one that finds the caches warm.
    pub(super) fn round(&self, number: u16) -> Vec<&Site> {
        let mut sites: Vec<&Site> = self.sites.iter().collect();
        if number % 2 == 1 {
            sites.reverse();
        }
        sites
    }

    /// Starts the waypoint anew and waits until requests come through it again.
    ///
    /// # Errors
    /// It doesn't come up.
    pub(super) fn restart_waypoint(&self) -> Result<()> {
        self.mesh.waypoint_process(&self.waypoint)?.restart()?;
        self.mesh.wait_waypoint(&self.waypoint)
    }

    /// Requests that the waypoint has counted.
    ///
    /// # Errors
    /// It doesn't answer.
    pub(super) fn counted(&self) -> Result<f64> {
        let labels = [("reporter", "waypoint"), ("response_code", "200")];
        Ok(self.mesh.waypoint_metrics(&self.waypoint)?.sum("istio_requests_total", &labels))
    }

    /// A side, which there is unless its program wasn't given.
    pub(super) fn site(&self, side: Side) -> Result<&Site> {
        let site = self.sites.iter().find(|site| site.side == side);
        site.with_context(|| format!("there is no {side} side"))
    }

    /// Waits until the waypoint has acknowledged the routes of so many services and its own.
    ///
    /// # Errors
    /// It hasn't within two minutes.
    pub(super) fn wait_loaded(&self, services: usize) -> Result<()> {
        let what = format!("routes of {services} services at the waypoint");
        poll::until(&what, LOAD_DEADLINE, || {
            // Between looks the controller needs the processor for the work that is waited for.
            std::thread::sleep(LOOK_PAUSE);
            let status = http::get(self.mesh.control(), port::CONTROLLER_ADMIN, "/weft/status")?;
            let status: Value = serde_json::from_str(&status).context("the controller's status")?;
            let types = status.get("types").and_then(Value::as_array).context("no types in it")?;
            let name = |it: &Value| it.get("type_url").and_then(Value::as_str).map(str::to_owned);
            let is_routes = |it: &&Value| name(it).as_deref() == Some(type_url::ROUTE_TABLE);
            let routes = types.iter().find(is_routes).context("no routes in it")?;
            let count = |name| routes.get(name).and_then(Value::as_u64).unwrap_or_default();
            let tables = count("resources");
            let (clients, in_sync) = (count("clients"), count("in_sync"));
            ensure!(tables > services as u64, "{tables} tables so far");
            ensure!(clients > 0 && clients == in_sync, "{in_sync} of {clients} have them");
            Ok(())
        })
    }

    /// Waits until the mesh's requests come through the waypoint: what goes round it is another thing.
    fn wait_through(&self) -> Result<()> {
        let site = self.site(Side::Mesh)?;
        let load = Load { mode: "http-latency", connections: 1, seconds: 0.05, rate: None };
        poll::until("requests through the waypoint", SOON, || {
            let before = self.counted()?;
            let answered = load.run(&site.client, site.target)?.count;
            let counted = self.counted()? - before;
            // Those of the warm-up are in it too.
            ensure!(counted >= answered as f64, "{counted} of {answered} or more came");
            Ok(())
        })
        .with_context(|| self.log_tails())
    }

    /// The ends of its logs, after a failure.
    pub(super) fn log_tails(&self) -> String {
        self.mesh.log_tails(8)
    }
}

impl Site {
    fn plain(mesh: &Mesh) -> Result<Self> {
        let client = mesh.declared_pod(PodSpec::new(OUTSIDE, "client", 1))?;
        let target = server(mesh, OUTSIDE)?.address(PORT);
        Ok(Self { side: Side::Plain, client, target, envoys: Vec::new() })
    }

    fn meshed(mesh: &Mesh) -> Result<Self> {
        let client = mesh.declared_pod(PodSpec::new(NAMESPACE, "client", 1))?;
        server(mesh, NAMESPACE)?;
        let target = SocketAddr::from((SERVICE, 80));
        Ok(Self { side: Side::Mesh, client, target, envoys: Vec::new() })
    }

    /// One Envoy on the server's node.
    fn hop(mesh: &Mesh, program: &Path) -> Result<Self> {
        let of = |name: &str| mesh.pods().into_iter().find(|pod| is(pod, OUTSIDE, name));
        let (client, server) = (of("client"), of("server"));
        let (client, server) = (client.context("no client")?, server.context("no server")?);
        let pod = mesh.pod(PodSpec::new(OUTSIDE, "envoy", 2))?;
        let config = envoy::hop(PORT, server.address(PORT));
        let process = envoy::start(mesh, (program, &pod), PORT, &config)?;
        Ok(Self { side: Side::Hop, client, target: pod.address(PORT), envoys: vec![process] })
    }

    /// Two of them, in the pods of a client and a server of their own.
    fn pair(mesh: &Mesh, program: &Path) -> Result<Self> {
        let client = mesh.pod(PodSpec::new(OUTSIDE, "pair-client", 1))?;
        let server = mesh.pod(PodSpec::new(OUTSIDE, "pair-server", 2))?;
        mesh.serve(&server, PORT, &["bench-http"])?;
        let config = envoy::pair(&envoy::Pair {
            outbound: envoy::OUTBOUND,
            inbound: server.address(envoy::INBOUND),
            application: PORT,
        })?;
        let (first, second) = (&config.client, &config.server);
        let envoys = vec![
            envoy::start(mesh, (program, &client), envoy::OUTBOUND, first)?,
            envoy::start(mesh, (program, &server), envoy::INBOUND, second)?,
        ];
        let target = SocketAddr::from(([127, 0, 0, 1], envoy::OUTBOUND));
        Ok(Self { side: Side::Pair, client, target, envoys })
    }
}

fn is(pod: &Pod, namespace: &str, name: &str) -> bool {
    pod.spec.namespace == namespace && pod.spec.name == name
}

fn server(mesh: &Mesh, namespace: &str) -> Result<Arc<Pod>> {
    let pod = mesh.declared_pod(PodSpec::new(namespace, "server", 2))?;
    mesh.serve(&pod, PORT, &["bench-http"])?;
    Ok(pod)
}

/// The service, another one that only a header leads to, one beside them, and who may call.
fn write_objects(mesh: &Mesh) -> Result<()> {
    let service = |name: &str, waypoint: Option<&str>, address: Option<[u8; 4]>| {
        let ports = &[(80, PORT)];
        let spec =
            ServiceSpec { namespace: NAMESPACE, name, ports, selector: &[("app", "server")] };
        let mut service = manifests::http_service(&spec, waypoint);
        let address = address.map(|address| json!(Ipv4Addr::from(address)));
        if let (Some(fields), Some(address)) =
            (service.get_mut("spec").and_then(Value::as_object_mut), address)
        {
            fields.insert("clusterIP".to_owned(), address);
        }
        service
    };
    let objects = [
        service("items", Some(WAYPOINT), Some(SERVICE)),
        service("items-beta", None, None),
        service("steady", Some(WAYPOINT), Some(STEADY)),
        policy(),
    ];
    mesh.manifests().objects("items", &objects)?;
    write_route(mesh, None)
}

/// Address of the service whose routes nobody changes.
pub(super) fn steady() -> SocketAddr {
    SocketAddr::from((STEADY, 80))
}

/// The routes of the service; answers can be marked with a header.
pub(super) fn write_route(mesh: &Mesh, mark: Option<(&str, usize)>) -> Result<()> {
    let backend = |name: &str| json!([{"name": name, "port": 80}]);
    let header = json!([{"headers": [{"name": "x-beta-user", "value": "true"}]}]);
    let filters: Vec<Value> = mark
        .map(|(name, value)| {
            let set = json!([{"name": name, "value": value.to_string()}]);
            json!({"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": set}})
        })
        .into_iter()
        .collect();
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "items", "namespace": NAMESPACE},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": "items"}],
            "rules": [
                {"matches": header, "backendRefs": backend("items-beta")},
                {"filters": filters, "backendRefs": backend("items")},
            ],
        },
    });
    mesh.manifests().objects("items-route", &[route])
}

fn policy() -> Value {
    let client = format!("cluster.local/ns/{NAMESPACE}/sa/client");
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "items-callers", "namespace": NAMESPACE},
        "spec": {
            "targetRefs": [{"group": "", "kind": "Service", "name": "items"}],
            "action": "ALLOW",
            "rules": [{
                "from": [{"source": {"principals": [client]}}],
                "to": [{"operation": {"methods": ["GET"], "paths": ["/bench/*"]}}],
            }],
        },
    })
}
