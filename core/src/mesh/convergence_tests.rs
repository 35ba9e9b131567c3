//! Invariant 8 of the design: any order, loss or repetition of updates converges to the same state.

use std::collections::BTreeMap;

use proptest::prelude::*;
use weft_proto::{security, workload as proto};

use super::testing::*;
use super::*;

/// What happens to one name. Few names, few addresses and few hosts, so that they collide.
#[derive(Debug, Clone)]
enum Step {
    Workload { id: u8, address: u8, services: u8, variant: u8 },
    Service { id: u8, vip: u8, is_canonical: bool },
    Policy { id: u8, scope: i32, action: i32 },
    Garbage { kind: u8, id: u8 },
    Removal { kind: u8, id: u8 },
}

const KINDS: u8 = 3;

impl Step {
    fn name(&self) -> (u8, String) {
        match self {
            Self::Workload { id, .. } => (0, uid(*id)),
            Self::Service { id, .. } => (1, key(*id)),
            Self::Policy { id, .. } => (2, format!("default/p{id}")),
            Self::Garbage { kind, id } | Self::Removal { kind, id } => match kind % KINDS {
                0 => (0, uid(*id)),
                1 => (1, key(*id)),
                _ => (2, format!("default/p{id}")),
            },
        }
    }

    fn update(&self) -> Update {
        let (kind, name) = self.name();
        let with = |resource: Option<&'static str>| match kind {
            2 => Update::Authorization {
                name: name.as_str().into(),
                resource: resource.map(Into::into),
            },
            _ => Update::Address { name: name.as_str().into(), resource: resource.map(Into::into) },
        };
        match self {
            Self::Workload { id, address, services, variant } => {
                put_workload(workload(*id, *address, *services, *variant))
            }
            Self::Service { id, vip, is_canonical } => put_service(web(*id, *vip, *is_canonical)),
            Self::Policy { id, scope, action } => put_policy(&security::Authorization {
                name: format!("p{id}"),
                namespace: "default".into(),
                scope: *scope,
                action: *action,
                ..Default::default()
            }),
            Self::Garbage { .. } => with(Some("\u{7f}\u{7f}")),
            Self::Removal { .. } => with(None),
        }
    }

    /// Whether it leaves an address as it was.
    fn is_ignored(&self) -> bool {
        matches!(self, Self::Garbage { .. }) && self.name().0 != 2
    }
}

fn uid(id: u8) -> String {
    format!("Kubernetes//Pod/default/w{id}")
}

fn key(id: u8) -> String {
    format!("ns{}/host{}", id % 2, id / 2)
}

fn workload(id: u8, address: u8, services: u8, variant: u8) -> proto::Workload {
    let mut workload = pod(&format!("w{id}"), &format!("10.0.0.{address}"));
    workload.tunnel_protocol = i32::from(variant % 2);
    workload.status = i32::from(variant / 2 % 2);
    workload.network_mode = i32::from(variant % 5 == 4);
    workload.capacity = (variant % 3 == 2).then_some(u32::from(variant));
    workload.node = format!("n{}", variant % 2);
    for service in (0..4).filter(|bit| services & (1 << bit) != 0) {
        workload = behind(workload, &key(service), &[(80, 8000 + u32::from(variant))]);
    }
    workload
}

fn web(id: u8, vip: u8, is_canonical: bool) -> proto::Service {
    let vip = if vip < 3 { format!("240.0.0.{vip}") } else { format!("240.{vip}.0.0/16") };
    let key = key(id);
    let (namespace, hostname) = key.split_once('/').unwrap();
    let mut service = service(namespace, hostname, &[&vip], &[(80, 0)]);
    service.canonical = is_canonical;
    service
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..6_u8, 0..4_u8, 0..16_u8, 0..10_u8).prop_map(|(id, address, services, variant)| {
            Step::Workload { id, address, services, variant }
        }),
        3 => (0..4_u8, 0..5_u8, any::<bool>())
            .prop_map(|(id, vip, is_canonical)| Step::Service { id, vip, is_canonical }),
        // One number beyond what is known of each.
        2 => (0..3_u8, 0..4_i32, 0..3_i32)
            .prop_map(|(id, scope, action)| Step::Policy { id, scope, action }),
        1 => (0..KINDS, 0..6_u8).prop_map(|(kind, id)| Step::Garbage { kind, id }),
        3 => (0..KINDS, 0..6_u8).prop_map(|(kind, id)| Step::Removal { kind, id }),
    ]
}

