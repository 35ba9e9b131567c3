//! From a join token to the pods of the node, over real TLS.

use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::member::{Member, MemberSettings};
use crate::reconciler::WantedPods;
use crate::scripted::{Mesh, mesh, response};
use crate::state::{AGENT_TOKEN, StateDir};

const PATIENCE: Duration = Duration::from_secs(20);

struct Rig {
    wanted: watch::Receiver<Option<Arc<WantedPods>>>,
    discovery: watch::Receiver<Discovery>,
    _running: tokio::task::JoinSet<Infallible>,
    folder: tempfile::TempDir,
}

fn start(mesh: &Mesh, known: Option<WantedPods>) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let state = Arc::new(StateDir::open(&folder.path().join("state")).unwrap());
    let settings = MemberSettings {
        node: "node1".into(),
        controller: mesh.address.clone(),
        controller_name: None,
        join_token_file: Some(mesh.write_token(&folder, "aa.bb.cc")),
    };
    let member = Member::new(settings, state.clone()).unwrap();
    let feed = FeedSettings {
        node: "node1".into(),
        control: member.control_settings(),
        token: state.path_of(AGENT_TOKEN),
        membership: member.subscribe(),
    };
    let reconciler = Reconciler::new("node1".into(), known);
    let wanted = reconciler.subscribe();
    let (discovery_tx, discovery) = watch::channel(Discovery::default());
    let mut _running = tokio::task::JoinSet::new();
    _running.spawn(member.keep_fresh());
    _running.spawn(run(feed, reconciler, discovery_tx));
    Rig { wanted, discovery, _running, folder }
}

impl Rig {
    async fn wants(&mut self, uids: &[&str]) {
        let is_so = |wanted: &Option<Arc<WantedPods>>| {
            let known = wanted.as_ref();
            known.is_some_and(|known| known.keys().map(|uid| uid.as_str()).eq(uids.iter().copied()))
        };
        let is_wanted = timeout(PATIENCE, self.wanted.wait_for(is_so)).await.is_ok();
        assert!(is_wanted, "never wanted {uids:?}: {:?}", self.wanted.borrow());
    }
}

#[tokio::test]
async fn joined_node_learns_its_pods_and_their_changes() {
    let mesh = mesh(3600).await;
    let responses = mesh.responses();
    let mut rig = start(&mesh, None);
    responses.send(response("1", &[("a", "netns-a"), ("b", "../b")], &[])).await.unwrap();
    rig.wants(&["a"]).await;
    responses.send(response("2", &[("c", "netns-c")], &["a"])).await.unwrap();
    rig.wants(&["c"]).await;
    let is_loaded = timeout(PATIENCE, rig.discovery.wait_for(|seen| seen.is_loaded)).await;
    assert!(is_loaded.unwrap().unwrap().is_connected);
    let requests = mesh.script.requests.lock().unwrap();
    let first = requests.first().unwrap();
    assert_eq!(first.type_url, ENROLLED_POD);
    assert!(first.node.as_ref().unwrap().id.starts_with("agent~"));
    // The namespace that leads elsewhere was refused by name; the rest was taken.
    let refusal = requests.iter().find_map(|request| request.error_detail.clone()).unwrap();
    assert!(refusal.message.starts_with("b: "), "{}", refusal.message);
    assert!(rig.folder.path().join("state/ztunnel-token").exists());
}

#[tokio::test]
async fn pods_of_an_earlier_run_stay_until_the_whole_load_is_there() {
    let mesh = mesh(3600).await;
    let responses = mesh.responses();
    let earlier = ["a", "b", "c"].map(|uid| (uid.parse().unwrap(), crate::fake::pod(uid, uid)));
    let mut rig = start(&mesh, Some(earlier.into()));
    rig.wants(&["a", "b", "c"]).await;
    responses.send(response("1+", &[("a", "a"), ("d", "d")], &[])).await.unwrap();
    rig.wants(&["a", "b", "c", "d"]).await;
    responses.send(response("2", &[("c", "c")], &[])).await.unwrap();
    rig.wants(&["a", "c", "d"]).await;
}
