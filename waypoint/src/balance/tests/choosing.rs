//! Which endpoint is chosen where nothing fails.

use super::*;

fn balanced(balancer: Balancer) -> Settings {
    Settings { balancer, ..Settings::default() }
}

#[test]
fn shares_follow_weights_whatever_the_balancer() {
    let balancers = [Balancer::default(), Balancer::Random, Balancer::RoundRobin];
    for balancer in balancers {
        let weighted = vec![endpoint("a", 1), endpoint("b", 3), endpoint("c", 6), endpoint("d", 0)];
        let shares = World::new(balanced(balancer.clone()), weighted).shares(20_000);
        for (id, p) in [("a", 0.1), ("b", 0.3), ("c", 0.6)] {
            assert_near(shares[id], 20_000, p);
        }
        assert_eq!(shares.get("d"), None, "{balancer:?}");
        let shares = World::new(balanced(balancer), endpoints(4)).shares(20_000);
        shares.values().for_each(|count| assert_near(*count, 20_000, 0.25));
    }
}

#[test]
fn turns_are_taken_one_after_the_other() {
    let mut world = World::new(balanced(Balancer::RoundRobin), endpoints(3));
    let ids: Vec<String> = (0..6).map(|_| world.pick().unwrap().id().to_string()).collect();
    assert_eq!(ids, ["0", "1", "2", "0", "1", "2"]);
    let weighted = vec![endpoint("a", 1), endpoint("b", 4)];
    let mut world = World::new(balanced(Balancer::RoundRobin), weighted);
    let ids: Vec<String> = (0..100).map(|_| world.pick().unwrap().id().to_string()).collect();
    // Never far from its due: of any ten turns it has one to three.
    for turns in ids.windows(10) {
        let count = turns.iter().filter(|id| **id == "a").count();
        assert!((1..=3).contains(&count), "{turns:?}");
    }
}

#[test]
fn busy_endpoint_is_passed_over() {
    let mut world = World::new(Settings::default(), endpoints(2));
    let busy: Vec<Picked> = (0..10).map(|_| world.pick_named("0")).collect();
    let shares = world.shares(100);
    assert_eq!(shares.get("0"), None);
    drop(busy);
    assert_near(world.shares(10_000)["0"], 10_000, 0.5);
}

#[test]
fn active_requests_count_by_weight() {
    let mut world = World::new(Settings::default(), vec![endpoint("a", 1), endpoint("b", 9)]);
    let held: Vec<Picked> = (0..1_000).map(|_| world.pick().unwrap()).collect();
    let of_a = held.iter().filter(|picked| **picked.id() == *"a").count();
    assert!((95..=105).contains(&of_a), "{of_a}");
}

#[test]
fn tried_endpoints_are_avoided_as_long_as_there_is_another() {
    let balancers = [
        Balancer::default(),
        Balancer::RoundRobin,
        Balancer::Hash(ConsistentHash {
            key: Some(HashKey::SourceAddress),
            algorithm: Algorithm::Maglev { size: 251 },
        }),
    ];
    for balancer in balancers {
        let mut world = World::new(balanced(balancer), endpoints(20));
        let mut tried: Vec<Arc<str>> = Vec::new();
        for _ in 0..20 {
            let context = PickContext { hash: Some(9), tried: &tried, ..world.context() };
            let id = world.cluster.pick(&context, &mut world.rng).unwrap().id().clone();
            assert!(!tried.contains(&id), "{id} was tried");
            tried.push(id);
        }
        let context = PickContext { hash: Some(9), tried: &tried, ..world.context() };
        assert!(world.cluster.pick(&context, &mut world.rng).is_ok());
    }
}

#[test]
fn nobody_is_chosen_where_nobody_is() {
    let mut world = World::new(Settings::default(), Vec::new());
    assert_eq!(world.pick().unwrap_err(), PickError::NoEndpoints);
    world.cluster.set_endpoints(vec![endpoint("a", 0)], world.now);
    assert_eq!(world.pick().unwrap_err(), PickError::NoEndpoints);
    let unready = EndpointSpec { is_healthy: false, ..endpoint("a", 1) };
    world.cluster.set_endpoints(vec![unready], world.now);
    assert_eq!(world.pick().unwrap_err(), PickError::AllEjected);
}

#[test]
fn endpoints_that_stay_keep_their_counts() {
    let mut world = World::new(Settings::default(), endpoints(2));
    let held = world.pick_named("1");
    let version = world.cluster.set_endpoints(endpoints(5).split_off(1), world.now);
    let active = |world: &World| -> u32 {
        let all = world.cluster.endpoints(world.now);
        all.iter().find(|it| *it.id == *"1").unwrap().active
    };
    assert_eq!(active(&world), 1);
    let picked = world.pick().unwrap();
    assert_eq!((picked.version(), picked.index() + 1), (version, picked.id().parse().unwrap()));
    assert_ne!(held.version(), version);
    drop(picked);
    drop(held);
    assert_eq!(active(&world), 0);
}

#[test]
fn new_endpoint_warms_up() {
    let warmup = Warmup { duration: seconds(100), aggression: 1.0, share_min: 0.1 };
    for balancer in [Balancer::default(), Balancer::RoundRobin, Balancer::Random] {
        let settings = Settings { warmup: Some(warmup), ..balanced(balancer) };
        let mut world = World::new(settings, endpoints(3));
        // Who was there at the beginning is warm.
        assert_near(world.shares(10_000)["0"], 10_000, 1.0 / 3.0);
        world.now += seconds(1_000);
        world.cluster.set_endpoints(endpoints(4), world.now);
        for (age, share) in [(0, 0.1), (50, 0.5), (90, 0.9), (100, 1.0), (5_000, 1.0)] {
            let start = world.now;
            world.now += seconds(age);
            assert_near(world.shares(20_000)["3"], 20_000, share / (3.0 + share));
            world.now = start;
        }
    }
}

#[test]
fn endpoint_that_becomes_ready_warms_up_from_then_on() {
    let warmup = Warmup { duration: seconds(100), aggression: 2.0, share_min: 0.0 };
    let settings = Settings { warmup: Some(warmup), ..Settings::default() };
    let mut world = World::new(settings, endpoints(1));
    world.now += seconds(10);
    let unready = EndpointSpec { is_healthy: false, ..endpoint("1", 1) };
    world.cluster.set_endpoints(vec![endpoint("0", 1), unready], world.now);
    world.now += seconds(500);
    world.cluster.set_endpoints(endpoints(2), world.now);
    world.now += seconds(25);
    let warmth: Vec<u64> =
        world.cluster.endpoints(world.now).into_iter().map(|it| it.warmth).collect();
    // The square root of a quarter.
    assert_eq!(warmth, [1_000_000, 500_000]);
}
