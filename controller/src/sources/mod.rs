//! Where objects come from.
//!
//! A source sends batches of changes over a bounded channel to the one owner of the model, and says once when all
//! that there was at the start has been sent. What it could not read it reports beside that.

pub mod files;

use std::sync::Arc;

use serde::Serialize;

use crate::objects::{Kind, ObjectChange};

/// What a source sends.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceEvent {
    /// Objects changed, each at most once.
    Changes(Vec<ObjectChange>),
    /// All that existed at the start has been sent.
    Loaded,
}

/// As much as is known of which object a text is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ObjectName {
    /// Kind as written.
    pub kind: String,
    /// Namespace as written, or the default one.
    pub namespace: String,
    /// Name as written.
    pub name: String,
}

/// A document, or a whole file, that is not in force as it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Rejection {
    /// Path below the folder.
    pub file: Arc<str>,
    /// Line within the file, from 1.
    pub line: Option<u32>,
    /// The object, as far as it could be told.
    pub object: Option<ObjectName>,
    /// Path of the field within the object.
    pub field: Option<String>,
    /// What is wrong.
    pub reason: String,
    /// What is in force instead.
    pub instead: Instead,
}

/// What is in force in the place of something refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Instead {
    /// Nothing.
    Nothing,
    /// Its last good version.
    LastGood,
    /// The object of another file, which comes first by path.
    OtherFile,
    /// A denial of all that it covers, because it is a policy without a known good version.
    Denial,
}

/// Objects of a kind that the mesh doesn't read: no error.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Ignored {
    /// Path below the folder.
    pub file: Arc<str>,
    /// Line within the file, from 1.
    pub line: u32,
    /// Group and version as written.
    pub api_version: String,
    /// Kind as written.
    pub kind: String,
}

/// The state of a source.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SourceReport {
    /// The initial load is complete.
    pub is_loaded: bool,
    /// Files that are in force.
    pub files: usize,
    /// Objects in force, by kind.
    pub objects: Vec<(Kind, usize)>,
    /// What isn't in force as it stands, at most [`files::limits::REPORTED_MAX`].
    pub rejections: Vec<Rejection>,
    /// How many there are in all.
    pub rejections_total: usize,
    /// What was passed over, at most [`files::limits::REPORTED_MAX`].
    pub ignored: Vec<Ignored>,
    /// How many there are in all.
    pub ignored_total: usize,
}
