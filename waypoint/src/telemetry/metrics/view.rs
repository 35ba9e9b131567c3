//! What a Telemetry object changes about the metrics of a service.

use std::borrow::Cow;

use weft_proto::contract::telemetry::METRICS;
pub use weft_proto::route::Metric;
/// What a label may show. All have few values or come from the mesh's configuration: what a client or a server writes
/// into a header never becomes a label.
pub use weft_proto::route::MetricAttribute as Attribute;

use super::key::Key;

/// What a service's metrics look like, where not as usual.
#[derive(Debug, Default)]
pub struct View {
    changes: [Change; METRICS.len()],
    /// Attributes that some label shows, one bit each.
    shown: u32,
}

/// What is changed of one metric.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// It isn't kept at all.
    pub is_disabled: bool,
    /// Labels that change, by name.
    pub tags: Vec<(Box<str>, Tag)>,
}

/// What becomes of a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tag {
    /// It goes.
    Remove,
    /// It has this text.
    Literal(Box<str>),
    /// It has the value of an attribute.
    Attribute(Attribute),
}

impl View {
    /// With a change a metric, in the order of [`METRICS`].
    pub fn new(changes: [Change; METRICS.len()]) -> Self {
        let tags = changes.iter().flat_map(|change| &change.tags);
        let shown = tags.fold(0, |shown, (_, tag)| match tag {
            Tag::Attribute(attribute) => shown | bit(*attribute),
            Tag::Remove | Tag::Literal(_) => shown,
        });
        Self { changes, shown }
    }

    /// Whether some label shows `attribute`.
    pub(super) fn shows(&self, attribute: Attribute) -> bool {
        self.shown & bit(attribute) != 0
    }

    /// What is changed of `metric`.
    pub(super) fn change(&self, metric: Metric) -> Option<&Change> {
        let place = METRICS.iter().position(|it| *it == metric)?;
        self.changes.get(place)
    }
}

fn bit(attribute: Attribute) -> u32 {
    1 << attribute as u32
}

impl Change {
    /// What the label `name` shows, which is `value` as usual. `None`: it goes.
    pub(super) fn apply<'v>(
        &'v self,
        name: &str,
        value: &'v str,
        key: &Key<'_>,
    ) -> Option<Cow<'v, str>> {
        match self.tags.iter().find(|(changed, _)| **changed == *name) {
            None => Some(value.into()),
            Some((_, tag)) => tag.value(key),
        }
    }

    /// Labels that a metric doesn't have by itself.
    pub(super) fn added<'v>(
        &'v self,
        usual: &'v dyn Fn(&str) -> bool,
        key: &'v Key<'_>,
    ) -> impl Iterator<Item = (&'v str, Cow<'v, str>)> {
        let added = self.tags.iter().filter(|(name, _)| !usual(name));
        added.filter_map(|(name, tag)| Some((&**name, tag.value(key)?)))
    }
}

impl Tag {
    fn value(&self, key: &Key<'_>) -> Option<Cow<'_, str>> {
        match self {
            Self::Remove => None,
            Self::Literal(text) => Some((&**text).into()),
            Self::Attribute(attribute) => Some(shown(*attribute, key).into()),
        }
    }
}

fn shown(attribute: Attribute, key: &Key<'_>) -> String {
    let (source, destination) = (key.source.party(), key.destination.party());
    let text: &str = match attribute {
        Attribute::RouteName => key.route,
        Attribute::SourcePrincipal => &source.principal,
        Attribute::SourceWorkload => &source.workload,
        Attribute::SourceNamespace => &source.namespace,
        Attribute::DestinationPrincipal => &destination.principal,
        Attribute::DestinationWorkload => &destination.workload,
        Attribute::DestinationNamespace => &destination.namespace,
        Attribute::DestinationServiceHost => key.service.map_or("", |service| &*service.host),
        other => return key.traits.value(other).unwrap_or_default(),
    };
    text.to_owned()
}
