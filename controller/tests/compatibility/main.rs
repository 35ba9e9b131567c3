//! What becomes of every field of every kind that is read: `fields.yaml` says it, and is held against the reader and the
//! translation. `docs/compatibility.md` shows the same as tables.
//!
//! A field is one of: honoured (what proxies are sent changes with it), rejected (the object is refused, or a status says
//! that it is, and names the field), ignored with status (nothing changes, and a status names the field), or told
//! (it is for people or other programs, has no meaning to a mesh, and nothing changes).

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test may panic, and nobody depends on it"
)]

mod check;
mod document;
mod page;
mod table;

use table::Table;

#[test]
fn every_field_is_what_the_table_says() {
    let failures: Vec<_> = Table::read().kinds.iter().flat_map(check::fields).collect();
    assert!(failures.is_empty(), "{} rows:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn table_has_every_field_that_is_read() {
    let failures: Vec<_> = Table::read().kinds.iter().flat_map(check::completeness).collect();
    assert!(failures.is_empty(), "{} places:\n{}", failures.len(), failures.join("\n"));
}

/// Who has changed the table writes what is printed into the page.
#[test]
fn page_shows_the_table() {
    let tables = page::tables(&Table::read());
    let page = page::read();
    assert!(page.contains(&tables), "docs/compatibility.md should have:\n{tables}");
}
