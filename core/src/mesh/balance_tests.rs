use std::collections::BTreeMap;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;
use weft_proto::workload as proto;
use weft_proto::workload::load_balancing::{Mode, Scope};

use super::testing::*;
use super::*;

/// A mesh with a client `src` and the service `default/web` on port 80.
struct Mesh {
    store: Store,
    web: proto::Service,
}

impl Mesh {
    fn new(endpoints: impl IntoIterator<Item = proto::Workload>) -> Self {
        let mut store = Store::new(&StoreSettings::default());
        let web = service("default", "web", &["240.0.0.1"], &[(80, 8080)]);
        let mut source = located("src", "10.9.9.9", "r1/z1/s1");
        source.node = "n1".into();
        source.services.clear();
        let mut updates = vec![put_workload(source), put_service(web.clone())];
        updates.extend(endpoints.into_iter().map(put_workload));
        assert_eq!(store.apply(updates), []);
        Self { store, web }
    }

    fn preferring(mut self, mode: Mode, scopes: &[Scope]) -> Self {
        self.web.load_balancing = Some(proto::LoadBalancing {
            routing_preference: scopes.iter().map(|scope| i32::from(*scope)).collect(),
            mode: mode.into(),
            health_policy: 0,
        });
        assert_eq!(self.store.apply(vec![put_service(self.web.clone())]), []);
        self
    }

    fn choose(&self, port: u16, seed: u64) -> Result<Choice, BalanceError> {
        let snapshot = self.store.reader().load();
        let web = snapshot.service("default", "web").unwrap();
        let source = snapshot.pod("Kubernetes", "default", "src").unwrap();
        load_balance(&snapshot, web, port, source, &mut StdRng::seed_from_u64(seed))
    }

    /// How often each endpoint is chosen.
    fn shares(&self, draws: u64) -> BTreeMap<String, u64> {
        let mut shares = BTreeMap::new();
        for seed in 0..draws {
            if let Ok(Choice::Endpoint { workload, .. }) = self.choose(80, seed) {
                *shares.entry(workload.name.to_string()).or_default() += 1;
            }
        }
        shares
    }

    fn chosen(&self) -> Vec<String> {
        self.shares(200).into_keys().collect()
    }
}

fn located(name: &str, address: &str, locality: &str) -> proto::Workload {
    let mut parts = locality.split('/').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    let locality = proto::Locality { region: next(), zone: next(), subzone: next() };
    let mut workload = behind(pod(name, address), "default/web", &[]);
    workload.locality = Some(locality);
    workload
}

fn three_localities() -> Vec<proto::Workload> {
    vec![
        located("same-zone", "10.0.0.1", "r1/z1"),
        located("same-region", "10.0.0.2", "r1/z2"),
        located("far", "10.0.0.3", "r2/z1"),
    ]
}

#[test]
fn choice_is_proportional_to_capacity_and_zero_is_never_chosen() {
    let mut endpoints = three_localities();
    endpoints[0].capacity = Some(3);
    endpoints[2].capacity = Some(0);
    let shares = Mesh::new(endpoints).shares(4000);
    assert_eq!(shares.keys().collect::<Vec<_>>(), ["same-region", "same-zone"]);
    let share = shares["same-zone"];
    assert!((2850..3150).contains(&share), "3 of 4 parts of 4000 are {share}");
}

#[test]
fn every_endpoint_of_a_large_service_has_its_chance() {
    let endpoints = (0..200).map(|n| located(&format!("e{n}"), &format!("10.1.0.{n}"), ""));
    let shares = Mesh::new(endpoints.clone()).shares(20_000);
    assert_eq!(shares.len(), 200);
    assert!(shares.values().all(|share| (50..200).contains(share)), "{shares:?}");
    // One endpoint with another weight, and the draw is weighed.
    let weighted = endpoints.enumerate().map(|(n, mut workload)| {
        workload.capacity = Some(if n == 7 { 200 } else { 1 });
        workload
    });
    let share = Mesh::new(weighted).shares(2000)["e7"];
    assert!((900..1100).contains(&share), "half of 2000 are {share}");
}

#[test]
fn few_eligible_endpoints_among_many_are_found() {
    let endpoints = (0..100).map(|n| {
        let mut workload = located(&format!("e{n}"), &format!("10.1.0.{n}"), "");
        workload.status = i32::from(n != 42);
        workload
    });
    assert_eq!(Mesh::new(endpoints).chosen(), ["e42"]);
}

#[test]
fn failover_takes_the_longest_shared_prefix() {
    let scopes = [Scope::Region, Scope::Zone];
    let mut endpoints = three_localities();
    for expected in ["same-zone", "same-region", "far"] {
        let mesh = Mesh::new(endpoints.clone()).preferring(Mode::Failover, &scopes);
        assert_eq!(mesh.chosen(), [expected]);
        endpoints.remove(0);
    }
}

#[test]
fn strict_takes_what_shares_everything_or_nothing() {
    let scopes = [Scope::Region, Scope::Zone];
    let mesh = Mesh::new(three_localities()).preferring(Mode::Strict, &scopes);
    assert_eq!(mesh.chosen(), ["same-zone"]);
    let mesh = Mesh::new(three_localities()).preferring(Mode::Strict, &[Scope::Node]);
    assert!(matches!(mesh.choose(80, 1), Err(BalanceError::NoHealthyUpstream { .. })));
}

