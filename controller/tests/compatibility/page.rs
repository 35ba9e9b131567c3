//! The table as a page.

use std::fmt::Write as _;
use std::path::Path;

use super::table::{State, Table};

pub(crate) fn read() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md");
    std::fs::read_to_string(file).unwrap()
}

/// A section a kind.
pub(crate) fn tables(table: &Table) -> String {
    let mut page = String::new();
    for kind in &table.kinds {
        writeln!(page, "### {}\n\n| field | what becomes of it | |\n|---|---|---|", kind.kind)
            .unwrap();
        for field in &kind.fields {
            let state = match field.is {
                State::Honoured => "honoured",
                State::Rejected => "rejected with status",
                State::Ignored => "ignored with status",
                State::Told => "without meaning to a mesh",
            };
            let path = field.path.replace(':', ".");
            writeln!(page, "| `{path}` | {state} | {} |", field.note.replace('|', "\\|")).unwrap();
        }
        page.push('\n');
    }
    page
}
