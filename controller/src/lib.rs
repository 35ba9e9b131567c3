//! Standalone placeholder.
