//! Where a request goes, and the choice among several.

use std::collections::BTreeMap;

use http::header::HeaderValue;

use super::fraction::below;
use super::headers::HeaderEdit;

/// A service, or some of its endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The service's namespace.
    pub namespace: Box<str>,
    /// The service's host name.
    pub hostname: Box<str>,
    /// The service's port; `None`: that of the request.
    pub port: Option<u16>,
    /// `None`: all endpoints.
    pub subset: Option<Subset>,
    /// What is spoken.
    pub protocol: Protocol,
}

/// Some endpoints of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subset {
    /// Under which policies for backends know it.
    pub name: Box<str>,
    /// What endpoints must be labelled.
    pub labels: BTreeMap<Box<str>, Box<str>>,
}

/// What is spoken to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// As the port declares it, or else as the client does.
    #[default]
    Auto,
    /// HTTP/1.1
    Http1,
    /// HTTP/2
    Http2,
}

/// One backend of several.
#[derive(Debug)]
pub struct Backend {
    /// Where it is.
    pub target: Target,
    /// On requests to it, after the action's.
    pub request_headers: HeaderEdit,
    /// On responses from it, before the action's.
    pub response_headers: HeaderEdit,
    /// The authority that it sees, instead of the action's.
    pub authority: Option<HeaderValue>,
}

/// Where a share goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// There.
    To(Destination),
    /// Nowhere: it is answered 500, and a connection is closed. With the reason.
    Invalid(Box<str>),
}

/// Backends by weight.
#[derive(Debug, Default)]
pub struct Backends {
    all: Box<[Backend]>,
    /// Where each one's share ends.
    ends: Box<[u64]>,
}

impl Backends {
    pub(super) fn new(weighted: Vec<(u32, Backend)>) -> Self {
        let mut end = 0_u64;
        let ends = weighted.iter().map(|(weight, _)| {
            end = end.saturating_add(u64::from(*weight));
            end
        });
        Self { ends: ends.collect(), all: weighted.into_iter().map(|(_, it)| it).collect() }
    }

    /// The one for a request that drew `random` (uniform over all values). `None` where no weight is above 0: 500.
    pub fn choose(&self, random: u64) -> Option<&Backend> {
        let total = self.ends.last().copied()?;
        let drawn = below(random, total);
        // Backends of weight 0 end where they begin, so no draw falls on them.
        self.all.get(self.ends.partition_point(|end| *end <= drawn))
    }

    /// All, those of weight 0 too, each with its weight.
    pub fn weighted(&self) -> impl Iterator<Item = (u64, &Backend)> {
        let starts = std::iter::once(&0).chain(&self.ends);
        self.ends.iter().zip(starts).map(|(end, start)| end - start).zip(&self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backends(weights: &[u32]) -> Backends {
        let backend = |at: usize| Backend {
            target: Target::Invalid(at.to_string().into()),
            request_headers: HeaderEdit::default(),
            response_headers: HeaderEdit::default(),
            authority: None,
        };
        let weighted = weights.iter().enumerate().map(|(at, weight)| (*weight, backend(at)));
        Backends::new(weighted.collect())
    }

    /// The share of each of `count` evenly spread draws.
    fn shares(backends: &Backends, count: u64) -> BTreeMap<String, u64> {
        let mut shares = BTreeMap::new();
        for draw in 0..count {
            if let Some(backend) = backends.choose(draw * (u64::MAX / count)) {
                let Target::Invalid(name) = &backend.target else { unreachable!() };
                *shares.entry(name.to_string()).or_default() += 1;
            }
        }
        shares
    }

    #[test]
    fn shares_follow_weights() {
        let found = shares(&backends(&[95, 0, 5]), 1_000);
        assert_eq!(found.get("1"), None);
        assert!(found["0"].abs_diff(950) <= 1 && found["2"].abs_diff(50) <= 1, "{found:?}");
    }

    #[test]
    fn nothing_is_chosen_without_weight() {
        assert!(backends(&[0, 0]).choose(0).is_none());
        assert!(backends(&[]).choose(u64::MAX).is_none());
        assert!(backends(&[1]).choose(u64::MAX).is_some());
    }

    #[test]
    fn weights_are_told_as_given() {
        let weights: Vec<u64> = backends(&[3, 0, 7]).weighted().map(|(weight, _)| weight).collect();
        assert_eq!(weights, [3, 0, 7]);
    }
}
