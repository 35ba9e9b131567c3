//! Proxies scripted packet by packet.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use weft_core::zds::{Answer, Request, encode_hello};

use super::*;
use crate::fake::{FakeRedirect, announcement};

struct Agent {
    redirect: Arc<FakeRedirect>,
    announced: watch::Sender<Option<Arc<Announcements>>>,
    connections: watch::Receiver<Connections>,
    path: PathBuf,
    _folder: tempfile::TempDir,
    _server: tokio::task::JoinHandle<()>,
}

/// An agent that knows namespaces a, b and c, and announces the pods of these names.
fn agent(pods: Option<&[&str]>) -> Agent {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zds.sock");
    let redirect = Arc::new(FakeRedirect::with(&[("a", 1), ("b", 1), ("c", 1)]));
    let (announced, announced_rx) = watch::channel(pods.map(set));
    let (connections_tx, connections) = watch::channel(Connections::new());
    let listener = SeqpacketListener::bind(&path).unwrap();
    let server = serve(listener, redirect.clone(), announced_rx, connections_tx);
    let server = tokio::spawn(server);
    Agent { redirect, announced, connections, path, _folder: folder, _server: server }
}

fn set(pods: &[&str]) -> Arc<Announcements> {
    let all = pods.iter().map(|pod| (pod.parse().unwrap(), announcement(pod, 1)));
    Arc::new(all.collect())
}

impl Agent {
    fn announce(&self, pods: &[&str]) {
        self.announced.send_replace(Some(set(pods)));
    }

    async fn connect(&self) -> Proxy {
        let proxy = Proxy(AsyncSeqpacket::connect(&self.path).unwrap());
        proxy.0.send(&encode_hello(), None).await.unwrap();
        proxy
    }

    async fn until(&mut self, is_so: impl FnMut(&Connections) -> bool) {
        let waited = timeout(Duration::from_secs(600), self.connections.wait_for(is_so)).await;
        waited.expect("the connections come to be so").unwrap();
    }
}

struct Proxy(AsyncSeqpacket);

impl Proxy {
    /// The next request, as "add a"; not answered yet.
    async fn hear(&self) -> String {
        let received = timeout(Duration::from_secs(600), self.0.recv()).await;
        let (packet, descriptors) = received.expect("a request").expect("an open connection");
        match Request::decode(&packet, descriptors).unwrap() {
            Request::Add { uid, identity, .. } => {
                assert_eq!(identity.unwrap().namespace, "shop");
                format!("add {uid}")
            }
            Request::Keep { uid } => format!("keep {uid}"),
            Request::Del { uid } => format!("del {uid}"),
            Request::SnapshotSent => "snapshot".into(),
        }
    }

    async fn answer(&self, answer: Answer) {
        self.0.send(&answer.encode(), None).await.unwrap();
    }

    async fn hear_and_do(&self) -> String {
        let heard = self.hear().await;
        self.answer(Answer::Done).await;
        heard
    }

    async fn hear_and_refuse(&self) -> String {
        let heard = self.hear().await;
        self.answer(Answer::Failed("no port".into())).await;
        heard
    }

    /// Everything up to the end of the snapshot, all done.
    async fn hear_snapshot(&self) -> Vec<String> {
        let mut heard = Vec::new();
        while heard.last().is_none_or(|last| last != "snapshot") {
            heard.push(self.hear_and_do().await);
        }
        heard
    }

    async fn hears_nothing(&self) {
        assert!(timeout(Duration::from_secs(4), self.0.recv()).await.is_err());
    }

