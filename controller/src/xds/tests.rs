//! Sessions and readers without a network: time is paused, so what is measured is what was decided.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use weft_core::clock;
use weft_proto::contract::{MORE_OF_LOAD_FOLLOWS, type_url};
use weft_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use weft_proto::envoy::config::core::v3::Node;
use weft_proto::workload::address::Type;
use weft_proto::workload::{Address, Workload};

use super::codec::PreparedResponse;
use super::entry::format_version;
use super::log::{Log, ResourceChange};
use super::read::{Batch, Progress, View};
use super::session::{Session, Shared};
use super::wildcard::Wildcard;
use super::{Clients, entry};
use crate::metrics::Metrics;
use crate::serving_limits::{COALESCE, FIRST_REQUEST_DEADLINE, RESPONSES_IN_FLIGHT_MAX, SCAN_MAX};
use crate::tokens::Caller;

struct Client {
    log: Log,
    stop: CancellationToken,
    requests: mpsc::Sender<Result<DeltaDiscoveryRequest, Status>>,
    responses: mpsc::Receiver<Result<PreparedResponse, Status>>,
}

impl Client {
    fn connect(log: Log, lifetime: Duration) -> Self {
        let stop = CancellationToken::new();
        let shared = Shared {
            log: log.clone(),
            clients: Clients::default(),
            metrics: Arc::new(Metrics::new()),
            root_namespace: "istio-system".into(),
            stop: stop.clone(),
        };
        let caller = Caller {
            waypoint: None,
            namespace: "istio-system".into(),
            service_account: "ztunnel".into(),
            node: Some("node1".into()),
            expires_at: clock::unix_seconds() + lifetime.as_secs(),
        };
        let (requests, receiver) = mpsc::channel(16);
        let (sender, responses) = mpsc::channel(2);
        let session = Session::new(shared, caller, None);
        tokio::spawn(session.run(ReceiverStream::new(receiver), sender));
        Self { log, stop, requests, responses }
    }

    async fn send(&self, request: DeltaDiscoveryRequest) {
        self.requests.send(Ok(request)).await.unwrap();
    }

    async fn subscribe(&self, type_url: &str) {
        let node = Node { id: "ztunnel~1.1.1.1~z.istio-system~d".into(), ..Default::default() };
        let type_url = type_url.to_owned();
        self.send(DeltaDiscoveryRequest { node: Some(node), type_url, ..Default::default() }).await;
    }

    async fn next(&mut self) -> DeltaDiscoveryResponse {
        let prepared = self.responses.recv().await.unwrap().unwrap();
        decode(prepared)
    }

    async fn ack(&self, response: &DeltaDiscoveryResponse) {
        self.send(DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..Default::default()
        })
        .await;
    }

    async fn take(&mut self) -> DeltaDiscoveryResponse {
        let response = self.next().await;
        self.ack(&response).await;
        response
    }

    /// How long after a change its response comes.
    async fn delay_of(&mut self, change: ResourceChange) -> Duration {
        let begun = Instant::now();
        self.log.apply(vec![change]);
        self.take().await;
        begun.elapsed()
    }
}

fn decode(prepared: PreparedResponse) -> DeltaDiscoveryResponse {
    let mut bytes = prepared.head.encode_to_vec();
    prepared.frames.iter().for_each(|frame| bytes.extend_from_slice(frame));
    DeltaDiscoveryResponse::decode(bytes.as_slice()).unwrap()
}

