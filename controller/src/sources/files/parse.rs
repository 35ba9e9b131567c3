//! From one document to objects, or to what is wrong with it.

use std::sync::Arc;

use crate::objects::{self, Header, Kind, Object, ObjectKey, Pool, ReadError};

use super::documents::Document;
use super::limits;

/// What became of a document. Lines count within the document.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Parsed {
    /// What it holds.
    pub(super) objects: Vec<(ObjectKey, Object)>,
    /// What is wrong with it.
    pub(super) faults: Vec<Fault>,
    /// What it holds that the mesh doesn't read: line, version, kind.
    pub(super) ignored: Vec<(u32, String, String)>,
}

/// Something wrong with a document.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    pub(super) line: Option<u32>,
    pub(super) header: Header,
    /// The object that isn't readable, where its key is.
    pub(super) key: Option<ObjectKey>,
    pub(super) field: Option<String>,
    pub(super) reason: Arc<str>,
    /// Stands in if no good version is known.
    pub(super) denial: Option<Object>,
}

/// Reads a document.
pub(super) fn parse(document: &Document<'_>, pool: &mut Pool) -> Parsed {
    let text = document.text;
    let mut parsed = Parsed::default();
    if text.len() > limits::DOCUMENT_BYTES_MAX {
        let reason = format!("a document has at most {} bytes", limits::DOCUMENT_BYTES_MAX);
        let error = ReadError { line: None, field: None, reason };
        parsed.faults.push(fault(objects::sniff(text), error, text, pool));
        return parsed;
    }
    let header = match objects::header(text) {
        Ok(header) => header,
        Err(error) => {
            parsed.faults.push(fault(objects::sniff(text), error, text, pool));
            return parsed;
        }
    };
    if header.is_list() {
        list(&header, text, &mut parsed, pool);
        return parsed;
    }
    let Some(kind) = header.kind() else {
        if header.name.is_empty() && Kind::is_group_read(&header.api_version) {
            let reason = format!("there is no kind {:?}, and no name", header.kind);
            let error = ReadError { line: None, field: Some("kind".to_owned()), reason };
            parsed.faults.push(fault(header, error, text, pool));
        } else {
            let line = first_line(text);
            parsed.ignored.push((line, header.api_version, header.kind));
        }
        return parsed;
    };
    match objects::read(kind, text, pool) {
        Ok(object) => parsed.objects.push((object.key(), object)),
        Err(error) => parsed.faults.push(fault(header, error, text, pool)),
    }
    parsed
}

fn list(header: &Header, text: &str, parsed: &mut Parsed, pool: &mut Pool) {
    let items = match objects::items(text) {
        Ok(items) => items,
        Err(error) => {
            parsed.faults.push(fault(header.clone(), error, text, pool));
            return;
        }
    };
    for (at, (line, item)) in items.into_iter().enumerate() {
        // Only what stands in for a policy is read from this again.
        let again = item.clone();
        let (header, object) = objects::read_item(item, pool);
        match object {
            None => parsed.ignored.push((line, header.api_version, header.kind)),
            Some(Ok(object)) => parsed.objects.push((object.key(), object)),
            Some(Err(error)) => {
                let field = error
                    .field
                    .map_or(format!("items[{at}]"), |field| format!("items[{at}].{field}"));
                let error = ReadError { line: Some(line), field: Some(field), ..error };
                parsed.faults.push(fault(header, error, &again.to_string(), pool));
            }
        }
    }
}

fn fault(header: Header, error: ReadError, text: &str, pool: &mut Pool) -> Fault {
    let key = header.key();
    Fault {
        line: error.line.or(Some(1)),
        denial: key.as_ref().and_then(|key| objects::unreadable(key, text, pool)),
        key,
        header,
        field: error.field,
        reason: error.reason.into(),
    }
}

fn first_line(text: &str) -> u32 {
    let is_content = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let at = text.lines().position(is_content).unwrap_or_default();
    u32::try_from(at + 1).unwrap_or(u32::MAX)
}
