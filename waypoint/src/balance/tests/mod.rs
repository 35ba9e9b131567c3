//! Clusters as a proxy uses them, with a clock and random numbers of the test's own.

mod breaking;
mod choosing;
mod decoding;
mod hashing;
mod localities;
mod outliers;
mod properties;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use super::*;

/// A cluster, its clock and its luck.
struct World {
    cluster: Cluster,
    now: Instant,
    rng: StdRng,
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn endpoint(id: &str, weight: u32) -> EndpointSpec {
    EndpointSpec { id: id.into(), weight, place: Place::default(), is_healthy: true }
}

/// Endpoints `0`, `1` and so on, of one weight.
fn endpoints(count: usize) -> Vec<EndpointSpec> {
    (0..count).map(|at| endpoint(&at.to_string(), 1)).collect()
}

impl World {
    fn new(settings: Settings, endpoints: Vec<EndpointSpec>) -> Self {
        Self::at(Place::default(), settings, endpoints)
    }

    fn at(home: Place, settings: Settings, endpoints: Vec<EndpointSpec>) -> Self {
        let now = Instant::now();
        let cluster = Cluster::new(Arc::new(settings), home, now);
        cluster.set_endpoints(endpoints, now);
        Self { cluster, now, rng: StdRng::seed_from_u64(42) }
    }

    fn context(&self) -> PickContext<'static> {
        PickContext { hash: None, tried: &[], is_anywhere: false, now: self.now }
    }

    fn pick(&mut self) -> Result<Picked, PickError> {
        self.cluster.pick(&self.context(), &mut self.rng)
    }

    fn pick_hash(&mut self, hash: u64) -> String {
        let context = PickContext { hash: Some(hash), ..self.context() };
        self.cluster.pick(&context, &mut self.rng).unwrap().id().to_string()
    }

    /// The one with this name, as all others were tried.
    fn pick_named(&mut self, id: &str) -> Picked {
        let others = self.cluster.endpoints(self.now).into_iter().map(|it| it.id);
        let others: Vec<Arc<str>> = others.filter(|other| **other != *id).collect();
        let context = PickContext { tried: &others, ..self.context() };
        let picked = self.cluster.pick(&context, &mut self.rng).unwrap();
        assert_eq!(**picked.id(), *id, "it takes no requests");
        picked
    }

    fn shares(&mut self, count: usize) -> BTreeMap<String, usize> {
        let mut shares = BTreeMap::new();
        for _ in 0..count {
            *shares.entry(self.pick().unwrap().id().to_string()).or_default() += 1;
        }
        shares
    }

    fn ejected(&self) -> Vec<String> {
        let all = self.cluster.endpoints(self.now).into_iter();
        all.filter(|it| it.ejected_until.is_some()).map(|it| it.id.to_string()).collect()
    }

    /// Tells of so many failures of an endpoint.
    fn fail(&mut self, id: &str, outcome: Outcome, times: usize) {
        let picked = self.pick_named(id);
        (0..times).for_each(|_| picked.report(outcome, self.now));
    }
}

/// Whether `count` of `of` draws is what probability `p` gives, within five standard deviations: by chance one of two
/// million isn't.
#[track_caller]
fn assert_near(count: usize, of: usize, p: f64) {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let (count, of) = (count as f64, of as f64);
    let bound = 5.0 * (of * p * (1.0 - p)).sqrt();
    assert!((count - of * p).abs() <= bound, "{count} of {of}, not {p}");
}