fn workload(name: &str, node: &str, revision: &str) -> ResourceChange {
    let workload = Workload {
        uid: name.into(),
        node: node.into(),
        canonical_revision: revision.into(),
        ..Default::default()
    };
    let content = Address { r#type: Some(Type::Workload(workload)) }.encode_to_vec();
    change(type_url::ADDRESS, name, Some(content.into()))
}

fn change(type_url: &'static str, name: &str, resource: Option<Bytes>) -> ResourceChange {
    ResourceChange { type_url, name: name.into(), resource, audience: Default::default() }
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn own_node_is_served_at_once_and_others_together() {
    let mut client = Client::connect(Log::new(), HOUR);
    client.subscribe(type_url::ADDRESS).await;
    client.take().await;
    // Just after a response, a change elsewhere waits…
    let delay = client.delay_of(workload("far", "node2", "1")).await;
    assert!(delay > COALESCE / 2 && delay <= COALESCE, "{delay:?}");
    // …a change here does not…
    let delay = client.delay_of(workload("near", "node1", "1")).await;
    assert_eq!(delay, Duration::ZERO);
    client.log.apply(vec![change(type_url::ADDRESS, "near", None)]);
    let begun = Instant::now();
    assert_eq!(client.take().await.removed_resources, ["near"]);
    assert_eq!(begun.elapsed(), Duration::ZERO);
    // …and after a quiet while neither does one elsewhere.
    tokio::time::sleep(COALESCE * 2).await;
    assert_eq!(client.delay_of(workload("far", "node2", "2")).await, Duration::ZERO);
    // Many changes elsewhere make one response.
    for revision in 3..50 {
        client.log.apply(vec![workload("far", "node2", &revision.to_string())]);
        client.log.apply(vec![workload(&format!("far-{revision}"), "node2", "1")]);
    }
    assert_eq!(client.take().await.resources.len(), 48);
    assert!(timeout(HOUR / 2, client.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn policy_is_sent_at_once() {
    let mut client = Client::connect(Log::new(), HOUR);
    client.subscribe(type_url::AUTHORIZATION).await;
    client.take().await;
    for content in ["1", "2", "3"] {
        let content = Some(Bytes::from_static(content.as_bytes()));
        let delay = client.delay_of(change(type_url::AUTHORIZATION, "ns/a", content)).await;
        assert_eq!(delay, Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn client_that_acknowledges_nothing_has_few_responses_on_their_way() {
    let mut client = Client::connect(Log::new(), HOUR);
    client.subscribe(type_url::ADDRESS).await;
    let mut last = client.next().await;
    for round in 1..RESPONSES_IN_FLIGHT_MAX {
        client.log.apply(vec![workload("a", "node1", &round.to_string())]);
        last = client.next().await;
    }
    for round in 0..100 {
        client.log.apply(vec![workload("a", "node1", &format!("more {round}"))]);
    }
    assert!(timeout(HOUR / 2, client.next()).await.is_err());
    // An acknowledgement makes room, and what comes is the latest, once.
    client.ack(&last).await;
    let latest = client.next().await;
    assert_eq!(latest.resources.len(), 1);
    let content = latest.resources[0].resource.clone().unwrap().value;
    let expected = workload("a", "node1", "more 99").resource.unwrap();
    assert_eq!(content, expected.to_vec());
}

#[tokio::test(start_paused = true)]
async fn load_whose_rest_is_nothing_new_still_ends() {
    let log = Log::new();
    log.apply(vec![workload("a", "node1", "1")]);
    let names: Vec<_> = (0..=SCAN_MAX).map(|n| format!("gone-{n}")).collect();
    log.apply(names.iter().map(|name| workload(name, "node2", "1")).collect());
    log.apply(names.iter().map(|name| change(type_url::ADDRESS, name, None)).collect());
    let mut client = Client::connect(log, HOUR);
    client.subscribe(type_url::ADDRESS).await;
    let first = client.take().await;
    assert_eq!(first.resources.len(), 1);
    assert!(first.system_version_info.ends_with(MORE_OF_LOAD_FOLLOWS));
    let last = client.take().await;
    assert!(!last.system_version_info.ends_with(MORE_OF_LOAD_FOLLOWS));
}

#[tokio::test(start_paused = true)]
async fn stream_ends_plainly_when_its_token_expires() {
    let mut client = Client::connect(Log::new(), HOUR);
    client.subscribe(type_url::ADDRESS).await;
    client.take().await;
    let begun = Instant::now();
    assert!(client.responses.recv().await.is_none());
    // Rounded to the token's whole seconds, and somewhat early so that not all return at once.
    assert!(begun.elapsed() <= HOUR && begun.elapsed() >= HOUR.mul_f64(0.94));
}

#[tokio::test(start_paused = true)]
async fn stream_ends_when_the_controller_stops() {
    let mut client = Client::connect(Log::new(), HOUR);
    client.subscribe(type_url::ADDRESS).await;
    client.take().await;
    client.stop.cancel();
    assert!(client.responses.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn silent_stream_is_ended() {
    let mut client = Client::connect(Log::new(), HOUR);
    let begun = Instant::now();
    let ended = client.responses.recv().await.unwrap().unwrap_err();
    assert_eq!(ended.code(), tonic::Code::DeadlineExceeded);
    assert_eq!(begun.elapsed(), FIRST_REQUEST_DEADLINE);
}

#[tokio::test(start_paused = true)]
async fn answers_to_nothing_are_ignored() {
    let mut client = Client::connect(Log::new(), HOUR);
    client.subscribe(type_url::ADDRESS).await;
    let mut response = client.take().await;
    response.nonce = "no such".into();
    client.ack(&response).await;
    client
        .send(DeltaDiscoveryRequest { type_url: "no.such/Type".into(), ..Default::default() })
        .await;
    assert!(timeout(HOUR / 2, client.next()).await.is_err());
    // A request that is no answer gets one, even if there is nothing to say.
    client
        .send(DeltaDiscoveryRequest { type_url: type_url::ADDRESS.into(), ..Default::default() })
        .await;
    assert!(client.take().await.resources.is_empty());
}

/// What happens to a log and its client.
#[derive(Debug, Clone)]
enum Step {
    Change(Vec<(u8, Option<u8>)>),
    /// The client reads one response.
    Read,
    /// The client loses its stream and returns with what it has.
    Reconnect,
}

fn step() -> impl Strategy<Value = Step> {
    let change = (0..12u8, proptest::option::weighted(0.7, 0..3u8));
    prop_oneof![
        3 => proptest::collection::vec(change, 1..6).prop_map(Step::Change),
        3 => Just(Step::Read),
        1 => Just(Step::Reconnect),
    ]
}

type Held = HashMap<String, Option<u64>>;

fn read_once(reader: &mut Wildcard, log: &Log, held: &mut Held) -> Progress {
    let snapshot = log.snapshot();
    let Some(typed) = snapshot.type_log(type_url::ADDRESS) else {
        return Progress::Complete;
    };
    let mut batch = Batch::new(View::Address);
    let progress = reader.read(typed, &mut batch).unwrap();
    let head = DeltaDiscoveryResponse { removed_resources: batch.removed, ..Default::default() };
    let response = decode(PreparedResponse { head, frames: batch.frames });
    for resource in response.resources {
        held.insert(resource.name, entry::parse_version(&resource.version));
    }
    for name in response.removed_resources {
        held.remove(&name);
    }
    progress
}

proptest! {
    #[test]
    fn client_ends_with_what_the_log_has_whatever_happens_between(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        let log = Log::new();
        let mut held = Held::new();
        let mut truth = BTreeMap::new();
        let mut reader = Wildcard::new(0, Held::new());
        for step in steps {
            match step {
                Step::Change(changes) => {
                    let changes = changes.into_iter().map(|(name, revision)| {
                        let name = format!("w{name}");
                        let Some(revision) = revision else {
                            truth.remove(&name);
                            return change(type_url::ADDRESS, &name, None);
                        };
                        let change = workload(&name, "node2", &revision.to_string());
                        truth.insert(name, change.resource.clone().unwrap());
                        change
                    });
                    log.apply(changes.collect());
                }
                Step::Read => {
                    read_once(&mut reader, &log, &mut held);
                }
                Step::Reconnect => {
                    reader = Wildcard::new(log.snapshot().sequence(), held.clone());
                }
            }
        }
        while read_once(&mut reader, &log, &mut held) == Progress::More {}
        let expected: Held = truth
            .into_iter()
            .map(|(name, content)| (name, Some(xxhash_rust::xxh64::xxh64(&content, 0))))
            .collect();
        prop_assert_eq!(held, expected);
    }

    #[test]
    fn version_text_reads_back(version: u64) {
        prop_assert_eq!(entry::parse_version(&format_version(version)), Some(version));
    }
}
