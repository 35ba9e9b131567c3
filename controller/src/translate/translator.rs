//! Keeps the resources in step with the objects, looking only at what a change may touch.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use weft_proto::contract::type_url;
use weft_proto::route::{BackendPolicy, RouteTable, TelemetryPolicy};
use weft_proto::workload::{Address, Service, Workload, address};

use crate::model::Model;
use crate::objects::{KeySource, Kind, Object, ObjectChange, ObjectKey, ServiceEntry};

use super::addresses::Addresses;
use crate::xds::{Audience, ResourceChange};

use super::access::{self, FetchedKeys, KeySets};
use super::authorization::authorization;
use super::dirty::Dirty;
use super::settings::Settings;
use super::view::View;
use super::waypoint::Waypoints;
use super::{
    audience, enrolment, entries, guard, names, peer, pod, ports, route, service, status, telemetry,
};

/// In the order in which additions are sent: a workload should not name a policy that is still on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Type {
    Authorization,
    AccessPolicy,
    Address,
    Credentials,
    BackendPolicy,
    RouteTable,
    Telemetry,
    EnrolledPod,
}

impl Type {
    fn url(self) -> &'static str {
        match self {
            Self::Authorization => type_url::AUTHORIZATION,
            Self::AccessPolicy => type_url::ACCESS_POLICY,
            Self::Address => type_url::ADDRESS,
            Self::Credentials => type_url::CREDENTIALS,
            Self::BackendPolicy => type_url::BACKEND_POLICY,
            Self::RouteTable => type_url::ROUTE_TABLE,
            Self::Telemetry => type_url::TELEMETRY_POLICY,
            Self::EnrolledPod => type_url::ENROLLED_POD,
        }
    }

    /// Whether it is for the waypoints of its object alone.
    fn is_for_waypoints(self) -> bool {
        match self {
            Self::RouteTable | Self::AccessPolicy | Self::Telemetry | Self::Credentials => true,
            // Routes lead to services that aren't bound themselves.
            Self::BackendPolicy => false,
            Self::Authorization | Self::Address | Self::EnrolledPod => false,
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
    keys: KeySets,
    /// Which resources each object gave.
    given: HashMap<ObjectKey, Box<[Name]>>,
    current: HashMap<Name, Resource>,
}

/// What a round of translation gave. The givers are those that have come.
type Fresh = BTreeMap<Name, Resource>;

/// A resource.
#[derive(Default)]
struct Resource {
    bytes: Bytes,
    audience: Audience,
    /// How many objects give it: workloads that refuse the same share a policy.
    givers: usize,
}

/// Without the bytes, which may be a key's.
impl std::fmt::Debug for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Resource");
        shown.field("bytes", &self.bytes.len()).field("audience", &self.audience);
        shown.field("givers", &self.givers).finish()
    }
}

