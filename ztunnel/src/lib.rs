//! The node's L4 proxy.

pub mod dns;
