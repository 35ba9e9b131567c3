//! HTTP/2 frame by frame (RFC 9113, section 4.1), as no decent client would send them.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::timeout;
use weft_core::hbone::TunnelStream;

use super::stage::Stage;

pub(crate) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

pub(super) const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header that isn't indexed, without Huffman's code (RFC 7541, section 6.2.2).
pub(super) fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        bytes.extend(length(text.len()));
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// RFC 7541, section 5.1, of seven bits.
pub(super) fn length(mut rest: usize) -> Vec<u8> {
    if rest < 127 {
        return vec![u8::try_from(rest).unwrap()];
    }
    let mut bytes = vec![127];
    rest -= 127;
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

/// The header block of a request for a path.
pub(super) fn request(method: &str, path: &str) -> Vec<u8> {
    let pairs =
        [(":method", method), (":scheme", "http"), (":authority", "web.shop"), (":path", path)];
    pairs.iter().flat_map(|(name, value)| literal(name, value)).collect()
}

/// A frame that came.
#[derive(Debug)]
pub(super) struct Came {
    pub(super) kind: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

/// Our side of a connection.
pub(super) struct Attacker {
    pub(super) write: WriteHalf<TunnelStream>,
    pub(super) read: Reader,
}

pub(super) struct Reader {
    tunnel: ReadHalf<TunnelStream>,
    buffer: Vec<u8>,
}

impl Attacker {
    /// Greets with these settings.
    pub(super) async fn with(stage: &Stage, settings: &[u8]) -> Self {
        let (tunnel, mut write) = tokio::io::split(stage.to_web().await);
        write.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        write.write_all(&frame(SETTINGS, 0, 0, settings)).await.unwrap();
        Self { write, read: Reader { tunnel, buffer: Vec::new() } }
    }

    pub(super) async fn new(stage: &Stage) -> Self {
        Self::with(stage, &[]).await
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.write.write_all(bytes).await.unwrap();
    }

    /// Sends until the other side has enough of it or all is sent, and returns how the connection ended.
    pub(super) async fn flood(mut self, mut next: impl FnMut(usize) -> Option<Vec<u8>>) -> Ended {
        let mut sent = 0;
        let writing = async {
            while let Some(bytes) = next(sent) {
                if self.write.write_all(&bytes).await.is_err() {
                    break;
                }
                sent += 1;
            }
            // What the other side says about it is yet to come.
            std::future::pending::<()>().await;
        };
        let reason = tokio::select! {
            () = writing => None,
            ended = timeout(Duration::from_secs(30), self.read.until_goaway()) => {
                ended.expect("the connection ends")
            }
        };
        Ended { reason, sent }
    }
}

/// The end of a connection.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its GOAWAY, if there was one before the end.
    pub(super) reason: Option<u8>,
    /// How often something was sent until then.
    pub(super) sent: usize,
}

impl Reader {
    /// The next frame; `None`: there is none any more.
    pub(super) async fn next(&mut self) -> Option<Came> {
        loop {
            if let Some(came) = self.parse() {
                return Some(came);
            }
            let read = self.tunnel.read_buf(&mut self.buffer).await;
            if !read.is_ok_and(|count| count > 0) {
                return None;
            }
        }
    }

    fn parse(&mut self) -> Option<Came> {
        let head: [u8; 9] = self.buffer.get(..9)?.try_into().unwrap();
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        self.buffer.get(..9 + length)?;
        let payload = self.buffer.drain(..9 + length).skip(9).collect();
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Came { kind: head[3], stream, payload })
    }

    /// Reads until a frame of this kind comes.
    pub(super) async fn until(&mut self, kind: u8) -> Option<Came> {
        loop {
            let came = self.next().await?;
            if came.kind == kind {
                return Some(came);
            }
        }
    }

    /// The code of the GOAWAY, or nothing if the connection ends without one.
    pub(super) async fn until_goaway(&mut self) -> Option<u8> {
        let came = self.until(GOAWAY).await?;
        came.payload.get(7).copied()
    }
}
