//! The table.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

/// All kinds.
#[derive(Debug, Deserialize)]
pub(crate) struct Table {
    pub(crate) kinds: Vec<Kind>,
}

/// A kind of objects.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kind {
    pub(crate) kind: String,
    /// A document to which fields are added, and beside it a mesh in which they mean something.
    pub(crate) base: Value,
    /// Fields that this version doesn't know aren't refused in this kind: it ignores them, as Kubernetes' own do.
    #[serde(default)]
    pub(crate) is_lenient: bool,
    /// In order.
    pub(crate) fields: Vec<Field>,
}

/// A field.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Field {
    /// Such as `spec.rules[].name`.
    pub(crate) path: String,
    pub(crate) is: State,
    /// A value.
    pub(crate) with: Value,
    /// Where the value goes, if it is that of something around the field.
    #[serde(default)]
    pub(crate) at: Option<String>,
    /// What has to be there besides, by path. The same path: another value, since the field can't be left out.
    #[serde(default)]
    pub(crate) given: BTreeMap<String, Value>,
    /// For people.
    #[serde(default)]
    pub(crate) note: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Honoured,
    Rejected,
    Ignored,
    Told,
}

impl Table {
    pub(crate) fn read() -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compatibility/fields.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}"))
    }
}
