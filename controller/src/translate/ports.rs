//! Which of a workload's ports a service's ports lead to.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_proto::workload::{Port, PortList};

use crate::model::NamespaceObjects;
use crate::objects::{Labels, Pod, Service, ServiceEntry, TargetPort, WorkloadEntrySpec};

use super::names;
use super::view::View;

/// A workload that services select, and its own names for ports.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    Pod(&'a Pod),
    Entry(&'a WorkloadEntrySpec),
}

/// The services that a workload belongs to, with the ports by which each reaches it.
pub(super) type Memberships = BTreeMap<String, PortList>;

/// Memberships by selectors of services and service entries of the workload's namespace.
pub(super) fn selected(
    view: &View<'_>,
    namespace: &str,
    labels: &Labels,
    target: Target<'_>,
) -> Memberships {
    let mut found = Memberships::new();
    let Some(objects) = view.namespace(namespace) else {
        return found;
    };
    for service in selecting(objects, labels, target) {
        let host = names::service_host(service, view.settings);
        found.insert(names::resource_name(namespace, &host), of_service(service, target));
    }
    for entry in objects.service_entries.values() {
        let is_selected = entry
            .selector
            .as_ref()
            .is_some_and(|selector| !selector.is_empty() && selector.select(labels));
        if is_selected {
            for host in view.hosts_won(entry) {
                found.insert(names::resource_name(namespace, host), of_entry(entry, target));
            }
        }
    }
    found
}

/// Services that select or list a workload.
pub(super) fn selecting<'a>(
    objects: &'a NamespaceObjects,
    labels: &Labels,
    target: Target<'_>,
) -> Vec<&'a Arc<Service>> {
    let mut services = objects.selecting(labels);
    if let Target::Pod(pod) = target {
        services.extend(objects.listing(pod));
    }
    services.retain(|service| !service.is_external_name);
    services
}

/// A named port that the workload doesn't have is left out: it can't be reached there.
pub(super) fn of_service(service: &Service, target: Target<'_>) -> PortList {
    let ports = service.ports.iter().filter_map(|port| {
        let number = match (&port.target, target) {
            (TargetPort::Number(number), _) => *number,
            (TargetPort::Name(name), Target::Pod(pod)) => pod.port(name)?,
            (TargetPort::Name(name), Target::Entry(entry)) => entry.port(name)?,
        };
        Some(mapped(port.port, number))
    });
    PortList { ports: ports.collect() }
}

/// A service entry's ports have numbers; a workload entry may have its own number for a port of that name.
pub(super) fn of_entry(entry: &ServiceEntry, target: Target<'_>) -> PortList {
    let ports = entry.ports.iter().map(|port| {
        let own = match target {
            Target::Pod(_) => None,
            Target::Entry(entry) => entry.port(&port.name),
        };
        mapped(port.port, own.unwrap_or(port.target))
    });
    PortList { ports: ports.collect() }
}

pub(super) fn mapped(service_port: u16, target_port: u16) -> Port {
    Port {
        service_port: u32::from(service_port),
        target_port: u32::from(target_port),
        ..Port::default()
    }
}
