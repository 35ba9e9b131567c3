//! A workload in the words of headers and metrics.

use weft_core::mesh::{Service, Snapshot, Workload};

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
