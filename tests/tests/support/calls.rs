//! Requests from pods, and what came of them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weft_harness::{Mesh, Pod, config};

/// Time for one call, the start of the program included.
const CALL_DEADLINE: Duration = Duration::from_secs(20);

/// What a request came to.
#[derive(Debug)]
pub(crate) struct Answer {
    /// 0 if none came.
    pub(crate) status: u64,
    /// All of it: `body`, `error`, `peer`.
    pub(crate) value: Value,
}

impl Answer {
    /// A text of it by its path, empty if it isn't there.
    pub(crate) fn text(&self, path: &str) -> &str {
        self.value.pointer(path).and_then(Value::as_str).unwrap_or_default()
    }
}

/// `GET url` from a pod, by a program that resolves names as the pod does.
pub(crate) fn get(from: &Pod, url: &str) -> Result<Answer> {
    let value = tool(from, &["call", "--json", url])?;
    let status = value.get("status").and_then(Value::as_u64).unwrap_or_default();
    Ok(Answer { status, value })
}

/// `GET url` with a header, `name: value`.
pub(crate) fn get_with(from: &Pod, url: &str, header: &str) -> Result<Answer> {
    let value = tool(from, &["call", "--json", "--header", header, url])?;
    let status = value.get("status").and_then(Value::as_u64).unwrap_or_default();
    Ok(Answer { status, value })
}

/// A request that must succeed.
pub(crate) fn succeeds(from: &Pod, url: &str) -> Result<Answer> {
    let answer = get(from, url)?;
    ensure!(answer.status == 200, "{} → {url}: {}", from.spec.name, answer.value);
    Ok(answer)
}

/// A request that must get no answer.
pub(crate) fn is_refused(from: &Pod, url: &str) -> Result<Answer> {
    let answer = get(from, url)?;
    ensure!(answer.status == 0, "{} → {url} was answered: {}", from.spec.name, answer.value);
    Ok(answer)
}

/// The last line of JSON that a tool of the shop prints in a pod.
pub(crate) fn tool(from: &Pod, words: &[&str]) -> Result<Value> {
    let finished = from.launch(config::binary("shop")?).args(words.to_vec()).run(CALL_DEADLINE)?;
    let last = finished.stdout.lines().last().with_context(|| finished.stderr.clone())?;
    serde_json::from_str(last).with_context(|| format!("{words:?}: {finished:?}"))
}

/// The last line of a node's ztunnel's log that has all of `words`, if there is one.
pub(crate) fn log_line(mesh: &Mesh, node: u8, words: &[&str]) -> Result<String> {
    let name = format!("ztunnel-node{node}");
    let log = mesh.process(&name)?.log()?;
    let fits = |line: &&str| words.iter().all(|word| line.contains(word));
    let found = log.lines().rev().find(fits).map(str::to_owned);
    found.with_context(|| format!("no line of {name}'s log has all of {words:?}"))
}
