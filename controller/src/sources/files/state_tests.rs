//! The folder's state without a folder.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use crate::objects::{Kind, Object, ObjectKey};

use super::state::FolderState;

type World = BTreeMap<ObjectKey, Object>;

fn take(state: &mut FolderState, world: &mut World) {
    for change in state.take_changes() {
        match change.object {
            Some(object) => world.insert(change.key, object),
            None => world.remove(&change.key),
        };
    }
}

fn text(documents: &[(u8, u8)]) -> String {
    let document = |(name, label): &(u8, u8)| {
        format!(
            "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: a{name}, labels: {{l: l{label}}}}}\n"
        )
    };
    let head = "# never empty\n".to_owned();
    documents.iter().map(document).fold(head, |text, document| text + "---\n" + &document)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn edited_files_say_what_the_same_files_say_when_read_afresh(
        edits in prop::collection::vec(
            (0_usize..3, prop::option::weighted(0.9, prop::collection::vec((0_u8..6, 0_u8..3), 0..7))),
            1..10,
        ),
    ) {
        let (mut state, mut world) = (FolderState::default(), World::new());
        let mut files: BTreeMap<usize, String> = BTreeMap::new();
        let path = |at: usize| -> Arc<str> { format!("{at}.yaml").into() };
        for (at, edit) in edits {
            match edit.map(|documents| text(&documents)) {
                Some(text) => {
                    state.set_file(&path(at), &text);
                    files.insert(at, text);
                }
                None => {
                    state.remove_file(&path(at));
                    files.remove(&at);
                }
            }
            take(&mut state, &mut world);
            let (mut fresh, mut expected) = (FolderState::default(), World::new());
            files.iter().for_each(|(at, text)| fresh.set_file(&path(*at), text));
            take(&mut fresh, &mut expected);
            prop_assert_eq!(&world, &expected);
            prop_assert_eq!(state.report(&[]), fresh.report(&[]));
        }
    }

    #[test]
    fn no_text_is_a_surprise(text in "(apiVersion: v1\n|kind: Pod\n|---\n|[ -~]{0,12}\n|  - \\{\n|metadata: \\{name: a\\}\n|\\PC{0,4}){0,12}") {
        let mut state = FolderState::default();
        state.set_file(&"a.yaml".into(), &text);
        state.take_changes();
        state.report(&[]);
    }
}

/// At every byte, a file that was cut there and can't be read whole deletes nothing, and what is left of a policy that
/// can't be read doesn't replace it.
#[test]
fn file_cut_at_every_byte_deletes_nothing_unless_it_reads_well() {
    let whole = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n---\n\
                 apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n  name: p\n  namespace: shop\n\
                 spec:\n  selector:\n    matchLabels: {app: web}\n  action: ALLOW\n  rules:\n  - from:\n    - source:\n        principals: [\"x\", \"y\"]\n---\n\
                 apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web, namespace: shop}\n";
    for at in 0..whole.len() {
        let (mut state, mut world) = (FolderState::default(), World::new());
        state.is_loaded = true;
        state.set_file(&"a.yaml".into(), whole);
        take(&mut state, &mut world);
        assert_eq!(world.len(), 3);
        let cut = whole.get(..at).unwrap();
        state.set_file(&"a.yaml".into(), cut);
        take(&mut state, &mut world);
        let is_good = state.report(&[]).rejections.is_empty();
        assert!(is_good || world.len() >= 3, "cut at {at}: {cut}");
        let policy = world.get(&ObjectKey::new(Kind::AuthorizationPolicy, "shop", "p"));
        if let Some(Object::AuthorizationPolicy(policy)) = policy {
            // Where a cut reads well the policy lets in less or the same: it has lost rules or names.
            let crate::objects::PolicyBody::Rules { rules, .. } = &policy.body else { panic!() };
            assert!(rules.iter().all(|rule| !rule.from.is_empty()), "cut at {at}: {cut}");
        }
    }
}
