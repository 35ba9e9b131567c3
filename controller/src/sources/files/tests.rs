//! A real folder, edited in the ways that people and tools edit folders.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, timeout};

use crate::objects::{Object, ObjectKey};
use crate::sources::{Instead, SourceEvent, SourceReport};

use super::{Folder, FolderSettings, limits, watch_folder};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

struct Bench {
    _home: TempDir,
    root: PathBuf,
    folder: Folder,
    objects: BTreeMap<String, Object>,
    /// Every change, as `+key` or `-key`.
    history: Vec<String>,
}

impl Bench {
    /// A folder with these files, loaded.
    async fn new(files: &[(&str, &str)]) -> Self {
        Self::with(|root| {
            for (path, text) in files {
                write(&root.join(path), text);
            }
        })
        .await
    }

    async fn with(fill: impl FnOnce(&Path)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("manifests");
        fs::create_dir(&root).unwrap();
        fill(&root);
        let settings =
            FolderSettings { rescan: Duration::from_millis(500), ..FolderSettings::new(&root) };
        let folder = watch_folder(settings).unwrap();
        let (objects, history) = (BTreeMap::new(), Vec::new());
        let mut bench = Self { _home: home, root, folder, objects, history };
        while bench.step().await {}
        bench
    }

    /// Takes in one event. False: the load is complete.
    async fn step(&mut self) -> bool {
        let event = timeout(PATIENCE, self.folder.events.recv()).await;
        let Some(event) =
            event.unwrap_or_else(|_| panic!("nothing happens; so far {:?}", self.history))
        else {
            panic!("the watcher has ended");
        };
        let SourceEvent::Changes(changes) = event else {
            return false;
        };
        for change in changes {
            let key = name(&change.key);
            match change.object {
                Some(object) => {
                    self.history.push(format!("+{key}"));
                    self.objects.insert(key, object);
                }
                None => {
                    self.history.push(format!("-{key}"));
                    assert!(self.objects.remove(&key).is_some(), "{key} went away twice");
                }
            }
        }
        true
    }

    async fn until(&mut self, holds: impl Fn(&BTreeMap<String, Object>) -> bool) {
        while !holds(&self.objects) {
            assert!(self.step().await, "loaded twice");
        }
    }

    async fn report(&mut self, holds: impl Fn(&SourceReport) -> bool) -> Arc<SourceReport> {
        let mut report = self.folder.report.clone();
        let found = timeout(PATIENCE, report.wait_for(|report| holds(report))).await;
        match found {
            Ok(found) => found.unwrap().clone(),
            Err(_) => panic!("report stays {:#?}", self.folder.report.borrow()),
        }
    }

    /// Nothing is sent until a later edit of another file is.
    async fn stays_as_it_is(&mut self) {
        let before = self.objects.clone();
        let marker = format!("marker-{}", self.history.len());
        write(&self.root.join(format!("zz-{marker}.yaml")), &account(&marker));
        let key = format!("default/{marker}");
        self.until(|objects| objects.contains_key(&key)).await;
        let file = self.root.join(format!("zz-{marker}.yaml"));
        fs::remove_file(file).unwrap();
        self.until(|objects| !objects.contains_key(&key)).await;
        assert_eq!(self.objects, before);
    }

    fn names(&self) -> Vec<&str> {
        self.objects.keys().map(String::as_str).collect()
    }
}

fn name(key: &ObjectKey) -> String {
    format!("{}/{}", key.namespace, key.name)
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn account(name: &str) -> String {
    format!("apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {name}\n")
}

fn accounts(names: &[&str]) -> String {
    names.iter().map(|name| account(name)).collect::<Vec<_>>().join("---\n")
}

fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n  name: {name}\nspec:\n{spec}"
    )
}

#[tokio::test]
async fn folder_is_loaded_with_sub_folders_lists_and_json() {
    let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ServiceAccount\n  metadata: {name: c}\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: x}}\n";
    let json = r#"{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "d"}}"#;
    let mut bench = Bench::new(&[
        ("a.yaml", &accounts(&["a", "b"])),
        ("deep/er/list.yml", list),
        ("d.json", json),
        (".hidden.yaml", &account("h")),
        ("notes.txt", "not: [yaml"),
        ("empty.yaml", ""),
        ("words.yaml", "# nothing yet\n---\n"),
    ])
    .await;
    assert_eq!(bench.names(), ["default/a", "default/b", "default/c", "default/d"]);
    let report = bench.report(|report| report.is_loaded).await;
    assert_eq!(report.rejections, []);
    let [ignored] = report.ignored.as_slice() else { panic!("{report:?}") };
    assert_eq!(
        (&*ignored.file, ignored.line, ignored.kind.as_str()),
        ("deep/er/list.yml", 7, "ConfigMap")
    );
    assert_eq!(report.objects, [(crate::objects::Kind::ServiceAccount, 4)]);
}

