//! Responses that two programs could read in two ways, floods of them, and those that end early: a client gets one response or
//! none, and nothing that an application says besides is ever an answer to somebody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::app::serve;
use super::stage::Stage;

/// What the client has to see of a response.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    /// This status, made here, and nothing of the response.
    Status(&'static str),
    /// The beginning of a response, and no end of it.
    Cut,
    /// One whole response with this body.
    Whole(&'static str),
}

use Wanted::{Cut, Status, Whole};

const EVIL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";

/// Reads a request's head; GET has no more.
async fn read_head(tcp: &mut TcpStream) -> bool {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        if !tcp.read_buf(&mut read).await.is_ok_and(|count| count > 0) {
            return false;
        }
    }
    true
}

/// Says this to the first request that it ever gets, and is a decent application to all others.
async fn once(said: Vec<u8>) -> std::net::SocketAddr {
    let (count, said) = (Arc::new(AtomicUsize::new(0)), Arc::new(said));
    serve(move |mut tcp| {
        let (count, said) = (count.clone(), said.clone());
        async move {
            while read_head(&mut tcp).await {
                if count.fetch_add(1, Ordering::SeqCst) > 0 {
                    let good = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood";
                    let _sent = tcp.write_all(good).await;
                    continue;
                }
                let _sent = tcp.write_all(&said).await;
                let is_to_be_closed = !said.ends_with(EVIL.as_bytes());
                if is_to_be_closed {
                    return;
                }
            }
        }
    })
    .await
}

/// Two requests of one connection, and all that comes back.
async fn ask_twice(stage: &Stage) -> String {
    let mut tunnel = stage.to_web().await;
    let asked = b"GET / HTTP/1.1\r\nhost: web\r\n\r\nGET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n";
    tunnel.write_all(asked).await.unwrap();
    let mut read = Vec::new();
    // Cut off or ended.
    let _end = timeout(Duration::from_secs(20), tunnel.read_to_end(&mut read)).await.unwrap();
    String::from_utf8_lossy(&read).into_owned()
}

fn judge(got: &str, wanted: Wanted) -> bool {
    let heads: Vec<_> =
        got.match_indices("HTTP/1.1 ").filter_map(|(at, _)| got.get(at + 9..at + 12)).collect();
    let is_clean = !got.contains("evil");
    is_clean
        && match wanted {
            Status(status) => heads == [status, "200"] && got.ends_with("good"),
            Cut => {
                [&[][..], &["200"]].contains(&&heads[..])
                    && !got.contains("good")
                    && !got.contains("\r\n0\r\n")
            }
            Whole(body) => {
                let bodies: Vec<_> = got.split("HTTP/1.1 ").skip(1).collect();
                heads.len() == 2
                    && bodies[0].ends_with(&format!("\r\n\r\n{body}"))
                    && got.ends_with("good")
            }
        }
}

type Row = (&'static str, String, Wanted);

fn ok(rest: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{rest}")
}

fn rows() -> Vec<Row> {
    [seconds(), lengths(), codings(), heads(), interim(), bodies()].into_iter().flatten().collect()
}

/// A response and another one that nobody asked for.
fn seconds() -> Vec<Row> {
    vec![
        ("two answers", ok(&format!("content-length: 2\r\n\r\nok{EVIL}")), Whole("ok")),
        (
            "an answer that nobody asked for behind none",
            ok(&format!("content-length: 0\r\n\r\n{EVIL}")),
            Whole(""),
        ),
        (
            "an answer behind one without a body",
            format!("HTTP/1.1 204 No Content\r\n\r\n{EVIL}"),
            Whole(""),
        ),
        (
            "an answer behind one that hasn't changed",
            format!("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n{EVIL}"),
            Whole(""),
        ),
    ]
}

/// RFC 9112, section 6.3.
fn lengths() -> Vec<Row> {
    vec![
        (
            "two lengths",
            ok(&format!("content-length: 2\r\ncontent-length: 40\r\n\r\nok{EVIL}")),
            Status("502"),
        ),
        (
            "one length twice",
            ok(&format!("content-length: 2\r\ncontent-length: 2\r\n\r\nok{EVIL}")),
            Status("502"),
        ),
        ("a list of lengths", ok(&format!("content-length: 2, 40\r\n\r\nok{EVIL}")), Status("502")),
        ("a negative length", ok(&format!("content-length: -2\r\n\r\nok{EVIL}")), Status("502")),
        ("a length with a sign", ok(&format!("content-length: +2\r\n\r\nok{EVIL}")), Status("502")),
        (
            "a length in hexadecimal",
            ok(&format!("content-length: 0x2\r\n\r\nok{EVIL}")),
            Status("502"),
        ),
        ("no length in the header", ok(&format!("content-length:\r\n\r\nok{EVIL}")), Status("502")),
        (
            "a length beyond 64 bits",
            ok(&format!("content-length: 18446744073709551618\r\n\r\nok{EVIL}")),
            Status("502"),
        ),
        (
            "a short length and chunks",
            ok(&format!(
                "content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n4\r\nokok\r\n0\r\n\r\n{EVIL}"
            )),
            Status("502"),
        ),
        (
            "a long length and chunks",
            ok(&format!(
                "transfer-encoding: chunked\r\ncontent-length: 44\r\n\r\n2\r\nok\r\n0\r\n\r\n{EVIL}"
            )),
            Status("502"),
        ),
    ]
}

/// RFC 9112, section 6.1.
fn codings() -> Vec<Row> {
    vec![
        (
            "chunks twice",
            ok(&format!(
                "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{EVIL}"
            )),
            Status("502"),
        ),
        (
            "another coding",
            ok(&format!("transfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{EVIL}")),
            Status("502"),
        ),
        (
            "an unknown coding",
            ok(&format!("transfer-encoding: cow\r\n\r\nok{EVIL}")),
            Status("502"),
        ),
        (
            "chunks in HTTP/1.0",
            format!(
                "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{EVIL}"
            ),
            Status("502"),
        ),
    ]
}

/// RFC 9112, sections 4 and 5.
fn heads() -> Vec<Row> {
    vec![
        (
            "a blank before a colon",
            ok(&format!("content-length : 2\r\n\r\nok{EVIL}")),
            Status("502"),
        ),
        (
            "a folded header",
            ok(&format!("x: y\r\n content-length: 2\r\n\r\nok{EVIL}")),
            Status("502"),
        ),
        ("a NUL", ok(&format!("x: y\0z\r\ncontent-length: 2\r\n\r\nok{EVIL}")), Status("502")),
        (
            "a return in a header",
            ok(&format!("x: y\rcontent-length: 2\r\n\r\nok{EVIL}")),
            Status("502"),
        ),
        (
            "another version",
            format!("HTTP/3.0 200 OK\r\ncontent-length: 2\r\n\r\nok{EVIL}"),
            Status("502"),
        ),
        ("no status", format!("HTTP/1.1 OK\r\ncontent-length: 2\r\n\r\nok{EVIL}"), Status("502")),
        ("no head at all", format!("ok{EVIL}"), Status("502")),
        (
            "a head that is too large",
            ok(&format!("x: {}\r\n\r\n", "y".repeat(200_000))),
            Status("502"),
        ),
        (
            "too many headers",
            ok(&format!("{}content-length: 0\r\n\r\n", "x: y\r\n".repeat(500))),
            Status("502"),
        ),
        (
            "a protocol that nobody asked for",
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n{EVIL}"
            ),
            Status("502"),
        ),
    ]
}