impl Translator {
    /// Without any objects. Call [`Self::apply`] even when there are none: some settings alone give resources.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            model: Model::default(),
            addresses: Addresses::default(),
            waypoints: Waypoints::default(),
            keys: KeySets::default(),
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
        let named = self.model.named_labels().clone();
        for change in changes {
            let (key, new) = (change.key.clone(), change.object.clone());
            let old = self.model.apply(change, &self.settings.dns_domain);
            if old == new {
                continue;
            }
            for object in old.iter().chain(&new) {
                dirty.note(&key, object, &self.settings);
            }
            if key.kind == Kind::RequestAuthentication {
                self.forget_keys();
            }
        }
        dirty.labelled(self.model.named_labels().differing(&named));
        self.translate(dirty)
    }

    /// All resources, by type and name.
    pub fn resources(&self) -> BTreeMap<(&'static str, Arc<str>), Bytes> {
        let resources = self.current.iter();
        resources.map(|((of, name), it)| ((of.url(), name.clone()), it.bytes.clone())).collect()
    }

    /// All resources with whom each is for.
    #[cfg(test)]
    pub(super) fn audiences(&self) -> BTreeMap<(&'static str, Arc<str>), (Bytes, Audience)> {
        let resources = self.current.iter();
        let show = |it: &Resource| (it.bytes.clone(), it.audience.clone());
        resources.map(|((of, name), it)| ((of.url(), name.clone()), show(it))).collect()
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
            keys: &self.keys,
        }
    }

    /// Where keys of issuers have to be fetched, and the longest time that each may take.
    pub fn key_sources(&self) -> BTreeMap<KeySource, Option<Duration>> {
        let objects =
            self.model.namespaces().flat_map(|(_, it)| it.request_authentications.values());
        let rules = objects.filter(|it| !it.targets.is_empty()).flat_map(|it| &it.rules);
        let remote = rules.filter(|rule| !matches!(rule.keys, KeySource::Inline(_)));
        remote.map(|rule| (rule.keys.clone(), rule.timeout)).collect()
    }

    /// Takes in what fetching the keys of a source gave.
    pub fn set_keys(&mut self, source: KeySource, fetched: FetchedKeys) -> Vec<ResourceChange> {
        let mut dirty = Dirty::default();
        for (_, objects) in self.model.namespaces() {
            let users = objects.request_authentications.values();
            let users = users.filter(|it| it.rules.iter().any(|rule| rule.keys == source));
            users.for_each(|it| dirty.targets(&it.meta.namespace, &it.targets));
        }
        self.keys.0.insert(source, fetched);
        self.translate(dirty)
    }

    /// Keys that nobody asks for any more would come back as they were when somebody does.
    fn forget_keys(&mut self) {
        let wanted = self.key_sources();
        self.keys.0.retain(|source, _| wanted.contains_key(source));
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
        let namespaces = dirty.waypoint_namespaces(&self.model);
        let changed = self.waypoints.update(&self.model, &self.settings, namespaces);
        changed.into_iter().for_each(|name| dirty.waypoint(name));
        let concerns_strict = dirty.concerns_strict;
        let mut objects = dirty.expand(&self.model, &self.settings.dns_domain);
        if concerns_strict {
            objects.insert(strict_key(&self.settings));
        }
        let (mut fresh, mut gone) = (Fresh::new(), Vec::new());
        for key in objects {
            let resources = resources_of(&self.view(), &key);
            let is_confined = resources.iter().any(|((of, _), _)| of.is_for_waypoints());
            let audience = is_confined.then(|| audience::audience(&self.view(), &key));
            let names: Box<[Name]> = resources.iter().map(|(name, _)| name.clone()).collect();
            for (name, bytes) in resources {
                let audience = audience.clone().filter(|_| name.0.is_for_waypoints());
                let audience = match name.0 {
                    Type::Credentials => {
                        audience.map(|all| audience::of_secrets(&self.view(), &key, &all))
                    }
                    _ => audience,
                };
                let new = fresh.entry(name).or_default();
                (new.bytes, new.audience) = (bytes, audience.unwrap_or_default());
            }
            let old = match names.is_empty() {
                true => self.given.remove(&key),
                false => self.given.insert(key, names.clone()),
            };
            let old = old.unwrap_or_default();
            for name in names.iter().filter(|name| !old.contains(name)) {
                fresh.entry(name.clone()).and_modify(|new| new.givers += 1);
            }
            gone.extend(old.into_iter().filter(|name| !names.contains(name)));
        }
        self.commit(fresh, gone)
    }

    fn commit(&mut self, fresh: Fresh, mut gone: Vec<Name>) -> Vec<ResourceChange> {
        gone.sort_by(|(a, a_name), (b, b_name)| b.cmp(a).then_with(|| a_name.cmp(b_name)));
        let mut changes = Vec::new();
        for ((of, name), mut new) in fresh {
            let old = self.current.remove(&(of, name.clone())).unwrap_or_default();
            let is_news = old.givers == 0 || old.bytes != new.bytes || old.audience != new.audience;
            if is_news {
                changes.push(change(of, &name, Some(new.bytes.clone()), new.audience.clone()));
            }
            new.givers += old.givers;
            self.current.insert((of, name), new);
        }
        for name in gone {
            // What another object took over, or gives as well, isn't gone.
            let Some(current) = self.current.get_mut(&name) else { continue };
            current.givers = current.givers.saturating_sub(1);
            if current.givers == 0 {
                self.current.remove(&name);
                changes.push(change(name.0, &name.1, None, Audience::default()));
            }
        }
        changes
    }
}

