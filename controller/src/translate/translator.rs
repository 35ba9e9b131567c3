//! Keeps the resources in step with the objects, looking only at what a change may touch.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use weft_proto::contract::type_url;
use weft_proto::route::{RouteTable, TelemetryPolicy};
use weft_proto::workload::{Address, Service, Workload, address};

use crate::model::Model;
use crate::objects::{Kind, Object, ObjectChange, ObjectKey};

use super::addresses::Addresses;
use crate::xds::ResourceChange;

use super::authorization::authorization;
use super::dirty::Dirty;
use super::settings::Settings;
use super::view::View;
use super::waypoint::Waypoints;
use super::{enrolment, entries, names, peer, pod, route, service, status, telemetry};

/// In the order in which additions are sent: a workload should not name a policy that is still on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Type {
    Authorization,
    Address,
    RouteTable,
    Telemetry,
    EnrolledPod,
}

impl Type {
    fn url(self) -> &'static str {
        match self {
            Self::Authorization => type_url::AUTHORIZATION,
            Self::Address => type_url::ADDRESS,
            Self::RouteTable => type_url::ROUTE_TABLE,
            Self::Telemetry => type_url::TELEMETRY_POLICY,
            Self::EnrolledPod => type_url::ENROLLED_POD,
        }
    }
}

type Name = (Type, Arc<str>);

/// The model and all that follows from it. One owner writes it.
#[derive(Debug)]
pub struct Translator {
    settings: Settings,
    model: Model,
    addresses: Addresses,
    waypoints: Waypoints,
    /// Which resources each object gave.
    given: HashMap<ObjectKey, Box<[Name]>>,
    current: HashMap<Name, Bytes>,
}

impl Translator {
    /// Without any objects. Call [`Self::apply`] even when there are none: some settings alone give resources.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            model: Model::default(),
            addresses: Addresses::default(),
            waypoints: Waypoints::default(),
            given: HashMap::new(),
            current: HashMap::new(),
        }
    }

    /// Takes in changes of objects and returns those of resources: what is new or different first (policies before
    /// workloads), then what is gone (policies last), each by name.
    pub fn apply(&mut self, changes: Vec<ObjectChange>) -> Vec<ResourceChange> {
        let mut dirty = Dirty::default();
        if self.given.is_empty() {
            // Nothing was translated yet, so there is nothing to compare with.
            dirty.everything();
        }
        for change in changes {
            let (key, new) = (change.key.clone(), change.object.clone());
            let old = self.model.apply(change, &self.settings.dns_domain);
            if old == new {
                continue;
            }
            for object in old.iter().chain(&new) {
                dirty.note(&key, object, &self.settings);
            }
        }
        self.translate(dirty)
    }

    /// The waypoints that can be used from now on.
    pub fn set_waypoints(&mut self, waypoints: Waypoints) -> Vec<ResourceChange> {
        self.waypoints = waypoints;
        let mut dirty = Dirty::default();
        dirty.everything();
        self.translate(dirty)
    }

    /// All resources, by type and name.
    pub fn resources(&self) -> BTreeMap<(&'static str, Arc<str>), Bytes> {
        let resources = self.current.iter();
        resources.map(|((of, name), bytes)| ((of.url(), name.clone()), bytes.clone())).collect()
    }

    /// All objects.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// What translation looks at.
    pub fn view(&self) -> View<'_> {
        View {
            settings: &self.settings,
            model: &self.model,
            addresses: &self.addresses,
            waypoints: &self.waypoints,
        }
    }

    /// What became of each object that there is something to say about, in order.
    pub fn statuses(&self) -> Vec<status::ObjectStatus> {
        let view = self.view();
        self.model.keys().filter_map(|key| status::object_status(&view, &key)).collect()
    }

    fn translate(&mut self, mut dirty: Dirty) -> Vec<ResourceChange> {
        if dirty.concerns_addresses {
            let addresses = Addresses::allocate(&self.model, &self.settings);
            addresses.changed(&self.addresses).into_iter().for_each(|host| dirty.host(host));
            self.addresses = addresses;
        }
        let concerns_strict = dirty.concerns_strict;
        let mut objects = dirty.expand(&self.model, &self.settings.dns_domain);
        if concerns_strict {
            objects.insert(strict_key(&self.settings));
        }
        let (mut fresh, mut gone) = (BTreeMap::new(), Vec::new());
        for key in objects {
            let resources = resources_of(&self.view(), &key);
            let names: Box<[Name]> = resources.iter().map(|(name, _)| name.clone()).collect();
            let old = match names.is_empty() {
                true => self.given.remove(&key),
                false => self.given.insert(key, names.clone()),
            };
            let old = old.unwrap_or_default();
            gone.extend(old.into_iter().filter(|name| !names.contains(name)));
            fresh.extend(resources);
        }
        self.commit(fresh, gone)
    }

    fn commit(&mut self, fresh: BTreeMap<Name, Bytes>, gone: Vec<Name>) -> Vec<ResourceChange> {
        // A name that one object gave up and another took over isn't gone.
        let is_gone = |name: &Name| !fresh.contains_key(name);
        let mut gone: Vec<_> = gone.into_iter().filter(is_gone).collect();
        gone.sort_by(|(a, a_name), (b, b_name)| b.cmp(a).then_with(|| a_name.cmp(b_name)));
        let mut changes = Vec::new();
        for ((of, name), bytes) in fresh {
            let old = self.current.insert((of, name.clone()), bytes.clone());
            if old.is_none_or(|old| old != bytes) {
                changes.push(ResourceChange { type_url: of.url(), name, resource: Some(bytes) });
            }
        }
        for (of, name) in gone {
            if self.current.remove(&(of, name.clone())).is_some() {
                changes.push(ResourceChange { type_url: of.url(), name, resource: None });
            }
        }
        changes
    }
}

