//! A workload in the words of headers and metrics.

use weft_core::hbone::{Baggage, WorkloadKind, WorkloadName};
use weft_core::mesh::{Service, Snapshot, Workload, WorkloadType};

/// What `baggage` says of a workload.
pub(crate) fn baggage(workload: &Workload) -> Baggage {
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

/// The service of its own by which a workload was reached: the one that the caller names, if it is really the
/// workload's; else its only one.
pub(crate) fn own_service<'a>(
    snapshot: &'a Snapshot,
    workload: &Workload,
    named: Option<&str>,
) -> Option<&'a Service> {
    let mut own = workload.services.iter().filter_map(|(key, _)| snapshot.service_with_key(key));
    match named {
        Some(host) => own.find(|service| &*service.hostname == host).map(|it| &**it),
        None => {
            let only = own.next()?;
            if own.next().is_some() { None } else { Some(only) }
        }
    }
}