/// RFC 9110, section 15.2, and what never becomes a response.
fn interim() -> Vec<Row> {
    vec![
        (
            "many interim answers",
            format!(
                "{}{}",
                "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n".repeat(2_000),
                ok("content-length: 2\r\n\r\nok")
            ),
            Whole("ok"),
        ),
        (
            "an interim answer with a length",
            format!(
                "HTTP/1.1 100 Continue\r\ncontent-length: 44\r\n\r\n{}",
                ok("content-length: 2\r\n\r\nok")
            ),
            Whole("ok"),
        ),
        ("only interim answers", "HTTP/1.1 102 Processing\r\n\r\n".repeat(3), Status("503")),
        ("half a head", ok("content-len"), Status("503")),
        ("nothing", String::new(), Status("503")),
    ]
}

/// Responses of which a part went on before they turned out to be wrong.
fn bodies() -> Vec<Row> {
    vec![
        ("half a body", ok("content-length: 100\r\n\r\nok"), Cut),
        ("no last chunk", ok("transfer-encoding: chunked\r\n\r\n2\r\nok\r\n"), Cut),
        ("half a chunk", ok("transfer-encoding: chunked\r\n\r\n20\r\nok"), Cut),
        (
            "a chunk that is no number",
            ok(&format!("transfer-encoding: chunked\r\n\r\n2\r\nok\r\nx\r\n{EVIL}")),
            Cut,
        ),
        (
            "a chunk's size that overflows",
            ok(&format!(
                "transfer-encoding: chunked\r\n\r\n2\r\nok\r\n10000000000000002\r\nok\r\n{EVIL}"
            )),
            Cut,
        ),
        (
            "a chunk longer than its size",
            ok(&format!("transfer-encoding: chunked\r\n\r\n2\r\nokok\r\n0\r\n\r\n{EVIL}")),
            Cut,
        ),
        (
            "a chunk's line that ends in a line feed",
            ok(&format!("transfer-encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n{EVIL}")),
            Cut,
        ),
        (
            "trailers without end",
            ok(&format!(
                "transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n{}",
                "x: y\r\n".repeat(50_000)
            )),
            Cut,
        ),
        (
            "trailers that only heads may have",
            ok(
                "transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\ncontent-length: 44\r\ntransfer-encoding: chunked\r\n\r\n",
            ),
            Whole("2\r\nok\r\n0\r\n\r\n"),
        ),
        ("a body that ends with the connection", ok("\r\nok"), Whole("2\r\nok\r\n0\r\n\r\n")),
    ]
}

#[tokio::test]
async fn client_gets_one_response_or_none() {
    let mut wrong = Vec::new();
    let rows = rows();
    println!("{} responses", rows.len());
    for (name, said, wanted) in rows {
        let stage = Stage::with_web(once(said.into_bytes()).await).await;
        let got = ask_twice(&stage).await;
        if !judge(&got, wanted) {
            wrong.push(format!("{name}: wanted {wanted:?}, got {got:?}"));
            continue;
        }
        let after = stage.get("/").await;
        if after.body != "good" {
            wrong.push(format!("{name}: the next client was told {after:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
