//! Takes the node's pods out of the mesh without an agent: every redirection that the state folder knows of.

use weft_core::zds::PodUid;

use crate::redirect::{Redirect, RedirectError};
use crate::state::{self, Enrolled, PodsFile, StateDir, StateError};

/// What came of one pod.
pub type Undone = (PodUid, Result<(), RedirectError>);

/// Undoes all, and forgets what was undone. Pods that are wanted but were never confirmed are undone too: an agent may
/// have been interrupted while it enrolled them.
pub async fn cleanup(
    state: &StateDir,
    redirect: &impl Redirect,
) -> Result<Vec<Undone>, StateError> {
    let Some(mut file) = state.read_json::<PodsFile>(state::PODS)? else { return Ok(Vec::new()) };
    let mut all = std::mem::take(&mut file.enrolled);
    for pod in file.wanted.take().unwrap_or_default().into_values() {
        if all.iter().all(|enrolled| enrolled.pod.uid != pod.uid) {
            all.push(Enrolled { pod, namespace: None });
        }
    }
    let mut results = Vec::new();
    for enrolled in all {
        let result = redirect.undo(&enrolled.pod, enrolled.namespace).await;
        let uid = enrolled.pod.uid.clone();
        if result.is_err() {
            file.enrolled.push(enrolled);
        }
        results.push((uid, result));
    }
    if file.enrolled.is_empty() {
        state.remove(state::PODS)?;
    } else {
        state.write_json(state::PODS, &file)?;
    }
    state.remove(state::STATUS)?;
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{self, FakeRedirect};

    #[tokio::test]
    async fn everything_known_is_undone_and_failures_are_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let redirect = FakeRedirect::with(&[("a", 1), ("b", 1)]);
        assert!(cleanup(&state, &redirect).await.unwrap().is_empty());
        let (a, b) = (fake::pod("a", "a"), fake::pod("b", "b"));
        let file = PodsFile {
            node: "node1".into(),
            wanted: Some([(b.uid.clone(), b)].into()),
            enrolled: vec![Enrolled { pod: a, namespace: Some(fake::namespace(1)) }],
        };
        state.write_json(state::PODS, &file).unwrap();
        redirect.fail(true);
        assert!(
            cleanup(&state, &redirect).await.unwrap().iter().all(|(_, undone)| undone.is_err())
        );
        redirect.fail(false);
        let undone = cleanup(&state, &redirect).await.unwrap();
        assert!(undone.iter().all(|(_, undone)| undone.is_ok()));
        assert_eq!(redirect.take_done(), ["undo a", "undo b"]);
        assert_eq!(state.read(state::PODS).unwrap(), None);
    }
}
