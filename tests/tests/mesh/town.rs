//! The mesh that most of these tests share.

use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, anyhow};
use serde_json::json;
use weft_harness::{ControllerSettings, Mesh, Pod, PodSpec, ServiceSpec, ZtunnelSettings};

use crate::support::PORT;
use crate::support::objects::{from_principals, policy, strict};

/// Its folder; the logs in it are kept when a test fails.
const FOLDER: &str = "/run/weft/town";

/// Two nodes with pods in namespaces in and out of the mesh.
pub(crate) struct Town {
    pub(crate) mesh: Mesh,
}

/// The one town, built by the first test that asks for it.
pub(crate) fn town() -> Result<&'static Town> {
    static TOWN: OnceLock<Result<Town, String>> = OnceLock::new();
    let built = TOWN.get_or_init(|| Town::build().map_err(|error| format!("{error:?}")));
    built.as_ref().map_err(|error| anyhow!("the tests' mesh didn't come up: {error}"))
}

/// A pod, whether it is in the mesh, and whether it serves.
const PODS: [(&str, &str, u8, bool, bool); 8] = [
    ("front", "web", 1, true, false),
    ("front", "intruder", 1, true, false),
    ("front", "aloof", 1, false, true),
    ("shop", "checkout", 2, true, true),
    ("shop", "cart", 1, true, true),
    ("vault", "payment", 2, true, true),
    ("warehouse", "inventory", 2, true, true),
    ("outside", "outsider", 1, false, false),
];

impl Town {
    fn build() -> Result<Self> {
        let town = Self { mesh: Mesh::builder().folder(FOLDER).build()? };
        let (mesh, manifests) = (&town.mesh, town.mesh.manifests());
        for (namespace, enrolled) in [
            ("front", true),
            ("shop", true),
            ("vault", true),
            ("warehouse", true),
            ("outside", false),
        ] {
            manifests.namespace(namespace, enrolled)?;
        }
        for (namespace, name, node, enrolled, serves) in PODS {
            let mut spec = PodSpec::new(namespace, name, node).label("tier", "shop");
            if namespace == "front" && !enrolled {
                spec = spec.label("istio.io/dataplane-mode", "none");
            }
            let pod = mesh.declared_pod(spec)?;
            if serves {
                mesh.serve(&pod, PORT, &["serve", "--role", "checkout", "--no-upstreams"])?;
                manifests.service(&ServiceSpec {
                    namespace,
                    name,
                    ports: &[(80, PORT)],
                    selector: &[("app", name)],
                })?;
            }
        }
        let headless = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "peers", "namespace": "shop"},
            "spec": {
                "clusterIP": "None",
                "selector": {"tier": "shop"},
                "ports": [{"name": "http", "port": PORT, "targetPort": PORT}],
            },
        });
        manifests.objects("service-shop.peers", &[headless])?;
        manifests.objects("strict-vault", &[strict("vault")])?;
        let callers = from_principals(&["cluster.local/ns/shop/sa/checkout"]);
        let callers = policy("warehouse", "inventory-callers", "inventory", "ALLOW", callers);
        manifests.objects("policy-inventory", &[callers])?;
        mesh.start_all(&ControllerSettings::default(), &ZtunnelSettings::default())?;
        for (namespace, name, _, enrolled, _) in PODS {
            if enrolled {
                mesh.wait_enrolled(&*town.pod(namespace, name)?)?;
            }
        }
        Ok(town)
    }

    /// A pod of the town.
    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Result<Arc<Pod>> {
        let fits = |pod: &Arc<Pod>| pod.spec.namespace == namespace && pod.spec.name == name;
        self.mesh.pods().into_iter().find(fits).with_context(|| format!("no {namespace}/{name}"))
    }
}
