//! The nearest first, as far as they are healthy; or shares.

use super::*;

fn place(text: &str) -> Place {
    let mut parts = text.split('/').map(Arc::from);
    let mut next = || parts.next().unwrap_or_default();
    Place { region: next(), zone: next(), subzone: next(), ..Place::default() }
}

/// `count` endpoints there, named after it and numbered.
fn there(text: &str, count: usize) -> Vec<EndpointSpec> {
    let spec = |at| EndpointSpec { place: place(text), ..endpoint(&format!("{text}#{at}"), 1) };
    (0..count).map(spec).collect()
}

fn with_outlier(localities: Localities) -> Settings {
    let outlier = Outlier { ejected_percent_max: 100, ..Outlier::default() };
    Settings { outlier: Some(outlier), localities, ..Settings::default() }
}

impl World {
    /// What share of requests goes where.
    fn by_place(&mut self, count: usize) -> BTreeMap<String, usize> {
        let mut places = BTreeMap::new();
        for (id, share) in self.shares(count) {
            *places.entry(id.split('#').next().unwrap().to_owned()).or_default() += share;
        }
        places
    }

    fn eject(&mut self, ids: &[&str]) {
        // By any way, so that also those can be ejected that are too far to be picked.
        let specs = self.cluster.endpoints(self.now).into_iter().map(|it| EndpointSpec {
            is_healthy: !ids.contains(&&*it.id),
            place: place(it.id.split('#').next().unwrap()),
            ..endpoint(&it.id, it.weight)
        });
        let specs = specs.collect();
        self.cluster.set_endpoints(specs, self.now);
    }
}

#[test]
fn nearest_take_all_and_the_next_take_what_they_cannot() {
    let all = [there("eu/a", 10), there("eu/b", 2), there("us/a", 2)].concat();
    let mut world = World::at(place("eu/a"), with_outlier(Localities::default()), all);
    assert_eq!(world.by_place(1_000), [("eu/a".to_owned(), 1_000)].into());
    // Seven of ten are healthy: 98 %.
    world.eject(&["eu/a#0", "eu/a#1", "eu/a#2"]);
    let shares = world.by_place(20_000);
    assert_near(shares["eu/a"], 20_000, 0.98);
    assert_near(shares["eu/b"], 20_000, 0.02);
    // None is: all goes to the next, and none farther.
    let gone: Vec<String> = (0..10).map(|at| format!("eu/a#{at}")).collect();
    let gone: Vec<&str> = gone.iter().map(String::as_str).collect();
    world.eject(&gone);
    assert_eq!(world.by_place(1_000), [("eu/b".to_owned(), 1_000)].into());
    world.eject(&[&gone[..], &["eu/b#0"]].concat());
    let shares = world.by_place(20_000);
    assert_near(shares["eu/b"], 20_000, 0.7);
    assert_near(shares["us/a"], 20_000, 0.3);
}

#[test]
fn ejections_spill_over_too() {
    let all = [there("eu/a", 1), there("us/a", 1)].concat();
    let mut world = World::at(place("eu/a"), with_outlier(Localities::default()), all);
    world.fail("eu/a#0", Outcome::Status(503), 5);
    assert_eq!(world.by_place(100), [("us/a".to_owned(), 100)].into());
    world.now += seconds(60);
    assert_eq!(world.by_place(100), [("eu/a".to_owned(), 100)].into());
}

#[test]
fn without_outlier_detection_localities_make_no_difference() {
    let all = [there("eu/a", 1), there("us/a", 1)].concat();
    let mut world = World::at(place("eu/a"), Settings::default(), all.clone());
    assert_near(world.by_place(10_000)["us/a"], 10_000, 0.5);
    let off = with_outlier(Localities::Ignored);
    let mut world = World::at(place("eu/a"), off, all.clone());
    assert_near(world.by_place(10_000)["us/a"], 10_000, 0.5);
    // Nor where nobody knows where the proxy is.
    let mut world = World::new(with_outlier(Localities::default()), all);
    assert_near(world.by_place(10_000)["us/a"], 10_000, 0.5);
}

