//! What every object carries: names, labels, annotations, age.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::fields::{self, FieldError};
use super::{Kind, ObjectKey, Pool};

/// Labels, or the labels that a selector asks for. Sorted by key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Labels(Box<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(own, _)| (**own).cmp(key)).ok()?;
        self.0.get(at).map(|(_, value)| &**value)
    }

    /// Whether every pair of these is among `labels`. Holds for no pairs at all.
    pub fn select(&self, labels: &Labels) -> bool {
        self.0.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// In order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These, and those of `other` whose key is not among these.
    pub fn over(&self, other: &Labels) -> Labels {
        let mut merged: BTreeMap<_, _> = other.0.iter().cloned().collect();
        merged.extend(self.0.iter().cloned());
        Self(merged.into_iter().collect())
    }

    pub(super) fn of_map(map: &BTreeMap<String, String>, pool: &mut Pool) -> Self {
        Self::build(map.iter().map(|(key, value)| (key.as_str(), value.as_str())), pool)
    }

    /// The labels that a selector asks for. A pair that no label can ever equal is refused, because a selector that
    /// matches nothing is a policy or a service that silently does nothing.
    pub(super) fn of_selector(
        map: &BTreeMap<String, String>,
        field: &str,
        pool: &mut Pool,
    ) -> Result<Self, FieldError> {
        for (key, value) in map {
            if !fields::is_label_key(key) {
                let reason = format!("{key:?} is no label's key");
                return Err(FieldError::new(format!("{field}.{key}"), reason));
            }
            if !fields::is_label_value(value) {
                let reason = format!("{value:?} is no label's value");
                return Err(FieldError::new(format!("{field}.{key}"), reason));
            }
        }
        Ok(Self::of_map(map, pool))
    }

    fn build<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>, pool: &mut Pool) -> Self {
        let mut pairs: Vec<_> =
            pairs.into_iter().map(|(key, value)| (pool.text(key), pool.text(value))).collect();
        pairs.sort();
        Self(pairs.into())
    }
}

/// Moment of creation. Only the order matters, so the digits of `YYYYMMDDhhmmss` in UTC serve as the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Timestamp(u64);

impl Timestamp {
    /// Later than every object that says when it was made.
    pub const UNKNOWN: Self = Self(u64::MAX);
}

impl TryFrom<String> for Timestamp {
    type Error = String;

    /// Kubernetes writes UTC in whole seconds (`2026-08-01T12:00:00Z`); a fraction is ignored.
    fn try_from(text: String) -> Result<Self, String> {
        let is_shaped = |(at, byte): (usize, u8)| match at {
            4 | 7 => byte == b'-',
            10 => byte == b'T',
            13 | 16 => byte == b':',
            _ => byte.is_ascii_digit(),
        };
        let tail = text.get(19..).unwrap_or_default();
        let fraction = tail.strip_suffix('Z').map(|tail| tail.strip_prefix('.').unwrap_or(tail));
        let is_utc = fraction.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
        if !is_utc || !text.bytes().take(19).enumerate().all(is_shaped) {
            return Err(format!("{text:?} is no moment such as 2026-08-01T12:00:00Z"));
        }
        let digits = text.bytes().take(19).filter(u8::is_ascii_digit);
        Ok(Self(digits.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))))
    }
}

/// The controller that owns an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Such as `ReplicaSet`.
    pub kind: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// Name, labels and so on of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Empty for kinds without.
    pub namespace: Arc<str>,
    /// Unique within kind and namespace.
    pub name: Arc<str>,
    /// Given by the API server; absent in most files.
    pub uid: Option<Arc<str>>,
    /// All labels.
    pub labels: Arc<Labels>,
    /// Only annotations that the mesh reads.
    pub annotations: Arc<Labels>,
    /// When it was made.
    pub created: Timestamp,
    /// It is being deleted.
    pub is_terminating: bool,
    /// The controller that owns it.
    pub owner: Option<Owner>,
}

