//! Against a controller that is scripted behind real TLS.

use std::path::PathBuf;

use super::*;
use crate::scripted::{Mesh, mesh};

impl Mesh {
    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.script.calls.lock().unwrap())
    }

    fn member(&self, folder: &tempfile::TempDir, token: Option<PathBuf>) -> Member {
        self.try_member("node1", folder, token).unwrap()
    }

    fn try_member(
        &self,
        node: &str,
        folder: &tempfile::TempDir,
        join_token_file: Option<PathBuf>,
    ) -> Result<Member, MemberError> {
        let state = Arc::new(StateDir::open(&folder.path().join("state")).unwrap());
        let settings = MemberSettings {
            node: node.into(),
            controller: self.address.clone(),
            controller_name: None,
            join_token_file,
        };
        Member::new(settings, state)
    }
}

fn read(folder: &tempfile::TempDir, name: &str) -> String {
    std::fs::read_to_string(folder.path().join("state").join(name)).unwrap()
}

#[tokio::test]
async fn node_joins_once_and_a_restart_needs_no_join_token() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = mesh(3600).await;
    let token = mesh.write_token(&folder, "aa.bb.cc");
    let member = mesh.member(&folder, Some(token));
    assert!(!member.subscribe().borrow().is_joined);
    let pause = member.refresh().await.unwrap();
    assert!(pause <= limits::RENEWAL_CHECK && pause >= limits::RENEWAL_INTERVAL_MIN);
    assert_eq!(mesh.calls(), ["join", "ztunnel"]);
    assert!(member.subscribe().borrow().is_joined);
    assert_eq!(read(&folder, state::AGENT_TOKEN), "join-1");
    assert_eq!(read(&folder, state::ZTUNNEL_TOKEN), "ztunnel-2");
    assert!(read(&folder, state::ROOTS).contains("BEGIN CERTIFICATE"));
    drop(member);
    let member = mesh.member(&folder, None);
    assert!(member.subscribe().borrow().is_joined);
    member.refresh().await.unwrap();
    assert!(mesh.calls().is_empty(), "nothing was due");
}

#[tokio::test]
async fn tokens_are_renewed_when_they_are_due_and_another_join_token_joins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = mesh(0).await;
    let token = mesh.write_token(&folder, "aa.bb.cc");
    let member = mesh.member(&folder, Some(token));
    member.refresh().await.unwrap();
    mesh.calls();
    let pause = member.refresh().await.unwrap();
    assert_eq!(mesh.calls(), ["agent", "ztunnel"]);
    assert_eq!(
        pause,
        limits::RENEWAL_INTERVAL_MIN,
        "tokens without life are not asked for in a loop"
    );
    mesh.write_token(&folder, "dd.ee.ff");
    member.refresh().await.unwrap();
    assert_eq!(mesh.calls().first().unwrap(), "join");
}

#[tokio::test]
async fn refused_agent_token_leads_to_a_new_join() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = mesh(0).await;
    let token = mesh.write_token(&folder, "aa.bb.cc");
    let member = mesh.member(&folder, Some(token));
    member.refresh().await.unwrap();
    mesh.calls();
    *mesh.script.accepts.lock().unwrap() = None;
    member.refresh().await.unwrap();
    assert_eq!(mesh.calls().first().unwrap(), "join");
    // Without a join token it is an error, and what is there stays.
    *mesh.script.accepts.lock().unwrap() = None;
    std::fs::remove_file(folder.path().join("join")).unwrap();
    let before = read(&folder, state::ZTUNNEL_TOKEN);
    let error = member.refresh().await.unwrap_err().to_string();
    assert!(
        error.contains("the token has expired") && error.contains("--join-token-file"),
        "{error}"
    );
    assert_eq!(read(&folder, state::ZTUNNEL_TOKEN), before);
}

#[tokio::test]
async fn controller_with_another_root_is_not_joined_and_told_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mesh, other) = (mesh(3600).await, mesh(3600).await);
    let token = other.write_token(&folder, "aa.bb.cc");
    let member = mesh.member(&folder, Some(token));
    let error = member.refresh().await.unwrap_err().to_string();
    assert!(error.contains("TLS"), "{error}");
    assert!(mesh.calls().is_empty());
    assert!(!folder.path().join("state").join(state::ROOTS).exists());
}

#[tokio::test]
async fn what_can_not_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = mesh(3600).await;
    let member = mesh.member(&folder, None);
    assert!(matches!(member.refresh().await, Err(MemberError::NoJoinToken)));
    drop(member);
    let garbage = folder.path().join("garbage");
    std::fs::write(&garbage, "hello").unwrap();
    let member = mesh.member(&folder, Some(garbage));
    assert!(matches!(member.refresh().await, Err(MemberError::JoinToken { .. })));
    drop(member);
    let token = mesh.write_token(&folder, "aa.bb.cc");
    let member = mesh.try_member("node2", &folder, Some(token.clone())).unwrap();
    let error = member.refresh().await.unwrap_err().to_string();
    assert!(error.contains("for node node1, and node2 asked"), "{error}");
    drop(member);
    let member = mesh.member(&folder, Some(token));
    member.refresh().await.unwrap();
    drop(member);
    assert!(matches!(mesh.try_member("node2", &folder, None), Err(MemberError::OtherNode(_))));
}
