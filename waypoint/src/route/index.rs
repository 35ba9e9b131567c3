//! Which rules of many may cover a path: exact paths by hash, prefixes by their place in order.
//!
//! The index only leaves rules out that can't match; whether one does, the rule itself says. So a wrong answer could only
//! come from leaving out too much, which a property test looks for.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use http::HeaderMap;

use super::bucket::{Asked, Bucket};

/// What is known of the paths that a rule can cover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key<'a> {
    /// This path alone.
    Exact(Cow<'a, str>),
    /// Those that start so.
    Prefix(Cow<'a, str>),
    /// Any.
    Any,
}

/// What a rule asks, as far as the index looks at it.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) key: Key<'a>,
    /// A header of one value that it insists on.
    pub(super) header: Option<Asked<'a>>,
}

/// Rules by what they ask of the path.
#[derive(Debug, Default)]
pub(super) struct Index {
    exact: HashMap<Box<str>, Bucket>,
    /// In order of their texts.
    prefixes: Box<[Prefix]>,
    any: Bucket,
}

#[derive(Debug)]
struct Prefix {
    text: Box<str>,
    rules: Bucket,
    /// The longest other prefix that this one starts with.
    parent: Option<usize>,
}

impl Index {
    /// An index over rules in order of precedence; `None` for one that never matches.
    pub(super) fn new<'a>(entries: impl Iterator<Item = Option<Entry<'a>>>) -> Self {
        let mut exact: HashMap<Cow<'_, str>, Vec<_>> = HashMap::new();
        let mut prefixes: BTreeMap<Cow<'_, str>, Vec<_>> = BTreeMap::new();
        let mut any = Vec::new();
        for (rank, entry) in (0_u32..).zip(entries) {
            let Some(Entry { key, header }) = entry else {
                continue;
            };
            let rules = match key {
                Key::Exact(path) => exact.entry(path).or_default(),
                Key::Prefix(text) => prefixes.entry(text).or_default(),
                Key::Any => &mut any,
            };
            rules.push((rank, header));
        }
        let exact = exact.into_iter();
        Self {
            exact: exact.map(|(path, rules)| (path.into(), Bucket::new(rules))).collect(),
            prefixes: linked(prefixes),
            any: Bucket::new(any),
        }
    }

    /// The first rule by precedence for which `holds`.
    pub(super) fn first(
        &self,
        path: &str,
        headers: &HeaderMap,
        holds: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let mut best = None;
        let mut look = |bucket: &Bucket| {
            for ranks in bucket.lists(headers) {
                let ranks = ranks.iter().copied();
                let mut better = ranks.take_while(|rank| best.is_none_or(|best| *rank < best));
                best = better.find(|rank| holds(*rank)).or(best);
            }
        };
        if let Some(bucket) = self.exact.get(path) {
            look(bucket);
        }
        let mut next = self.longest_prefix(path);
        while let Some(prefix) = next.and_then(|at| self.prefixes.get(at)) {
            look(&prefix.rules);
            next = prefix.parent;
        }
        look(&self.any);
        best
    }

    /// The longest prefix that `path` starts with. Texts between it and the path in order all start with it, so it is
    /// the last text before the path, or an ancestor of that one.
    fn longest_prefix(&self, path: &str) -> Option<usize> {
        let behind = self.prefixes.partition_point(|prefix| *prefix.text <= *path);
        let mut next = behind.checked_sub(1);
        while let Some((at, prefix)) = next.and_then(|at| Some((at, self.prefixes.get(at)?))) {
            if path.starts_with(&*prefix.text) {
                return Some(at);
            }
            next = prefix.parent;
        }
        None
    }
}

/// Links each text with its longest proper prefix. In order, a text's prefixes stand before it, the longest last, and
/// those that are still open are a stack.
fn linked<'a>(prefixes: BTreeMap<Cow<'a, str>, Vec<(u32, Option<Asked<'a>>)>>) -> Box<[Prefix]> {
    let mut open: Vec<(usize, &str)> = Vec::new();
    let mut parents = Vec::with_capacity(prefixes.len());
    for (at, text) in prefixes.keys().enumerate() {
        while open.pop_if(|(_, outer)| !text.starts_with(*outer)).is_some() {}
        parents.push(open.last().map(|(at, _)| *at));
        open.push((at, text));
    }
    let built = prefixes.into_iter().zip(parents);
    built
        .map(|((text, rules), parent)| Prefix {
            text: text.into(),
            rules: Bucket::new(rules),
            parent,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: Key<'_>) -> Option<Entry<'_>> {
        Some(Entry { key, header: None })
    }

    #[test]
    fn every_prefix_of_a_path_is_found() {
        let texts = ["/", "/a", "/a/b", "/a/c", "/ab", "/b", ""];
        let index = Index::new(texts.iter().map(|text| entry(Key::Prefix((*text).into()))));
        for path in ["/a/b/c", "/a/bc", "/abc", "/c", "/", "", "x", "/a", "/a/c"] {
            let found = std::cell::RefCell::new(Vec::new());
            index.first(path, &HeaderMap::new(), |rank| {
                found.borrow_mut().push(texts[rank as usize]);
                false
            });
            let mut found = found.into_inner();
            found.sort_unstable();
            let mut wanted: Vec<_> =
                texts.into_iter().filter(|text| path.starts_with(text)).collect();
            wanted.sort_unstable();
            assert_eq!(found, wanted, "{path}");
        }
    }

    #[test]
    fn precedence_decides_between_kinds_of_keys() {
        let keys = [
            Key::Prefix("/a".into()),
            Key::Exact("/a/b".into()),
            Key::Any,
            Key::Prefix("/a/b".into()),
        ];
        let index = Index::new(keys.into_iter().map(entry));
        let none = HeaderMap::new();
        assert_eq!(index.first("/a/b", &none, |_| true), Some(0));
        assert_eq!(index.first("/a/b", &none, |rank| rank > 0), Some(1));
        assert_eq!(index.first("/a/b", &none, |rank| rank > 1), Some(2));
        assert_eq!(index.first("/x", &none, |_| true), Some(2));
        assert_eq!(index.first("/x", &none, |_| false), None);
    }
}
