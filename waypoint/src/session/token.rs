//! What a client keeps of its session.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

const SCOPE_BYTES: usize = 8;
const TAG_BYTES: usize = 16;
const TIME_BYTES: usize = 8;
const TOKEN_BYTES: usize = SCOPE_BYTES + TAG_BYTES + 2 * TIME_BYTES;
/// Characters of base64 without padding.
const TEXT_BYTES: usize = TOKEN_BYTES.div_ceil(3) * 4 - (3 - TOKEN_BYTES % 3) % 3;

/// Whose sessions: a digest, so that a value says nothing about objects of the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scope([u8; SCOPE_BYTES]);

/// An endpoint of a service: a digest of both names, so that a value shows neither, and an endpoint of another service is
/// never found by it. Not keyed: who knows a pod's name can tell that it took a request, and nothing follows from that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EndpointTag([u8; TAG_BYTES]);

/// A session, as its client has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// Which endpoint.
    pub endpoint: EndpointTag,
    /// Since the epoch, to the millisecond: the first request.
    pub began: Duration,
    /// The same: the last answer that told the client.
    pub used: Duration,
}

impl Scope {
    /// Of what objects say.
    pub fn of(text: &str) -> Self {
        Self(digest(&[b"scope", text.as_bytes()]))
    }
}

impl EndpointTag {
    /// Of the endpoint with this uid, of the service with this key (`namespace/hostname`).
    pub fn of(service: &str, uid: &str) -> Self {
        Self(digest(&[b"endpoint", service.as_bytes(), uid.as_bytes()]))
    }
}

/// The parts are told apart by a zero byte, which no name has.
fn digest<const LENGTH: usize>(parts: &[&[u8]]) -> [u8; LENGTH] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
        hasher.update([0]);
    }
    let mut taken = [0; LENGTH];
    taken.iter_mut().zip(hasher.finalize()).for_each(|(to, from)| *to = from);
    taken
}

impl Token {
    /// From a client; `None` for anything that isn't a session of this scope.
    pub fn read(text: &[u8], scope: Scope) -> Option<Self> {
        if text.len() != TEXT_BYTES {
            return None;
        }
        let mut bytes = [0; TOKEN_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        let rest = bytes.get(..length)?.strip_prefix(&scope.0)?;
        let (tag, rest) = rest.split_first_chunk::<TAG_BYTES>()?;
        let (began, rest) = rest.split_first_chunk::<TIME_BYTES>()?;
        let (used, rest) = rest.split_first_chunk::<TIME_BYTES>()?;
        let time = |bytes: &[u8; TIME_BYTES]| Duration::from_millis(u64::from_be_bytes(*bytes));
        rest.is_empty().then(|| Self {
            endpoint: EndpointTag(*tag),
            began: time(began),
            used: time(used),
        })
    }

    /// For a client.
    pub fn write(&self, scope: Scope) -> String {
        let time = |at: Duration| u64::try_from(at.as_millis()).unwrap_or(u64::MAX).to_be_bytes();
        let parts = [&scope.0[..], &self.endpoint.0, &time(self.began), &time(self.used)].concat();
        URL_SAFE_NO_PAD.encode(parts)
    }
}
