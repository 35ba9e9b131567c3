//! What choosing an endpoint costs: no memory, and how long it takes.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::time::Instant;
use weft_waypoint::balance::{
    Algorithm, Balancer, Cluster, ConsistentHash, EndpointSpec, HashKey, Outcome, Outlier,
    PickContext, Place, Settings, hash_of,
};

fn cluster(balancer: Balancer, count: usize, now: Instant) -> Cluster {
    let settings = Settings { balancer, outlier: Some(Outlier::default()), ..Settings::default() };
    let cluster = Cluster::new(Arc::new(settings), Place::default(), now);
    let spec = |at: usize| EndpointSpec {
        id: format!("Kubernetes//Pod/shop/web-{at}").into(),
        weight: 1,
        place: Place::default(),
        is_healthy: true,
    };
    cluster.set_endpoints((0..count).map(spec).collect(), now);
    cluster
}

fn balancers() -> [(&'static str, Balancer); 4] {
    let hash =
        |algorithm| Balancer::Hash(ConsistentHash { key: Some(HashKey::SourceAddress), algorithm });
    [
        ("least requests", Balancer::default()),
        ("in turn", Balancer::RoundRobin),
        ("ring", hash(Algorithm::Ring { size_min: 1_024 })),
        ("maglev", hash(Algorithm::Maglev { size: 65_537 })),
    ]
}

/// One request: a permit, a choice, its outcome, and all given back.
fn request(cluster: &Cluster, context: &PickContext<'_>, rng: &mut SmallRng) {
    let permit = cluster.admit_request().unwrap();
    let picked = cluster.pick(context, rng).unwrap();
    picked.report(Outcome::Status(200), context.now);
    black_box((&permit, &picked));
}

#[test]
fn choosing_takes_no_memory() {
    let now = Instant::now();
    let mut rng = SmallRng::seed_from_u64(1);
    for (name, balancer) in balancers() {
        for count in [1, 10, 1_000] {
            let cluster = cluster(balancer.clone(), count, now);
            let hash = Some(hash_of(b"ann"));
            let context = PickContext { hash, tried: &[], is_anywhere: false, now };
            request(&cluster, &context, &mut rng);
            let counted = allocation_counter::measure(|| {
                (0..100).for_each(|_| request(&cluster, &context, &mut rng));
            });
            assert_eq!(counted.count_total, 0, "{name} of {count}");
        }
    }
}

/// Prints what a choice takes, and fails only far above the aim of 200 ns: builds for tests are ten times slower, and the
/// machine may be busy.
#[test]
fn choosing_takes_well_below_a_microsecond() {
    let now = Instant::now();
    let aim =
        if cfg!(debug_assertions) { Duration::from_micros(50) } else { Duration::from_micros(2) };
    for (name, balancer) in balancers() {
        for count in [1, 10, 1_000] {
            let cluster = cluster(balancer.clone(), count, now);
            let context = PickContext { hash: Some(7), tried: &[], is_anywhere: false, now };
            let best = (0..20).map(|seed| time(&cluster, &context, seed)).min().unwrap();
            println!("{name}: {} ns with {count} endpoints", best.as_nanos());
            assert!(best < aim, "{name} of {count} took {best:?}");
        }
    }
}

/// Mean of a thousand.
#[expect(clippy::disallowed_methods, reason = "what is measured is real time")]
fn time(cluster: &Cluster, context: &PickContext<'_>, seed: u64) -> Duration {
    const RUNS: u32 = 1_000;
    let mut rng = SmallRng::seed_from_u64(seed);
    let start = std::time::Instant::now();
    (0..RUNS).for_each(|_| drop(black_box(cluster.pick(context, &mut rng))));
    start.elapsed() / RUNS
}
