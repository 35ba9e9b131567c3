//! What stands behind the mesh's discovery: the objects that users write, and what becomes of them.
//!
//! ```text
//! sources ──changes──▶ model (every object, indexed) ──▶ translate (pure) ──▶ resources, encoded
//!    │                                                         │
//!    └── report: refused documents                             └── statuses: what became of each object
//! ```
//!
//! Invariants: translation reads nothing but the model and the settings, so any order of arrival gives the same
//! resources; an object that can't be read never replaces one that could; nothing here does network I/O.

pub mod model;
pub mod objects;
pub mod sources;
pub mod translate;
