//! Where workloads may connect to: anywhere, or only to what the mesh knows.

use crate::objects::{MeshConfig, Meta, OutboundMode};

use super::access::mesh_config;
use super::status::ConditionStatus;
use super::view::View;

/// On namespaces: `REGISTRY_ONLY` or `ALLOW_ANY`, in place of the mesh's own.
pub(super) const ANNOTATION: &str = "weft.io/outbound-traffic-policy";

/// What holds for the workloads of a namespace. A value that can't be read counts as `REGISTRY_ONLY`: whoever wrote it
/// wanted less than everything.
pub(super) fn mode(view: &View<'_>, namespace: &str) -> OutboundMode {
    match annotated(view, namespace) {
        Some("ALLOW_ANY") => OutboundMode::AllowAny,
        Some(_) => OutboundMode::RegistryOnly,
        None => of_mesh(view),
    }
}

fn annotated<'a>(view: &View<'a>, namespace: &str) -> Option<&'a str> {
    view.namespace(namespace)?.annotation(ANNOTATION)
}

fn of_mesh(view: &View<'_>) -> OutboundMode {
    // One that can't be read may have asked for it.
    let mode = |it: &MeshConfig| match it.is_unreadable {
        true => OutboundMode::RegistryOnly,
        false => it.outbound,
    };
    mesh_config(view).map_or(OutboundMode::AllowAny, |it| mode(&it))
}

/// What a namespace is told that says something about it.
pub(super) fn namespace_status(meta: &Meta) -> Option<ConditionStatus> {
    const KIND: &str = "weft.io/OutboundTrafficPolicy";
    let value = meta.annotations.get(ANNOTATION)?;
    if matches!(value, "ALLOW_ANY" | "REGISTRY_ONLY") {
        let is_strict = value == "REGISTRY_ONLY";
        let message = match is_strict {
            true => {
                "its pods' connections to what the mesh doesn't know are refused by Weft's ztunnel; a stock one lets them through"
            }
            false => "its pods may connect to anything",
        };
        return Some(ConditionStatus::new(KIND, (true, "Accepted"), message));
    }
    let message =
        format!("{value:?} is neither ALLOW_ANY nor REGISTRY_ONLY; it counts as REGISTRY_ONLY");
    Some(ConditionStatus {
        fields: vec![format!("metadata.annotations.{ANNOTATION}")],
        ..ConditionStatus::new(KIND, (false, "InvalidValue"), message)
    })
}
