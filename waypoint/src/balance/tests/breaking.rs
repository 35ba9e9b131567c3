//! How much may be under way at one time.

use super::*;

fn bounded(pool: ConnectionPool, budget: RetryBudget) -> World {
    World::new(Settings { pool, budget, ..Settings::default() }, endpoints(1))
}

#[test]
fn breaker_opens_at_its_bound_and_closes_below_it() {
    let pool = ConnectionPool {
        requests_max: Some(2),
        pending_max: Some(1),
        connections_max: Some(3),
        ..ConnectionPool::default()
    };
    let world = bounded(pool, RetryBudget::default());
    let cluster = &world.cluster;
    let first = cluster.admit_request().unwrap();
    let _second = cluster.admit_request().unwrap();
    assert_eq!(cluster.admit_request().unwrap_err(), Overflow::Requests(2));
    drop(first);
    let _third = cluster.admit_request().unwrap();
    assert!(cluster.admit_request().is_err());
    let _pending = cluster.admit_pending().unwrap();
    assert_eq!(cluster.admit_pending().unwrap_err(), Overflow::Pending(1));
    let _open: Vec<_> = (0..3).map(|_| cluster.admit_connection().unwrap()).collect();
    assert_eq!(cluster.admit_connection().unwrap_err(), Overflow::Connections(3));
    assert_eq!(cluster.counts().overflows_total, 4);
}

#[test]
fn retries_are_a_fifth_of_active_requests_and_three_at_least() {
    let world = bounded(ConnectionPool::default(), RetryBudget::default());
    let cluster = &world.cluster;
    for (requests, retries) in [(0, 3), (15, 3), (20, 4), (100, 20)] {
        let _active: Vec<_> = (0..requests).map(|_| cluster.admit_request().unwrap()).collect();
        let admitted: Vec<_> = (0..1_000).map_while(|_| cluster.admit_retry().ok()).collect();
        assert_eq!(admitted.len(), retries, "of {requests}");
    }
}

#[test]
fn retries_have_the_smaller_of_budget_and_bound() {
    let pool = ConnectionPool { retries_max: Some(2), ..ConnectionPool::default() };
    let world = bounded(pool, RetryBudget::default());
    let _two: Vec<_> = (0..2).map(|_| world.cluster.admit_retry().unwrap()).collect();
    assert_eq!(world.cluster.admit_retry().unwrap_err(), Overflow::Retries(2));
    let none = RetryBudget { percent_thousandths: 0, retries_min: 0 };
    let world = bounded(ConnectionPool::default(), none);
    assert!(world.cluster.admit_retry().is_err());
}

#[test]
fn bounds_follow_the_settings_and_what_is_under_way_stays() {
    let world = bounded(ConnectionPool::default(), RetryBudget::default());
    let active: Vec<_> = (0..10).map(|_| world.cluster.admit_request().unwrap()).collect();
    let pool = ConnectionPool { requests_max: Some(5), ..ConnectionPool::default() };
    world.cluster.set_settings(Arc::new(Settings { pool, ..Settings::default() }));
    assert!(world.cluster.admit_request().is_err());
    assert_eq!(world.cluster.counts().requests, 10);
    drop(active);
    assert!(world.cluster.admit_request().is_ok());
}

#[test]
fn rate_is_the_services_own_and_begins_anew_with_new_settings() {
    let rate = |burst| {
        let limit = RateLimit { burst, tokens: 1, interval: seconds(1) };
        Arc::new(Settings { rate_limit: Some(limit), ..Settings::default() })
    };
    let mut world = World::new(Settings::default(), endpoints(1));
    assert_eq!(world.cluster.admit_rate(world.now), Ok(()));
    world.cluster.set_settings(rate(2));
    let passes =
        |world: &World| (0..10).filter(|_| world.cluster.admit_rate(world.now).is_ok()).count();
    assert_eq!((passes(&world), passes(&world)), (2, 0));
    let limited = world.cluster.admit_rate(world.now).unwrap_err();
    assert_eq!(limited.retry_after, Some(seconds(1)));
    world.cluster.set_settings(rate(2));
    assert_eq!(passes(&world), 0);
    world.now += seconds(1);
    assert_eq!(passes(&world), 1);
    world.cluster.set_settings(rate(3));
    assert_eq!(passes(&world), 3);
}
