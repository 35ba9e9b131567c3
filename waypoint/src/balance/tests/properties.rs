//! Whatever happens in whatever order.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Endpoints(Vec<(usize, u32, bool)>),
    Settings { percent: u32, panic: u32, errors: u32 },
    Pick { hash: Option<u64> },
    Report { at: usize, outcome: Outcome, times: usize },
    Drop { at: usize },
    Admit(usize),
    Yield(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        Just(Outcome::Status(200)),
        Just(Outcome::Status(500)),
        Just(Outcome::Status(503)),
        Just(Outcome::Timeout),
        Just(Outcome::ConnectFailed),
    ];
    let endpoints = prop::collection::vec((0_usize..12, 0_u32..4, any::<bool>()), 0..12);
    prop_oneof![
        1 => endpoints.prop_map(Step::Endpoints),
        1 => (0_u32..=110, 0_u32..=100, 0_u32..4)
            .prop_map(|(percent, panic, errors)| Step::Settings { percent, panic, errors }),
        4 => prop::option::of(any::<u64>()).prop_map(|hash| Step::Pick { hash }),
        4 => (any::<usize>(), outcome, 0_usize..8)
            .prop_map(|(at, outcome, times)| Step::Report { at, outcome, times }),
        2 => any::<usize>().prop_map(|at| Step::Drop { at }),
        2 => (0_usize..4).prop_map(Step::Admit),
        1 => any::<usize>().prop_map(Step::Yield),
        1 => (0_u64..40_000).prop_map(Step::Pass),
    ]
}

fn settings(percent: u32, panic: u32, errors: u32, balancer: usize) -> Settings {
    let outlier = Outlier {
        consecutive_5xx: errors,
        ejected_percent_max: percent,
        healthy_percent_min: panic,
        ..Outlier::default()
    };
    let hash =
        |algorithm| Balancer::Hash(ConsistentHash { key: Some(HashKey::SourceAddress), algorithm });
    let balancers = [
        Balancer::default(),
        Balancer::RoundRobin,
        hash(Algorithm::Ring { size_min: 64 }),
        hash(Algorithm::Maglev { size: 61 }),
    ];
    let warmup = Warmup { duration: seconds(20), aggression: 1.5, share_min: 0.05 };
    Settings {
        balancer: balancers[balancer % 4].clone(),
        warmup: Some(warmup),
        outlier: Some(outlier),
        ..Settings::default()
    }
}

/// What is held in the meantime.
#[derive(Default)]
struct Held {
    picked: Vec<Picked>,
    permits: Vec<Box<dyn std::any::Any>>,
}

fn carry_out(world: &mut World, held: &mut Held, balancer: usize, step: &Step) {
    let cluster = &world.cluster;
    match step {
        Step::Endpoints(list) => {
            let mut specs: Vec<EndpointSpec> = Vec::new();
            for (id, weight, is_healthy) in list {
                let spec =
                    EndpointSpec { is_healthy: *is_healthy, ..endpoint(&id.to_string(), *weight) };
                if !specs.iter().any(|it| it.id == spec.id) {
                    specs.push(spec);
                }
            }
            cluster.set_endpoints(specs, world.now);
        }
        Step::Settings { percent, panic, errors } => {
            cluster.set_settings(Arc::new(settings(*percent, *panic, *errors, balancer)));
        }
        Step::Pick { hash } => {
            let context = PickContext { hash: *hash, ..world.context() };
            let picked = cluster.pick(&context, &mut world.rng);
            let takes: Vec<EndpointState> = cluster.endpoints(world.now);
            let is_panic = cluster.counts().is_panic;
            match picked {
                Ok(picked) => {
                    let state = &takes[picked.index()];
                    assert_eq!(state.id, *picked.id());
                    let is_open = state.is_healthy && state.ejected_until.is_none();
                    assert!(state.weight > 0 && (is_open || is_panic), "{state:?}");
                    held.picked.push(picked);
                }
                Err(_) => assert!(
                    !takes
                        .iter()
                        .any(|it| { it.weight > 0 && it.is_healthy && it.ejected_until.is_none() })
                ),
            }
        }
        Step::Report { at, outcome, times } if !held.picked.is_empty() => {
            let picked = &held.picked[at % held.picked.len()];
            (0..*times).for_each(|_| picked.report(*outcome, world.now));
        }
        Step::Drop { at } if !held.picked.is_empty() => {
            let at = at % held.picked.len();
            held.picked.swap_remove(at);
        }
        Step::Admit(kind) => {
            let permit: Option<Box<dyn std::any::Any>> = match kind {
                0 => cluster.admit_request().ok().map(|it| Box::new(it) as _),
                1 => cluster.admit_pending().ok().map(|it| Box::new(it) as _),
                2 => cluster.admit_connection().ok().map(|it| Box::new(it) as _),
                _ => cluster.admit_retry().ok().map(|it| Box::new(it) as _),
            };
            held.permits.extend(permit);
        }
        Step::Yield(at) if !held.permits.is_empty() => {
            let at = at % held.permits.len();
            held.permits.swap_remove(at);
        }
        Step::Pass(milliseconds) => world.now += Duration::from_millis(*milliseconds),
        Step::Report { .. } | Step::Drop { .. } | Step::Yield(_) => {}
    }
}

