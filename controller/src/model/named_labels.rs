//! Labels of workloads that subsets and matches of callers name. Proxies are told these and no others.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::objects::{DestinationRule, VirtualService};

/// Keys, with how often each is named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedLabels(BTreeMap<Arc<str>, usize>);

impl NamedLabels {
    /// Whether any object names this key.
    pub fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.keys()
    }

    /// Keys that are here or there, and not in both.
    pub fn differing(&self, other: &Self) -> Vec<Arc<str>> {
        let here = self.keys().filter(|key| !other.contains(key));
        here.chain(other.keys().filter(|key| !self.contains(key))).cloned().collect()
    }

    pub(super) fn note_rule(&mut self, it: &DestinationRule, is_there: bool) {
        for subset in &it.subsets {
            subset.labels.iter().for_each(|(key, _)| self.count(key, is_there));
        }
    }

    pub(super) fn note_virtual(&mut self, it: &VirtualService, is_there: bool) {
        let of_http = it.http.iter().flat_map(|rule| &rule.matches).map(|it| &it.source_labels);
        let rules = it.tls.iter().chain(&it.tcp);
        let of_rules = rules.flat_map(|rule| &rule.matches).map(|it| &it.source_labels);
        for labels in of_http.chain(of_rules) {
            labels.iter().for_each(|(key, _)| self.count(key, is_there));
        }
    }

    fn count(&mut self, key: &Arc<str>, is_there: bool) {
        let count = self.0.entry(key.clone()).or_default();
        *count = if is_there { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.0.remove(key);
        }
    }
}