#[tokio::test]
async fn edits_additions_and_deletions_are_followed() {
    let mut bench = Bench::new(&[("a.yaml", &accounts(&["a", "b"]))]).await;
    bench.history.clear();
    write(&bench.root.join("a.yaml"), &accounts(&["b", "c"]));
    bench.until(|objects| objects.contains_key("default/c")).await;
    assert_eq!(bench.history, ["-default/a", "+default/c"]);
    write(&bench.root.join("new/sub/x.yaml"), &account("x"));
    bench.until(|objects| objects.contains_key("default/x")).await;
    fs::remove_file(bench.root.join("a.yaml")).unwrap();
    bench.until(|objects| !objects.contains_key("default/b")).await;
    fs::remove_dir_all(bench.root.join("new")).unwrap();
    bench.until(BTreeMap::is_empty).await;
}

#[tokio::test]
async fn bad_document_is_named_and_keeps_its_last_good_version() {
    let good = policy("p", "  action: DENY\n  rules:\n  - {}\n");
    let text = format!("{}---\n{good}", account("a"));
    let mut bench = Bench::new(&[("shop/policy.yaml", &text)]).await;
    let before = bench.objects["default/p"].clone();
    let bad = text.replace("  - {}\n", "  - from:\n    - source:\n        principal: [x]\n");
    write(&bench.root.join("shop/policy.yaml"), &bad);
    let report = bench.report(|report| report.rejections_total == 1).await;
    let rejection = &report.rejections[0];
    assert_eq!((&*rejection.file, rejection.line), ("shop/policy.yaml", Some(15)));
    let object = rejection.object.clone().unwrap();
    assert_eq!(
        (object.kind.as_str(), object.namespace.as_str(), object.name.as_str()),
        ("AuthorizationPolicy", "default", "p")
    );
    assert_eq!(rejection.field.as_deref(), Some("spec.rules[0].from[0].source.principal"));
    assert!(rejection.reason.contains("unknown field `principal`"), "{}", rejection.reason);
    assert_eq!(rejection.instead, Instead::LastGood);
    bench.stays_as_it_is().await;
    assert_eq!(bench.objects["default/p"], before);
    write(&bench.root.join("shop/policy.yaml"), &text.replace("DENY", "ALLOW"));
    bench.until(|objects| objects["default/p"] != before).await;
    bench.report(|report| report.rejections_total == 0).await;
}

#[tokio::test]
async fn file_cut_at_any_byte_never_deletes_or_changes_what_it_held() {
    let text = [
        account("a"),
        policy(
            "p",
            "  action: ALLOW\n  rules:\n  - from:\n    - source:\n        principals: [\"x\"]\n",
        ),
        account("b"),
    ]
    .join("---\n");
    let mut bench = Bench::new(&[("all.yaml", &text)]).await;
    let before = bench.objects.clone();
    // Cut inside a document so that it can't be read. (A cut between documents is an edit like any other.)
    let cuts =
        ["princip", "principals: [", "  - from:\n", "kind: Author", "rules:\n  - from:\n    - "];
    for cut in cuts {
        let at = text.find(cut).unwrap() + cut.len();
        write(&bench.root.join("all.yaml"), text.get(..at).unwrap());
        bench.report(|report| report.rejections_total > 0).await;
        bench.stays_as_it_is().await;
        assert_eq!(bench.objects, before, "cut behind {cut:?}");
        write(&bench.root.join("all.yaml"), &text);
        bench.report(|report| report.rejections_total == 0).await;
    }
    write(&bench.root.join("all.yaml"), "");
    let report = bench.report(|report| report.rejections_total > 0).await;
    assert!(report.rejections[0].reason.contains("is empty"));
    bench.stays_as_it_is().await;
    write(&bench.root.join("all.yaml"), "# nothing any more\n");
    bench.until(BTreeMap::is_empty).await;
}

#[tokio::test]
async fn file_is_not_read_while_its_writer_is_at_it() {
    let mut bench = Bench::new(&[("a.yaml", &accounts(&["a", "b", "c"]))]).await;
    bench.history.clear();
    let path = bench.root.join("a.yaml");
    let mut writer = OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
    // Each part alone would be a good file.
    for part in [account("a"), "---\n".to_owned() + &account("b")] {
        writer.write_all(part.as_bytes()).unwrap();
        bench.stays_as_it_is().await;
    }
    bench.history.clear();
    writer.write_all(format!("---\n{}", account("d")).as_bytes()).unwrap();
    drop(writer);
    bench.until(|objects| objects.contains_key("default/d")).await;
    assert_eq!(bench.history, ["-default/c", "+default/d"]);
}

