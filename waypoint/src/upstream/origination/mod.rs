//! TLS to endpoints, as DestinationRules and BackendTLSPolicies ask for it, inside of the mesh's own where there is one.
//!
//! ```text
//!  Origin (what is asked for, and whom) ─▶ context: files, roots ─▶ handshake on the stream ─▶ Io
//! ```
//!
//! Invariants: a connection for which TLS was asked is never used without it; a certificate is verified unless the object
//! itself says that it isn't.

mod context;
mod error;
mod names;
mod verify;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

pub(crate) use error::OriginationError;

use super::dial::Io;
use super::shelf::Spoken;
use crate::balance::{Credential, TlsMode, UpstreamTls};
use crate::limits;

/// TLS that is asked for on connections to an endpoint, and whom they are meant for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    settings: Arc<UpstreamTls>,
    /// Whom the certificate is for, unless the settings say. May be empty.
    host: Box<str>,
}

impl Origin {
    /// `host`: the host of the request or of the service, without a port.
    pub(crate) fn new(settings: Arc<UpstreamTls>, host: &str) -> Self {
        // The same connection serves all hosts if the settings name one.
        let host = if settings.server_name.is_some() { "" } else { host };
        Self { settings, host: host.into() }
    }

    /// Whether connections have TLS besides the mesh's own.
    pub(crate) fn has_own_tls(&self) -> bool {
        matches!(self.settings.mode, TlsMode::Simple | TlsMode::Mutual)
    }

    fn name(&self) -> Result<ServerName<'static>, OriginationError> {
        let name = self.settings.server_name.as_deref().unwrap_or(&self.host);
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let parsed = ServerName::try_from(bare.to_owned());
        parsed.map_err(|_| OriginationError::Name(name.into()))
    }
}

/// What is ready to be used, by what was asked for.
type Contexts = HashMap<(Arc<UpstreamTls>, Option<Spoken>), (Instant, Arc<ClientConfig>)>;

/// Makes TLS connections.
#[derive(Debug, Default)]
pub(crate) struct Origination {
    contexts: Mutex<Contexts>,
}

impl Origination {
    /// Whether a connection can be secured at all. `is_in_mesh`: it goes over the mesh's own TLS.
    ///
    /// Returns whether it needs a handshake of its own.
    pub(crate) fn check(origin: &Origin, is_in_mesh: bool) -> Result<bool, OriginationError> {
        let settings = &origin.settings;
        match &settings.mode {
            TlsMode::Unavailable(reason) => Err(OriginationError::Unavailable(reason.clone())),
            TlsMode::Mesh if is_in_mesh => Ok(false),
            TlsMode::Mesh => Err(OriginationError::NotOverMesh),
            TlsMode::Simple | TlsMode::Mutual => match &settings.credential {
                Some(Credential { name, material: None }) => {
                    Err(OriginationError::Credential(name.clone()))
                }
                _ => Ok(true),
            },
        }
    }

    /// A stream inside of `io`. `spoken`: what goes over it; `None` if that isn't HTTP.
    pub(crate) async fn secure(
        &self,
        origin: &Origin,
        spoken: Option<Spoken>,
        io: Io,
    ) -> Result<Io, OriginationError> {
        let name = origin.name()?;
        let context = self.context(&origin.settings, spoken).await?;
        let shown = name.to_str().into_owned();
        let connecting = TlsConnector::from(context).connect(name, io);
        let connected = timeout(limits::UPSTREAM_TLS_DEADLINE, Box::pin(connecting)).await;
        let stream =
            connected.map_err(|_| OriginationError::Slow(limits::UPSTREAM_TLS_DEADLINE))?.map_err(
                |error| OriginationError::Handshake { name: shown.clone(), error: error.into() },
            )?;
        let agreed = stream.get_ref().1.alpn_protocol();
        if spoken == Some(Spoken::Http2) && agreed != Some(context::H2) {
            return Err(OriginationError::NoHttp2(shown));
        }
        Ok(Io::Tls(Box::new(stream)))
    }

    async fn context(
        &self,
        settings: &Arc<UpstreamTls>,
        spoken: Option<Spoken>,
    ) -> Result<Arc<ClientConfig>, OriginationError> {
        let key = (settings.clone(), spoken);
        let now = Instant::now();
        if let Some((read, context)) = self.contexts.lock().get(&key) {
            // Files are replaced when certificates are renewed.
            let is_old = now.duration_since(*read) >= limits::UPSTREAM_TLS_FILES_TIME;
            if !(is_old && context::has_files(settings)) {
                return Ok(context.clone());
            }
        }
        let asked = settings.clone();
        let reading = tokio::task::spawn_blocking(move || context::read(&asked, spoken));
        let context =
            reading.await.map_err(|error| OriginationError::Setup(error.to_string()))??;
        let mut contexts = self.contexts.lock();
        // A key that was replaced isn't kept.
        contexts.retain(|(other, _), _| !is_replaced(other, settings));
        if contexts.len() >= limits::UPSTREAM_TLS_CONTEXTS_MAX {
            contexts.clear();
        }
        contexts.insert(key, (now, context.clone()));
        Ok(context)
    }
}

/// Whether settings have what was in a Secret of which others have something else.
fn is_replaced(old: &UpstreamTls, new: &UpstreamTls) -> bool {
    match (&old.credential, &new.credential) {
        (Some(old), Some(new)) => old.name == new.name && old.material != new.material,
        _ => false,
    }
}
