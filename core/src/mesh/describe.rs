//! Workloads and services in the words of headers and metrics. Only what the mesh's own configuration says gets in,
//! apart from a verified identity and, of another network, what a workload that proved one says of itself.

use std::sync::Arc;

use super::memo::Memo;
use super::{Locality, Service, Workload, WorkloadType};
use crate::hbone::{Baggage, WorkloadKind, WorkloadName};
use crate::identity::SpiffeId;
use crate::telemetry::{Party, ServiceLabels, SharedParty};

/// What `baggage` says of a workload.
pub fn baggage(workload: &Workload) -> Baggage {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let kind = match workload.workload_type {
        WorkloadType::Deployment => WorkloadKind::Deployment,
        WorkloadType::CronJob => WorkloadKind::CronJob,
        WorkloadType::Job => WorkloadKind::Job,
        WorkloadType::Pod | WorkloadType::Unknown => WorkloadKind::Pod,
    };
    Baggage {
        cluster: text(&workload.cluster_id),
        namespace: text(&workload.namespace),
        workload: text(&workload.workload_name).map(|name| WorkloadName { kind, name }),
        canonical_name: text(&workload.canonical_name),
        canonical_revision: text(&workload.canonical_revision),
        region: text(&workload.locality.region),
        zone: text(&workload.locality.zone),
    }
}

/// The workload that answered behind another network's gateway. What the mesh knows there (`known`) stands for all of a
/// service's workloads; which one it was, only `baggage` of its answer tells. Its namespace is its certificate's, not
/// its word. Without baggage it remains `known`, under the identity that was proved.
pub fn answered_by(known: &Workload, identity: &SpiffeId, baggage: &Baggage) -> Workload {
    let identity = identity.clone();
    if *baggage == Baggage::default() {
        return Workload { identity, labels: Memo::default(), ..known.clone() };
    }
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
    let name: Arc<str> = baggage.workload.as_ref().map_or("", |workload| &workload.name).into();
    let locality = Locality {
        region: text(&baggage.region),
        zone: text(&baggage.zone),
        subzone: Arc::default(),
    };
    Workload {
        namespace: identity.namespace().into(),
        name: name.clone(),
        workload_name: name,
        canonical_name: text(&baggage.canonical_name),
        canonical_revision: text(&baggage.canonical_revision),
        cluster_id: text(&baggage.cluster),
        locality: Arc::new(locality),
        identity,
        labels: Memo::default(),
        ..known.clone()
    }
}

/// The labels of a service.
pub fn service_labels(service: &Service) -> Arc<ServiceLabels> {
    let make = || ServiceLabels {
        host: service.hostname.clone(),
        namespace: service.namespace.clone(),
        name: service.name.clone(),
    };
    service.labels.get_or_init(|| Arc::new(make())).clone()
}

/// The labels of one end of a connection: the workload there, and the identity that it proved.
pub fn party(workload: Option<&Workload>, identity: Option<&SpiffeId>) -> SharedParty {
    let principal = identity.map_or("", SpiffeId::as_str);
    match workload {
        Some(workload) if identity == Some(&workload.identity) => {
            workload.labels.get_or_init(|| labels_of(workload, principal)).clone()
        }
        Some(workload) => labels_of(workload, principal),
        None => Party { principal: principal.into(), ..Party::default() }.share(),
    }
}

fn labels_of(workload: &Workload, principal: &str) -> SharedParty {
    Party {
        workload: workload.workload_name.clone(),
        canonical_service: workload.canonical_name.clone(),
        canonical_revision: workload.canonical_revision.clone(),
        namespace: workload.namespace.clone(),
        principal: principal.into(),
        app: workload.canonical_name.clone(),
        version: workload.canonical_revision.clone(),
        cluster: workload.cluster_id.clone(),
        region: workload.locality.region.clone(),
        zone: workload.locality.zone.clone(),
    }
    .share()
}
