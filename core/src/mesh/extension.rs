//! What Weft's own controller says of a workload besides what the common wire has.

use std::sync::Arc;

use prost::Message;
use weft_proto::contract::extension;
use weft_proto::{route, workload as proto};

use super::DecodeError;
use super::intern::Interner;
use super::workload::OwnLabels;

/// Its labels, as far as they are sent.
pub(super) fn labels(
    message: &proto::Workload,
    interner: &mut Interner,
) -> Result<Option<Arc<OwnLabels>>, DecodeError> {
    let Some(bytes) = find(message, extension::LABELS) else { return Ok(None) };
    let read = route::WorkloadLabels::decode(bytes);
    let read = read.map_err(|error| DecodeError::Malformed(error.to_string()))?;
    Ok((!read.labels.is_empty()).then(|| interner.labels(read.labels)))
}

/// Whether its connections may go only to what the mesh knows. What can't be read means that they may not go elsewhere.
pub(super) fn is_registry_only(message: &proto::Workload) -> bool {
    let Some(bytes) = find(message, extension::OUTBOUND) else { return false };
    let read = route::OutboundPolicy::decode(bytes);
    let allow_any = i32::from(route::outbound_policy::Mode::AllowAny);
    read.map_or(true, |it| it.mode != allow_any)
}

fn find<'a>(message: &'a proto::Workload, name: &str) -> Option<&'a [u8]> {
    let found = message.extensions.iter().find(|it| it.name == name)?;
    Some(found.config.as_ref().map_or(&[][..], |config| &config.value[..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: Vec<u8>) -> proto::Workload {
        let config = prost_types::Any { type_url: name.to_owned(), value };
        let extension = proto::Extension { name: name.to_owned(), config: Some(config) };
        proto::Workload { extensions: vec![extension], ..proto::Workload::default() }
    }

    #[test]
    fn equal_labels_are_kept_once() {
        let labels = [("version".to_owned(), "v1".to_owned())].into();
        let message = route::WorkloadLabels { labels };
        let workload = with(extension::LABELS, message.encode_to_vec());
        let mut interner = Interner::default();
        let [one, other] = [(); 2].map(|()| labels_of(&workload, &mut interner));
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!(one.get("version").map(String::as_str), Some("v1"));
        assert_eq!(super::labels(&proto::Workload::default(), &mut interner), Ok(None));
        let damaged = with(extension::LABELS, vec![0xff]);
        assert!(super::labels(&damaged, &mut interner).is_err());
    }

    fn labels_of(workload: &proto::Workload, interner: &mut Interner) -> Arc<OwnLabels> {
        labels(workload, interner).unwrap().unwrap()
    }

    #[test]
    fn policy_that_is_not_understood_lets_connections_only_into_the_mesh() {
        let mode = |mode| route::OutboundPolicy { mode }.encode_to_vec();
        for (value, wanted) in [(mode(0), false), (mode(1), true), (mode(7), true), (vec![1], true)]
        {
            assert_eq!(is_registry_only(&with(extension::OUTBOUND, value)), wanted);
        }
        assert!(!is_registry_only(&proto::Workload::default()));
    }
}
