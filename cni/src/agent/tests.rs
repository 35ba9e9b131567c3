use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::fake::{self, FakeRedirect};
use crate::state::PODS;
use crate::zds::Connection;

const LONG: Duration = Duration::from_secs(600);

/// An agent without proxies and control plane: the test speaks for both.
struct Rig {
    redirect: Arc<FakeRedirect>,
    wanted: watch::Sender<Option<Arc<WantedPods>>>,
    connections: watch::Sender<Connections>,
    announced: watch::Receiver<Option<Arc<Announcements>>>,
    folder: Arc<tempfile::TempDir>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Result<(), AgentError>>,
}

impl Rig {
    fn start(
        redirect: Arc<FakeRedirect>,
        folder: Arc<tempfile::TempDir>,
        wanted: Option<&[Pod]>,
    ) -> Self {
        let state = Arc::new(StateDir::open(folder.path()).unwrap());
        let earlier: PodsFile = state.read_json(PODS).unwrap().unwrap_or_default();
        let (wanted, wanted_rx) = watch::channel(wanted.map(set).or(earlier.wanted.map(Arc::new)));
        // Nobody speaks for these two: their ends being gone must not disturb the agent.
        let (_, membership) = watch::channel(Membership::default());
        let (_, discovery) = watch::channel(Discovery::default());
        let (connections, connections_rx) = watch::channel(Connections::new());
        let (announced_tx, announced) = watch::channel(None);
        let links = Links {
            wanted: wanted_rx,
            membership,
            discovery,
            connections: connections_rx,
            announced: announced_tx,
        };
        let agent = Agent::new("node1".into(), redirect.clone(), state, links, earlier.enrolled);
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(agent.run(async { drop(stopped.await) }));
        let stop = Some(stop);
        Self { redirect, wanted, connections, announced, folder, stop, running }
    }

