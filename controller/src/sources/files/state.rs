//! What the folder's files say, and what of it is in force. No I/O.
//!
//! A file is in force document by document. As long as any of it can't be read, nothing that it used to hold goes
//! away: a file that was cut short must not delete the policies that stood behind the cut.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::objects::{Kind, Object, ObjectChange, ObjectKey, Pool};

use super::documents::documents;
use super::parse::{Fault, Parsed};
use super::renewal::Renewal;

/// Why an object of a file is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// The file says so.
    Good,
    /// The file said so when it could last be read.
    Kept,
    /// It is a policy that never could be read.
    Denial,
}

#[derive(Debug)]
pub(super) struct DocumentState {
    pub(super) hash: u128,
    pub(super) lines_before: u32,
    pub(super) parsed: Parsed,
}

#[derive(Debug, Default)]
pub(super) struct FileState {
    pub(super) documents: Vec<DocumentState>,
    /// In force though the file doesn't hold them as it stands.
    pub(super) kept: BTreeMap<ObjectKey, (Standing, Object)>,
    /// Objects that stand in the file again: line, key.
    pub(super) repeated: Vec<(u32, ObjectKey)>,
    /// Why the file as a whole can't be read.
    pub(super) fault: Option<String>,
}

#[derive(Debug)]
pub(super) struct Claim {
    pub(super) standing: Standing,
    pub(super) file: Arc<str>,
    object: Object,
}

/// All that is said about one object. Usually one file says it.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// In order: what a file says goes before what one used to say, then by path.
    pub(super) claims: Vec<Claim>,
    sent: Option<Object>,
}

/// The folder.
#[derive(Debug, Default)]
pub(super) struct FolderState {
    pub(super) files: BTreeMap<Arc<str>, FileState>,
    pub(super) objects: HashMap<ObjectKey, Claims>,
    pub(super) contested: BTreeSet<ObjectKey>,
    pub(super) counts: BTreeMap<Kind, usize>,
    touched: BTreeSet<ObjectKey>,
    pool: Pool,
    /// Before the initial load is complete, a policy that can't be read denies: an earlier process may have
    /// enforced a good version of it, and a restart must not open what that one had closed.
    pub(super) is_loaded: bool,
}

type Effective = HashMap<ObjectKey, (Standing, Object)>;

fn effective<'a>(documents: impl IntoIterator<Item = &'a DocumentState>) -> Effective {
    let mut found = Effective::new();
    for (key, object) in documents.into_iter().flat_map(|it| &it.parsed.objects) {
        found.entry(key.clone()).or_insert_with(|| (Standing::Good, object.clone()));
    }
    found
}

impl FileState {
    fn effective(&self) -> Effective {
        let mut found = effective(&self.documents);
        for (key, kept) in &self.kept {
            found.entry(key.clone()).or_insert_with(|| kept.clone());
        }
        found
    }

    fn holds_anything(&self) -> bool {
        !self.kept.is_empty() || self.documents.iter().any(|it| !it.parsed.objects.is_empty())
    }

    /// All of it is in force as it stands.
    fn is_plain(&self) -> bool {
        self.kept.is_empty() && self.repeated.is_empty() && self.is_wholly_good()
    }

    fn is_wholly_good(&self) -> bool {
        self.fault.is_none() && self.documents.iter().all(|it| it.parsed.faults.is_empty())
    }

    pub(super) fn faults(&self) -> impl Iterator<Item = (u32, &Fault)> {
        self.documents.iter().flat_map(|document| {
            document.parsed.faults.iter().map(|fault| (document.lines_before, fault))
        })
    }
}

impl FolderState {
    /// The file's text as it is now. What hasn't changed since the last time is neither parsed nor compared again.
    pub(super) fn set_file(&mut self, path: &Arc<str>, text: &str) {
        let mut old = self.files.remove(path).unwrap_or_default();
        let found = documents(text);
        if found.is_empty() && text.trim().is_empty() && old.holds_anything() {
            let reason =
                "is empty, as an interrupted write leaves a file; delete it to delete its objects";
            self.files.insert(path.clone(), old);
            return self.set_fault(path, reason.to_owned());
        }
        let before = (!old.is_plain()).then(|| old.effective());
        let mut renewal = Renewal::new(std::mem::take(&mut old.documents), &found);
        renewal.read(&found, &mut self.pool);
        match before {
            None if self.is_plain(path, &renewal) => {
                let (gone, read) = (effective(&renewal.gone), effective(renewal.read_anew()));
                self.claim(path, &gone, &read);
                let documents = renewal.documents;
                let file = FileState { documents, ..FileState::default() };
                self.files.insert(path.clone(), file);
            }
            before => {
                let before = before
                    .unwrap_or_else(|| effective(renewal.gone.iter().chain(renewal.unchanged())));
                let repeated = repeated(&renewal.documents);
                let documents = renewal.documents;
                let mut file = FileState { documents, repeated, ..FileState::default() };
                if !file.is_wholly_good() {
                    self.keep(&mut file, &before);
                }
                self.replace(path, &before, file);
            }
        }
        self.pool.sweep();
    }

