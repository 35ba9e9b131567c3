//! What is spoken in a tunnel whose port doesn't say. Either side may speak first: an application that does is not kept
//! waiting for a client that waits for it.

use std::pin::pin;
use std::sync::Arc;

use tokio::time::{Instant, sleep, timeout_at};
use weft_core::drain;

use super::choose::Greeting;
use super::record::Record;
use super::stream::Inner;
use super::tcp::{self, Reached};
use super::tunnel::Tunnel;
use crate::http::drain_grace;
use crate::limits;

/// HTTP/2's client preface (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is spoken.
pub(super) enum Spoken {
    Http1,
    Http2,
    /// Something else; with the application, if it was reached meanwhile.
    Other(Option<Box<Reached>>),
}

/// What a beginning can still become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Http1,
    Http2,
    Other,
    More,
}

/// Looks until it is clear. `is_http`: the port declares it, and only the version is asked.
pub(super) async fn sniff(
    tunnel: &Arc<Tunnel>,
    mut stream: Inner,
    is_http: bool,
    drain: &drain::Watch,
) -> Option<(Inner, Spoken)> {
    let key = tunnel.service_port();
    if !is_http && tunnel.worker.shared.server_first.contains(&key) {
        return Some((stream, Spoken::Other(None)));
    }
    let mut reached = None;
    if !is_http {
        let (first, seen) = first_speaker(tunnel, stream).await?;
        stream = seen;
        match first {
            First::Client => {}
            First::Server(server) => {
                tunnel.worker.shared.server_first.insert(key);
                return Some((stream, Spoken::Other(Some(server))));
            }
        }
    }
    let mut head_until = None;
    loop {
        match verdict(stream.seen(), is_http) {
            Verdict::Http1 => return Some((stream, Spoken::Http1)),
            Verdict::Http2 => return Some((stream, Spoken::Http2)),
            Verdict::Other => return Some((stream, Spoken::Other(reached.take()))),
            Verdict::More => {}
        }
        // What has begun is a head, all of which has one deadline.
        let until = match stream.seen() {
            [] => Instant::now() + limits::DOWNSTREAM_IDLE_MAX,
            _ => *head_until.get_or_insert_with(|| Instant::now() + limits::REQUEST_HEAD_DEADLINE),
        };
        tokio::select! {
            biased;
            looked = timeout_at(until, stream.look()) => match looked {
                Ok(Ok(true)) => {}
                // The client will say no more than it did, or it isn't HTTP that it says so slowly.
                Ok(Ok(false)) | Err(_) if !stream.seen().is_empty() && !is_http => {
                    return Some((stream, Spoken::Other(reached.take())));
                }
                _ => return None,
            },
            () = drain_grace(drain), if stream.seen().is_empty() => return None,
        }
    }
}

enum First {
    Client,
    Server(Box<Reached>),
}

/// Waits for the first byte of either side. The application is connected to only if the client says nothing at once.
async fn first_speaker(tunnel: &Arc<Tunnel>, mut stream: Inner) -> Option<(First, Inner)> {
    let server = async {
        sleep(limits::SNIFF_HEAD_START).await;
        // Not counted before it is clear that it isn't HTTP.
        let record = Record::new(tunnel);
        let mut reached = tcp::reach(tunnel, &Greeting::Plain, record).await.ok()?;
        reached.look().await.then_some(Box::new(reached))
    };
    let mut server = pin!(server);
    let mut is_silent = false;
    loop {
        tokio::select! {
            biased;
            looked = stream.look() => {
                return looked.ok()?.then_some((First::Client, stream));
            }
            reached = &mut server, if !is_silent => match reached {
                Some(reached) => return Some((First::Server(reached), stream)),
                // It isn't there, or has nothing to say: the client goes on being waited for.
                None => is_silent = true,
            },
        }
    }
}

/// A method's name, a blank and a path, or the preface. What could still become either is waited for.
fn verdict(seen: &[u8], is_http: bool) -> Verdict {
    let start = seen.len().min(PREFACE.len());
    if !seen.is_empty() && PREFACE.get(..start) == seen.get(..start) {
        return if start == PREFACE.len() { Verdict::Http2 } else { Verdict::More };
    }
    if is_http {
        return if seen.is_empty() { Verdict::More } else { Verdict::Http1 };
    }
    let line = seen.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let is_line_whole = line.len() < seen.len();
    let mut words = line.split(|byte| *byte == b' ');
    let method = words.next().unwrap_or_default();
    // RFC 9110, section 9.1: a token; those in use are letters.
    if method.len() > 20 || !method.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'-') {
        return Verdict::Other;
    }
    if is_line_whole {
        let version = line.strip_suffix(b"\r").unwrap_or(line);
        let is_http = version.ends_with(b" HTTP/1.1") || version.ends_with(b" HTTP/1.0");
        return if is_http && !method.is_empty() { Verdict::Http1 } else { Verdict::Other };
    }
    if seen.len() >= limits::SNIFF_BYTES_MAX { Verdict::Other } else { Verdict::More }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_are_told_apart_as_soon_as_they_can_be() {
        for (seen, wanted) in [
            (&b"GET / HTTP/1.1\r\n"[..], Verdict::Http1),
            (b"GET /a b HTTP/1.0\n", Verdict::Http1),
            (b"GE", Verdict::More),
            (b"P", Verdict::More),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n", Verdict::More),
            (PREFACE, Verdict::Http2),
            (b"\x16\x03\x01\x02\x00", Verdict::Other),
            (b"EHLO mail\r\n", Verdict::Other),
            (b"*1\r\n$4\r\nPING\r\n", Verdict::Other),
            (b"GET / HTTP/3\r\n", Verdict::Other),
        ] {
            assert_eq!(verdict(seen, false), wanted, "{:?}", String::from_utf8_lossy(seen));
        }
        assert_eq!(verdict(b"\x16\x03", true), Verdict::Http1);
    }
}