#[test]
fn threads_share_a_cluster_while_its_endpoints_and_settings_change() {
    const THREADS: usize = 4;
    let now = Instant::now();
    let cluster = Cluster::new(Arc::new(settings(50, 0, 2, 0)), Place::default(), now);
    cluster.set_endpoints(endpoints(6), now);
    std::thread::scope(|scope| {
        for seed in 0..THREADS {
            let cluster = cluster.clone();
            scope.spawn(move || {
                let mut rng = StdRng::seed_from_u64(seed as u64);
                let mut held = Vec::new();
                for turn in 0..5_000_u64 {
                    let now = now + Duration::from_millis(turn);
                    let context =
                        PickContext { hash: Some(turn), tried: &[], is_anywhere: false, now };
                    let Ok(picked) = cluster.pick(&context, &mut rng) else { continue };
                    let is_bad = picked.id().starts_with(['1', '3']);
                    picked.report(Outcome::Status(if is_bad { 503 } else { 200 }), now);
                    held.push((picked, cluster.admit_request(), cluster.admit_retry()));
                    if turn % 7 == 0 {
                        held.clear();
                    }
                }
            });
        }
        for turn in 0..300_usize {
            let now = now + Duration::from_millis(turn as u64 * 16);
            cluster.set_endpoints(endpoints(3 + turn % 5), now);
            cluster.set_settings(Arc::new(settings(50, 0, 2, turn)));
        }
    });
    let counts = cluster.counts();
    assert_eq!((counts.requests, counts.retries), (0, 0));
    let all = cluster.endpoints(now);
    assert_eq!(all.iter().map(|it| it.active).sum::<u32>(), 0);
    let ejected = all.iter().filter(|it| it.ejected_until.is_some()).count();
    assert!(ejected <= all.len() / 2 && ejected == counts.ejected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn bound_of_ejections_holds_and_what_is_counted_is_given_back(
        steps in prop::collection::vec(step(), 1..80),
        balancer in 0_usize..4,
    ) {
        let mut world = World::new(settings(10, 0, 2, balancer), endpoints(8));
        let mut held = Held::default();
        let mut percent = 10;
        for step in &steps {
            if let Step::Settings { percent: new, .. } = step {
                percent = *new;
            }
            carry_out(&mut world, &mut held, balancer, step);
            let all = world.cluster.endpoints(world.now);
            let ejected = all.iter().filter(|it| it.ejected_until.is_some()).count();
            let share = all.len() * percent.min(100) as usize / 100;
            prop_assert!(ejected <= share.max(usize::from(percent > 0)));
            prop_assert_eq!(ejected, world.cluster.counts().ejected);
        }
        drop(held);
        let counts = world.cluster.counts();
        prop_assert_eq!((counts.requests, counts.pending), (0, 0));
        prop_assert_eq!((counts.connections, counts.retries), (0, 0));
        let active: u32 = world.cluster.endpoints(world.now).iter().map(|it| it.active).sum();
        prop_assert_eq!(active, 0);
    }
}