    /// The file is there but can't be read at all.
    pub(super) fn set_fault(&mut self, path: &Arc<str>, reason: String) {
        let old = self.files.remove(path).unwrap_or_default();
        let before = old.effective();
        let mut file = FileState { fault: Some(reason), ..FileState::default() };
        self.keep(&mut file, &before);
        self.replace(path, &before, file);
    }

    /// The file is gone.
    pub(super) fn remove_file(&mut self, path: &Arc<str>) {
        if let Some(old) = self.files.remove(path) {
            let before = old.effective();
            self.claim(path, &before, &Effective::new());
        }
    }

    /// What changed since it was last asked, each object at most once.
    pub(super) fn take_changes(&mut self) -> Vec<ObjectChange> {
        let mut changes = Vec::new();
        for key in std::mem::take(&mut self.touched) {
            let Some(entry) = self.objects.get_mut(&key) else {
                continue;
            };
            let now = entry.claims.first().map(|claim| claim.object.clone());
            if entry.claims.len() > 1 {
                self.contested.insert(key.clone());
            } else {
                self.contested.remove(&key);
            }
            if entry.sent == now {
                if now.is_none() {
                    self.objects.remove(&key);
                }
                continue;
            }
            let count = self.counts.entry(key.kind).or_default();
            match (&entry.sent, &now) {
                (None, Some(_)) => *count += 1,
                (Some(_), None) => *count = count.saturating_sub(1),
                _ => {}
            }
            entry.sent.clone_from(&now);
            if now.is_none() {
                self.objects.remove(&key);
            }
            changes.push(ObjectChange { key, object: now });
        }
        changes
    }

    /// Whether what was read anew is good, and no object stands in the file twice.
    fn is_plain(&self, path: &Arc<str>, renewal: &Renewal) -> bool {
        let gone = renewal.gone.iter().flat_map(|document| &document.parsed.objects);
        let gone: HashSet<_> = gone.map(|(key, _)| key).collect();
        let mut read = HashSet::new();
        renewal.read_anew().all(|document| {
            document.parsed.faults.is_empty()
                && document.parsed.objects.iter().all(|(key, _)| {
                    let claims = self.objects.get(key).map(|entry| entry.claims.as_slice());
                    let mut claims = claims.unwrap_or_default().iter();
                    let is_elsewhere = claims.any(|claim| claim.file == *path);
                    read.insert(key) && (!is_elsewhere || gone.contains(key))
                })
        })
    }

    fn keep(&self, file: &mut FileState, before: &Effective) {
        let held = file.effective();
        for (key, (standing, object)) in before {
            if !held.contains_key(key) {
                let standing = (*standing).max(Standing::Kept);
                file.kept.insert(key.clone(), (standing, object.clone()));
            }
        }
        if self.is_loaded {
            return;
        }
        let denials: Vec<_> = file
            .faults()
            .filter_map(|(_, fault)| Some((fault.key.clone()?, fault.denial.clone()?)))
            .filter(|(key, _)| !held.contains_key(key))
            .collect();
        for (key, object) in denials {
            file.kept.entry(key).or_insert((Standing::Denial, object));
        }
    }

    fn replace(&mut self, path: &Arc<str>, before: &Effective, file: FileState) {
        let now = file.effective();
        self.claim(path, before, &now);
        self.files.insert(path.clone(), file);
    }

    fn claim(&mut self, path: &Arc<str>, before: &Effective, now: &Effective) {
        for key in before.keys().filter(|key| !now.contains_key(*key)) {
            if let Some(entry) = self.objects.get_mut(key) {
                entry.claims.retain(|claim| claim.file != *path);
                self.touched.insert(key.clone());
            }
        }
        for (key, (standing, object)) in now {
            if before.get(key).is_some_and(|(old, other)| old == standing && same(other, object)) {
                continue;
            }
            let entry = self.objects.entry(key.clone()).or_default();
            entry.claims.retain(|claim| claim.file != *path);
            let claim = Claim { standing: *standing, file: path.clone(), object: object.clone() };
            entry.claims.push(claim);
            entry.claims.sort_by(|a, b| (a.standing, &a.file).cmp(&(b.standing, &b.file)));
            self.touched.insert(key.clone());
        }
    }
}

/// Whether both are the very same reading, which is told without comparing field by field.
fn same(one: &Object, other: &Object) -> bool {
    match (one, other) {
        (Object::Pod(one), Object::Pod(other)) => Arc::ptr_eq(one, other),
        (Object::Service(one), Object::Service(other)) => Arc::ptr_eq(one, other),
        (one, other) => one == other,
    }
}

fn repeated(documents: &[DocumentState]) -> Vec<(u32, ObjectKey)> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for document in documents {
        for (key, _) in &document.parsed.objects {
            if !seen.insert(key) {
                found.push((document.lines_before + 1, key.clone()));
            }
        }
    }
    found
}