    fn fresh(namespaces: &[(&str, u64)], wanted: Option<&[Pod]>) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Self::start(Arc::new(FakeRedirect::with(namespaces)), folder, wanted)
    }

    fn want(&self, pods: &[Pod]) {
        self.wanted.send_replace(Some(set(pods)));
    }

    async fn announces(&mut self, uids: &[&str]) {
        let is_so = |announced: &Option<Arc<Announcements>>| {
            let known = announced.as_ref();
            known.is_some_and(|known| known.keys().map(PodUid::as_str).eq(uids.iter().copied()))
        };
        let is_announced = timeout(LONG, self.announced.wait_for(is_so)).await.is_ok();
        assert!(is_announced, "never announced {uids:?}: {:?}", self.announced.borrow());
    }

    /// Waits until the status says so of the pod.
    async fn shows(&self, uid: &str, is_so: impl Fn(&PodStatus) -> bool) {
        let path = self.folder.path().join(state::STATUS);
        let uid: PodUid = uid.parse().unwrap();
        let poll = async {
            loop {
                let status: Option<Status> = state::read_json_file(&path).unwrap();
                let pods = status.map(|status| status.pods).unwrap_or_default();
                if pods.iter().any(|pod| pod.uid == uid && is_so(pod)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(LONG, poll).await.expect("the status comes to say so");
    }

    async fn stop(mut self) -> (Arc<FakeRedirect>, Arc<tempfile::TempDir>) {
        self.stop.take().unwrap().send(()).unwrap();
        self.running.await.unwrap().unwrap();
        (self.redirect, self.folder)
    }
}

fn set(pods: &[Pod]) -> Arc<WantedPods> {
    Arc::new(pods.iter().map(|pod| (pod.uid.clone(), pod.clone())).collect())
}

#[tokio::test(start_paused = true)]
async fn pod_is_redirected_before_it_is_announced_and_undone_before_it_is_taken_back() {
    let mut rig = Rig::fresh(&[("a", 1)], Some(&[fake::pod("u", "a")]));
    rig.announces(&["u"]).await;
    assert_eq!(rig.redirect.take_done(), ["apply u"]);
    rig.redirect.fail(true);
    rig.want(&[]);
    rig.shows("u", |pod| pod.state == PodState::Leaving && pod.reason.is_some()).await;
    assert_eq!(rig.announced.borrow().as_ref().unwrap().len(), 1);
    rig.redirect.fail(false);
    rig.announces(&[]).await;
    assert_eq!(rig.redirect.take_done(), ["undo u"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_announced_until_the_set_is_known_and_every_pod_was_tried() {
    let mut rig = Rig::fresh(&[("a", 1)], None);
    tokio::time::sleep(LONG).await;
    assert!(rig.announced.borrow().is_none());
    rig.want(&[fake::pod("u", "a"), fake::pod("v", "missing")]);
    rig.announced.changed().await.unwrap();
    rig.announces(&["u"]).await;
    rig.shows("v", |pod| pod.reason.as_deref().is_some_and(|why| why.contains("missing"))).await;
    rig.redirect.set("missing", Some(2));
    rig.announces(&["u", "v"]).await;
}

#[tokio::test(start_paused = true)]
async fn restarted_agent_goes_on_without_the_controller() {
    let mut rig = Rig::fresh(&[("a", 1), ("b", 2)], Some(&[fake::pod("u", "a")]));
    rig.announces(&["u"]).await;
    let (redirect, folder) = rig.stop().await;
    assert_eq!(redirect.take_done(), ["apply u"], "stopping undoes nothing");
    let mut rig = Rig::start(redirect, folder, None);
    rig.announces(&["u"]).await;
    rig.shows("u", |pod| pod.is_redirected).await;
    // What left while the agent was away is undone once the control plane says so.
    rig.want(&[fake::pod("v", "b")]);
    rig.announces(&["v"]).await;
    assert!(rig.redirect.take_done().contains(&"undo u".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn pod_restarted_in_a_new_namespace_is_enrolled_again() {
    let mut rig = Rig::fresh(&[("a", 1)], Some(&[fake::pod("u", "a")]));
    rig.announces(&["u"]).await;
    rig.redirect.set("a", None);
    rig.announces(&[]).await;
    rig.redirect.set("a", Some(9));
    rig.announces(&["u"]).await;
    let announced = rig.announced.borrow().clone().unwrap();
    assert_eq!(announced.values().next().unwrap().namespace, fake::namespace(9));
}

#[tokio::test(start_paused = true)]
async fn second_pod_in_a_namespace_waits_for_the_first_to_leave() {
    let (first, second) = (fake::pod("u", "a"), fake::pod("v", "a"));
    let mut rig = Rig::fresh(&[("a", 1)], Some(std::slice::from_ref(&first)));
    rig.announces(&["u"]).await;
    rig.want(&[first, second.clone()]);
    rig.shows("v", |pod| pod.reason.as_deref().is_some_and(|why| why.contains("pod u"))).await;
    rig.want(&[second]);
    rig.announces(&["v"]).await;
    assert_eq!(rig.redirect.take_done(), ["apply u", "undo u", "apply v"]);
}

#[tokio::test(start_paused = true)]
async fn status_says_enrolled_only_once_the_newest_proxy_serves_the_pod() {
    let mut rig = Rig::fresh(&[("a", 1)], Some(&[fake::pod("u", "a")]));
    rig.announces(&["u"]).await;
    rig.shows("u", |pod| pod.state == PodState::Pending && pod.is_redirected).await;
    let serving = |serving: Serving| Connection {
        pid: Some(1),
        since: 0,
        is_snapshot_sent: true,
        pods: [("u".parse().unwrap(), serving)].into(),
    };
    let no = Serving::No { reason: "no port".into(), attempts: 1 };
    rig.connections.send_modify(|all| {
        all.insert(0, serving(Serving::Yes));
        all.insert(1, serving(no));
    });
    rig.shows("u", |pod| pod.reason.as_deref() == Some("ztunnel: no port")).await;
    rig.connections.send_modify(|all| drop(all.insert(1, serving(Serving::Yes))));
    rig.shows("u", |pod| pod.state == PodState::Enrolled && pod.reason.is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn many_pods_are_enrolled_a_few_at_a_time() {
    let names: Vec<_> = (0..50).map(|i| format!("p{i:02}")).collect();
    let namespaces: Vec<_> = names.iter().map(String::as_str).zip(1..).collect();
    let pods: Vec<_> = names.iter().map(|name| fake::pod(name, name)).collect();
    let mut rig = Rig::fresh(&namespaces, Some(&pods));
    let uids: Vec<_> = names.iter().map(String::as_str).collect();
    rig.announces(&uids).await;
    assert_eq!(rig.redirect.take_done().len(), 50);
}
