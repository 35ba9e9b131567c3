//! What changes of policies do to requests that are under way.

use std::time::Duration;

use futures::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{self, timeout};
use weft_core::hbone::TunnelStream;
use weft_proto::contract::type_url;
use weft_proto::route;
use weft_proto::workload::AppProtocol;

use super::app::{beginning, hearing, quiet_line, serve};
use super::floods::in_http_one;
use super::frames::{Attacker, END_HEADERS, HEADERS, RST_STREAM, frame, literal, request};
use super::stage::{Stage, WEB};
use crate::limits;

const LINE: &str = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS%\n";
const DENIED: &str = "rbac_access_denied_matched_policy[ns[shop]-policy[closed]-rule[0]]";
const UPGRADED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n";
const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
const MEASURED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";

/// A policy for requests with this value of `x-key`.
fn keyed(name: &str, value: &str) -> route::Policy {
    use route::access_matcher::Kind;
    let kind = route::text_match::Kind::Exact(value.into());
    let text = route::TextMatch { kind: Some(kind), ignore_case: false };
    let values = route::HeaderValues { name: "x-key".into(), values: vec![text] };
    let matcher = route::AccessMatcher { kind: Some(Kind::Header(values)), ..Default::default() };
    let rule = route::AccessRule { when: vec![matcher], ..Default::default() };
    let name = format!("ns[shop]-policy[{name}]");
    route::Policy { name, dry_run: false, rules: vec![rule] }
}

fn denying(value: &str) -> route::AccessPolicy {
    route::AccessPolicy { deny: vec![keyed("closed", value)], ..Default::default() }
}

fn allowing(values: &[&str]) -> route::AccessPolicy {
    let allow = values.iter().map(|value| keyed("open", value)).collect();
    route::AccessPolicy { allow, ..Default::default() }
}

async fn stage_of(answer: &'static str) -> Stage {
    let stage = Stage::new().await;
    stage.web(&[beginning(answer).await], AppProtocol::Http11);
    stage.logs(WEB, LINE);
    stage
}

/// Asks with `x-key: a`, and reads what comes until `heard`.
async fn ask(stage: &Stage, heard: &str) -> TunnelStream {
    let head = "GET /quiet HTTP/1.1\r\nhost: web\r\nx-key: a\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n";
    hearing(stage, head, heard).await
}

/// Makes requests that are under way long ones.
async fn grow_old(stage: &Stage) {
    for _ in 0..3 {
        // Of another one, after which all that was said before has been heard.
        stage.get("/neighbour").await;
    }
    time::pause();
    time::advance(limits::VIGIL_FIRST_LOOK).await;
    time::resume();
    stage.get("/neighbour").await;
}

async fn is_cut(mut tunnel: TunnelStream) {
    let mut rest = Vec::new();
    let end = timeout(Duration::from_secs(20), tunnel.read_to_end(&mut rest)).await;
    assert!(end.expect("it ends").is_err(), "a cut is not an end: {rest:?}");
}

async fn goes_on(stage: &Stage, tunnel: &mut TunnelStream) {
    stage.get("/neighbour").await;
    let read = tunnel.read_u8().now_or_never();
    assert!(read.is_none(), "{read:?}");
}

#[tokio::test]
async fn response_that_a_changed_policy_forbids_is_cut_and_the_policy_is_named() {
    for (answer, heard, status) in
        [(UPGRADED, "\r\n\r\n", 101), (EVENTS, "half\r\n", 200), (MEASURED, "half", 200)]
    {
        let stage = stage_of(answer).await;
        let mut tunnel = ask(&stage, heard).await;
        grow_old(&stage).await;
        stage.access(WEB, denying("b"));
        goes_on(&stage, &mut tunnel).await;
        stage.access("other.shop.svc.cluster.local", denying("a"));
        goes_on(&stage, &mut tunnel).await;
        stage.access(WEB, denying("a"));
        is_cut(tunnel).await;
        assert_eq!(quiet_line(&stage).await, format!("/quiet {status} {DENIED}"));
    }
}

#[tokio::test]
async fn policy_that_changed_while_a_request_was_young_reaches_it_a_second_later() {
    let stage = stage_of(UPGRADED).await;
    let tunnel = ask(&stage, "\r\n\r\n").await;
    stage.access(WEB, denying("a"));
    grow_old(&stage).await;
    is_cut(tunnel).await;
}

