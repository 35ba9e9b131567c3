//! The mesh that the demo shows: who is where, in which namespace, under which policies.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use weft_harness::capture::Capture;
use weft_harness::{
    ControllerSettings, Launch, Mesh, Pod, PodSpec, ServiceSpec, ZtunnelSettings, config,
};

use crate::{Peer, depot};

/// The shop's port in its pods; its services have 80.
pub(crate) const PORT: u16 = 8080;
/// The bench servers' port.
pub(crate) const BENCH_PORT: u16 = 9000;
/// As in the identity that the demo shows: `spiffe://cluster/ns/default/sa/payment-service`.
pub(crate) const TRUST_DOMAIN: &str = "cluster";
/// So short that a renewal can be watched; the default is 24 h.
pub(crate) const CERTIFICATE_SECONDS: i64 = 60;
/// Time for one call of the shop, start of the program included.
const CALL_DEADLINE: Duration = Duration::from_secs(15);
/// Marks a folder as one that the demo may empty.
const MARKER: &str = ".weft-demo";

/// A pod of the shop: name, namespace, service account, node, arguments of its server.
struct Role {
    name: &'static str,
    namespace: &'static str,
    account: &'static str,
    node: u8,
    upstreams: &'static [&'static str],
}

/// Checkout and inventory share a node; web, checkout and payment alternate between the two.
const ROLES: [Role; 5] = [
    Role {
        name: "web",
        namespace: "front",
        account: "web",
        node: 1,
        upstreams: &["http://checkout.shop/"],
    },
    Role {
        name: "checkout",
        namespace: "shop",
        account: "checkout",
        node: 2,
        upstreams: &["http://payment.default/pay", "http://inventory.warehouse/stock"],
    },
    Role {
        name: "payment",
        namespace: "default",
        account: "payment-service",
        node: 1,
        upstreams: &[],
    },
    Role {
        name: "inventory",
        namespace: "warehouse",
        account: "inventory",
        node: 2,
        upstreams: &[],
    },
    Role { name: "intruder", namespace: "elsewhere", account: "intruder", node: 1, upstreams: &[] },
];

/// Inventory is for checkout and payment.
const INVENTORY_POLICY: &str = "\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: inventory-callers
  namespace: warehouse
spec:
  action: ALLOW
  rules:
  - from:
    - source:
        principals:
        - cluster/ns/shop/sa/checkout
        - cluster/ns/default/sa/payment-service
";

/// Payment's namespace takes no plaintext.
const STRICT: &str = "\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: default
  namespace: default
spec:
  mtls:
    mode: STRICT
";

/// The running mesh and its pods.
pub(crate) struct Shop {
    pub(crate) mesh: Mesh,
    /// Node 1's cable since before the first call.
    pub(crate) first_capture: Mutex<Option<Capture>>,
}

impl Shop {
    /// Builds the mesh, starts everything, and waits until every pod that should be is enrolled.
    pub(crate) fn open(folder: &Path, peer: Option<&Peer>) -> Result<Self> {
        let folder = fresh_folder(folder)?;
        let mesh = Mesh::builder().folder(folder).build()?;
        let capture = Capture::start(&mesh.node(1)?.netns, "eth0")?;
        let shop = Self { mesh, first_capture: Mutex::new(Some(capture)) };
        shop.declare()?;
        let controller = Self::controller_settings();
        // The lifetime is the asker's choice; the controller's own is for those who name none.
        let lifetime = ("SECRET_TTL".to_owned(), format!("{CERTIFICATE_SECONDS}s"));
        shop.mesh.start_each(&controller, |node| ZtunnelSettings {
            program: peer.filter(|peer| peer.node == node).map(|peer| peer.program.clone()),
            environment: vec![lifetime.clone()],
        })?;
        for pod in shop.mesh.pods() {
            if shop.is_enrolled_by_label(&pod) {
                shop.mesh.wait_enrolled(&pod)?;
            }
        }
        depot::start(&shop.mesh)?;
        Ok(shop)
    }

    /// How the demo's controller runs.
    pub(crate) fn controller_settings() -> ControllerSettings {
        ControllerSettings {
            trust_domain: TRUST_DOMAIN.to_owned(),
            cert_ttl: format!("{CERTIFICATE_SECONDS}s"),
            ..ControllerSettings::default()
        }
    }

