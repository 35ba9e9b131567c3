//! Who is left out, for how long, and how many at most.

use super::*;

/// All of them may be ejected.
fn outlier() -> Outlier {
    Outlier { ejected_percent_max: 100, ..Outlier::default() }
}

fn world(outlier: Outlier, count: usize) -> World {
    World::new(Settings { outlier: Some(outlier), ..Settings::default() }, endpoints(count))
}

const ERROR: Outcome = Outcome::Status(500);

#[test]
fn five_errors_in_succession_eject() {
    let mut world = world(outlier(), 3);
    world.fail("0", ERROR, 4);
    assert_eq!(world.ejected(), [""; 0]);
    world.fail("0", Outcome::Status(404), 1);
    world.fail("0", ERROR, 4);
    assert_eq!(world.ejected(), [""; 0]);
    world.fail("0", ERROR, 1);
    assert_eq!(world.ejected(), ["0"]);
    assert_eq!(world.shares(1_000).get("0"), None);
    assert_eq!(world.cluster.counts().ejections_total, 1);
}

#[test]
fn ejected_endpoint_returns_after_its_time_which_grows_and_shrinks_again() {
    let mut world = world(outlier(), 2);
    // Ejected for 30 s, then 60 s; an interval of 10 s ends what comes in between.
    for length in [30, 60, 90] {
        world.fail("0", ERROR, 5);
        world.now += seconds(length) - Duration::from_millis(1);
        assert_eq!(world.shares(100).get("0"), None, "{length}");
        // The next look.
        world.now += seconds(10);
        assert!(world.shares(100).contains_key("0"), "{length}");
    }
    assert_eq!(world.cluster.endpoints(world.now)[0].ejections, 3);
    // An interval without one takes one off.
    world.now += seconds(20);
    drop(world.pick());
    assert_eq!(world.cluster.endpoints(world.now)[0].ejections, 1);
    world.now += seconds(3_600);
    drop(world.pick());
    assert_eq!(world.cluster.endpoints(world.now)[0].ejections, 0);
}

#[test]
fn ejection_never_lasts_longer_than_the_longest() {
    let longest = Outlier { ejection_max: seconds(45), ..outlier() };
    let mut world = world(longest, 2);
    for length in [30, 45, 45] {
        world.fail("0", ERROR, 5);
        let until = world.cluster.endpoints(world.now)[0].ejected_until.unwrap();
        assert_eq!(until - world.now, seconds(length));
        world.now = until + seconds(10);
    }
}

#[test]
fn gateway_errors_count_by_themselves() {
    let gateway = Outlier { consecutive_5xx: 0, consecutive_gateway: 2, ..outlier() };
    let mut world = world(gateway, 3);
    world.fail("0", ERROR, 20);
    for outcome in [Outcome::Status(503), ERROR, Outcome::Status(502)] {
        world.fail("0", outcome, 1);
    }
    assert_eq!(world.ejected(), [""; 0]);
    world.fail("0", Outcome::GatewayError, 1);
    assert_eq!(world.ejected(), ["0"]);
    world.fail("1", Outcome::ConnectFailed, 2);
    assert_eq!(world.ejected(), ["0", "1"]);
}

#[test]
fn failures_without_an_answer_are_told_apart_where_that_is_asked_for() {
    let split = Outlier { splits_local_origin: true, consecutive_local: 3, ..outlier() };
    let mut world = world(split, 3);
    let local = [Outcome::ConnectFailed, Outcome::Timeout, Outcome::Reset, Outcome::LocalOrigin];
    // Four errors of the endpoint and two of ours: neither is enough.
    world.fail("0", ERROR, 4);
    world.fail("0", local[1], 2);
    assert_eq!(world.ejected(), [""; 0]);
    // An answer, if a bad one, ends the succession of failures without one.
    world.fail("0", Outcome::Status(200), 1);
    world.fail("0", local[2], 2);
    assert_eq!(world.ejected(), [""; 0]);
    world.fail("0", local[3], 1);
    assert_eq!(world.ejected(), ["0"]);
    let deaf = Outlier { splits_local_origin: true, consecutive_local: 0, ..outlier() };
    let mut world = self::world(deaf, 3);
    local.iter().for_each(|outcome| world.fail("0", *outcome, 100));
    assert_eq!(world.ejected(), [""; 0]);
}