/// Under which the policy without an object is kept.
fn strict_key(settings: &Settings) -> ObjectKey {
    let root = settings.root_namespace.clone();
    ObjectKey::new(Kind::PeerAuthentication, root, peer::STATIC_STRICT)
}

fn resources_of(view: &View<'_>, key: &ObjectKey) -> Vec<(Name, Bytes)> {
    if *key.name == *peer::STATIC_STRICT {
        return peer::static_strict(view).into_iter().map(policy_resource).collect();
    }
    match view.model.object(key) {
        Some(Object::Pod(pod)) => {
            let workload = pod::pod(view, &pod).map(workload_resource);
            let enrolled = enrolment::enrolled_pod(view, &pod).map(|enrolled| {
                let name = (Type::EnrolledPod, pod.uid.clone());
                (name, Bytes::from(enrolled.encode_to_vec()))
            });
            workload.into_iter().chain(enrolled).collect()
        }
        Some(Object::Service(service)) => {
            let routes = route::service_routes(view, &service).map(route_resource);
            service::service(view, &service)
                .into_iter()
                .map(service_resource)
                .chain(routes)
                .chain(telemetry::service_telemetry(view, &service).map(telemetry_resource))
                .collect()
        }
        Some(Object::ServiceEntry(entry)) => {
            let services = service::service_entry_services(view, &entry);
            let workloads = entries::service_entry_workloads(view, &entry);
            let workloads = workloads.into_iter().map(workload_resource);
            let routes = route::service_entry_routes(view, &entry).into_iter().map(route_resource);
            let telemetry = telemetry::service_entry_telemetry(view, &entry);
            let telemetry = telemetry.into_iter().map(telemetry_resource);
            let services = services.into_iter().map(service_resource);
            services.chain(workloads).chain(routes).chain(telemetry).collect()
        }
        Some(Object::WorkloadEntry(entry)) => {
            vec![workload_resource(entries::workload_entry(view, &entry))]
        }
        Some(Object::EndpointSlice(slice)) => {
            let workloads = entries::slice_workloads(view, &slice);
            workloads.into_iter().map(workload_resource).collect()
        }
        Some(Object::AuthorizationPolicy(policy)) => {
            let converted = authorization(&policy, view.settings);
            converted.authorization.into_iter().map(policy_resource).collect()
        }
        Some(Object::PeerAuthentication(peer)) => {
            peer::peer_authorization(view, &peer).into_iter().map(policy_resource).collect()
        }
        Some(
            Object::Namespace(_)
            | Object::Node(_)
            | Object::ServiceAccount(_)
            | Object::Route(_)
            | Object::ReferenceGrant(_)
            | Object::VirtualService(_)
            | Object::DestinationRule(_)
            | Object::Telemetry(_),
        )
        | None => Vec::new(),
    }
}

fn workload_resource(workload: Workload) -> (Name, Bytes) {
    let name = (Type::Address, workload.uid.as_str().into());
    let address = Address { r#type: Some(address::Type::Workload(workload)) };
    (name, address.encode_to_vec().into())
}

fn service_resource(service: Service) -> (Name, Bytes) {
    let name = names::resource_name(&service.namespace, &service.hostname);
    let address = Address { r#type: Some(address::Type::Service(service)) };
    ((Type::Address, name.into()), address.encode_to_vec().into())
}

fn route_resource(table: RouteTable) -> (Name, Bytes) {
    let name = names::resource_name(&table.namespace, &table.hostname);
    ((Type::RouteTable, name.into()), table.encode_to_vec().into())
}

fn telemetry_resource(policy: TelemetryPolicy) -> (Name, Bytes) {
    let name = names::resource_name(&policy.namespace, &policy.hostname);
    ((Type::Telemetry, name.into()), policy.encode_to_vec().into())
}

fn policy_resource(policy: weft_proto::security::Authorization) -> (Name, Bytes) {
    let name = names::resource_name(&policy.namespace, &policy.name);
    ((Type::Authorization, name.into()), policy.encode_to_vec().into())
}
