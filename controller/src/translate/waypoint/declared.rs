//! Which waypoints there are: the Gateways of a waypoint's class, with the Service and the instances behind each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_proto::contract::port;

use crate::model::{Model, NamespaceObjects};
use crate::objects::{Admission, Gateway, Labels, Listener, Pod, Service};
use crate::translate::names;
use crate::translate::settings::Settings;

/// Namespace and name of a Gateway.
pub type GatewayName = (Arc<str>, Arc<str>);

/// What a waypoint stands before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Traffic {
    /// Services.
    #[default]
    Service,
    /// Workloads that are addressed themselves.
    Workload,
    /// Both.
    All,
    /// Neither.
    None,
}

/// Whether a waypoint can take connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// It has no Service, so nobody could find it.
    NoService,
    /// No instance behind its Service is ready.
    NoInstance,
}

/// A waypoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Waypoint {
    /// Its class.
    pub class: Arc<str>,
    /// The host of its Service; where there is none, the host that one of its name would have.
    pub host: Arc<str>,
    /// What it stands before.
    pub traffic: Traffic,
    /// Who may use it.
    pub admission: Admission,
    /// Kinds of routes that may be attached; empty: all.
    pub kinds: Box<[Arc<str>]>,
    /// The name of its listener.
    pub listener: Arc<str>,
    /// Whether it can take connections.
    pub readiness: Readiness,
    /// Service accounts of its instances, in its own namespace; where none is known, the Gateway's name.
    pub accounts: BTreeSet<Arc<str>>,
}

/// All waypoints, ready or not, by namespace and name of their Gateways.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Waypoints(BTreeMap<Arc<str>, BTreeMap<Arc<str>, Waypoint>>);

/// Istio's label of services and pods that belong to a Gateway.
pub(in crate::translate) const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
pub(in crate::translate) const TRAFFIC: &str = "istio.io/waypoint-for";
/// Classes that need no object.
const CLASSES: [&str; 2] = ["weft-waypoint", "istio-waypoint"];
/// Controllers whose classes are waypoints'.
const CONTROLLERS: [&str; 2] = ["istio.io/mesh-controller", "weft.io/waypoint-controller"];

/// Whether Gateways of a class are waypoints. A class that is declared says so by its controller.
pub(in crate::translate) fn is_waypoint_class(model: &Model, class: &str) -> bool {
    match model.gateway_class(class) {
        Some(class) => CONTROLLERS.contains(&&*class.controller),
        None => CLASSES.contains(&class),
    }
}

/// The listener that the mesh connects to.
pub(in crate::translate) fn is_mesh_listener(listener: &Listener) -> bool {
    &*listener.protocol == "HBONE" && listener.port == port::HBONE
}

impl Waypoints {
    /// A waypoint.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Waypoint> {
        self.0.get(namespace)?.get(name)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (GatewayName, &Waypoint)> {
        self.0.iter().flat_map(|(namespace, all)| {
            all.iter().map(|(name, waypoint)| ((namespace.clone(), name.clone()), waypoint))
        })
    }

    /// Looks at `namespaces` anew; nothing: at all. Returns the names of what is not as before.
    pub(in crate::translate) fn update(
        &mut self,
        model: &Model,
        settings: &Settings,
        namespaces: Option<BTreeSet<Arc<str>>>,
    ) -> BTreeSet<Arc<str>> {
        let all =
            || model.namespaces().map(|(home, _)| home).chain(self.0.keys()).cloned().collect();
        let namespaces: BTreeSet<Arc<str>> = namespaces.unwrap_or_else(all);
        let mut changed = BTreeSet::new();
        for home in namespaces {
            let new = of_namespace(model, settings, &home);
            let old = match new.is_empty() {
                true => self.0.remove(&home),
                false => self.0.insert(home.clone(), new),
            };
            let (old, none) = (old.unwrap_or_default(), BTreeMap::new());
            let new = self.0.get(&home).unwrap_or(&none);
            let names = old.keys().chain(new.keys());
            changed.extend(names.filter(|name| old.get(*name) != new.get(*name)).cloned());
        }
        changed
    }
}

fn of_namespace(model: &Model, settings: &Settings, home: &str) -> BTreeMap<Arc<str>, Waypoint> {
    let Some(objects) = model.namespace(home) else {
        return BTreeMap::new();
    };
    let gateways = objects.gateways.iter();
    let gateways = gateways.filter(|(_, gateway)| is_waypoint_class(model, &gateway.class));
    let build = |(name, gateway): (&Arc<str>, &Arc<Gateway>)| {
        (name.clone(), waypoint(model, settings, objects, gateway))
    };
    gateways.map(build).collect()
}

