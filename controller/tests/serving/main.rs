//! The controller as its clients meet it: over TLS on loopback, with gRPC clients of the generated code.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::large_futures,
    unreachable_pub,
    reason = "a test may panic, and nobody depends on it"
)]

mod admin;
mod certificates;
mod discovery;
mod figures;
mod joining;
mod mesh;
mod stream;
mod waypoints;
