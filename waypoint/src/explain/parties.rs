//! Who calls, and what.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use weft_core::identity::SpiffeId;
use weft_core::mesh::{OwnLabels, Service, Snapshot, TunnelProtocol, Workload};

use super::story::Story;
use super::{Asked, ExplainError};
use crate::shared::Shared;

/// Who calls.
pub(super) struct Caller {
    pub(super) identity: SpiffeId,
    pub(super) address: IpAddr,
    /// Of its pod, as far as rules name them.
    pub(super) labels: Option<Arc<OwnLabels>>,
    /// Its proxy takes part in the mesh.
    pub(super) is_enrolled: bool,
}

impl Caller {
    fn of(workload: &Workload) -> Self {
        let address = workload.addresses.first().copied();
        Self {
            identity: workload.identity.clone(),
            labels: workload.own_labels.clone(),
            address: address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
            is_enrolled: workload.tunnel_protocol == TunnelProtocol::Hbone,
        }
    }
}

/// By the name of a pod, of what owns it, or of its service account, in this order; among several the first by uid.
pub(super) fn caller(
    snapshot: &Snapshot,
    shared: &Shared,
    source: &str,
) -> Result<Caller, ExplainError> {
    let unknown = || ExplainError::Source(source.to_owned());
    let own = shared.own.identity.namespace();
    let (namespace, name) = source.split_once('/').unwrap_or((own, source));
    let here = || snapshot.workloads().filter(|it| *it.namespace == *namespace);
    let first = |is: &dyn Fn(&Workload) -> bool| {
        here().filter(|it| is(it)).min_by(|a, b| a.uid.cmp(&b.uid))
    };
    let found = first(&|it| *it.name == *name)
        .or_else(|| first(&|it| *it.workload_name == *name))
        .or_else(|| first(&|it| it.identity.service_account() == name));
    found.map(|it| Caller::of(it)).ok_or_else(unknown)
}

/// The service, and the port that is meant.
pub(super) fn service(
    snapshot: &Snapshot,
    shared: &Shared,
    asked: &Asked,
) -> Result<(Arc<Service>, u16), ExplainError> {
    let own = shared.own.identity.namespace();
    let text = asked.service.as_str();
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, text),
    };
    let own_name = |service: &Service| format!("{}.{}", service.name, service.namespace);
    let is_it = |service: &&Arc<Service>| {
        namespace.is_none_or(|it| *service.namespace == *it)
            && (*service.hostname == *name
                || own_name(service) == name
                || (*service.name == *name && (namespace.is_some() || *service.namespace == *own)))
    };
    // A host name may be that of several services: this waypoint's own comes first.
    let rank = |service: &&Arc<Service>| {
        (!shared.own.serves(snapshot, service), *service.namespace != *own, service.key.clone())
    };
    let found = snapshot.services().filter(is_it).min_by_key(rank);
    let service = found.ok_or_else(|| ExplainError::Service(text.to_owned()))?.clone();
    let port = match (asked.port, &*service.ports) {
        (Some(port), _) => service.port(port).map(|it| it.service_port),
        (None, [only]) => Some(only.service_port),
        (None, _) => service.port(80).map(|it| it.service_port),
    };
    let port = port.ok_or_else(|| {
        let ports: Vec<_> = service.ports.iter().map(|it| it.service_port.to_string()).collect();
        ExplainError::Port { service: service.key.to_string(), ports: ports.join(", ") }
    })?;
    Ok((service, port))
}

/// The request doesn't come here.
pub(super) fn tell_unbound(service: &Service, story: &mut Story) {
    match &service.waypoint {
        Some(waypoint) => {
            let text = format!("{} has another waypoint: {waypoint}", service.key);
            story.step("binding", text);
            story.details(vec!["ask that one".to_owned()]);
        }
        None => {
            story.step("binding", format!("{} has no waypoint", service.key));
            story.details(vec![
                "the caller's ztunnel chooses one of its endpoints and connects to it, over HBONE if it belongs to the mesh".to_owned(),
                "the destination's ztunnel judges the connection by its L4 policies; method, path and headers don't count".to_owned(),
                "`weft waypoint explain` says why it has none".to_owned(),
            ]);
        }
    }
}

/// The request comes here.
pub(super) fn tell_bound(service: &Service, caller: &Caller, story: &mut Story) {
    let waypoint = service.waypoint.as_ref().map(ToString::to_string);
    let text = match waypoint {
        Some(waypoint) => format!("{} is bound to this waypoint, {waypoint}", service.key),
        None => format!("{} is bound to this waypoint", service.key),
    };
    story.step("binding", text);
    let canaries = service.weighted_waypoints.iter();
    story.details(canaries.map(|it| format!("weight {}: {}", it.weight, it.gateway)).collect());
    if !caller.is_enrolled {
        story.details(vec![
            "the caller isn't part of the mesh: its requests come here only through a gateway"
                .to_owned(),
        ]);
    }
}