fn change(
    of: Type,
    name: &Arc<str>,
    resource: Option<Bytes>,
    audience: Audience,
) -> ResourceChange {
    ResourceChange { type_url: of.url(), name: name.clone(), resource, audience }
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
            let guard = guard::guard(view, &pod.meta, ports::Target::Pod(&pod));
            let workload = pod::pod(view, &pod, guard.as_ref()).map(workload_resource);
            let enrolled = enrolment::enrolled_pod(view, &pod).map(|enrolled| {
                let name = (Type::EnrolledPod, pod.uid.clone());
                (name, Bytes::from(enrolled.encode_to_vec()))
            });
            let guard = guard.filter(|_| workload.is_some()).map(policy_resource);
            workload.into_iter().chain(enrolled).chain(guard).collect()
        }
        Some(Object::Service(service)) => {
            let routes = route::service_routes(view, &service).map(route_resource);
            let backend = route::service_policy(view, &service);
            let backend = backend.into_iter().flat_map(|it| backend_resources(view, &it));
            service::service(view, &service)
                .into_iter()
                .map(service_resource)
                .chain(routes)
                .chain(backend)
                .chain(access::service_access(view, &service).map(access_resource))
                .chain(telemetry::service_telemetry(view, &service).map(telemetry_resource))
                .collect()
        }
        Some(Object::ServiceEntry(entry)) => of_service_entry(view, &entry),
        Some(Object::WorkloadEntry(entry)) => {
            let guard = guard::guard(view, &entry.meta, ports::Target::Entry(&entry.spec));
            let workload = entries::workload_entry(view, &entry, guard.as_ref());
            let workload = workload_resource(workload);
            guard.map(policy_resource).into_iter().chain([workload]).collect()
        }
        Some(Object::EndpointSlice(slice)) => {
            let workloads = entries::slice_workloads(view, &slice);
            workloads.into_iter().map(workload_resource).collect()
        }
        Some(Object::AuthorizationPolicy(policy)) => {
            let converted = authorization(&policy, view.settings);
            converted.authorization.into_iter().map(policy_resource).collect()
        }
        Some(Object::Gateway(gateway)) => {
            access::gateway_access(view, &gateway).into_iter().map(access_resource).collect()
        }
        Some(Object::PeerAuthentication(peer)) => {
            peer::peer_authorization(view, &peer).into_iter().map(policy_resource).collect()
        }
        Some(
            Object::Namespace(_)
            | Object::Node(_)
            | Object::ServiceAccount(_)
            | Object::GatewayClass(_)
            | Object::RequestAuthentication(_)
            | Object::MeshConfig(_)
            | Object::CaBundle(_)
            | Object::Secret(_)
            | Object::BackendTlsPolicy(_)
            | Object::Route(_)
            | Object::ReferenceGrant(_)
            | Object::VirtualService(_)
            | Object::DestinationRule(_)
            | Object::Telemetry(_),
        )
        | None => Vec::new(),
    }
}

fn of_service_entry(view: &View<'_>, entry: &ServiceEntry) -> Vec<(Name, Bytes)> {
    let services = service::service_entry_services(view, entry).into_iter().map(service_resource);
    let workloads = entries::service_entry_workloads(view, entry).into_iter();
    let routes = route::service_entry_routes(view, entry).into_iter().map(route_resource);
    let backends = route::service_entry_policies(view, entry).into_iter();
    let backends = backends.flat_map(|it| backend_resources(view, &it));
    let access = access::service_entry_access(view, entry).into_iter().map(access_resource);
    let telemetry = telemetry::service_entry_telemetry(view, entry).into_iter();
    services
        .chain(workloads.map(workload_resource))
        .chain(routes)
        .chain(backends)
        .chain(access)
        .chain(telemetry.map(telemetry_resource))
        .collect()
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

/// With what waypoints need of the Secrets that it names.
fn backend_resources(
    view: &View<'_>,
    policy: &BackendPolicy,
) -> impl Iterator<Item = (Name, Bytes)> + use<> {
    let name: Arc<str> = names::resource_name(&policy.namespace, &policy.hostname).into();
    let credentials = route::credentials(view, policy).map(|it| it.encode_to_vec());
    let credentials = credentials.map(|it| ((Type::Credentials, name.clone()), it.into()));
    let policy = ((Type::BackendPolicy, name), policy.encode_to_vec().into());
    credentials.into_iter().chain([policy])
}

fn access_resource((name, bytes): access::Sealed) -> (Name, Bytes) {
    ((Type::AccessPolicy, name.into()), bytes.into())
}

fn telemetry_resource(policy: TelemetryPolicy) -> (Name, Bytes) {
    let name = names::resource_name(&policy.namespace, &policy.hostname);
    ((Type::Telemetry, name.into()), policy.encode_to_vec().into())
}

fn policy_resource(policy: weft_proto::security::Authorization) -> (Name, Bytes) {
    let name = names::resource_name(&policy.namespace, &policy.name);
    ((Type::Authorization, name.into()), policy.encode_to_vec().into())
}