#[test]
fn network_in_first_place_is_preferred_and_not_required() {
    let scopes = [Scope::Network, Scope::Region, Scope::Zone];
    let mut endpoints = three_localities();
    for endpoint in &mut endpoints[..2] {
        endpoint.network = "other".into();
        endpoint.network_gateway = Some(gateway_at("10.8.8.8"));
    }
    let mesh = Mesh::new(endpoints.clone()).preferring(Mode::Failover, &scopes);
    assert_eq!(mesh.chosen(), ["far"], "own network outranks any locality");
    let mesh = Mesh::new(endpoints[..2].to_vec()).preferring(Mode::Failover, &scopes);
    assert_eq!(mesh.chosen(), ["same-zone"], "without it, the other scopes decide");
    let mesh = Mesh::new(endpoints).preferring(Mode::Strict, &scopes);
    assert_eq!(mesh.chosen(), Vec::<String>::new());
}

#[test]
fn scope_of_a_later_version_is_never_shared() {
    let mut mesh = Mesh::new(three_localities()).preferring(Mode::Strict, &[Scope::Region]);
    let preference = mesh.web.load_balancing.as_mut().unwrap();
    preference.routing_preference.push(99);
    let web = put_service(mesh.web.clone());
    mesh.store.apply(vec![web]);
    assert_eq!(mesh.chosen(), Vec::<String>::new());
}

#[test]
fn passthrough_applies_only_without_endpoints() {
    let mesh = Mesh::new([]).preferring(Mode::Passthrough, &[]);
    assert_eq!(mesh.choose(80, 1), Ok(Choice::Passthrough));
    assert_eq!(mesh.choose(81, 1), Ok(Choice::Passthrough));
    let mesh = Mesh::new(three_localities()).preferring(Mode::Passthrough, &[]);
    assert_eq!(mesh.chosen().len(), 3);
}

#[test]
fn port_comes_from_the_endpoint_first_and_then_from_the_service() {
    let own = behind(pod("own", "10.0.0.1"), "default/web", &[(80, 9000), (81, 9001)]);
    let common = behind(pod("common", "10.0.0.2"), "default/web", &[]);
    let port = |endpoint: proto::Workload, service_port, target: u32| {
        let mut mesh = Mesh::new([endpoint]);
        mesh.web.ports = port_list(&[(service_port, target)]);
        let web = put_service(mesh.web.clone());
        mesh.store.apply(vec![web]);
        match mesh.choose(u16::try_from(service_port).unwrap(), 1) {
            Ok(Choice::Endpoint { port, .. }) => Some(port),
            _ => None,
        }
    };
    assert_eq!(port(own.clone(), 80, 8080), Some(9000));
    assert_eq!(port(own.clone(), 81, 0), Some(9001));
    assert_eq!(port(common.clone(), 80, 8080), Some(8080));
    assert_eq!(port(common, 80, 0), None, "a named port that the endpoint does not have");
    assert_eq!(port(own, 82, 0), None);
}

#[test]
fn port_that_the_service_does_not_have_is_an_error() {
    let chosen = Mesh::new(three_localities()).choose(81, 1);
    assert!(matches!(chosen, Err(BalanceError::UnknownPort { port: 81, .. })), "{chosen:?}");
}

#[test]
fn endpoint_without_address_needs_a_gateway_from_another_network() {
    let mut nowhere = behind(pod("nowhere", "10.0.0.1"), "default/web", &[]);
    nowhere.addresses.clear();
    assert!(Mesh::new([nowhere.clone()]).choose(80, 1).is_err());
    nowhere.network_gateway = Some(gateway_at("10.8.8.8"));
    assert!(Mesh::new([nowhere.clone()]).choose(80, 1).is_err(), "not within one network");
    nowhere.network = "other".into();
    assert!(Mesh::new([nowhere.clone()]).choose(80, 1).is_ok());
    nowhere.network = String::new();
    nowhere.hostname = "db.example".into();
    assert!(Mesh::new([nowhere]).choose(80, 1).is_ok());
}

#[test]
fn waypoint_instance_with_an_application_tunnel_needs_no_port_of_its_service() {
    let mut instance = behind(pod("instance", "10.0.0.1"), "default/web", &[]);
    let resolve = |instance: &proto::Workload| {
        let mesh = Mesh::new([instance.clone()]);
        let snapshot = mesh.store.reader().load();
        let source = snapshot.pod("Kubernetes", "default", "src").unwrap();
        let web = snapshot.service("default", "web").unwrap();
        let gateway = GatewayAddress {
            destination: GatewayDestination::Hostname {
                namespace: Arc::clone(&web.namespace),
                hostname: Arc::clone(&web.hostname),
            },
            hbone_port: 15008,
        };
        let subject = Arc::clone(&web.key);
        resolve_gateway(&snapshot, &gateway, &subject, source, &mut rand::rng())
    };
    assert!(matches!(resolve(&instance), Err(ResolveError::NoHealthyWaypoint { .. })));
    instance.application_tunnel = Some(proto::ApplicationTunnel { protocol: 1, port: 15088 });
    assert_eq!(resolve(&instance).unwrap().port, 15008);
}
