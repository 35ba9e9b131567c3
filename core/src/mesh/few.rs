//! A short sorted list that is nearly always of length one.

use std::cmp::Ordering;
use std::sync::Arc;

use super::Map;

/// At least one value, in the order given at insertion. One value takes no allocation of its own.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Few<T> {
    /// The common case.
    One(T),
    /// Two or more.
    Many(Arc<[T]>),
}

impl<T: Clone> Few<T> {
    pub(super) fn as_slice(&self) -> &[T] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }

    /// With `value` added at its place.
    pub(super) fn with(&self, value: T, order: impl Fn(&T, &T) -> Ordering) -> Self {
        let mut values = self.as_slice().to_vec();
        let at = values.partition_point(|other| order(other, &value) == Ordering::Less);
        values.insert(at, value);
        Self::Many(values.into())
    }

    /// Without the values that `is_gone` names; `None` if nothing remains.
    pub(super) fn without(&self, is_gone: impl Fn(&T) -> bool) -> Option<Self> {
        let mut values: Vec<T> =
            self.as_slice().iter().filter(|value| !is_gone(value)).cloned().collect();
        match values.len() {
            0 => None,
            1 => values.pop().map(Self::One),
            _ => Some(Self::Many(values.into())),
        }
    }
}

/// Adds to the list under `key`.
pub(super) fn add<K, T>(
    map: &mut Map<K, Few<T>>,
    key: K,
    value: T,
    order: impl Fn(&T, &T) -> Ordering,
) where
    K: Clone + Eq + std::hash::Hash,
    T: Clone,
{
    let list = match map.get(&key) {
        Some(few) => few.with(value, order),
        None => Few::One(value),
    };
    map.insert(key, list);
}

/// Removes from the list under `key`, and the list itself if it is empty then.
pub(super) fn remove<K, T>(map: &mut Map<K, Few<T>>, key: &K, is_gone: impl Fn(&T) -> bool)
where
    K: Clone + Eq + std::hash::Hash,
    T: Clone,
{
    match map.get(key).map(|few| few.without(is_gone)) {
        Some(Some(few)) => {
            map.insert(key.clone(), few);
        }
        Some(None) => {
            map.remove(key);
        }
        None => {}
    }
}