#[test]
fn failover_names_the_next_region() {
    let localities = Localities::Nearest {
        scopes: Box::new([Scope::Region, Scope::Zone, Scope::Subzone]),
        failover: Box::new([Failover { from: "eu".into(), to: "us".into() }]),
        needs_outlier: true,
    };
    let all = [there("eu/a", 1), there("asia/a", 5), there("us/a", 1)].concat();
    let mut world = World::at(place("eu/a"), with_outlier(localities), all);
    world.eject(&["eu/a#0"]);
    assert_eq!(world.by_place(100), [("us/a".to_owned(), 100)].into());
    world.eject(&["eu/a#0", "us/a#0"]);
    assert_eq!(world.by_place(100), [("asia/a".to_owned(), 100)].into());
}

#[test]
fn priority_counts_scopes_from_the_first() {
    let localities = Localities::Nearest {
        scopes: Box::new([Scope::Network, Scope::Zone]),
        failover: Box::default(),
        needs_outlier: true,
    };
    let at = |id: &str, network: &str, zone: &str| EndpointSpec {
        place: Place { network: network.into(), zone: zone.into(), ..Place::default() },
        ..endpoint(id, 1)
    };
    let all = vec![at("far", "n2", "a"), at("near", "n1", "b"), at("nearest", "n1", "a")];
    let home = Place { network: "n1".into(), zone: "a".into(), ..Place::default() };
    let mut world = World::at(home, with_outlier(localities), all);
    assert_eq!(world.shares(100), [("nearest".to_owned(), 100)].into());
    world.fail("nearest", Outcome::Reset, 5);
    assert_eq!(world.shares(100), [("near".to_owned(), 100)].into());
    world.fail("near", Outcome::Reset, 5);
    // Sharing a later scope without the first counts for nothing.
    assert_eq!(world.shares(100), [("far".to_owned(), 100)].into());
}

#[test]
fn shares_are_distributed_and_nothing_goes_elsewhere() {
    let pattern = |text: &str| LocalityPattern(text.split('/').map(Into::into).collect());
    let list = |from: &str, to: &[(&str, u32)]| Distribute {
        from: pattern(from),
        to: to.iter().map(|(to, weight)| (pattern(to), *weight)).collect(),
    };
    let localities = || {
        Localities::Distributed(Box::new([
            list("us/*", &[("us/*", 100)]),
            list("eu/a/*", &[("eu/a/*", 80), ("eu/*", 15), ("us/*", 5)]),
        ]))
    };
    let all = [there("eu/a", 4), there("eu/b", 1), there("us/a", 3), there("asia/a", 9)].concat();
    let settings = Settings { localities: localities(), ..Settings::default() };
    let mut world = World::at(place("eu/a/1"), settings.clone(), all.clone());
    let shares = world.by_place(20_000);
    assert_near(shares["eu/a"], 20_000, 0.8);
    assert_near(shares["eu/b"], 20_000, 0.15);
    assert_near(shares["us/a"], 20_000, 0.05);
    assert_eq!(shares.get("asia/a"), None);
    // A locality without healthy endpoints gives its share to the others.
    world.eject(&["us/a#0", "us/a#1", "us/a#2"]);
    let shares = world.by_place(20_000);
    assert_near(shares["eu/a"], 20_000, 80.0 / 95.0);
    // For a proxy that no list is for, there are no shares.
    let mut world = World::at(place("asia/a"), settings, all);
    assert_near(world.by_place(20_000)["asia/a"], 20_000, 9.0 / 17.0);
}

