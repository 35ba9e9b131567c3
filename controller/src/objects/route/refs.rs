//! What routes refer to.

use std::sync::Arc;

use serde::Deserialize;

use super::matcher::check_count;
use crate::objects::Pool;
use crate::objects::fields::{self, FieldError, Port};
use crate::objects::meta::Meta;

/// What a route can be attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ParentKind {
    /// A Kubernetes service.
    Service,
    /// Istio's.
    ServiceEntry,
    /// A gateway: a waypoint's, or one that isn't the mesh's affair.
    Gateway,
    /// Something else.
    Other,
}

/// What a route is attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentRef {
    /// Which kind.
    pub kind: ParentKind,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// One port of it; absent: all.
    pub port: Option<u16>,
    /// One section (a listener, a service's named port); absent: all.
    pub section: Option<Arc<str>>,
}

/// Where requests may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendRef {
    /// Empty for Kubernetes' own.
    pub group: Arc<str>,
    /// Its kind.
    pub kind: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its port.
    pub port: Option<u16>,
}

impl BackendRef {
    /// A Kubernetes service.
    pub fn is_service(&self) -> bool {
        self.group.is_empty() && *self.kind == *"Service"
    }

    /// A host by its name, as Istio has it.
    pub fn is_hostname(&self) -> bool {
        *self.group == *"networking.istio.io" && *self.kind == *"Hostname"
    }
}

const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawParentRef {
    group: Option<String>,
    kind: Option<String>,
    namespace: Option<String>,
    name: String,
    section_name: Option<String>,
    port: Option<Port>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawRef {
    group: Option<String>,
    kind: Option<String>,
    namespace: Option<String>,
    name: String,
    port: Option<Port>,
}

pub(super) fn parents(
    raw: &[RawParentRef],
    meta: &Meta,
    pool: &mut Pool,
) -> Result<Box<[ParentRef]>, FieldError> {
    check_count(raw.len(), 32, "spec.parentRefs")?;
    let mut built: Vec<ParentRef> = Vec::with_capacity(raw.len());
    for (at, raw) in raw.iter().enumerate() {
        let field = format!("spec.parentRefs[{at}]");
        let group = raw.group.as_deref().unwrap_or(GATEWAY_GROUP);
        let parent = ParentRef {
            kind: match (group, raw.kind.as_deref().unwrap_or("Gateway")) {
                ("" | "core", "Service") => ParentKind::Service,
                ("networking.istio.io", "ServiceEntry") => ParentKind::ServiceEntry,
                (GATEWAY_GROUP, "Gateway") => ParentKind::Gateway,
                _ => ParentKind::Other,
            },
            namespace: namespace(raw.namespace.as_deref(), meta, &field, pool)?,
            name: name(&raw.name, &field, pool)?,
            port: raw.port.map(Port::get),
            section: raw.section_name.as_deref().map(|text| pool.text(text)),
        };
        if built.contains(&parent) {
            return Err(FieldError::new(field, "is listed twice"));
        }
        built.push(parent);
    }
    Ok(built.into())
}

impl RawRef {
    /// Group, kind and namespace, name, port.
    pub(super) fn of_parts(parts: [Option<&String>; 3], name: &str, port: Option<Port>) -> Self {
        let [group, kind, namespace] = parts.map(|part| part.cloned());
        Self { group, kind, namespace, name: name.to_owned(), port }
    }

    pub(super) fn build(
        &self,
        meta: &Meta,
        field: &str,
        pool: &mut Pool,
    ) -> Result<BackendRef, FieldError> {
        let group = match self.group.as_deref() {
            None | Some("core") => "",
            Some(group) => group,
        };
        let is_hostname = self.kind.as_deref() == Some("Hostname");
        let name = match is_hostname {
            true => pool.text(&self.name.to_ascii_lowercase()),
            false => name(&self.name, field, pool)?,
        };
        Ok(BackendRef {
            group: pool.text(group),
            kind: pool.text(self.kind.as_deref().unwrap_or("Service")),
            namespace: namespace(self.namespace.as_deref(), meta, field, pool)?,
            name,
            port: self.port.map(Port::get),
        })
    }
}

fn namespace(
    text: Option<&str>,
    meta: &Meta,
    field: &str,
    pool: &mut Pool,
) -> Result<Arc<str>, FieldError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(meta.namespace.clone());
    };
    match fields::is_dns_label(text) {
        true => Ok(pool.text(text)),
        false => {
            let reason = format!("{text:?} is no namespace's name (RFC 1123 label)");
            Err(FieldError::new(format!("{field}.namespace"), reason))
        }
    }
}

fn name(text: &str, field: &str, pool: &mut Pool) -> Result<Arc<str>, FieldError> {
    match fields::is_dns_subdomain(text) {
        true => Ok(pool.text(text)),
        false => {
            Err(FieldError::new(format!("{field}.name"), format!("{text:?} is no object's name")))
        }
    }
}
