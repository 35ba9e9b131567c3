//! HTTP/2 on its way to applications of HTTP/1.1: what frames carried safely would be lines there.

use std::time::Duration;

use tokio::time::timeout;
use weft_proto::workload::AppProtocol;

use super::origins::{Forgiving, Read, strict};
use crate::tests::floods::in_http_one;
use crate::tests::frames::{
    Attacker, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, frame, literal, request,
};
use crate::tests::stage::Stage;

const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: web\r\n\r\n";

/// A head, and the data that follows it.
type Row = (Vec<u8>, &'static str);

fn with(headers: &[(&str, &str)]) -> Vec<u8> {
    let more = headers.iter().flat_map(|(name, value)| literal(name, value));
    request("POST", "/row").into_iter().chain(more).collect()
}

/// Pseudo-headers of one's own (RFC 9113, section 8.3).
fn of(headers: &[(&str, &str)]) -> Vec<u8> {
    headers.iter().flat_map(|(name, value)| literal(name, value)).collect()
}

fn rows() -> Vec<Row> {
    let target = |path: &'static str, authority: &'static str| {
        of(&[(":method", "POST"), (":scheme", "http"), (":authority", authority), (":path", path)])
    };
    let mut rows: Vec<Row> = [
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("connection", "transfer-encoding"),
        ("connection", "keep-alive"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("upgrade", "h2c"),
        ("te", "chunked"),
        ("content-length", "0"),
        ("content-length", "2"),
        ("content-length", "30"),
        ("content-length", "+35"),
        ("content-length", "0x23"),
        ("content-length", "35, 35"),
        ("Content-Length", "35"),
        ("content-length ", "35"),
        ("x: y\r\ntransfer-encoding", "chunked"),
        ("x", "y\r\ntransfer-encoding: chunked"),
        ("x", "y\ntransfer-encoding: chunked"),
        ("x", "y\rz"),
        ("x", "y\0z"),
        ("x y", "z"),
        ("", "z"),
        (":path", "/again"),
        (":unknown", "z"),
    ]
    .map(|pair| (with(&[pair]), HIDDEN))
    .into();
    rows.extend([
        (with(&[("content-length", "35"), ("content-length", "36")]), HIDDEN),
        (with(&[("host", "evil")]), HIDDEN),
        (with(&[("host", "web"), ("host", "evil")]), HIDDEN),
        (target("/row HTTP/1.1\r\nx: y", "web"), HIDDEN),
        (target("/row\nx", "web"), HIDDEN),
        (target("/row x", "web"), HIDDEN),
        (target("row", "web"), HIDDEN),
        (target("", "web"), HIDDEN),
        (target("*", "web"), HIDDEN),
        (target("/row", "user@web"), HIDDEN),
        (target("/row", "web/path"), HIDDEN),
        (target("/row", "web\r\nx: y"), HIDDEN),
        (target("/row", ""), HIDDEN),
        (of(&[(":method", "POST"), (":scheme", "http"), (":path", "/row")]), HIDDEN),
        (
            of(&[(":method", "GET /x HTTP/1.1\r\nx:"), (":scheme", "http"), (":path", "/row")]),
            HIDDEN,
        ),
        (of(&[(":method", "POST"), (":path", "/row"), (":authority", "web")]), HIDDEN),
        (of(&[(":method", "CONNECT"), (":authority", "web:80")]), HIDDEN),
    ]);
    rows
}

/// Whether a stream or its connection was refused: by a reset, an end, or a status of 400 and more.
async fn is_refused(stage: &Stage, (head, data): &Row) -> bool {
    let mut attacker = Attacker::new(stage).await;
    attacker.send(&frame(HEADERS, END_HEADERS, 1, head)).await;
    attacker.send(&frame(DATA, END_STREAM, 1, data.as_bytes())).await;
    loop {
        let came = timeout(Duration::from_secs(10), attacker.read.next()).await.expect("a word");
        match came {
            None => return true,
            Some(came) if [RST_STREAM, GOAWAY].contains(&came.kind) => return true,
            // 200 is in the static table (RFC 7541, appendix A).
            Some(came) if came.kind == HEADERS => return came.payload.first() != Some(&0x88),
            Some(_) => {}
        }
    }
}

#[tokio::test]
async fn nothing_of_http_two_hides_in_http_one() {
    let forgiving = Forgiving::start();
    let mut wrong = Vec::new();
    for at in [strict().await, forgiving.at] {
        let stage = Stage::new().await;
        stage.web(&[at], AppProtocol::Http11);
        stage.routes(vec![weft_proto::route::HttpRule::default()], vec![in_http_one()]);
        for row in rows() {
            let is_refused = is_refused(&stage, &row).await;
            let answered = stage.get("/seen").await;
            let seen: Vec<Read> = serde_json::from_str(&answered.body).expect("what was asked for");
            // A request may have gone on before data came that it says it doesn't have.
            let is_hidden = seen.iter().any(|it| it.target != "/row" || !it.body.is_empty());
            if !is_refused || is_hidden || seen.len() > 1 {
                let text = String::from_utf8_lossy(&row.0).into_owned();
                wrong.push(format!("{text:?}: refused: {is_refused}, seen: {seen:?}"));
            }
        }
    }
    println!("{} requests", rows().len());
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
