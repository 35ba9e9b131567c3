//! What Weft's own proxies are told of a workload besides what the common wire has. Other proxies skip it.

use std::collections::BTreeMap;

use prost::Message;
use weft_proto::contract::extension;
use weft_proto::route;
use weft_proto::workload::Extension;

use crate::objects::{Labels, OutboundMode};

use super::outbound;
use super::view::View;

/// All of it, in order.
pub(super) fn extensions(view: &View<'_>, namespace: &str, labels: &Labels) -> Vec<Extension> {
    named(view, labels).into_iter().chain(outbound(view, namespace)).collect()
}

/// Said only where connections may not go anywhere.
fn outbound(view: &View<'_>, namespace: &str) -> Option<Extension> {
    let is_strict = outbound::mode(view, namespace) == OutboundMode::RegistryOnly;
    let mode = route::outbound_policy::Mode::RegistryOnly.into();
    is_strict.then(|| make(extension::OUTBOUND, &route::OutboundPolicy { mode }))
}

/// The labels that some subset or some match of callers names.
fn named(view: &View<'_>, labels: &Labels) -> Option<Extension> {
    let named = view.model.named_labels();
    let labels = labels.iter().filter(|(key, _)| named.contains(key));
    let labels = labels.map(|(key, value)| (key.to_string(), value.to_string()));
    let labels: BTreeMap<_, _> = labels.collect();
    let message = route::WorkloadLabels { labels };
    (!message.labels.is_empty()).then(|| make(extension::LABELS, &message))
}

fn make(name: &str, message: &impl Message) -> Extension {
    let config = prost_types::Any { type_url: name.to_owned(), value: message.encode_to_vec() };
    Extension { name: name.to_owned(), config: Some(config) }
}
