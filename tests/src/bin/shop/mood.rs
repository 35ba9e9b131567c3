//! A shop that is told to fail, or to be slow.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::{Response, StatusCode};
use serde_json::json;
use std::sync::Mutex;

use crate::serve::{Body, whole};

/// Bodies that are remembered, and how much of each.
const BODIES_MAX: usize = 16;
const BODY_BYTES_MAX: usize = 64 << 10;

/// How it answers.
#[derive(Debug, Default)]
pub(crate) struct Mood {
    failures_left: AtomicU64,
    status: AtomicU16,
    delay_ms: AtomicU64,
    asked: AtomicU64,
    bodies: Mutex<Vec<String>>,
}

impl Mood {
    /// `fail=N&status=S&delay_ms=M`; what isn't named is set back.
    pub(crate) fn change(&self, query: &str) -> Response<Body> {
        let number = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).and_then(|(_, value)| value.parse::<u64>().ok())
        };
        let status = number("status").and_then(|it| u16::try_from(it).ok()).unwrap_or(503);
        self.failures_left.store(number("fail").unwrap_or(0), Ordering::Relaxed);
        self.status.store(status, Ordering::Relaxed);
        self.delay_ms.store(number("delay_ms").unwrap_or(0), Ordering::Relaxed);
        whole(StatusCode::OK, "text/plain", Bytes::from_static(b"as you wish"))
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Response<Body> {
        let bodies = self.bodies.lock().map(|bodies| bodies.clone()).unwrap_or_default();
        let said = json!({"asked": self.asked.load(Ordering::Relaxed), "bodies": bodies});
        whole(StatusCode::OK, "application/json", said.to_string().into())
    }

    /// One request: waits as it was told, and fails if it was told to.
    pub(crate) async fn suffer(&self, _path: &str, body: Incoming) -> Option<StatusCode> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        let body = body.map(|it| it.to_bytes()).unwrap_or_default();
        if !body.is_empty()
            && let Ok(mut bodies) = self.bodies.lock()
            && bodies.len() < BODIES_MAX
        {
            bodies.push(String::from_utf8_lossy(&body).into_owned());
        }
        let delay = self.delay_ms.load(Ordering::Relaxed);
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        let fails = self
            .failures_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        fails.ok().and_then(|_| StatusCode::from_u16(self.status.load(Ordering::Relaxed)).ok())
    }
}
