//! Peer authentications.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::Pool;
use super::fields::{self, FieldError, Given};
use super::meta::{Labels, Meta};
use super::policy::RawSelector;

/// Whether a workload takes plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MtlsMode {
    /// As the wider policy says.
    #[default]
    Unset,
    /// In ambient the same as [`MtlsMode::Permissive`]: the node proxy always offers mTLS.
    Disable,
    /// Both.
    Permissive,
    /// mTLS only.
    Strict,
}

/// Whether the workloads that it covers take plaintext.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerAuthentication {
    /// Name, labels and so on.
    pub meta: Meta,
    /// The workloads that it covers; nothing: all of its namespace. Never empty.
    pub selector: Option<Arc<Labels>>,
    /// For all ports.
    pub mode: MtlsMode,
    /// For single ports, in order; only with a selector.
    pub ports: Box<[(u16, MtlsMode)]>,
    /// It couldn't be read and no earlier version is known, so it counts as strict.
    pub is_unreadable: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawPeerAuthentication {
    #[serde(default, deserialize_with = "fields::not_null")]
    selector: Option<RawSelector>,
    #[serde(default, deserialize_with = "fields::not_null")]
    mtls: Option<RawMtls>,
    #[serde(default, deserialize_with = "fields::not_null")]
    port_level_mtls: Option<BTreeMap<String, Given<RawMtls>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawMtls {
    #[serde(default, deserialize_with = "fields::not_null")]
    mode: Option<MtlsMode>,
}

pub(super) fn peer_authentication(
    meta: Meta,
    raw: &RawPeerAuthentication,
    pool: &mut Pool,
) -> Result<PeerAuthentication, FieldError> {
    let selector = RawSelector::build(raw.selector.as_ref(), pool)?;
    let no_ports = BTreeMap::new();
    let raw_ports = raw.port_level_mtls.as_ref().unwrap_or(&no_ports);
    if selector.is_none() && !raw_ports.is_empty() {
        let reason = "needs a selector: ports are those of particular workloads";
        return Err(FieldError::new("spec.portLevelMtls", reason));
    }
    let mut ports = Vec::with_capacity(raw_ports.len());
    for (text, Given(mtls)) in raw_ports {
        let port = fields::port_of_text(text)
            .map_err(|reason| FieldError::new(format!("spec.portLevelMtls.{text}"), reason))?;
        ports.push((port, mtls.mode.unwrap_or_default()));
    }
    ports.sort_by_key(|(port, _)| *port);
    let mode = raw.mtls.as_ref().and_then(|mtls| mtls.mode).unwrap_or_default();
    Ok(PeerAuthentication { selector, mode, ports: ports.into(), is_unreadable: false, meta })
}
