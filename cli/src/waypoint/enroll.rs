//! Labels a namespace in the file where it is declared, without touching anything else of the file.
//!
//! The text is edited where the label belongs, and the outcome counts only if it reads as the same document with that label:
//! a form that isn't recognised is left to its owner.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::manifest::write;

pub(super) const LABEL: &str = "istio.io/use-waypoint";

/// Deepest folder that is looked into.
const DEPTH_MAX: usize = 16;
/// A file's limit, as the controller's.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Enrolled {
    /// No file declares the namespace.
    NotDeclared,
    /// This file has the label.
    Already(PathBuf),
    /// This file got it.
    Written(PathBuf),
}

/// Labels `namespace` with `waypoint` in whichever file below `folder` declares it; `own` is about to be written anew.
pub(super) fn enroll(
    folder: &Path,
    own: &Path,
    namespace: &str,
    waypoint: &str,
) -> anyhow::Result<Enrolled> {
    for path in files(folder, DEPTH_MAX)? {
        if path == own {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let mut documents = documents(&text);
        let is_it = |document: &&mut &str| declares(document, namespace);
        let Some(document) = documents.iter_mut().find(is_it) else { continue };
        let parsed = parse(document).unwrap_or_default();
        match text_at(&parsed, &["metadata", "labels", LABEL]) {
            Some(label) if label == waypoint => return Ok(Enrolled::Already(path)),
            Some(label) => bail!(
                "{} labels namespace {namespace} with waypoint {label}; change it there",
                path.display()
            ),
            None => {}
        }
        let edited = labelled(document, &parsed, waypoint).with_context(|| {
            let path = path.display();
            format!(
                "{path} declares namespace {namespace}; give it the label {LABEL}: {waypoint} there"
            )
        })?;
        *document = &edited;
        write(&path, &documents.concat())?;
        return Ok(Enrolled::Written(path));
    }
    Ok(Enrolled::NotDeclared)
}

/// In order, as the controller reads them: by their ending.
fn files(folder: &Path, depth: usize) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        let is_yaml = path.extension().is_some_and(|it| it == "yaml" || it == "yml");
        if path.is_dir() && depth > 0 {
            found.extend(files(&path, depth - 1)?);
        } else if is_yaml && path.metadata().is_ok_and(|it| it.len() <= FILE_BYTES_MAX) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The documents of a file, each with the line that ends it: together they are the file.
fn documents(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut rest, mut at) = (text, 0);
    for line in text.split_inclusive('\n') {
        at += line.len();
        if line.trim_end() == "---" {
            let start = text.len() - rest.len();
            let (document, behind) = rest.split_at_checked(at - start).unwrap_or((rest, ""));
            found.push(document);
            rest = behind;
        }
    }
    found.push(rest);
    found
}

fn parse(document: &str) -> Option<Value> {
    let text = document.trim_end();
    serde_saphyr::from_str(text.strip_suffix("---").unwrap_or(text)).ok()
}

fn declares(document: &str, namespace: &str) -> bool {
    parse(document).is_some_and(|it| {
        text_at(&it, &["apiVersion"]) == Some("v1")
            && text_at(&it, &["kind"]) == Some("Namespace")
            && text_at(&it, &["metadata", "name"]) == Some(namespace)
    })
}

fn text_at<'a>(document: &'a Value, path: &[&str]) -> Option<&'a str> {
    path.iter().try_fold(document, |value, key| value.get(key))?.as_str()
}

/// The document with the label, if one of the forms in which people write labels is found.
fn labelled(document: &str, parsed: &Value, waypoint: &str) -> Option<String> {
    let mut wanted = parsed.clone();
    let metadata = wanted.get_mut("metadata")?.as_object_mut()?;
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    labels.as_object_mut()?.insert(LABEL.to_owned(), json!(waypoint));
    let label = format!("{LABEL}: {waypoint}");
    let lines: Vec<&str> = document.split_inclusive('\n').collect();
    let metadata = lines.iter().position(|line| line.starts_with("metadata:"))?;
    let edits = (metadata..lines.len()).flat_map(|at| edits(&lines, at, metadata, &label));
    let mut edits = edits.map(|(at, line)| {
        let mut lines: Vec<&str> = lines.clone();
        if let Some(place) = lines.get_mut(at) {
            *place = &line;
        }
        lines.concat()
    });
    edits.find(|edited| parse(edited).as_ref() == Some(&wanted))
}

