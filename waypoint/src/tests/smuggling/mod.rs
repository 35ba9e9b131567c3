//! Requests that two programs could read in two ways, told to two origins of different make through a waypoint. Either
//! nobody sees them, or both see the same one request; what hides in them is never a request of its own.

mod downgrade;
mod origins;
mod rows;

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use self::origins::{Forgiving, Read, strict};
use self::rows::{Row, Wanted};
use super::stage::Stage;

/// What a client got on a connection of its own, to its end.
struct Got {
    text: String,
}

impl Got {
    fn heads(&self) -> Vec<&str> {
        self.text
            .match_indices("HTTP/1.1 ")
            .filter_map(|(at, _)| self.text.get(at + 9..at + 12))
            .collect()
    }
}

async fn send(stage: &Stage, row: &Row) -> Got {
    let mut tunnel = stage.to_web().await;
    // A waypoint that has refused already reads no more.
    let _sent = tunnel.write_all(&row.sent).await;
    if row.ends {
        let _ended = tunnel.shutdown().await;
    }
    let mut read = Vec::new();
    let reading = timeout(Duration::from_secs(5), tunnel.read_to_end(&mut read)).await;
    let mut text: String = read.iter().map(|byte| char::from(*byte)).collect();
    if reading.is_err() {
        text.push_str(" and the connection stays open, HTTP/1.1 000");
    }
    Got { text }
}

/// What the origin read since it was asked last. Asked through the waypoint, so that an answer to something else shows.
async fn seen(stage: &Stage, row: &Row) -> Vec<Read> {
    let answered = stage.get("/seen").await;
    let seen: Result<Vec<Read>, _> = serde_json::from_str(&answered.body);
    let seen = seen.unwrap_or_else(|_| panic!("{}: another answer: {answered:?}", row.name));
    seen.into_iter().map(Read::comparable).collect()
}

/// What is wrong with how one origin was told of a row.
fn judge(row: &Row, got: &Got, seen: &[Read]) -> Result<(), String> {
    let heads = got.heads();
    match row.wanted {
        Wanted::Refused(statuses) => {
            let is_refused = heads.len() == 1 && statuses.contains(&heads[0]);
            if !is_refused || !got.text.to_lowercase().contains("connection: close") {
                return Err(format!("wanted one of {statuses:?} and the end, got {:?}", got.text));
            }
            if !seen.is_empty() {
                return Err(format!("an origin saw {seen:?}"));
            }
        }
        Wanted::Cut => {
            if heads.iter().any(|status| !status.starts_with('4')) || heads.len() > 1 {
                return Err(format!("wanted the end, got {:?}", got.text));
            }
            if !seen.is_empty() {
                return Err(format!("an origin saw {seen:?}"));
            }
        }
        Wanted::One { body, checks } => {
            let [one] = seen else { return Err(format!("an origin saw {seen:?}")) };
            if heads != ["200"] {
                return Err(format!("wanted one answer, got {:?}", got.text));
            }
            if one.body != body {
                return Err(format!("wanted the body {body:?}, got {one:?}"));
            }
            if !one.trailers.is_empty() {
                return Err(format!("trailers went on: {one:?}"));
            }
            for (name, value) in checks {
                if one.header(name) != *value {
                    return Err(format!("wanted {name} to be {value:?} in {one:?}"));
                }
            }
            let count = |names: &[&str]| {
                one.headers.iter().filter(|(name, _)| names.contains(&&**name)).count()
            };
            if count(&["content-length", "transfer-encoding"]) > 1 || count(&["host"]) != 1 {
                return Err(format!("ambiguous still: {one:?}"));
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn no_request_hides_in_another() {
    let forgiving = Forgiving::start();
    let (first, second) = (Stage::new().await, Stage::new().await);
    let http = weft_proto::workload::AppProtocol::Http11;
    first.web(&[strict().await], http);
    second.web(&[forgiving.at], http);
    let mut wrong = Vec::new();
    let rows = rows::all();
    println!("{} requests", rows.len());
    for row in rows {
        let mut both = Vec::new();
        for (origin, stage) in [("hyper", &first), ("python", &second)] {
            let got = send(stage, &row).await;
            let seen = seen(stage, &row).await;
            if let Err(why) = judge(&row, &got, &seen) {
                wrong.push(format!("{} ({origin}): {why}", row.name));
            }
            both.push(seen);
        }
        if both[0] != both[1] {
            wrong.push(format!("{}: read in two ways: {both:?}", row.name));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