/// Annotations outside of these prefixes (descriptions, last-applied copies of the whole object) aren't kept.
const ANNOTATION_PREFIXES: [&str; 5] = [
    "ambient.istio.io/",
    "istio.io/",
    "networking.istio.io/",
    "sidecar.istio.io/status",
    "weft.io/",
];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawMeta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    annotations: BTreeMap<String, String>,
    creation_timestamp: Option<Timestamp>,
    deletion_timestamp: Option<Timestamp>,
    #[serde(default, deserialize_with = "fields::or_default")]
    owner_references: Vec<RawOwner>,
}

#[derive(Debug, Deserialize)]
struct RawOwner {
    kind: String,
    name: String,
    #[serde(default)]
    controller: bool,
}

/// What `kubectl` puts an object into that names no namespace.
const DEFAULT_NAMESPACE: &str = "default";

/// Namespace and name of an object as its key has them: checked, and with the default namespace filled in.
pub(super) fn checked_names<'a>(
    kind: Kind,
    namespace: &'a str,
    name: &'a str,
) -> Result<(&'a str, &'a str), FieldError> {
    if name.is_empty() {
        return Err(FieldError::new("metadata.name", "is missing"));
    }
    let is_right = match kind {
        Kind::Namespace => fields::is_dns_label(name),
        _ => fields::is_dns_subdomain(name),
    };
    if !is_right {
        let reason = format!("{name:?} is no name of a {kind} (RFC 1123)");
        return Err(FieldError::new("metadata.name", reason));
    }
    if kind.is_cluster_scoped() {
        return Ok(("", name));
    }
    let namespace = if namespace.is_empty() { DEFAULT_NAMESPACE } else { namespace };
    if fields::is_dns_label(namespace) {
        Ok((namespace, name))
    } else {
        let reason = format!("{namespace:?} is no namespace's name (RFC 1123 label)");
        Err(FieldError::new("metadata.namespace", reason))
    }
}

impl Meta {
    /// Names alone.
    pub(super) fn bare(key: &ObjectKey, pool: &mut Pool) -> Self {
        let empty = pool.labels(Labels::default());
        Self {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            uid: None,
            labels: empty.clone(),
            annotations: empty,
            created: Timestamp::UNKNOWN,
            is_terminating: false,
            owner: None,
        }
    }
}

impl RawMeta {
    pub(super) fn build(&self, kind: Kind, pool: &mut Pool) -> Result<Meta, FieldError> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (namespace, name) = (text(&self.namespace), text(&self.name));
        let (namespace, name) = checked_names(kind, &namespace, &name)?;
        let labels = Labels::of_map(&self.labels, pool);
        let is_kept = |key: &str| ANNOTATION_PREFIXES.iter().any(|prefix| key.starts_with(prefix));
        let kept = self.annotations.iter().filter(|(key, _)| is_kept(key));
        let annotations =
            Labels::build(kept.map(|(key, value)| (key.as_str(), value.as_str())), pool);
        let owner = self.owner_references.iter().find(|owner| owner.controller);
        Ok(Meta {
            namespace: pool.text(namespace),
            name: name.into(),
            uid: self.uid.as_deref().filter(|uid| !uid.is_empty()).map(Into::into),
            labels: pool.labels(labels),
            annotations: pool.labels(annotations),
            created: self.creation_timestamp.unwrap_or(Timestamp::UNKNOWN),
            is_terminating: self.deletion_timestamp.is_some(),
            owner: owner
                .map(|owner| Owner { kind: pool.text(&owner.kind), name: pool.text(&owner.name) }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_order_by_age_and_nonsense_is_refused() {
        let at = |text: &str| Timestamp::try_from(text.to_owned());
        assert!(at("2025-12-31T23:59:59Z").unwrap() < at("2026-01-01T00:00:00.123Z").unwrap());
        assert!(at("2026-01-01T00:00:00Z").unwrap() < Timestamp::UNKNOWN);
        for text in ["", "2026-01-01", "2026-01-01T00:00:00+02:00", "2026-01-01 00:00:00Z", "ä"] {
            assert!(at(text).is_err(), "{text:?} was accepted");
        }
    }
}
