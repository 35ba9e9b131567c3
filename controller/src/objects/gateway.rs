//! Gateways and their classes. The mesh reads them for waypoints; a Gateway of another class is somebody else's, and is
//! read only so that its fields are checked alike.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Pool;
use super::fields::{self, FieldError, Port};
use super::meta::Meta;
use super::selector::{LabelSelector, RawLabelSelector};

/// Whose objects may be attached to a listener.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Admission {
    /// Those of the Gateway's own namespace.
    #[default]
    Same,
    /// Anybody's.
    All,
    /// Those of namespaces with these labels.
    Selected(Arc<LabelSelector>),
    /// Nobody's.
    None,
}

/// A listener of a Gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Its name.
    pub name: Arc<str>,
    /// Such as `HBONE`.
    pub protocol: Arc<str>,
    /// Its port.
    pub port: u16,
    /// Whose objects may be attached.
    pub admission: Admission,
    /// Kinds of routes that may be attached; empty: all.
    pub kinds: Box<[Arc<str>]>,
}

/// A Gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct Gateway {
    /// Name, labels and so on.
    pub meta: Meta,
    /// Its class.
    pub class: Arc<str>,
    /// At least one.
    pub listeners: Box<[Listener]>,
    /// Fields that are known and not honoured in a waypoint.
    pub ignored: Box<[String]>,
}

/// A class of Gateways.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayClass {
    /// Name, labels and so on.
    pub meta: Meta,
    /// Who makes Gateways of it.
    pub controller: Arc<str>,
    /// Fields that are known and not honoured in a waypoint's class.
    pub ignored: Box<[String]>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawGateway {
    gateway_class_name: String,
    #[serde(default, deserialize_with = "fields::or_default")]
    listeners: Vec<RawListener>,
    addresses: Option<IgnoredAny>,
    infrastructure: Option<IgnoredAny>,
    #[serde(rename = "backendTLS")]
    backend_tls: Option<IgnoredAny>,
    tls: Option<IgnoredAny>,
    allowed_listeners: Option<IgnoredAny>,
    default_scope: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawListener {
    name: String,
    hostname: Option<IgnoredAny>,
    port: Port,
    protocol: String,
    tls: Option<IgnoredAny>,
    allowed_routes: Option<RawAllowedRoutes>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawAllowedRoutes {
    #[serde(default, deserialize_with = "fields::not_null")]
    namespaces: Option<RawNamespaces>,
    #[serde(default, deserialize_with = "fields::or_default")]
    kinds: Vec<RawKind>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawNamespaces {
    #[serde(default, deserialize_with = "fields::not_null")]
    from: Option<From>,
    #[serde(default, deserialize_with = "fields::not_null")]
    selector: Option<RawLabelSelector>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
enum From {
    #[default]
    Same,
    All,
    Selector,
    None,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawKind {
    group: Option<String>,
    kind: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawGatewayClass {
    controller_name: String,
    parameters_ref: Option<IgnoredAny>,
    #[expect(dead_code, reason = "for people")]
    description: Option<IgnoredAny>,
}

const GROUP: &str = "gateway.networking.k8s.io";
/// The Gateway API's bound.
const LISTENERS_MAX: usize = 64;

pub(super) fn gateway(
    meta: Meta,
    raw: &RawGateway,
    pool: &mut Pool,
) -> Result<Gateway, FieldError> {
    if !fields::is_dns_subdomain(&raw.gateway_class_name) {
        let reason = format!("{:?} is no class's name", raw.gateway_class_name);
        return Err(FieldError::new("spec.gatewayClassName", reason));
    }
    if raw.listeners.is_empty() || raw.listeners.len() > LISTENERS_MAX {
        let reason = format!("has {}; it needs 1 to {LISTENERS_MAX}", raw.listeners.len());
        return Err(FieldError::new("spec.listeners", reason));
    }
    let given = [
        ("spec.addresses", raw.addresses.is_some()),
        ("spec.infrastructure", raw.infrastructure.is_some()),
        ("spec.backendTLS", raw.backend_tls.is_some()),
        ("spec.tls", raw.tls.is_some()),
        ("spec.allowedListeners", raw.allowed_listeners.is_some()),
        ("spec.defaultScope", raw.default_scope.is_some()),
    ];
    let mut ignored: Vec<String> =
        given.iter().filter(|(_, is_given)| *is_given).map(|(path, _)| (*path).into()).collect();
    let mut listeners: Vec<Listener> = Vec::with_capacity(raw.listeners.len());
    for (at, it) in raw.listeners.iter().enumerate() {
        let built = listener(it, at, (pool, &mut ignored))?;
        if listeners.iter().any(|other| other.name == built.name) {
            let reason = format!("{:?} is the name of another listener, too", built.name);
            return Err(FieldError::new(format!("spec.listeners[{at}].name"), reason));
        }
        listeners.push(built);
    }
    Ok(Gateway {
        class: pool.text(&raw.gateway_class_name),
        listeners: listeners.into(),
        ignored: ignored.into(),
        meta,
    })
}

fn listener(
    raw: &RawListener,
    at: usize,
    (pool, ignored): (&mut Pool, &mut Vec<String>),
) -> Result<Listener, FieldError> {
    let field = format!("spec.listeners[{at}]");
    if !fields::is_dns_subdomain(&raw.name) {
        let reason = format!("{:?} is no listener's name", raw.name);
        return Err(FieldError::new(format!("{field}.name"), reason));
    }
    for (name, is_given) in [("hostname", raw.hostname.is_some()), ("tls", raw.tls.is_some())] {
        if is_given {
            ignored.push(format!("{field}.{name}"));
        }
    }
    let allowed = raw.allowed_routes.as_ref();
    let kinds = allowed.map_or(&[][..], |allowed| &allowed.kinds);
    for (place, it) in kinds.iter().enumerate() {
        if it.group.as_deref().unwrap_or(GROUP) != GROUP {
            // No route of such a group is known, so the entry admits nothing.
            ignored.push(format!("{field}.allowedRoutes.kinds[{place}]"));
        }
    }
    let admission = match allowed.and_then(|allowed| allowed.namespaces.as_ref()) {
        Some(namespaces) => admission(namespaces, &format!("{field}.allowedRoutes"), pool)?,
        None => Admission::default(),
    };
    Ok(Listener {
        name: pool.text(&raw.name),
        protocol: pool.text(&raw.protocol),
        port: raw.port.get(),
        admission,
        kinds: kinds.iter().map(|it| pool.text(&it.kind)).collect(),
    })
}

fn admission(raw: &RawNamespaces, field: &str, pool: &mut Pool) -> Result<Admission, FieldError> {
    Ok(match raw.from.unwrap_or_default() {
        From::Same => Admission::Same,
        From::All => Admission::All,
        From::None => Admission::None,
        From::Selector => {
            let field = format!("{field}.namespaces.selector");
            let Some(selector) = &raw.selector else {
                return Err(FieldError::new(field, "is missing; from is Selector"));
            };
            Admission::Selected(Arc::new(selector.build(&field, pool)?))
        }
    })
}

pub(super) fn gateway_class(meta: Meta, raw: &RawGatewayClass, pool: &mut Pool) -> GatewayClass {
    let ignored = raw.parameters_ref.is_some().then(|| "spec.parametersRef".to_owned());
    GatewayClass {
        controller: pool.text(&raw.controller_name),
        ignored: ignored.into_iter().collect(),
        meta,
    }
}
