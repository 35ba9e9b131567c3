//! The mesh in which programs go away. Each test leaves it whole, or says that it couldn't.

use std::sync::{Arc, OnceLock};

use anyhow::{Result, anyhow};
use weft_harness::{ControllerSettings, Mesh, Pod, PodSpec, Process, ServiceSpec, ZtunnelSettings};

use crate::support::PORT;

/// Its folder; the logs in it are kept when a test fails.
const FOLDER: &str = "/run/weft/place";
/// The shortest that the mesh issues, so that a renewal can be waited for; it is in force in all of these tests.
pub(crate) const CERTIFICATE_LIFE: &str = "60s";
/// How long a ztunnel that was asked to end lets open connections go on.
pub(crate) const DRAIN: &str = "3s";

/// The mesh and who is in it.
pub(crate) struct Place {
    pub(crate) mesh: Mesh,
    /// On node 1.
    pub(crate) web: Arc<Pod>,
    /// On node 2.
    pub(crate) checkout: Arc<Pod>,
}

/// The one place, built by the first test that asks for it.
pub(crate) fn place() -> Result<&'static Place> {
    static PLACE: OnceLock<Result<Place, String>> = OnceLock::new();
    let built = PLACE.get_or_init(|| Place::build().map_err(|error| format!("{error:?}")));
    built.as_ref().map_err(|error| anyhow!("the tests' mesh didn't come up: {error}"))
}

impl Place {
    fn build() -> Result<Self> {
        let mesh = Mesh::builder().folder(FOLDER).build()?;
        for namespace in ["front", "shop"] {
            mesh.manifests().namespace(namespace, true)?;
        }
        let web = mesh.declared_pod(PodSpec::new("front", "web", 1))?;
        let checkout = mesh.declared_pod(PodSpec::new("shop", "checkout", 2))?;
        mesh.serve(&checkout, PORT, &["serve", "--role", "checkout", "--no-upstreams"])?;
        mesh.manifests().service(&service("checkout"))?;
        let controller = ControllerSettings {
            cert_ttl: CERTIFICATE_LIFE.to_owned(),
            ..ControllerSettings::default()
        };
        let environment =
            [("SECRET_TTL", CERTIFICATE_LIFE), ("CONNECTION_TERMINATION_DEADLINE", DRAIN)]
                .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let ztunnel =
            ZtunnelSettings { environment: environment.to_vec(), ..ZtunnelSettings::default() };
        mesh.start_all(&controller, &ztunnel)?;
        for pod in [&web, &checkout] {
            mesh.wait_enrolled(pod)?;
        }
        Ok(Self { mesh, web, checkout })
    }
}

/// A service of the checkout pod.
pub(crate) fn service(name: &str) -> ServiceSpec<'_> {
    ServiceSpec { namespace: "shop", name, ports: &[(80, PORT)], selector: &[("app", "checkout")] }
}

/// Starts a program again if the test fails while it is away, for the tests after it.
pub(crate) struct Away {
    pub(crate) process: Arc<Process>,
    is_back: bool,
}

impl Away {
    pub(crate) fn of(process: Arc<Process>) -> Self {
        Self { process, is_back: false }
    }

    /// The test is through with it: it runs.
    pub(crate) fn back(mut self) -> Result<()> {
        self.is_back = true;
        self.process.check_running()
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        if !self.is_back {
            // It may be about to end. A test that needs it will say so if this fails.
            let _started = self.process.restart();
        }
    }
}
