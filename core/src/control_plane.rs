//! The ways to the controller: discovery and certificates, over TLS with the mesh's roots and a token in every call.

use std::sync::Arc;

use weft_proto::contract::SYSTEM_NAMESPACE;

use crate::ca_client::{CaSettings, GrpcAuthority};
use crate::certs::{Authority, CertError, CertSettings};
use crate::config::{Config, ControllerEndpoint, Roots};
use crate::telemetry::{XdsMetrics, XdsTermination};
use crate::tls::{ControlError, ControlSettings, RootSource, control_channel};
use crate::xds::{
    self, Client, Handler, NodeSettings, Observer, StateReader, Termination, XdsSettings,
};

/// What a proxy is to the controller.
#[derive(Debug, Clone, Copy)]
pub struct Role {
    /// `ztunnel`, `waypoint`.
    pub kind: &'static str,
    /// What it subscribes to.
    pub type_urls: &'static [&'static str],
    /// Whether it asks for certificates of others than itself.
    pub is_impersonating: bool,
}

/// Why there is no way to the controller. Found out at the start.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// No channel can be made of a setting.
    #[error("{key}: {error}")]
    Channel {
        /// The setting's key.
        key: &'static str,
        /// What is the matter.
        error: ControlError,
    },
    /// The settings of the authority can't be used.
    #[error(transparent)]
    Authority(#[from] CertError),
}

/// The certificate authority at the end of the configured address.
pub fn authority(config: &Config, role: Role) -> Result<Arc<dyn Authority>, SetupError> {
    let endpoint = &config.ca.endpoint;
    let channel = control_channel(channel(endpoint))
        .map_err(|error| SetupError::Channel { key: "CA_ADDRESS", error })?;
    let settings = CaSettings {
        token: endpoint.token.clone(),
        cluster_id: config.mesh.cluster_id.to_string(),
        is_impersonating: role.is_impersonating,
        headers: endpoint.headers.clone(),
    };
    Ok(Arc::new(GrpcAuthority::new(channel, settings)?))
}

/// How long certificates live.
pub fn cert_settings(config: &Config) -> CertSettings {
    CertSettings::new(config.ca.ttl)
}

/// The client that feeds `handler`.
pub fn discovery<H: Handler>(
    config: &Config,
    role: Role,
    handler: H,
    metrics: XdsMetrics,
) -> Result<(Client<H>, StateReader), SetupError> {
    let endpoint = config.xds.endpoint.clone();
    // Found out now, and not at the first attempt to connect.
    control_channel(channel(&endpoint))
        .map_err(|error| SetupError::Channel { key: "XDS_ADDRESS", error })?;
    let settings = XdsSettings {
        node: xds::node(&node(config, role.kind)),
        type_urls: role.type_urls.iter().map(|url| (*url).into()).collect(),
        token: endpoint.token.clone(),
        cluster_id: config.mesh.cluster_id.to_string(),
        headers: endpoint.headers.clone(),
    };
    let connect = move || {
        let channel = control_channel(channel(&endpoint));
        Box::pin(async move { channel.map_err(Into::into) }) as futures::future::BoxFuture<'_, _>
    };
    let observer = Counted { metrics, known: role.type_urls };
    Ok(Client::new(settings, Box::new(connect), handler, Arc::new(observer)))
}

fn node(config: &Config, kind: &str) -> NodeSettings {
    let own = config.own_pod.as_ref();
    let metadata = config.xds.metadata.iter();
    let metadata = metadata.map(|(key, text)| (key.clone(), text.as_str().into()));
    let json = config.xds.metadata_json.iter();
    // Status pages show it; what the environment says comes later and wins.
    let version = [("ISTIO_VERSION".to_owned(), env!("CARGO_PKG_VERSION").into())];
    NodeSettings {
        kind: kind.into(),
        instance_ip: config.mesh.instance_ip,
        pod_name: own.map_or_else(|| kind.into(), |own| own.name.clone()),
        namespace: own.map_or_else(|| SYSTEM_NAMESPACE.into(), |own| own.namespace.clone()),
        node_name: config.mesh.node.as_deref().unwrap_or_default().into(),
        cluster_domain: config.mesh.cluster_domain.to_string(),
        metadata: version
            .into_iter()
            .chain(metadata)
            .chain(json.map(|(key, value)| (key.clone(), value.clone())))
            .collect(),
    }
}

/// How a channel to an endpoint is made.
pub fn channel(endpoint: &ControllerEndpoint) -> ControlSettings {
    ControlSettings {
        address: endpoint.address.clone(),
        roots: match &endpoint.roots {
            Roots::File(path) => RootSource::File(path.clone()),
            Roots::Pem(pem) => RootSource::Pem(pem.clone()),
        },
        server_name: None,
    }
}

struct Counted {
    metrics: XdsMetrics,
    known: &'static [&'static str],
}

impl Observer for Counted {
    fn terminated(&self, reason: Termination) {
        self.metrics.terminated(match reason {
            Termination::ConnectionError => XdsTermination::ConnectionError,
            Termination::Error => XdsTermination::Error,
            Termination::Reconnect => XdsTermination::Reconnect,
            Termination::Complete => XdsTermination::Complete,
        });
    }

    fn received(&self, type_url: &str, bytes: usize) {
        if let Some(known) = self.known.iter().find(|known| **known == type_url) {
            self.metrics.received(known, u64::try_from(bytes).unwrap_or(u64::MAX));
        }
    }
}