    fn declare(&self) -> Result<()> {
        let manifests = self.mesh.manifests();
        for role in &ROLES {
            manifests.namespace(role.namespace, true)?;
            manifests.service(&ServiceSpec {
                namespace: role.namespace,
                name: role.name,
                ports: &[(80, PORT)],
                selector: &[("app", role.name)],
            })?;
            let spec = PodSpec::new(role.namespace, role.name, role.node);
            let pod = self.mesh.declared_pod(spec.service_account(role.account))?;
            let mut words = vec!["serve", "--role", role.name];
            words.extend(role.upstreams.iter().flat_map(|url| ["--upstream", *url]));
            self.mesh.serve(&pod, PORT, &words)?;
        }
        depot::declare(&self.mesh)?;
        manifests.write("policy-inventory", INVENTORY_POLICY)?;
        manifests.write("strict-default", STRICT)?;
        // Without the label: one pod that only looks on, and the plain side of the comparison.
        manifests.namespace("outside", false)?;
        self.mesh.declared_pod(PodSpec::new("outside", "outsider", 1))?;
        for (namespace, enrolled) in [("plain", false), ("bench", true)] {
            manifests.namespace(namespace, enrolled)?;
            self.mesh.declared_pod(PodSpec::new(namespace, "client", 1))?;
            let server = self.mesh.declared_pod(PodSpec::new(namespace, "server", 2))?;
            self.mesh.serve(&server, BENCH_PORT, &["bench-server"])?;
        }
        Ok(())
    }

    /// Whether a pod's namespace has the label.
    pub(crate) fn is_enrolled_by_label(&self, pod: &Pod) -> bool {
        !matches!(pod.spec.namespace.as_str(), "outside" | "plain")
    }

    /// The pod `namespace/name`.
    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Result<Arc<Pod>> {
        let fits = |pod: &Arc<Pod>| pod.spec.namespace == namespace && pod.spec.name == name;
        let pods = self.mesh.pods();
        pods.into_iter().find(fits).with_context(|| format!("no pod {namespace}/{name}"))
    }

    /// A role's pod.
    pub(crate) fn role(&self, name: &str) -> Result<Arc<Pod>> {
        let role = ROLES.iter().find(|role| role.name == name);
        self.pod(role.with_context(|| format!("no role {name}"))?.namespace, name)
    }

    /// What `shop` prints as JSON in a pod, whether it succeeds or not.
    pub(crate) fn tool(&self, from: &Pod, arguments: &[&str], time: Duration) -> Result<Value> {
        let finished = tool_launch(from, arguments)?.run(CALL_DEADLINE + time)?;
        let last = finished.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).with_context(|| format!("{arguments:?}: {finished:?}"))
    }

    /// A call from a pod: status (0 if no answer came), and the whole of it.
    pub(crate) fn call(&self, from: &Pod, url: &str) -> Result<(u64, Value)> {
        let answer = self.tool(from, &["call", "--json", url], Duration::ZERO)?;
        let status = answer.get("status").and_then(Value::as_u64).unwrap_or_default();
        Ok((status, answer))
    }

    /// The address of one of our pods, in words.
    pub(crate) fn owner(&self, address: &str) -> String {
        let ip = address.rsplit_once(':').map_or(address, |(ip, _)| ip);
        let owner = self.mesh.pods().into_iter().find(|pod| pod.ip.to_string() == ip);
        owner.map_or_else(
            || address.to_owned(),
            |pod| format!("{}@node{}", pod.spec.name, pod.spec.node),
        )
    }

    /// Who is where.
    pub(crate) fn describe(&self) -> String {
        let place = |pod: &Arc<Pod>| {
            let (namespace, name) = (&pod.spec.namespace, &pod.spec.name);
            format!("{namespace}/{name} {} on node{}", pod.ip, pod.spec.node)
        };
        let pods: Vec<String> = self.mesh.pods().iter().map(place).collect();
        format!("  {}", pods.join("\n  "))
    }
}

/// A tool of the shop in a pod.
pub(crate) fn tool_launch(from: &Pod, arguments: &[&str]) -> Result<Launch> {
    Ok(from.launch(config::binary("shop")?).args(arguments.to_vec()))
}

/// Empties the folder if it is ours; programs in other namespaces need its whole path.
fn fresh_folder(folder: &Path) -> Result<std::path::PathBuf> {
    if folder.exists() {
        if !folder.join(MARKER).exists() && fs::read_dir(folder)?.next().is_some() {
            bail!("{} isn't empty and not the demo's: name another folder", folder.display());
        }
        fs::remove_dir_all(folder).with_context(|| format!("emptying {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    fs::write(folder.join(MARKER), "")?;
    folder.canonicalize().with_context(|| folder.display().to_string())
}