#[tokio::test]
async fn response_is_cut_when_policies_are_taken_away_or_can_not_be_read() {
    for damage in [None, Some(vec![1, 2, 3])] {
        let stage = stage_of(EVENTS).await;
        let tunnel = ask(&stage, "half\r\n").await;
        grow_old(&stage).await;
        stage.tell(type_url::ACCESS_POLICY, &format!("shop/{WEB}"), damage);
        is_cut(tunnel).await;
    }
}

#[tokio::test]
async fn request_that_waits_for_its_response_is_answered_403() {
    let stage = stage_of("").await;
    let mut tunnel = ask(&stage, "").await;
    grow_old(&stage).await;
    goes_on(&stage, &mut tunnel).await;
    stage.access(WEB, denying("a"));
    let mut read = vec![0; 12];
    timeout(Duration::from_secs(20), tunnel.read_exact(&mut read)).await.unwrap().unwrap();
    assert_eq!(read, b"HTTP/1.1 403");
    assert_eq!(quiet_line(&stage).await, format!("/quiet 403 {DENIED}"));
}

#[tokio::test]
async fn stream_of_grpc_is_reset_and_its_neighbours_are_not() {
    let stage = stage_of(EVENTS).await;
    stage.routes(vec![route::HttpRule::default()], vec![in_http_one()]);
    let mut client = Attacker::new(&stage).await;
    for (stream, key) in [(1, "a"), (3, "b")] {
        let mut head = request("POST", "/quiet");
        head.extend(literal("content-type", "application/grpc"));
        head.extend(literal("x-key", key));
        client.send(&frame(HEADERS, END_HEADERS, stream, &head)).await;
        client.read.until(HEADERS).await.expect("a response");
    }
    grow_old(&stage).await;
    stage.access(WEB, denying("a"));
    let reset = timeout(Duration::from_secs(20), client.read.until(RST_STREAM)).await.unwrap();
    assert_eq!(reset.expect("a reset").stream, 1);
    stage.get("/neighbour").await;
    let more = timeout(Duration::from_millis(20), client.read.until(RST_STREAM)).await;
    assert!(more.is_err(), "{more:?}");
}

/// Policies see requests as clients sent them, the second time, too.
#[tokio::test]
async fn headers_that_a_rule_changes_are_judged_as_they_came() {
    let stage = stage_of(EVENTS).await;
    let edit = route::HeaderEdit { remove: vec!["x-key".into()], ..Default::default() };
    let kind = Some(route::filter::Kind::RequestHeaders(edit));
    let action = route::HttpAction { filters: vec![route::Filter { kind }], ..in_http_one() };
    stage.routes(vec![route::HttpRule::default()], vec![action]);
    stage.access(WEB, allowing(&["a"]));
    let mut tunnel = ask(&stage, "half\r\n").await;
    grow_old_by_another(&stage).await;
    stage.access(WEB, allowing(&["c", "a"]));
    assert_eq!(stage.get("/neighbour").await.status, 403);
    assert!(tunnel.read_u8().now_or_never().is_none());
    stage.access(WEB, allowing(&["c"]));
    is_cut(tunnel).await;
}

/// The same as `grow_old` where neighbours aren't let in: they hear so.
async fn grow_old_by_another(stage: &Stage) {
    for _ in 0..3 {
        assert_eq!(stage.get("/neighbour").await.status, 403);
    }
    time::pause();
    time::advance(limits::VIGIL_FIRST_LOOK).await;
    time::resume();
    assert_eq!(stage.get("/neighbour").await.status, 403);
}

#[tokio::test]
async fn application_sees_that_an_upgraded_connection_was_cut() {
    let (told, mut ended) = tokio::sync::mpsc::channel(1);
    let at = serve(move |mut tcp| {
        let told = told.clone();
        async move {
            let mut read = vec![0; 4096];
            let Ok(count) = tcp.read(&mut read).await else { return };
            if String::from_utf8_lossy(&read[..count]).contains("/neighbour") {
                let _sent = tcp.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
                return;
            }
            let _sent = tcp.write_all(UPGRADED.as_bytes()).await;
            let _told = told.send(tcp.read(&mut read).await.is_err()).await;
        }
    })
    .await;
    let stage = Stage::new().await;
    stage.web(&[at], AppProtocol::Http11);
    let tunnel = ask(&stage, "\r\n\r\n").await;
    grow_old(&stage).await;
    stage.access(WEB, denying("a"));
    is_cut(tunnel).await;
    assert_eq!(ended.recv().await, Some(true), "a reset is not an end");
}
