//! access log