fn waypoint(
    model: &Model,
    settings: &Settings,
    objects: &NamespaceObjects,
    gateway: &Gateway,
) -> Waypoint {
    let meta = &gateway.meta;
    let of_class = || model.gateway_class(&gateway.class)?.meta.labels.get(TRAFFIC);
    let traffic = meta.labels.get(TRAFFIC).or_else(of_class).and_then(Traffic::of);
    let listener = gateway.listeners.iter().find(|listener| is_mesh_listener(listener));
    let service = service_of(objects, gateway);
    let host = match service {
        Some(service) => names::service_host(service, settings),
        None => format!("{}.{}.svc.{}", meta.name, meta.namespace, settings.dns_domain),
    };
    let (readiness, mut accounts) = match service {
        Some(service) => instances(settings, objects, service),
        None => (Readiness::NoService, BTreeSet::new()),
    };
    if accounts.is_empty() {
        accounts.insert(meta.name.clone());
    }
    Waypoint {
        class: gateway.class.clone(),
        host: host.into(),
        traffic: traffic.unwrap_or_default(),
        admission: listener.map(|it| it.admission.clone()).unwrap_or_default(),
        kinds: listener.map(|it| it.kinds.clone()).unwrap_or_default(),
        listener: listener.map_or_else(|| "mesh".into(), |it| it.name.clone()),
        readiness,
        accounts,
    }
}

/// The Service of a Gateway's name, or else the first one that is labelled as its own: so Istio's deployer makes them.
fn service_of<'a>(objects: &'a NamespaceObjects, gateway: &Gateway) -> Option<&'a Arc<Service>> {
    let name = &gateway.meta.name;
    let by_label = || {
        let mut services = objects.services.values();
        services.find(|it| it.meta.labels.get(GATEWAY_NAME) == Some(name) && !it.is_external_name)
    };
    objects.services.get(name).filter(|it| !it.is_external_name).or_else(by_label)
}

/// Whether one is ready, and whose they are. Of a Service without a selector nothing is known here, so it counts as ready.
fn instances(
    settings: &Settings,
    objects: &NamespaceObjects,
    service: &Service,
) -> (Readiness, BTreeSet<Arc<str>>) {
    if service.selector.is_empty() {
        return (Readiness::Ready, BTreeSet::new());
    }
    let is_instance = |labels: &Labels| service.selector.select(labels);
    let pods = objects.pods.values();
    let pods: Vec<_> =
        pods.filter(|pod| is_instance(&pod.meta.labels) && !pod.has_ended()).collect();
    let entries = objects.workload_entries.values();
    let entries: Vec<_> = entries.filter(|entry| is_instance(&entry.spec.labels)).collect();
    let is_ready = !entries.is_empty() || pods.iter().any(|pod| is_ready(settings, pod));
    let of_pods = pods.iter().map(|pod| pod.service_account.clone());
    let of_entries = entries.iter().filter_map(|entry| entry.spec.service_account.clone());
    let readiness = if is_ready { Readiness::Ready } else { Readiness::NoInstance };
    (readiness, of_pods.chain(of_entries).collect())
}

fn is_ready(settings: &Settings, pod: &Pod) -> bool {
    pod.is_ready.unwrap_or(settings.is_standalone)
        && !pod.meta.is_terminating
        && !pod.addresses.is_empty()
}

/// Whether a workload with `labels` may be an instance of a Gateway of its namespace.
pub(in crate::translate) fn concerns_workload(objects: &NamespaceObjects, labels: &Labels) -> bool {
    let mut gateways = objects.gateways.values();
    gateways.any(|gateway| {
        service_of(objects, gateway).is_some_and(|service| service.selector.select(labels))
    })
}

impl Traffic {
    /// As the label writes it.
    pub(in crate::translate) fn of(text: &str) -> Option<Self> {
        match text {
            "service" => Some(Self::Service),
            "workload" => Some(Self::Workload),
            "all" => Some(Self::All),
            "none" => Some(Self::None),
            _ => None,
        }
    }

    /// As the label writes it.
    pub(in crate::translate) fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Workload => "workload",
            Self::All => "all",
            Self::None => "none",
        }
    }
}

impl Waypoint {
    /// Whether it can take connections.
    pub fn is_ready(&self) -> bool {
        self.readiness == Readiness::Ready
    }
}
