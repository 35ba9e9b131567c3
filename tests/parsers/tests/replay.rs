//! Every seed and every finding of the fuzzers, in every `cargo test`.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use weft_parsers::TARGETS;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("a file").file_name();
    entries.map(|entry| name(entry).into_string().expect("ASCII names")).collect()
}

#[test]
fn corpora_replay_without_a_panic() {
    let mut failed = Vec::new();
    for target in TARGETS {
        let folder = corpora().join(target.name);
        for name in names_in(&folder) {
            let data = fs::read(folder.join(&name)).unwrap();
            let run = AssertUnwindSafe(|| (target.run)(&data));
            if catch_unwind(run).is_err() {
                failed.push(format!("{}/{name}", target.name));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn every_corpus_is_replayed_and_every_target_is_fuzzed() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names_in(&corpora()), targets);
    for name in &targets {
        assert!(names_in(&corpora().join(name)).len() >= 5, "{name} has hardly any seeds");
    }
    let binaries = names_in(&corpora().join("../fuzz_targets"));
    let expected = targets.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(binaries, expected);
}
