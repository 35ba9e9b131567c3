//! One copy of each text: thousands of workloads share a few namespaces, nodes, networks and service names.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use super::workload::{Locality, OwnLabels};
use super::{DecodeError, Port};
use crate::identity::{SpiffeId, TrustDomain};

/// Hands out shared values. What nobody else holds any more is forgotten as the pools grow.
#[derive(Debug, Default)]
pub(super) struct Interner {
    texts: Pool<str>,
    localities: Pool<Locality>,
    ports: Pool<[Port]>,
    labels: Pool<OwnLabels>,
    identities: HashSet<SpiffeId>,
    trust_domains: HashSet<TrustDomain>,
}

/// Below this many values a pool is not worth sweeping.
const SWEEP_MIN: usize = 1024;

impl Interner {
    pub(super) fn text(&mut self, text: &str) -> Arc<str> {
        self.texts.share(text)
    }

    pub(super) fn locality(&mut self, locality: Locality) -> Arc<Locality> {
        if let Some(known) = self.localities.values.get(&locality) {
            return Arc::clone(known);
        }
        self.localities.add(Arc::new(locality))
    }

    pub(super) fn labels(&mut self, labels: OwnLabels) -> Arc<OwnLabels> {
        if let Some(known) = self.labels.values.get(&labels) {
            return Arc::clone(known);
        }
        self.labels.add(Arc::new(labels))
    }

    pub(super) fn ports(&mut self, ports: &[Port]) -> Arc<[Port]> {
        self.ports.share(ports)
    }

    pub(super) fn trust_domain(&mut self, text: &str) -> Result<TrustDomain, DecodeError> {
        let parsed: TrustDomain = text.parse()?;
        if let Some(known) = self.trust_domains.get(&parsed) {
            return Ok(known.clone());
        }
        // Trust domains are a handful; a control plane that sends more than that gets no sharing, not more memory.
        if self.trust_domains.len() < SWEEP_MIN {
            self.trust_domains.insert(parsed.clone());
        }
        Ok(parsed)
    }

    pub(super) fn identity(
        &mut self,
        trust_domain: &str,
        namespace: &str,
        service_account: &str,
    ) -> Result<SpiffeId, DecodeError> {
        let identity = SpiffeId::new(self.trust_domain(trust_domain)?, namespace, service_account)?;
        if let Some(known) = self.identities.get(&identity) {
            return Ok(known.clone());
        }
        self.identities.insert(identity.clone());
        Ok(identity)
    }

    /// Identities do not tell who holds them, so the pool starts afresh when it outgrows `workloads` by far.
    /// Sharing is then lost for what is already there, nothing else.
    pub(super) fn bound_identities(&mut self, workloads: usize) {
        if self.identities.len() > SWEEP_MIN.saturating_add(workloads.saturating_mul(2)) {
            self.identities.clear();
        }
    }
}

#[derive(Debug)]
struct Pool<T: ?Sized + Hash + Eq> {
    values: HashSet<Arc<T>>,
    sweep_at: usize,
}

impl<T: ?Sized + Hash + Eq> Default for Pool<T> {
    fn default() -> Self {
        Self { values: HashSet::new(), sweep_at: SWEEP_MIN }
    }
}

impl<T: ?Sized + Hash + Eq> Pool<T> {
    fn share<'a>(&mut self, value: &'a T) -> Arc<T>
    where
        Arc<T>: From<&'a T>,
    {
        match self.values.get(value) {
            Some(known) => Arc::clone(known),
            None => self.add(Arc::from(value)),
        }
    }

    fn add(&mut self, value: Arc<T>) -> Arc<T> {
        if self.values.len() >= self.sweep_at {
            self.values.retain(|value| Arc::strong_count(value) > 1);
            self.sweep_at = SWEEP_MIN.max(self.values.len().saturating_mul(2));
        }
        self.values.insert(Arc::clone(&value));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_nobody_holds_are_forgotten() {
        let mut interner = Interner::default();
        let kept = interner.text("kept");
        for number in 0..10 * SWEEP_MIN {
            interner.text(&number.to_string());
        }
        assert!(interner.texts.values.len() <= 2 * SWEEP_MIN);
        assert!(Arc::ptr_eq(&kept, &interner.text("kept")));
    }
}