fn apply_in_batches(updates: impl IntoIterator<Item = Update>, batch: usize) -> Snapshot {
    let settings = StoreSettings { local_node: Some("n1".into()), ..StoreSettings::default() };
    let mut store = Store::new(&settings);
    let updates: Vec<_> = updates.into_iter().collect();
    for batch in updates.chunks(batch) {
        store.apply(batch.to_vec());
    }
    Snapshot::clone(&store.reader().load())
}

/// Moves updates of different names past each other, keeps the order within a name, repeats some.
fn reorder(steps: &[Step], keys: &[u32], repeats: &[bool]) -> Vec<Update> {
    let mut queues: BTreeMap<(u8, String), Vec<(&Step, bool)>> = BTreeMap::new();
    for (index, step) in steps.iter().enumerate() {
        let repeated = repeats[index % repeats.len()];
        queues.entry(step.name()).or_default().push((step, repeated));
    }
    let mut queues: Vec<_> = queues.into_values().map(Vec::into_iter).collect();
    let mut updates = Vec::new();
    let mut turn = 0;
    while !queues.is_empty() {
        let at = keys[turn % keys.len()] as usize % queues.len();
        turn += 1;
        match queues[at].next() {
            Some((step, repeated)) => {
                updates.extend(std::iter::repeat_n(step.update(), 1 + usize::from(repeated)));
            }
            None => {
                queues.remove(at);
            }
        }
    }
    updates
}

/// Only what is left in the end, in order of name: as a server sends it to a new client.
fn final_state(steps: &[Step]) -> Vec<Update> {
    let mut last: BTreeMap<(u8, String), Update> = BTreeMap::new();
    for step in steps.iter().filter(|step| !step.is_ignored()) {
        last.insert(step.name(), step.update());
    }
    last.into_values().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_order_loss_or_repetition_of_updates_converges_to_the_same_state(
        steps in prop::collection::vec(step(), 1..60),
        keys in prop::collection::vec(any::<u32>(), 16),
        repeats in prop::collection::vec(any::<bool>(), 7),
        batches in (1..9_usize, 1..9_usize),
    ) {
        let as_sent = apply_in_batches(steps.iter().map(Step::update), batches.0);
        let reordered = apply_in_batches(reorder(&steps, &keys, &repeats), batches.1);
        prop_assert_eq!(&as_sent, &reordered);
        let from_scratch = apply_in_batches(final_state(&steps), 100);
        prop_assert_eq!(&as_sent, &from_scratch);
    }

    #[test]
    fn snapshot_that_a_reader_holds_never_changes(steps in prop::collection::vec(step(), 2..40)) {
        let mut store = Store::new(&StoreSettings::default());
        let (before, after) = steps.split_at(steps.len() / 2);
        store.apply(before.iter().map(Step::update).collect());
        let held = store.reader().load();
        let expected = apply_in_batches(before.iter().map(Step::update), 100);
        store.apply(after.iter().map(Step::update).collect());
        prop_assert_eq!(&held.networks, &expected.networks);
        prop_assert_eq!(&held.services, &expected.services);
        prop_assert_eq!(&held.policies, &expected.policies);
    }
}

#[test]
fn thousands_of_endpoints_come_and_go_in_any_order() {
    let mut store = Store::new(&StoreSettings::default());
    let all = 0..1000_u32;
    let endpoint = |n: u32| {
        let address = format!("10.1.{}.{}", n / 250, n % 250);
        behind(pod(&format!("w{n:04}"), &address), "default/web", &[])
    };
    store.apply(vec![put_service(service("default", "web", &[], &[(80, 80)]))]);
    // 7 and 1000 have no common factor, so this visits every number once, out of order.
    store.apply(all.clone().map(|n| put_workload(endpoint(n * 7 % 1000))).collect());
    let snapshot = store.reader().load();
    let web = snapshot.service("default", "web").unwrap();
    let names: Vec<_> = snapshot.endpoints(web).map(|it| it.workload.name.to_string()).collect();
    let expected: Vec<_> = all.clone().map(|n| format!("w{n:04}")).collect();
    assert_eq!(names, expected);
    let endpoints = snapshot.all_endpoints(web).unwrap();
    assert!((0..1000).all(|n| *endpoints.nth(n).unwrap().name == *expected[n]));
    assert!(endpoints.nth(1000).is_none());
    for n in all.map(|n| n * 11 % 1000) {
        store.apply(vec![remove_address(&format!("Kubernetes//Pod/default/w{n:04}"))]);
    }
    let snapshot = store.reader().load();
    assert!(snapshot.all_endpoints(web).unwrap().is_empty());
}
