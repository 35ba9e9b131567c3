//! Workloads that are no pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_proto::security::Authorization;
use weft_proto::workload::{NetworkMode, Workload, WorkloadStatus};

use crate::objects::{EndpointSlice, Host, Meta, ServiceEntry, WorkloadEntry, WorkloadEntrySpec};

use super::extension;
use super::names;
use super::ports::{self, Memberships, Target};
use super::view::View;
use super::waypoint::{self, User};
use super::workload;

/// A workload entry as a workload. It counts as healthy: nobody says otherwise.
pub fn workload_entry(
    view: &View<'_>,
    entry: &WorkloadEntry,
    guard: Option<&Authorization>,
) -> Workload {
    let uid = names::workload_entry_uid(&entry.meta, view.settings);
    let services = ports::selected(
        view,
        &entry.meta.namespace,
        &entry.spec.labels,
        Target::Entry(&entry.spec),
    );
    let mut built = outside(view, &entry.meta, &entry.spec, uid, services);
    workload::add_guard(&mut built, guard);
    built
}

/// The endpoints that a service entry lists, as workloads; or if it lists and selects none and is resolved by DNS, a
/// workload a host, which is its own name.
pub fn service_entry_workloads(view: &View<'_>, entry: &ServiceEntry) -> Vec<Workload> {
    let hosts: Vec<_> = view.hosts_won(entry).collect();
    if entry.endpoints.is_empty() {
        let is_implicit = entry.resolution.is_dns() && entry.selector.is_none();
        let hosts = hosts.iter().filter(|_| is_implicit);
        return hosts.map(|host| implicit(view, entry, host)).collect();
    }
    if hosts.is_empty() {
        return Vec::new();
    }
    let mut built: BTreeMap<String, Workload> = BTreeMap::new();
    for endpoint in &entry.endpoints {
        let uid = names::service_entry_uid(&entry.meta, &endpoint.host, view.settings);
        let list = ports::of_entry(entry, Target::Entry(endpoint));
        let name = |host: &&Arc<str>| names::resource_name(&entry.meta.namespace, host);
        let services = hosts.iter().map(|host| (name(host), list.clone())).collect();
        // An address that is listed twice is one workload; the first says how it is reached.
        built
            .entry(uid.clone())
            .or_insert_with(|| outside(view, &entry.meta, endpoint, uid, services));
    }
    built.into_values().collect()
}

fn implicit(view: &View<'_>, entry: &ServiceEntry, host: &Arc<str>) -> Workload {
    let endpoint = WorkloadEntrySpec {
        host: Host::Name(host.clone()),
        ports: Box::default(),
        labels: entry.meta.labels.clone(),
        network: None,
        locality: Default::default(),
        weight: 0,
        service_account: None,
    };
    let uid = names::service_entry_uid(&entry.meta, &endpoint.host, view.settings);
    let list = ports::of_entry(entry, Target::Entry(&endpoint));
    let name = names::resource_name(&entry.meta.namespace, host);
    outside(view, &entry.meta, &endpoint, uid, Memberships::from([(name, list)]))
}

fn outside(
    view: &View<'_>,
    meta: &Meta,
    spec: &WorkloadEntrySpec,
    uid: String,
    services: Memberships,
) -> Workload {
    let mut built = workload::base(view, &meta.namespace, &meta.name, uid);
    workload::name_it(&mut built, &spec.labels, &meta.name);
    match &spec.host {
        Host::Address(address) => built.addresses = vec![names::address_bytes(*address)],
        Host::Name(name) => built.hostname = name.to_string(),
    }
    if let Some(network) = &spec.network {
        built.network = network.to_string();
    }
    let [region, zone, subzone] = &spec.locality;
    built.locality = workload::locality(region, zone, subzone);
    built.capacity = (spec.weight > 0).then_some(spec.weight);
    built.service_account = workload::account(spec.service_account.as_ref());
    built.services = services;
    built.authorization_policies = workload::policies(view, &meta.namespace, &spec.labels);
    built.extensions = extension::extensions(view, &meta.namespace, &spec.labels);
    built.waypoint = waypoint::resolve(view, User::Workload(meta)).address(view);
    workload::set_native_tunnel(view, &mut built, &spec.labels);
    built
}

/// The listed endpoints that are no pods, as workloads. Nothing is known of them but their addresses, which several
/// may share, so they aren't found by address.
pub fn slice_workloads(view: &View<'_>, slice: &EndpointSlice) -> Vec<Workload> {
    let meta = &slice.meta;
    let Some(service) = slice
        .service
        .as_ref()
        .and_then(|name| view.model.service(&meta.namespace, name))
        .filter(|service| !service.is_external_name)
    else {
        return Vec::new();
    };
    let host = names::service_host(service, view.settings);
    let name = names::resource_name(&meta.namespace, &host);
    let mapped = slice.ports.iter().filter_map(|port| {
        let of_service = service.ports.iter().find(|own| own.name == port.name)?;
        Some(ports::mapped(of_service.port, port.port))
    });
    let list = weft_proto::workload::PortList { ports: mapped.collect() };
    let mut built: BTreeMap<String, Workload> = BTreeMap::new();
    for endpoint in slice.endpoints.iter().filter(|endpoint| endpoint.pod.is_none()) {
        let uid = names::slice_uid(meta, endpoint.address, view.settings);
        let mut workload = workload::base(view, &meta.namespace, &meta.name, uid.clone());
        workload.addresses = vec![names::address_bytes(endpoint.address)];
        workload.services = Memberships::from([(name.clone(), list.clone())]);
        workload.set_network_mode(NetworkMode::HostNetwork);
        if !endpoint.is_ready {
            workload.set_status(WorkloadStatus::Unhealthy);
        }
        built.entry(uid).or_insert(workload);
    }
    built.into_values().collect()
}