#[tokio::test]
async fn file_moved_over_another_replaces_it_in_one_step() {
    let mut bench = Bench::new(&[("a.yaml", &accounts(&["a", "b"]))]).await;
    bench.history.clear();
    write(&bench.root.join(".a.tmp"), &accounts(&["b", "c"]));
    fs::rename(bench.root.join(".a.tmp"), bench.root.join("a.yaml")).unwrap();
    bench.until(|objects| objects.contains_key("default/c")).await;
    assert_eq!(bench.history, ["-default/a", "+default/c"]);
    // As editors with a back-up file write: the old file is moved away first.
    bench.history.clear();
    fs::rename(bench.root.join("a.yaml"), bench.root.join("a.yaml~")).unwrap();
    write(&bench.root.join("a.yaml"), &accounts(&["b", "d"]));
    bench.until(|objects| objects.contains_key("default/d")).await;
    assert_eq!(bench.history, ["-default/c", "+default/d"]);
}

#[tokio::test]
async fn renamed_file_keeps_its_objects() {
    let mut bench = Bench::new(&[("a.yaml", &accounts(&["a", "b"]))]).await;
    bench.history.clear();
    fs::rename(bench.root.join("a.yaml"), bench.root.join("b.yaml")).unwrap();
    bench.report(|report| report.files == 1 && report.rejections_total == 0).await;
    bench.stays_as_it_is().await;
    assert!(!bench.history.contains(&"-default/a".to_owned()), "{:?}", bench.history);
}

