//! HTTP/2 used against its server (CVE-2023-44487, CVE-2024-27316 and their kin).

use anyhow::{Context, Result, ensure};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weft_harness::Inside;
use weft_proto::contract::port;

use crate::mint::Claims;

use crate::range::{Range, WELCOME, range};
use crate::support::PORT;
use crate::support::peer::{self, Outcome};

/// Attacks repeated, so that what each leaves behind would show.
const ROUNDS: usize = 8;
/// Streams opened and reset on one connection.
const RESETS: usize = 3000;
/// Frames of one endless header block; 32 MiB in all.
const CONTINUATIONS: usize = 2048;

pub(crate) fn header_bomb_is_refused_and_neighbours_go_on(_: &Inside) -> Result<()> {
    let range = range()?;
    let credential = range.authority.issue(&Claims::of(WELCOME))?;
    let (from, to) = (&range.attacker.netns, range.victim.address(port::HBONE));
    let authority = range.victim.address(PORT).to_string();
    range.withstands(|| {
        peer::run(async {
            for _ in 0..ROUNDS {
                // Within HTTP/2's own rules: too large, and too many.
                for headers in [large_headers()?, many_headers()?] {
                    let requests = peer::http2(from, to, Some(&credential)).await?;
                    let outcome = peer::connect(&requests, &authority, headers).await?;
                    let is_let_in = matches!(outcome, Outcome::Status(StatusCode::OK));
                    ensure!(!is_let_in, "a bomb was let in: {outcome:?}");
                }
                endless_header_block(range, &credential).await?;
            }
            Ok(())
        })
    })
}

fn large_headers() -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert("baggage", HeaderValue::from_str(&"a=b,".repeat(16 << 10))?);
    Ok(headers)
}

fn many_headers() -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for number in 0..1000 {
        let name = HeaderName::try_from(format!("x-{number}"))?;
        headers.insert(name, HeaderValue::from_static(""));
    }
    Ok(headers)
}

/// HEADERS and then CONTINUATION after CONTINUATION, none of which ends the block.
async fn endless_header_block(range: &Range, credential: &peer::Credential) -> Result<()> {
    let to = range.victim.address(port::HBONE);
    let mut tls = peer::tls(&range.attacker.netns, to, Some(credential)).await?;
    tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    tls.write_all(&frame(4, 0, 0, &[])).await?;
    tls.write_all(&frame(1, 0, 1, &[0x82])).await?;
    // A literal field without indexing, of a long value (RFC 7541, section 6.2.2), sixteen KiB a frame.
    let piece = frame(9, 0, 1, &[0x40; 16 << 10]);
    for _ in 0..CONTINUATIONS {
        if tls.write_all(&piece).await.is_err() {
            return Ok(());
        }
    }
    let ended = peer::within("the end of the connection", tls.read_to_end(&mut Vec::new())).await;
    ended.context("an endless header block is still listened to").map(drop)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [head.as_slice(), payload].concat()
}

pub(crate) fn rapid_reset_ends_only_its_own_connection(_: &Inside) -> Result<()> {
    let range = range()?;
    let credential = range.authority.issue(&Claims::of(WELCOME))?;
    let (from, to) = (&range.attacker.netns, range.victim.address(port::HBONE));
    let authority = range.victim.address(PORT).to_string();
    range.withstands(|| {
        peer::run(async {
            for _ in 0..ROUNDS {
                let requests = peer::http2(from, to, Some(&credential)).await?;
                for _ in 0..RESETS {
                    let connect = Request::builder().method(Method::CONNECT);
                    let request = connect.uri(authority.as_str()).body(())?;
                    let ready = peer::within("room for a stream", requests.clone().ready()).await?;
                    // The server has had enough and ended the connection: that is an answer, too.
                    let Ok(mut ready) = ready else { break };
                    let Ok((_response, mut body)) = ready.send_request(request, false) else {
                        break;
                    };
                    body.send_reset(h2::Reason::CANCEL);
                    // Lets the connection's task write what has been queued.
                    tokio::task::yield_now().await;
                }
            }
            let requests = peer::http2(from, to, Some(&credential)).await?;
            let answer =
                peer::health_through_tunnel(&requests, &authority, HeaderMap::new()).await?;
            ensure!(answer.ends_with("ok"), "{answer}");
            Ok(())
        })
    })
}
