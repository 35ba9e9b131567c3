//! The ways to the controller: discovery and certificates, over TLS with the mesh's roots and a token in every call.

use std::sync::Arc;

use anyhow::Context;
use weft_core::ca_client::{CaSettings, GrpcAuthority};
use weft_core::certs::{Authority, CertSettings};
use weft_core::config::{Config, ControllerEndpoint, Roots};
use weft_core::mesh::Store;
use weft_core::telemetry::{XdsMetrics, XdsTermination};
use weft_core::tls::{ControlSettings, RootSource, control_channel};
use weft_core::xds::{self, Client, NodeSettings, Observer, StateReader, Termination, XdsSettings};
use weft_proto::contract::{SYSTEM_NAMESPACE, type_url};

/// The certificate authority at the end of the configured address.
pub(crate) fn authority(config: &Config) -> anyhow::Result<Arc<dyn Authority>> {
    let endpoint = &config.ca.endpoint;
    let channel = control_channel(channel(endpoint)).context("CA_ADDRESS")?;
    let settings = CaSettings {
        token: endpoint.token.clone(),
        cluster_id: config.mesh.cluster_id.to_string(),
        is_impersonating: true,
        headers: endpoint.headers.clone(),
    };
    Ok(Arc::new(GrpcAuthority::new(channel, settings)?))
}

/// How long certificates live.
pub(crate) fn cert_settings(config: &Config) -> CertSettings {
    CertSettings::new(config.ca.ttl)
}

/// The client that feeds `store`.
pub(crate) fn discovery(
    config: &Config,
    store: Store,
    metrics: XdsMetrics,
) -> anyhow::Result<(Client<Store>, StateReader)> {
    let endpoint = config.xds.endpoint.clone();
    // Found out now, and not at the first attempt to connect.
    control_channel(channel(&endpoint)).context("XDS_ADDRESS")?;
    let settings = XdsSettings {
        node: xds::node(&node(config)),
        type_urls: vec![type_url::ADDRESS.into(), type_url::AUTHORIZATION.into()],
        token: endpoint.token.clone(),
        cluster_id: config.mesh.cluster_id.to_string(),
        headers: endpoint.headers.clone(),
    };
    let connect = move || {
        let channel = control_channel(channel(&endpoint));
        Box::pin(async move { channel.map_err(Into::into) }) as futures::future::BoxFuture<'_, _>
    };
    Ok(Client::new(settings, Box::new(connect), store, Arc::new(Counted(metrics))))
}

fn node(config: &Config) -> NodeSettings {
    let own = config.own_pod.as_ref();
    let metadata = config.xds.metadata.iter();
    let metadata = metadata.map(|(key, text)| (key.clone(), text.as_str().into()));
    let json = config.xds.metadata_json.iter();
    // Status pages show it; what the environment says comes later and wins.
    let version = [("ISTIO_VERSION".to_owned(), env!("CARGO_PKG_VERSION").into())];
    NodeSettings {
        kind: "ztunnel".into(),
        instance_ip: config.mesh.instance_ip,
        pod_name: own.map_or_else(|| "ztunnel".into(), |own| own.name.clone()),
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

fn channel(endpoint: &ControllerEndpoint) -> ControlSettings {
    ControlSettings {
        address: endpoint.address.clone(),
        roots: match &endpoint.roots {
            Roots::File(path) => RootSource::File(path.clone()),
            Roots::Pem(pem) => RootSource::Pem(pem.clone()),
        },
        server_name: None,
    }
}

struct Counted(XdsMetrics);

impl Observer for Counted {
    fn terminated(&self, reason: Termination) {
        self.0.terminated(match reason {
            Termination::ConnectionError => XdsTermination::ConnectionError,
            Termination::Error => XdsTermination::Error,
            Termination::Reconnect => XdsTermination::Reconnect,
            Termination::Complete => XdsTermination::Complete,
        });
    }

    fn received(&self, type_url: &str, bytes: usize) {
        let known = [type_url::ADDRESS, type_url::AUTHORIZATION];
        if let Some(known) = known.into_iter().find(|known| *known == type_url) {
            self.0.received(known, u64::try_from(bytes).unwrap_or(u64::MAX));
        }
    }
}
