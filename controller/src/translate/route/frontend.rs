//! What routes are attached to: a host with ports.

use std::sync::Arc;

use crate::model::Referent;
use crate::objects::{Meta, ObjectKey, ParentKind, ParentRef, Route, Service, ServiceEntry};
use crate::translate::names;
use crate::translate::view::View;
use crate::translate::waypoint::{self, GatewayName, User};

/// One host of a service or a service entry.
#[derive(Debug)]
pub(super) struct Frontend<'a> {
    pub(super) kind: ParentKind,
    pub(super) meta: &'a Meta,
    pub(super) host: Arc<str>,
    /// Name and number of each.
    pub(super) ports: Vec<(&'a str, u16)>,
    /// Namespace and name of its waypoint's gateway.
    pub(super) waypoint: Option<GatewayName>,
}

impl<'a> Frontend<'a> {
    /// Nothing for an alias of a name elsewhere.
    pub(super) fn of_service(view: &View<'_>, service: &'a Service) -> Option<Self> {
        (!service.is_external_name).then(|| Self {
            kind: ParentKind::Service,
            meta: &service.meta,
            host: names::service_host(service, view.settings).into(),
            ports: service.ports.iter().map(|port| (&*port.name, port.port)).collect(),
            waypoint: waypoint(view, User::Service(&service.meta)),
        })
    }

    pub(super) fn of_entry(view: &View<'_>, entry: &'a ServiceEntry, host: &Arc<str>) -> Self {
        Self {
            kind: ParentKind::ServiceEntry,
            meta: &entry.meta,
            host: host.clone(),
            ports: entry.ports.iter().map(|port| (&*port.name, port.port)).collect(),
            waypoint: waypoint(view, User::ServiceEntry(&entry.meta)),
        }
    }

    /// How routes refer to it.
    pub(super) fn referent(&self) -> Referent {
        Referent::Object(self.kind, self.meta.namespace.clone(), self.meta.name.clone())
    }

    /// The ports that a reference to it means.
    pub(super) fn ports_of(&self, parent: &ParentRef) -> Vec<u16> {
        let is_meant = |(name, port): &&(&str, u16)| {
            parent.port.is_none_or(|own| own == *port)
                && parent.section.as_ref().is_none_or(|section| **section == **name)
        };
        self.ports.iter().filter(is_meant).map(|(_, port)| *port).collect()
    }
}

/// Services and entries that answer to a host: one of each namespace that has it.
pub(super) fn frontends_of_host<'a>(view: &View<'a>, host: &Arc<str>) -> Vec<Frontend<'a>> {
    let claims = view.model.claims(host).filter_map(|claim| {
        let (namespace, name) = (&claim.namespace, &claim.name);
        if !claim.is_entry {
            return Frontend::of_service(view, view.model.service(namespace, name)?);
        }
        let entry = view.model.service_entry(namespace, name)?;
        let is_own = view.hosts_won(entry).any(|own| own == host);
        is_own.then(|| Frontend::of_entry(view, entry, host))
    });
    claims.collect()
}

/// One that isn't ready counts, too: it needs its routes to become ready.
fn waypoint(view: &View<'_>, user: User<'_>) -> Option<GatewayName> {
    let binding = waypoint::resolve(view, user);
    let asked = binding.asked().filter(|asked| asked.verdict.is_admitted())?;
    Some(asked.gateway.clone())
}

/// Keys of the services and entries that a route is attached to.
pub(in crate::translate) fn parents_of(route: &Route) -> impl Iterator<Item = ObjectKey> {
    route.parents.iter().filter_map(|parent| {
        let kind = match parent.kind {
            ParentKind::Service => crate::objects::Kind::Service,
            ParentKind::ServiceEntry => crate::objects::Kind::ServiceEntry,
            ParentKind::Gateway | ParentKind::Other => return None,
        };
        Some(ObjectKey::new(kind, parent.namespace.clone(), parent.name.clone()))
    })
}
