//! What a large mesh costs. Bounds are generous, because other work may share the machine and the build may be
//! without optimisation: they catch a cost that grows with the square, not a slow day.

use std::fmt::Write;
use std::time::Duration;

use tokio::time::Instant;

use crate::objects::{Object, ObjectChange};
use crate::translate::{Settings, Translator};

use super::{added, objects};

const PODS: usize = 10_000;
const SERVICES: usize = 1_000;

/// All in one namespace, which is the worst case: each pod belongs to one service and each service has ten pods.
fn world() -> Vec<Object> {
    let mut text = String::from(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: big, labels: {istio.io/dataplane-mode: ambient}}\n",
    );
    for at in 0..SERVICES {
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{at}, namespace: big}}\nspec: {{selector: {{app: s{at}}}, ports: [{{port: 80, targetPort: 8080}}]}}\n"
        );
    }
    for at in 0..PODS {
        text.push_str("---\n");
        text.push_str(&pod(at, 8080));
    }
    objects(&text)
}

fn pod(at: usize, port: usize) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{at}, namespace: big, labels: {{app: s{}, tier: t}}}}\nspec: {{nodeName: n{}, containers: [{{ports: [{{name: http, containerPort: {port}}}]}}]}}\nstatus: {{podIP: 10.{}.{}.{}}}\n",
        at % SERVICES,
        at % 2,
        1 + at / 65536,
        at / 256 % 256,
        at % 256
    )
}

#[test]
fn ten_thousand_pods_are_translated_at_once_and_a_change_costs_little() {
    let optimised = !cfg!(debug_assertions);
    let bound =
        |release: u64, debug: u64| Duration::from_millis(if optimised { release } else { debug });
    let world = added(world());
    let mut translator = Translator::new(Settings::standalone());
    let start = Instant::now();
    let changes = translator.apply(world);
    let full = start.elapsed();
    assert_eq!(changes.len(), 2 * PODS + SERVICES);
    let bytes: usize =
        changes.iter().filter_map(|it| it.resource.as_ref()).map(|it| it.len()).sum();
    drop(changes);

    let moved = objects(&pod(5, 8080).replace("10.1.0.5", "10.200.0.5")).remove(0);
    let start = Instant::now();
    let changes = translator.apply(added([moved]));
    let single = start.elapsed();
    assert_eq!(changes.len(), 2);

    let service = objects("apiVersion: v1\nkind: Service\nmetadata: {name: s7, namespace: big}\nspec: {selector: {app: s7}, ports: [{port: 81, targetPort: 8081}]}\n").remove(0);
    let start = Instant::now();
    let changes = translator.apply(added([service.clone()]));
    let of_service = start.elapsed();
    assert_eq!(changes.len(), 11);

    let start = Instant::now();
    let gone = ObjectChange { key: service.key(), object: None };
    assert_eq!(translator.apply(vec![gone]).len(), 11);
    println!(
        "full {full:?}, {bytes} bytes; pod {single:?}; service {of_service:?}, its end {:?}",
        start.elapsed()
    );

    assert!(full < bound(1_000, 20_000), "full translation took {full:?}");
    assert!(single < bound(5, 100), "one pod took {single:?}");
    assert!(of_service < bound(50, 1_000), "one service took {of_service:?}");
}

#[test]
fn policy_at_a_waypoint_reaches_a_thousand_services_and_a_pod_still_costs_little() {
    let optimised = !cfg!(debug_assertions);
    let bound =
        |release: u64, debug: u64| Duration::from_millis(if optimised { release } else { debug });
    let waypoint = super::waypoint("big", "wp", "", "Same").replace("10.44.9.1", "10.250.0.1");
    let world = world().into_iter().chain(objects(&waypoint)).chain(objects(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: big, labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: wp}}\n",
    ));
    let mut translator = Translator::new(Settings::standalone());
    translator.apply(added(world));

    let policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: big}\n\
        spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: wp}], rules: [{}]}\n";
    let start = Instant::now();
    let changes = translator.apply(added(objects(policy)));
    let of_policy = start.elapsed();
    // All pods refuse the same on the same port, so they share one policy; each service has it in its access policy.
    assert_eq!(changes.len(), PODS + 1 + SERVICES);

    let moved = objects(&pod(5, 8080).replace("10.1.0.5", "10.200.0.5")).remove(0);
    let start = Instant::now();
    assert_eq!(translator.apply(added([moved])).len(), 2);
    let of_pod = start.elapsed();
    println!("policy {of_policy:?}; pod {of_pod:?}");
    assert!(of_policy < bound(500, 10_000), "the policy took {of_policy:?}");
    assert!(of_pod < bound(5, 100), "one pod took {of_pod:?}");
}

fn route(service: usize, at: usize, to: usize) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r{service}-{at}, namespace: big}}\n\
         spec: {{parentRefs: [{{group: '', kind: Service, name: s{service}}}], rules: [{{matches: [{{path: {{value: /p{at}}}}}], backendRefs: [{{name: s{to}, port: 80}}]}}]}}\n"
    )
}

#[test]
fn one_of_ten_thousand_routes_changes_one_table() {
    const ROUTES: usize = 10;
    let optimised = !cfg!(debug_assertions);
    let bound =
        |release: u64, debug: u64| Duration::from_millis(if optimised { release } else { debug });
    let mut text = String::new();
    for service in 0..SERVICES {
        let _ = write!(
            text,
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s{service}, namespace: big}}\nspec: {{ports: [{{port: 80}}]}}\n---\n"
        );
        for at in 0..ROUTES {
            let _ = writeln!(text, "{}---", route(service, at, (service + at) % SERVICES));
        }
    }
    let world = added(objects(&text));
    let mut translator = Translator::new(Settings::standalone());
    let start = Instant::now();
    assert_eq!(translator.apply(world).len(), 2 * SERVICES);
    let full = start.elapsed();

    let moved = objects(&route(7, 3, 500)).remove(0);
    let start = Instant::now();
    assert_eq!(translator.apply(added([moved])).len(), 1);
    let single = start.elapsed();
    println!("full {full:?}; one route {single:?}");

    assert!(full < bound(1_000, 20_000), "full translation took {full:?}");
    assert!(single < bound(5, 100), "one route took {single:?}");
}