#[test]
fn services_own_preference_holds_where_no_rule_says_anything() {
    use weft_core::mesh::{HealthPolicy, LoadBalancing, LoadBalancingMode, LoadBalancingScope};
    let preference = |mode, scope| LoadBalancing {
        scopes: Box::new([scope]),
        mode,
        health_policy: HealthPolicy::OnlyHealthy,
    };
    let zone = preference(LoadBalancingMode::Failover, LoadBalancingScope::Zone);
    let all = [there("eu/a", 1), there("eu/b", 1)].concat();
    let shares = |settings: Settings, preference: &LoadBalancing| {
        let settings = Settings::for_service(&Arc::new(settings), Some(preference));
        let mut world = World::at(place("eu/a"), (*settings).clone(), all.clone());
        world.by_place(1_000).get("eu/a").copied().unwrap_or_default()
    };
    assert_eq!(shares(Settings::default(), &zone), 1_000);
    let said = || Settings { localities: Localities::Ignored, ..Settings::default() };
    assert_near(shares(said(), &zone), 1_000, 0.5);
    let strict = preference(LoadBalancingMode::Strict, LoadBalancingScope::Zone);
    assert_eq!(shares(said(), &strict), 1_000);
    // Nobody knows where the nodes are: what is required isn't there.
    let node = preference(LoadBalancingMode::Strict, LoadBalancingScope::Node);
    let settings = Settings::for_service(&Arc::default(), Some(&node));
    let mut world = World::at(place("eu/a"), (*settings).clone(), all.clone());
    assert_eq!(world.pick().unwrap_err(), PickError::NoEndpoints);
    let default = Arc::new(Settings::default());
    assert!(Arc::ptr_eq(&default, &Settings::for_service(&default, None)));
}

#[test]
fn retry_that_may_go_anywhere_does() {
    let all = [there("eu/a", 1), there("us/a", 3)].concat();
    let mut world = World::at(place("eu/a"), with_outlier(Localities::default()), all);
    let context = PickContext { is_anywhere: true, ..world.context() };
    let far = (0..10_000).filter(|_| {
        let picked = world.cluster.pick(&context, &mut world.rng).unwrap();
        picked.id().starts_with("us")
    });
    let far = far.count();
    assert_near(far, 10_000, 0.75);
    // And one that mustn't does so all the same before it asks who failed.
    let tried = ["eu/a#0".into()];
    let context = PickContext { tried: &tried, ..world.context() };
    let picked = world.cluster.pick(&context, &mut world.rng).unwrap();
    assert!(picked.id().starts_with("us"));
}

#[test]
fn endpoint_of_a_session_is_taken_however_far_it_is_unless_it_takes_no_requests() {
    let all = [there("eu/a", 2), there("us/a", 1)].concat();
    let mut world = World::at(place("eu/a"), with_outlier(Localities::default()), all.clone());
    let named = |world: &World, id: &str, index: usize| {
        world.cluster.pick_named(id, index, world.now).map(|it| it.id().to_string())
    };
    assert_eq!(world.by_place(100), [("eu/a".to_owned(), 100)].into());
    assert_eq!(named(&world, "us/a#0", 2).unwrap(), "us/a#0");
    // Its place isn't known any more.
    assert_eq!(named(&world, "us/a#0", 0).unwrap(), "us/a#0");
    assert_eq!(named(&world, "us/a#1", 2), None);
    let picked = world.cluster.pick_named("us/a#0", 2, world.now).unwrap();
    (0..5).for_each(|_| picked.report(Outcome::Status(500), world.now));
    drop(picked);
    assert_eq!(named(&world, "us/a#0", 2), None, "it is ejected");
    assert_eq!(world.cluster.counts().requests, 0);
    // What says which endpoints may be used at all counts for sessions too.
    let near = Localities::Required(Box::new([Scope::Region]));
    let world = World::at(place("eu/a"), with_outlier(near), all);
    assert_eq!(named(&world, "us/a#0", 2), None);
    assert_eq!(named(&world, "eu/a#1", 1).unwrap(), "eu/a#1");
}
