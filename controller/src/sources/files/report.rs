//! What of the folder isn't in force, in words.

use std::sync::Arc;

use crate::objects::{Header, ObjectKey};
use crate::sources::{Ignored, Instead, ObjectName, Rejection, SourceReport};

use super::limits::REPORTED_MAX;
use super::state::{FileState, FolderState, Standing};

impl FolderState {
    /// The state of the folder, for people. `folder_faults` are sub-folders that can't be listed.
    pub(super) fn report(&self, folder_faults: &[(Arc<str>, String)]) -> SourceReport {
        let mut rejections: Vec<Rejection> = folder_faults
            .iter()
            .map(|(path, reason)| Rejection {
                file: path.clone(),
                line: None,
                object: None,
                field: None,
                reason: reason.clone(),
                instead: Instead::LastGood,
            })
            .collect();
        let mut ignored = Vec::new();
        for (path, file) in &self.files {
            file_rejections(path, file, &mut rejections);
            for document in &file.documents {
                for (line, api_version, kind) in &document.parsed.ignored {
                    ignored.push(Ignored {
                        file: path.clone(),
                        line: document.lines_before + line,
                        api_version: api_version.clone(),
                        kind: kind.clone(),
                    });
                }
            }
        }
        self.contested.iter().for_each(|key| self.contest(key, &mut rejections));
        rejections.sort();
        let (rejections_total, ignored_total) = (rejections.len(), ignored.len());
        rejections.truncate(REPORTED_MAX);
        ignored.truncate(REPORTED_MAX);
        SourceReport {
            is_loaded: self.is_loaded,
            files: self.files.len(),
            objects: self
                .counts
                .iter()
                .filter(|(_, count)| **count > 0)
                .map(|(kind, count)| (*kind, *count))
                .collect(),
            rejections,
            rejections_total,
            ignored,
            ignored_total,
        }
    }

    fn contest(&self, key: &ObjectKey, rejections: &mut Vec<Rejection>) {
        let Some((first, others)) =
            self.objects.get(key).and_then(|entry| entry.claims.split_first())
        else {
            return;
        };
        // What a file merely used to say is reported with that file's faults.
        for other in others.iter().filter(|claim| claim.standing == Standing::Good) {
            let file = self.files.get(&other.file);
            rejections.push(Rejection {
                file: other.file.clone(),
                line: file.and_then(|file| line_of(file, key)),
                object: Some(name_of(key)),
                field: None,
                reason: format!("is in {} too, which comes first by path", first.file),
                instead: Instead::OtherFile,
            });
        }
    }
}

fn file_rejections(path: &Arc<str>, file: &FileState, rejections: &mut Vec<Rejection>) {
    let instead = |key: &ObjectKey| match file.kept.get(key) {
        Some((Standing::Denial, _)) => Instead::Denial,
        Some(_) => Instead::LastGood,
        None => Instead::Nothing,
    };
    if let Some(reason) = &file.fault {
        rejections.push(Rejection {
            file: path.clone(),
            line: None,
            object: None,
            field: None,
            reason: reason.clone(),
            instead: if file.kept.is_empty() { Instead::Nothing } else { Instead::LastGood },
        });
    }
    let mut named = Vec::new();
    for (lines_before, fault) in file.faults() {
        named.extend(fault.key.as_ref());
        rejections.push(Rejection {
            file: path.clone(),
            line: fault.line.map(|line| lines_before + line),
            object: name_of_header(&fault.header, fault.key.as_ref()),
            field: fault.field.clone(),
            reason: fault.reason.to_string(),
            instead: fault.key.as_ref().map_or(Instead::Nothing, instead),
        });
    }
    for (line, key) in &file.repeated {
        rejections.push(Rejection {
            file: path.clone(),
            line: Some(*line),
            object: Some(name_of(key)),
            field: None,
            reason: "is in this file twice; the first one counts".to_owned(),
            instead: Instead::OtherFile,
        });
    }
    if file.fault.is_some() {
        return;
    }
    for key in file.kept.keys().filter(|key| !named.contains(key)) {
        rejections.push(Rejection {
            file: path.clone(),
            line: None,
            object: Some(name_of(key)),
            field: None,
            reason: "is no longer in this file, and stays until all of the file can be read"
                .to_owned(),
            instead: instead(key),
        });
    }
}

fn line_of(file: &FileState, key: &ObjectKey) -> Option<u32> {
    let holds = |objects: &[(ObjectKey, _)]| objects.iter().any(|(own, _)| own == key);
    let document = file.documents.iter().find(|document| holds(&document.parsed.objects))?;
    Some(document.lines_before + 1)
}

fn name_of(key: &ObjectKey) -> ObjectName {
    ObjectName {
        kind: key.kind.to_string(),
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
    }
}

fn name_of_header(header: &Header, key: Option<&ObjectKey>) -> Option<ObjectName> {
    if let Some(key) = key {
        return Some(name_of(key));
    }
    let Header { kind, namespace, name, .. } = header.clone();
    (!kind.is_empty() || !name.is_empty()).then_some(ObjectName { kind, namespace, name })
}
