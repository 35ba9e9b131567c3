//! What a large mesh costs: memory held, and time to apply one change. In a process of its own, so that its size means
//! something. Bounds are generous, because they hold for a debug build on a busy machine; the figures are printed.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test, helpers included")]

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tokio::time::Instant;
use weft_core::mesh::{Snapshot, Store, StoreSettings, Update, load_balance};
use weft_proto::workload as proto;

const WORKLOADS: u32 = 10_000;
const SERVICES: u32 = 1_000;

/// A pod as a control plane describes it, with everything that a real one has.
fn workload(n: u32, status: proto::WorkloadStatus) -> Update {
    let namespace = format!("team-{}", n % 100);
    let name = format!("checkout-{}-5d8f7c9b6d-{n:05x}", n % SERVICES);
    let service = format!("{namespace}/checkout-{}.{namespace}.svc.cluster.local", n % SERVICES);
    let ports = [(80, 8080), (9090, 9090)].map(|(service_port, target_port)| proto::Port {
        service_port,
        target_port,
        app_protocol: proto::AppProtocol::Http2.into(),
    });
    // One service that every workload is behind, as the worst case of one change.
    let all = "team-0/all.team-0.svc.cluster.local".to_owned();
    let ports = proto::PortList { ports: ports.to_vec() };
    let message = proto::Workload {
        uid: format!("Kubernetes//Pod/{namespace}/{name}"),
        name,
        namespace,
        addresses: vec![(0x0a00_0000 + n).to_be_bytes().to_vec()],
        tunnel_protocol: proto::TunnelProtocol::Hbone.into(),
        service_account: format!("checkout-{}", n % SERVICES),
        node: format!("node-{}.eu-central-1.compute.internal", n % 200),
        canonical_name: format!("checkout-{}", n % SERVICES),
        canonical_revision: "v1".into(),
        workload_type: proto::WorkloadType::Pod.into(),
        workload_name: format!("checkout-{}", n % SERVICES),
        authorization_policies: vec!["istio-system/istio_converted_static_strict".into()],
        status: status.into(),
        cluster_id: "Kubernetes".into(),
        services: [(service, ports.clone()), (all, ports)].into(),
        locality: Some(proto::Locality {
            region: "eu-central-1".into(),
            zone: format!("eu-central-1{}", n % 3),
            subzone: String::new(),
        }),
        ..Default::default()
    };
    let name = message.uid.as_str().into();
    update(name, proto::address::Type::Workload(message))
}

fn service(n: u32) -> Update {
    let namespace = format!("team-{}", n % 100);
    let name = if n == SERVICES { "all".to_owned() } else { format!("checkout-{n}") };
    let ports = [(80, 0), (9090, 9090)].map(|(service_port, target_port)| proto::Port {
        service_port,
        target_port,
        app_protocol: 0,
    });
    let address = (0xf0f0_0000 + n).to_be_bytes().to_vec();
    let message = proto::Service {
        hostname: format!("{name}.{namespace}.svc.cluster.local"),
        name,
        namespace,
        addresses: vec![proto::NetworkAddress { address, ..Default::default() }],
        ports: ports.to_vec(),
        canonical: true,
        ..Default::default()
    };
    let name = format!("{}/{}", message.namespace, message.hostname).into();
    update(name, proto::address::Type::Service(message))
}

fn update(name: Arc<str>, message: proto::address::Type) -> Update {
    let resource = proto::Address { r#type: Some(message) }.encode_to_vec();
    Update::Address { name, resource: Some(resource.into()) }
}

/// Memory of this process that is in RAM, bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn measure_one_change(store: &mut Store) -> Duration {
    let reader = store.reader();
    let change = |n: u32| {
        // A reader that is in the middle of something: nothing may be changed in place.
        let held: Arc<Snapshot> = reader.load();
        // Another workload each time, all healthy so far: repetition would be recognised and cost nothing.
        let update = workload(n * 37 % WORKLOADS, proto::WorkloadStatus::Unhealthy);
        let began = Instant::now();
        assert_eq!(store.apply(vec![update]), []);
        let took = began.elapsed();
        assert_eq!(reader.load().version(), held.version() + 1, "not a change");
        took
    };
    median((0..200).map(change).collect())
}

fn measure_one_choice(snapshot: &Snapshot) -> Duration {
    let all = snapshot.service("team-0", "all.team-0.svc.cluster.local").unwrap();
    let source = snapshot.workload_at("", "10.0.0.1".parse().unwrap()).unwrap();
    let mut rng = rand::rng();
    let choose = |_| {
        let began = Instant::now();
        load_balance(snapshot, all, 80, source, &mut rng).unwrap();
        began.elapsed()
    };
    median((0..200).map(choose).collect())
}

#[test]
fn ten_thousand_workloads_fit_and_one_change_costs_little() {
    let mut store = Store::new(&StoreSettings::default());
    let reader = store.reader();
    let before = resident();
    let began = Instant::now();
    // In pushes of a thousand, so that the messages themselves do not count as what is held.
    for push in 0..WORKLOADS / 1000 {
        let numbers = push * 1000..(push + 1) * 1000;
        let updates = numbers.map(|n| workload(n, proto::WorkloadStatus::Healthy)).collect();
        assert_eq!(store.apply(updates), []);
    }
    assert_eq!(store.apply((0..=SERVICES).map(service).collect()), []);
    let loaded = began.elapsed();
    let held = resident().saturating_sub(before);
    let per_workload = held / u64::from(WORKLOADS);
    let change = measure_one_change(&mut store);
    let snapshot = reader.load();
    assert_eq!(snapshot.workload_count(), WORKLOADS as usize);
    let choice = measure_one_choice(&snapshot);
    println!(
        "{WORKLOADS} workloads, {SERVICES} services: {held} bytes, {per_workload} a workload; \
         loaded in {loaded:?}, one change {change:?}, one choice among all {choice:?}"
    );
    assert!(held < 20 << 20, "{held} bytes");
    assert!(change < Duration::from_millis(5), "{change:?}");
    assert!(choice < Duration::from_millis(1), "{choice:?}");
}