/// Ways to add the label on the line `at`.
fn edits(lines: &[&str], at: usize, metadata: usize, label: &str) -> Vec<(usize, String)> {
    let Some(line) = lines.get(at) else {
        return Vec::new();
    };
    let line = if line.ends_with('\n') { (*line).to_owned() } else { format!("{line}\n") };
    let mut found = Vec::new();
    if let Some((before, behind)) = line.split_once("labels: {") {
        // First as the only one, then before others.
        found.push((at, format!("{before}labels: {{{label}{behind}")));
        found.push((at, format!("{before}labels: {{{label}, {behind}")));
    }
    let indent = |line: &str| line.len() - line.trim_start().len();
    let below = lines.get(at + 1).map_or(0, |next| indent(next));
    if line.trim() == "labels:" {
        found.push((at, format!("{line}{:below$}{label}\n", "")));
    }
    if at == metadata {
        if let Some((before, behind)) = line.split_once("metadata: {") {
            found.push((at, format!("{before}metadata: {{labels: {{{label}}}, {behind}")));
        }
        found.push((at, format!("{line}{:below$}labels: {{{label}}}\n", "")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/all.yaml");
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn label_is_added_in_place_whatever_the_form_and_nothing_else_changes() {
        let other = "# Ours.\napiVersion: v1\nkind: Node\nmetadata: {name: shop}\n---\n";
        let tail = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: bank}\n";
        for (metadata, expected) in [
            (
                "metadata: {name: shop}\n",
                "metadata: {labels: {istio.io/use-waypoint: wp}, name: shop}\n",
            ),
            (
                "metadata: {name: shop, labels: {a: b}} # why\n",
                "metadata: {name: shop, labels: {istio.io/use-waypoint: wp, a: b}} # why\n",
            ),
            (
                "metadata: {name: shop, labels: {}}\n",
                "metadata: {name: shop, labels: {istio.io/use-waypoint: wp}}\n",
            ),
            (
                "metadata:\n  name: shop # x\n",
                "metadata:\n  labels: {istio.io/use-waypoint: wp}\n  name: shop # x\n",
            ),
            (
                "metadata:\n  name: shop\n  labels:\n    a: b\n",
                "metadata:\n  name: shop\n  labels:\n    istio.io/use-waypoint: wp\n    a: b\n",
            ),
            (
                "metadata:\n  labels: {a: b}\n  name: shop\n",
                "metadata:\n  labels: {istio.io/use-waypoint: wp, a: b}\n  name: shop\n",
            ),
        ] {
            let text = |metadata: &str| {
                format!("{other}apiVersion: v1\nkind: Namespace\n{metadata}{tail}")
            };
            let (folder, path) = folder(&text(metadata));
            let own = folder.path().join("own.yaml");
            let outcome = enroll(folder.path(), &own, "shop", "wp").unwrap();
            assert_eq!(outcome, Enrolled::Written(path.clone()));
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text(expected));
            let again = enroll(folder.path(), &own, "shop", "wp").unwrap();
            assert_eq!(again, Enrolled::Already(path));
            assert!(enroll(folder.path(), &own, "shop", "other").is_err());
        }
    }

    #[test]
    fn form_that_is_not_recognised_is_left_to_its_owner() {
        let text =
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  labels: &all\n    a: b\n";
        let (folder, path) = folder(text);
        let error = enroll(folder.path(), Path::new("x"), "shop", "wp").unwrap_err();
        assert!(format!("{error:#}").contains("istio.io/use-waypoint: wp there"), "{error:#}");
        assert_eq!(std::fs::read_to_string(path).unwrap(), text);
    }

    #[test]
    fn namespace_that_nobody_declares_is_told_so() {
        let (folder, _) = folder("apiVersion: v1\nkind: Namespace\nmetadata: {name: bank}\n");
        let outcome = enroll(folder.path(), Path::new("x"), "shop", "wp").unwrap();
        assert_eq!(outcome, Enrolled::NotDeclared);
    }
}