#[tokio::test]
async fn mounted_config_map_is_swapped_as_a_whole() {
    let mut bench = Bench::with(|root| {
        write(&root.join("..2026_1/a.yaml"), &account("a"));
        symlink("..2026_1", root.join("..data")).unwrap();
        symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
    })
    .await;
    assert_eq!(bench.names(), ["default/a"]);
    bench.history.clear();
    let root = bench.root.clone();
    write(&root.join("..2026_2/a.yaml"), &account("b"));
    symlink("..2026_2", root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    fs::remove_dir_all(root.join("..2026_1")).unwrap();
    bench.until(|objects| objects.contains_key("default/b")).await;
    assert_eq!(bench.history, ["-default/a", "+default/b"]);
}

#[tokio::test]
async fn linked_folder_is_followed_when_it_points_elsewhere() {
    let elsewhere = tempfile::tempdir().unwrap();
    let (one, two) = (elsewhere.path().join("one"), elsewhere.path().join("two"));
    write(&one.join("a.yaml"), &account("a"));
    write(&two.join("a.yaml"), &account("b"));
    let mut bench = Bench::with(|root| symlink(&one, root.join("apps")).unwrap()).await;
    assert_eq!(bench.names(), ["default/a"]);
    fs::remove_file(bench.root.join("apps")).unwrap();
    symlink(&two, bench.root.join("apps")).unwrap();
    bench.until(|objects| objects.contains_key("default/b")).await;
    write(&two.join("c.yaml"), &account("c"));
    bench.until(|objects| objects.len() == 2).await;
    symlink(bench.root.clone(), bench.root.join("loop")).unwrap();
    let report = bench.report(|report| report.rejections_total == 1).await;
    assert_eq!(&*report.rejections[0].file, "loop");
}

#[tokio::test]
async fn object_in_two_files_is_that_of_the_first_by_path() {
    let labelled = |label: &str| {
        account("a").replace("  name: a\n", &format!("  name: a\n  labels: {{l: {label}}}\n"))
    };
    let mut bench = Bench::new(&[("b.yaml", &labelled("b"))]).await;
    let label = |objects: &BTreeMap<String, Object>| {
        objects["default/a"].meta().labels.get("l").unwrap().to_owned()
    };
    write(&bench.root.join("a.yaml"), &labelled("a"));
    bench.until(|objects| label(objects) == "a").await;
    let report = bench.report(|report| report.rejections_total == 1).await;
    let rejection = &report.rejections[0];
    assert_eq!(
        (&*rejection.file, rejection.line, rejection.instead),
        ("b.yaml", Some(1), Instead::OtherFile)
    );
    assert!(rejection.reason.contains("a.yaml"));
    fs::remove_file(bench.root.join("a.yaml")).unwrap();
    bench.until(|objects| label(objects) == "b").await;
    bench.report(|report| report.rejections_total == 0).await;
    write(&bench.root.join("b.yaml"), &format!("{}---\n{}", labelled("b"), labelled("c")));
    let report = bench.report(|report| report.rejections_total == 1).await;
    assert_eq!((report.rejections[0].line, label(&bench.objects)), (Some(6), "b".to_owned()));
}

#[tokio::test]
async fn policy_unreadable_at_the_start_denies_and_a_new_one_is_left_out() {
    let bad = policy("p", "  selector: {matchLabels: {app: web}}\n  ruls: []\n");
    let mut bench =
        Bench::new(&[("p.yaml", &bad), ("q.yaml", &policy("q", "  action: [\n"))]).await;
    let report = bench.report(|report| report.is_loaded).await;
    assert!(report.rejections.iter().all(|rejection| rejection.instead == Instead::Denial));
    let Object::AuthorizationPolicy(denial) = &bench.objects["default/p"] else { panic!() };
    assert_eq!(denial.body, crate::objects::PolicyBody::Unreadable);
    assert!(denial.selector.is_some());
    assert!(bench.objects.contains_key("default/q"));
    // Another mistake doesn't open it either.
    write(&bench.root.join("p.yaml"), &bad.replace("ruls", "rulez"));
    bench.report(|report| report.rejections.iter().any(|it| it.reason.contains("rulez"))).await;
    bench.stays_as_it_is().await;
    write(&bench.root.join("p.yaml"), &bad.replace("ruls", "rules"));
    bench.until(|objects| matches!(&objects["default/p"], Object::AuthorizationPolicy(it) if it.body != crate::objects::PolicyBody::Unreadable)).await;
    write(&bench.root.join("r.yaml"), &policy("r", "  ruls: []\n"));
    // Two were left out before, too: p.yaml may still be among them.
    let is_new = |file: &str| file == "r.yaml";
    let report = bench.report(|it| it.rejections.iter().any(|it| is_new(&it.file))).await;
    assert_eq!(report.rejections[1].instead, Instead::Nothing);
    bench.stays_as_it_is().await;
}

#[tokio::test]
async fn binary_and_oversized_files_are_reported_and_keep_what_was() {
    let mut bench = Bench::new(&[("a.yaml", &account("a"))]).await;
    fs::write(bench.root.join("a.yaml"), [0x61, 0xff, 0xfe]).unwrap();
    let report = bench.report(|report| report.rejections_total == 1).await;
    assert!(report.rejections[0].reason.contains("byte 1 is not UTF-8"), "{report:?}");
    bench.stays_as_it_is().await;
    let file = fs::File::create(bench.root.join("a.yaml")).unwrap();
    file.set_len(limits::FILE_BYTES_MAX + 1).unwrap();
    drop(file);
    bench.report(|report| report.rejections.iter().any(|it| it.reason.contains("bytes"))).await;
    bench.stays_as_it_is().await;
}

#[tokio::test]
async fn vanished_folder_keeps_everything() {
    let mut bench = Bench::new(&[("a.yaml", &account("a"))]).await;
    let aside = bench.root.with_file_name("aside");
    fs::rename(&bench.root, &aside).unwrap();
    let report = bench.report(|report| report.rejections_total == 1).await;
    assert_eq!(&*report.rejections[0].file, ".");
    write(&aside.join("b.yaml"), &account("b"));
    fs::rename(&aside, &bench.root).unwrap();
    bench.until(|objects| objects.contains_key("default/b")).await;
    assert_eq!(bench.history, ["+default/a", "+default/b"]);
}

#[tokio::test]
async fn one_change_among_ten_thousand_documents_is_read_alone() {
    let names: Vec<String> = (0..10_000).map(|at| format!("a{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut bench = Bench::new(&[("big.yaml", &accounts(&names))]).await;
    assert_eq!(bench.objects.len(), 10_000);
    bench.history.clear();
    let mut edited = names.clone();
    edited[5_000] = "other";
    let text = accounts(&edited);
    let start = Instant::now();
    write(&bench.root.join("big.yaml"), &text);
    bench.until(|objects| objects.contains_key("default/other")).await;
    println!("acted on after {:?}", start.elapsed());
    assert_eq!(bench.history, ["-default/a5000", "+default/other"]);
}

#[tokio::test]
async fn folder_that_is_not_there_is_an_error() {
    let error = watch_folder(FolderSettings::new("/nowhere/at/all")).unwrap_err();
    assert!(error.to_string().contains("/nowhere/at/all"));
}
