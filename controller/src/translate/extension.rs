//! What Weft's own proxies are told of a workload besides what the common wire has. Other proxies skip it.

use std::collections::BTreeMap;

use prost::Message;
use weft_proto::contract::extension;
use weft_proto::route;
use weft_proto::workload::Extension;

use crate::objects::Labels;

use super::view::View;

/// All of it, in order.
pub(super) fn extensions(view: &View<'_>, _namespace: &str, labels: &Labels) -> Vec<Extension> {
    named(view, labels).into_iter().collect()
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