#[test]
fn statuses_that_are_listed_count_instead() {
    let listed = Outlier { error_statuses: Box::new([429..=429, 500..=501]), ..outlier() };
    let mut world = world(listed, 3);
    world.fail("0", Outcome::Status(503), 50);
    assert_eq!(world.ejected(), [""; 0]);
    world.fail("0", Outcome::Status(429), 5);
    assert_eq!(world.ejected(), ["0"]);
}

#[test]
fn statuses_of_grpc_count_as_those_of_http() {
    let mut world = world(outlier(), 3);
    world.fail("0", Outcome::of_grpc(5), 50);
    assert_eq!(world.ejected(), [""; 0]);
    world.fail("0", Outcome::of_grpc(14), 5);
    assert_eq!(world.ejected(), ["0"]);
}

#[test]
fn no_more_than_the_share_are_ejected_but_one_always_may() {
    for (count, percent, bound) in
        [(10, 10, 1), (19, 10, 1), (20, 10, 2), (3, 10, 1), (4, 50, 2), (5, 100, 5), (5, 0, 0)]
    {
        let mut world =
            world(Outlier { ejected_percent_max: percent, ..Outlier::default() }, count);
        let all: Vec<Picked> = (0..count).map(|at| world.pick_named(&at.to_string())).collect();
        for picked in &all {
            (0..10).for_each(|_| picked.report(ERROR, world.now));
        }
        assert_eq!(world.ejected().len(), bound, "{percent} % of {count}");
        let refused = world.cluster.counts().ejections_refused_total > 0;
        assert_eq!(refused, bound < count);
    }
}

#[test]
fn where_endpoints_leave_too_many_ejected_ones_come_back() {
    let mut world = world(Outlier { ejected_percent_max: 50, ..Outlier::default() }, 6);
    for id in ["0", "1", "2"] {
        world.fail(id, ERROR, 5);
        world.now += seconds(1);
    }
    assert_eq!(world.ejected(), ["0", "1", "2"]);
    world.cluster.set_endpoints(endpoints(4), world.now);
    // Who would have come back first.
    assert_eq!(world.ejected(), ["1", "2"]);
    world.cluster.set_settings(Arc::default());
    assert_eq!(world.ejected(), [""; 0]);
    assert_eq!(world.shares(1_000).len(), 4);
}

#[test]
fn all_are_used_in_a_panic_and_nobody_without_one() {
    let calm = world(outlier(), 2);
    let panicking = world(Outlier { healthy_percent_min: 60, ..outlier() }, 2);
    for (mut world, is_panic) in [(calm, false), (panicking, true)] {
        let all = ["0", "1"].map(|id| world.pick_named(id));
        for picked in &all {
            (0..5).for_each(|_| picked.report(ERROR, world.now));
        }
        assert_eq!(world.cluster.counts().is_panic, is_panic);
        match is_panic {
            true => assert_eq!(world.shares(1_000).len(), 2),
            false => assert_eq!(world.pick().unwrap_err(), PickError::AllEjected),
        }
        // It ends by itself.
        world.now += seconds(60);
        assert_eq!(world.shares(1_000).len(), 2);
        assert!(!world.cluster.counts().is_panic);
    }
}

#[test]
fn outcome_of_one_that_left_ejects_nobody() {
    let mut world = world(outlier(), 2);
    let gone = world.pick_named("0");
    world.cluster.set_endpoints(endpoints(3).split_off(1), world.now);
    (0..50).for_each(|_| gone.report(ERROR, world.now));
    assert_eq!((world.ejected().len(), world.cluster.counts().ejected), (0, 0));
}

#[test]
fn without_outlier_detection_nobody_is_ejected() {
    let mut world = World::new(Settings::default(), endpoints(2));
    world.fail("0", Outcome::ConnectFailed, 1_000);
    assert_eq!(world.ejected(), [""; 0]);
}
