//! rustls configurations, made once for a certificate and shared by its connections.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};

use super::certificate::WorkloadCertificate;
use super::error::TlsError;
use super::provider::{WallClock, provider};
use super::verify::{WorkloadClientVerifier, WorkloadServerVerifier};
use crate::identity::{ExpectedPeers, TrustDomains};
use crate::limits;

/// The protocol inside: HTTP/2 (RFC 9113, section 3.2).
pub(super) const ALPN_H2: &[u8] = b"h2";

/// The configurations of one certificate. Sessions and ticket keys live in them, so they end with it.
#[derive(Default)]
pub(super) struct Configs {
    server: ArcSwapOption<ServerSide>,
    // Held to look up or to build, never across an await.
    clients: Mutex<Clients>,
}

struct ServerSide {
    domains: TrustDomains,
    config: Arc<ServerConfig>,
}

#[derive(Default)]
struct Clients {
    uses: u64,
    by_peers: HashMap<ExpectedPeers, ClientSide>,
}

struct ClientSide {
    last_use: u64,
    config: Arc<ClientConfig>,
}

impl Configs {
    /// The configuration to accept with. Another set of trust domains, which is a change of the mesh's
    /// configuration, makes a new one and so also forgets all tickets.
    pub(super) fn server(
        &self,
        certificate: &WorkloadCertificate,
        domains: &TrustDomains,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        if let Some(side) = self.server.load().as_ref()
            && side.domains == *domains
        {
            return Ok(Arc::clone(&side.config));
        }
        // Two connections may both come here; then the tickets of one configuration go unused, which costs a full
        // handshake each.
        let config = Arc::new(server_config(certificate, domains)?);
        let side = ServerSide { domains: domains.clone(), config: Arc::clone(&config) };
        self.server.store(Some(Arc::new(side)));
        Ok(config)
    }

    /// The configuration to dial `expected` with.
    pub(super) fn client(
        &self,
        certificate: &WorkloadCertificate,
        expected: &ExpectedPeers,
    ) -> Result<Arc<ClientConfig>, TlsError> {
        let mut clients = self.clients.lock();
        clients.uses += 1;
        let now = clients.uses;
        if let Some(side) = clients.by_peers.get_mut(expected) {
            side.last_use = now;
            return Ok(Arc::clone(&side.config));
        }
        if clients.by_peers.len() >= limits::CLIENT_CONFIGS_MAX {
            clients.drop_least_recent();
        }
        let config = Arc::new(client_config(certificate, expected)?);
        let side = ClientSide { last_use: now, config: Arc::clone(&config) };
        clients.by_peers.insert(expected.clone(), side);
        Ok(config)
    }

    #[cfg(test)]
    pub(super) fn client_count(&self) -> usize {
        self.clients.lock().by_peers.len()
    }
}

impl Clients {
    fn drop_least_recent(&mut self) {
        // Only a miss in a full table comes here, so looking through its 128 entries is cheaper than order.
        let oldest = self.by_peers.iter().min_by_key(|(_, side)| side.last_use);
        if let Some(peers) = oldest.map(|(peers, _)| peers.clone()) {
            self.by_peers.remove(&peers);
        }
    }
}

fn server_config(
    certificate: &WorkloadCertificate,
    domains: &TrustDomains,
) -> Result<ServerConfig, TlsError> {
    let verifier = WorkloadClientVerifier::new(Arc::clone(certificate.roots()), domains.clone())
        .map_err(|error| TlsError::Setup(rustls::Error::General(error.to_string())))?;
    let own = SingleCertAndKey::from(Arc::clone(certificate.certified_key()));
    let mut config = ServerConfig::builder_with_details(provider(), Arc::new(WallClock))
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Setup)?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(own));
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    // The ticket holds the session, encrypted under a key that only this configuration has: nothing to store, and
    // nothing to resume once it is gone.
    config.ticketer = Ticketer::new().map_err(TlsError::Setup)?;
    // A connection uses up one ticket at most (RFC 8446, section C.4), so each gets one for its successor.
    config.send_tls13_tickets = 1;
    config.max_early_data_size = 0;
    Ok(config)
}

fn client_config(
    certificate: &WorkloadCertificate,
    expected: &ExpectedPeers,
) -> Result<ClientConfig, TlsError> {
    let verifier = WorkloadServerVerifier::new(Arc::clone(certificate.roots()), expected.clone());
    let own = SingleCertAndKey::from(Arc::clone(certificate.certified_key()));
    let mut config = ClientConfig::builder_with_details(provider(), Arc::new(WallClock))
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Setup)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(own));
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.enable_sni = false;
    config.enable_early_data = false;
    config.resumption = Resumption::in_memory_sessions(limits::CLIENT_SESSIONS_MAX);
    Ok(config)
}
