//! Rules that ask for the same path, told apart by the header that most of them ask for: a hundred tenants behind one
//! prefix are one look into a map, not a hundred comparisons.

use std::collections::{BTreeMap, HashMap};

use http::HeaderMap;
use http::header::HeaderName;

/// Rules by place, in order.
pub(super) type Ranks = Box<[u32]>;

/// Fewer rules than these are asked one by one: a look into a map costs as much.
const GROUPED_MIN: usize = 8;

/// A header and the one value that a rule takes.
pub(super) type Asked<'a> = (&'a HeaderName, &'a str);

/// Rules that ask for the same path.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    plain: Ranks,
    grouped: Box<[Group]>,
}

/// Those that ask for one header.
#[derive(Debug)]
struct Group {
    name: HeaderName,
    by_value: HashMap<Box<[u8]>, Ranks>,
    /// All of them, for a request that has the header several times.
    all: Ranks,
}

impl Bucket {
    /// From rules in order of precedence.
    pub(super) fn new(rules: Vec<(u32, Option<Asked<'_>>)>) -> Self {
        if rules.len() < GROUPED_MIN {
            return Self {
                plain: rules.into_iter().map(|(rank, _)| rank).collect(),
                grouped: Box::default(),
            };
        }
        let mut plain = Vec::new();
        let mut groups: BTreeMap<&str, Vec<(u32, Asked<'_>)>> = BTreeMap::new();
        for (rank, asked) in rules {
            match asked {
                None => plain.push(rank),
                Some(asked) => groups.entry(asked.0.as_str()).or_default().push((rank, asked)),
            }
        }
        let grouped = groups.into_values().filter_map(|rules| Group::new(&rules));
        Self { plain: plain.into(), grouped: grouped.collect() }
    }

    /// The lists of rules that may match a request with these headers.
    pub(super) fn lists<'a>(&'a self, headers: &HeaderMap) -> impl Iterator<Item = &'a [u32]> {
        let grouped = self.grouped.iter().filter_map(|group| group.list(headers));
        std::iter::once(&*self.plain).chain(grouped)
    }
}

impl Group {
    /// Nothing without rules.
    fn new(rules: &[(u32, Asked<'_>)]) -> Option<Self> {
        let (_, (name, _)) = *rules.first()?;
        let mut by_value: HashMap<Box<[u8]>, Vec<u32>> = HashMap::new();
        for (rank, (_, value)) in rules {
            by_value.entry(value.as_bytes().into()).or_default().push(*rank);
        }
        Some(Self {
            name: name.clone(),
            by_value: by_value.into_iter().map(|(value, ranks)| (value, ranks.into())).collect(),
            all: rules.iter().map(|(rank, _)| *rank).collect(),
        })
    }

    fn list(&self, headers: &HeaderMap) -> Option<&[u32]> {
        let mut values = headers.get_all(&self.name).iter();
        let first = values.next()?;
        match values.next() {
            None => self.by_value.get(first.as_bytes()).map(|ranks| &**ranks),
            Some(_) => Some(&self.all),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn rules_of_other_values_are_left_out() {
        let tenant = HeaderName::from_static("x-tenant");
        let values: Vec<String> = (0..20).map(|at| format!("t{at}")).collect();
        let asked = |at: u32| (!at.is_multiple_of(4)).then(|| (&tenant, &*values[at as usize]));
        let bucket = Bucket::new((0..20).map(|at| (at, asked(at))).collect());
        let found =
            |headers: &HeaderMap| bucket.lists(headers).flatten().copied().collect::<Vec<_>>();
        let mut headers = HeaderMap::new();
        assert_eq!(found(&headers), [0, 4, 8, 12, 16]);
        headers.append(&tenant, HeaderValue::from_static("t7"));
        assert_eq!(found(&headers), [0, 4, 8, 12, 16, 7]);
        headers.append(&tenant, HeaderValue::from_static("t9"));
        assert_eq!(found(&headers).len(), 20);
    }
}