    async fn is_closed(&self) -> bool {
        loop {
            match timeout(Duration::from_secs(30), self.0.recv()).await {
                Ok(Err(_)) => return true,
                Ok(Ok(_)) => {}
                Err(_) => return false,
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn snapshot_names_every_pod_then_changes_follow_one_at_a_time() {
    let agent = agent(Some(&["a", "b"]));
    let proxy = agent.connect().await;
    assert_eq!(proxy.hear().await, "add a");
    // Nothing more before the answer.
    assert!(timeout(Duration::from_secs(1), proxy.0.recv()).await.is_err());
    proxy.answer(Answer::Done).await;
    assert_eq!(proxy.hear_snapshot().await, ["add b", "snapshot"]);
    agent.announce(&["b", "c"]);
    assert_eq!(proxy.hear_and_do().await, "del a");
    assert_eq!(proxy.hear_and_do().await, "add c");
    proxy.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn no_snapshot_is_sent_before_a_set_is_known() {
    let agent = agent(None);
    let proxy = agent.connect().await;
    proxy.hears_nothing().await;
    agent.announce(&[]);
    assert_eq!(proxy.hear_snapshot().await, ["snapshot"]);
}

#[tokio::test(start_paused = true)]
async fn reconnected_proxy_gets_the_whole_set_again() {
    let mut agent = agent(Some(&["a"]));
    let proxy = agent.connect().await;
    proxy.hear_snapshot().await;
    drop(proxy);
    agent.until(Connections::is_empty).await;
    agent.announce(&["a", "b"]);
    let proxy = agent.connect().await;
    assert_eq!(proxy.hear_snapshot().await, ["add a", "add b", "snapshot"]);
}

#[tokio::test(start_paused = true)]
async fn additions_go_to_the_newest_and_removals_to_all() {
    let mut agent = agent(Some(&["a"]));
    let old = agent.connect().await;
    old.hear_snapshot().await;
    let new = agent.connect().await;
    new.hear_snapshot().await;
    agent.announce(&["b"]);
    assert_eq!(old.hear_and_do().await, "del a");
    assert_eq!(new.hear_and_do().await, "del a");
    assert_eq!(new.hear_and_do().await, "add b");
    old.hears_nothing().await;
    // The new one dies: the old one is caught up.
    drop(new);
    agent.until(|all| all.len() == 1).await;
    assert_eq!(old.hear_and_do().await, "add b");
}

#[tokio::test(start_paused = true)]
async fn stranger_that_never_introduces_itself_is_not_the_newest() {
    let agent = agent(Some(&[]));
    let proxy = agent.connect().await;
    proxy.hear_snapshot().await;
    let stranger = Proxy(AsyncSeqpacket::connect(&agent.path).unwrap());
    sleep(Duration::from_millis(1)).await;
    agent.announce(&["a"]);
    assert_eq!(proxy.hear_and_do().await, "add a");
    assert!(stranger.is_closed().await);
}

#[tokio::test(start_paused = true)]
async fn refused_pod_is_named_again_later_and_the_others_are_not_held_up() {
    let mut agent = agent(Some(&["a", "b"]));
    let proxy = agent.connect().await;
    assert_eq!(proxy.hear_and_refuse().await, "add a");
    assert_eq!(proxy.hear_snapshot().await, ["add b", "snapshot"]);
    let begun = tokio::time::Instant::now();
    assert_eq!(proxy.hear_and_refuse().await, "add a");
    let pause = begun.elapsed().as_secs_f64();
    assert!((4.0..6.1).contains(&pause), "{pause}");
    let no = Serving::No { reason: "no port".into(), attempts: 2 };
    agent.until(|all| all.values().any(|one| one.pods.values().any(|pod| *pod == no))).await;
    assert_eq!(proxy.hear_and_do().await, "add a");
    assert!(begun.elapsed().as_secs_f64() > pause + 8.0);
    agent
        .until(|all| all.values().all(|one| one.pods.values().all(|pod| *pod == Serving::Yes)))
        .await;
    // Refused and then gone: the proxy must forget it too.
    agent.announce(&["a", "b", "c"]);
    assert_eq!(proxy.hear_and_refuse().await, "add c");
    agent.announce(&["a", "b"]);
    assert_eq!(proxy.hear_and_do().await, "del c");
}

#[tokio::test(start_paused = true)]
async fn removal_that_is_never_confirmed_is_given_up() {
    let agent = agent(Some(&["a"]));
    let proxy = agent.connect().await;
    proxy.hear_snapshot().await;
    agent.announce(&[]);
    for _ in 0..limits::REMOVAL_ATTEMPTS_MAX {
        assert_eq!(proxy.hear_and_refuse().await, "del a");
    }
    assert!(timeout(Duration::from_secs(300), proxy.0.recv()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn changed_pod_is_taken_back_before_it_is_named_anew() {
    let agent = agent(Some(&["a"]));
    let proxy = agent.connect().await;
    proxy.hear_snapshot().await;
    agent.redirect.set("a", Some(2));
    let changed = Announcements::from([("a".parse().unwrap(), announcement("a", 2))]);
    agent.announced.send_replace(Some(Arc::new(changed)));
    assert_eq!(proxy.hear_and_do().await, "del a");
    assert_eq!(proxy.hear_and_do().await, "add a");
}

#[tokio::test(start_paused = true)]
async fn pod_whose_namespace_is_gone_is_not_named_and_one_that_fails_is_kept() {
    let agent = agent(Some(&["a", "b"]));
    agent.redirect.set("a", None);
    agent.redirect.fail(true);
    let proxy = agent.connect().await;
    assert_eq!(proxy.hear_snapshot().await, ["keep b", "snapshot"]);
    agent.redirect.fail(false);
    assert_eq!(proxy.hear_and_do().await, "add b");
    // It came to be another namespace under the same name, which was never enrolled.
    agent.redirect.set("a", Some(7));
    proxy.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn garbage_closes_its_own_connection_only() {
    let agent = agent(Some(&["a"]));
    let good = agent.connect().await;
    good.hear_snapshot().await;
    let garbage: [&[u8]; 4] = [b"\xff\xff", &[8, 0], &[1; 900], &Answer::Done.encode()];
    for packet in garbage {
        let proxy = Proxy(AsyncSeqpacket::connect(&agent.path).unwrap());
        proxy.0.send(packet, None).await.unwrap();
        assert!(proxy.is_closed().await, "{packet:?} as a hello");
        let proxy = agent.connect().await;
        assert_eq!(proxy.hear().await, "add a");
        if packet != Answer::Done.encode() {
            proxy.0.send(packet, None).await.unwrap();
            assert!(proxy.is_closed().await, "{packet:?} as an answer");
        }
    }
    agent.announce(&[]);
    assert_eq!(good.hear_and_do().await, "del a");
}

#[tokio::test(start_paused = true)]
async fn answer_over_the_packet_limit_closes_the_connection() {
    use std::os::fd::{AsFd as _, AsRawFd as _};
    let agent = agent(Some(&["a"]));
    let proxy = agent.connect().await;
    assert_eq!(proxy.hear().await, "add a");
    let long = vec![0; 1025];
    let raw = proxy.0.as_fd().as_raw_fd();
    nix::sys::socket::send(raw, &long, nix::sys::socket::MsgFlags::empty()).unwrap();
    assert!(proxy.is_closed().await);
}

#[tokio::test(start_paused = true)]
async fn answer_out_of_order_closes_the_connection() {
    let agent = agent(Some(&["a"]));
    let proxy = agent.connect().await;
    proxy.hear_snapshot().await;
    proxy.answer(Answer::Done).await;
    assert!(proxy.is_closed().await);
    // Two answers at once: the second is not taken for the answer to the next request.
    let proxy = agent.connect().await;
    assert_eq!(proxy.hear().await, "add a");
    proxy.answer(Answer::Done).await;
    proxy.answer(Answer::Done).await;
    assert!(proxy.is_closed().await);
}

#[tokio::test(start_paused = true)]
async fn proxy_that_does_not_answer_in_time_is_let_go_and_the_one_before_takes_over() {
    let agent = agent(Some(&[]));
    let old = agent.connect().await;
    old.hear_snapshot().await;
    let stuck = agent.connect().await;
    stuck.hear_snapshot().await;
    agent.announce(&["a"]);
    assert_eq!(stuck.hear().await, "add a");
    assert_eq!(old.hear_and_do().await, "add a");
    assert!(stuck.is_closed().await);
}

#[tokio::test(start_paused = true)]
async fn message_that_fits_no_packet_is_a_refusal_of_that_pod_only() {
    let agent = agent(Some(&["b"]));
    let mut all = (*set(&["a", "b"])).clone();
    let long = all.get_mut(&"a".parse().unwrap()).unwrap();
    long.identity.name = "n".repeat(2000);
    agent.announced.send_replace(Some(Arc::new(all)));
    let proxy = agent.connect().await;
    assert_eq!(proxy.hear_snapshot().await, ["keep a", "add b", "snapshot"]);
}
