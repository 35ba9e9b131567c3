//! Which rules of many may cover a path: exact paths by hash, prefixes by their place in order.
//!
//! The index only leaves rules out that can't match; whether one does, the rule itself says. So a wrong answer could only
//! come from leaving out too much, which a property test looks for.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// Rules by place, in order.
type Ranks = Box<[u32]>;

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

/// Rules by what they ask of the path.
#[derive(Debug, Default)]
pub(super) struct Index {
    exact: HashMap<Box<str>, Ranks>,
    /// In order of their texts.
    prefixes: Box<[Prefix]>,
    any: Ranks,
}

#[derive(Debug)]
struct Prefix {
    text: Box<str>,
    ranks: Ranks,
    /// The longest other prefix that this one starts with.
    parent: Option<usize>,
}

impl Index {
    /// An index over rules in order of precedence.
    pub(super) fn new<'a>(keys: impl Iterator<Item = Option<Key<'a>>>) -> Self {
        let mut exact: HashMap<Cow<'_, str>, Vec<u32>> = HashMap::new();
        let mut prefixes = BTreeMap::<Cow<'_, str>, Vec<u32>>::new();
        let mut any = Vec::new();
        for (rank, key) in (0..).zip(keys) {
            match key {
                Some(Key::Exact(path)) => exact.entry(path).or_default().push(rank),
                Some(Key::Prefix(text)) => prefixes.entry(text).or_default().push(rank),
                Some(Key::Any) => any.push(rank),
                None => {}
            }
        }
        Self {
            exact: exact.into_iter().map(|(path, ranks)| (path.into(), ranks.into())).collect(),
            prefixes: linked(prefixes),
            any: any.into(),
        }
    }

    /// The first rule by precedence for which `holds`.
    pub(super) fn first(&self, path: &str, holds: impl Fn(u32) -> bool) -> Option<u32> {
        let mut best = None;
        let mut look = |ranks: &[u32]| {
            let better = ranks.iter().copied().take_while(|rank| best.is_none_or(|it| *rank < it));
            best = better.into_iter().find(|rank| holds(*rank)).or(best);
        };
        if let Some(ranks) = self.exact.get(path) {
            look(ranks);
        }
        let mut next = self.longest_prefix(path);
        while let Some(prefix) = next.and_then(|at| self.prefixes.get(at)) {
            look(&prefix.ranks);
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
fn linked(prefixes: BTreeMap<Cow<'_, str>, Vec<u32>>) -> Box<[Prefix]> {
    let mut open: Vec<(usize, &str)> = Vec::new();
    let mut parents = Vec::with_capacity(prefixes.len());
    for (at, text) in prefixes.keys().enumerate() {
        while open.pop_if(|(_, outer)| !text.starts_with(*outer)).is_some() {}
        parents.push(open.last().map(|(at, _)| *at));
        open.push((at, text));
    }
    let built = prefixes.into_iter().zip(parents);
    built
        .map(|((text, ranks), parent)| Prefix { text: text.into(), ranks: ranks.into(), parent })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_of_a_path_is_found() {
        let texts = ["/", "/a", "/a/b", "/a/c", "/ab", "/b", ""];
        let index = Index::new(texts.iter().map(|text| Some(Key::Prefix((*text).into()))));
        for path in ["/a/b/c", "/a/bc", "/abc", "/c", "/", "", "x", "/a", "/a/c"] {
            let found = std::cell::RefCell::new(Vec::new());
            index.first(path, |rank| {
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
        let index = Index::new(keys.into_iter().map(Some));
        assert_eq!(index.first("/a/b", |_| true), Some(0));
        assert_eq!(index.first("/a/b", |rank| rank > 0), Some(1));
        assert_eq!(index.first("/a/b", |rank| rank > 1), Some(2));
        assert_eq!(index.first("/x", |_| true), Some(2));
        assert_eq!(index.first("/x", |_| false), None);
    }
}
