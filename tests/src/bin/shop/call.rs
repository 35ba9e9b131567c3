//! `shop call URL`: one request, and the chain of calls that it set off.

use std::time::Duration;

use anyhow::Result;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::time::Instant;

use crate::client::{self, Answer, Ask, Connection};
use crate::say;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What to ask for.
    url: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Time for the whole request, milliseconds.
    #[arg(long, default_value_t = 5_000)]
    deadline_ms: u64,
    #[command(flatten)]
    ask: Ask,
    /// Read on until the other side ends, and say how long that was (for `/hold`).
    #[arg(long)]
    hold: bool,
}

/// Runs the command; true for a successful answer.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let deadline = Duration::from_millis(arguments.deadline_ms);
    if arguments.hold {
        return runtime.block_on(hold(arguments, deadline));
    }
    let answer = runtime.block_on(client::ask(&arguments.url, &arguments.ask, deadline));
    if arguments.json {
        say(&serde_json::to_string(&answer)?);
    } else {
        show(&answer);
    }
    Ok(answer.is_success())
}

async fn hold(arguments: &Arguments, deadline: Duration) -> Result<bool> {
    let mut connection = Connection::open(&arguments.url, deadline).await?;
    let response = connection.send(&arguments.url, &arguments.ask).await?;
    say(&format!("connected to {}: {}", connection.peer, response.status()));
    let start = Instant::now();
    let mut body = response.into_body();
    let mut ticks = 0_u64;
    let end = loop {
        match tokio::time::timeout(deadline, body.frame()).await {
            Ok(Some(Ok(_frame))) => {
                ticks += 1;
                if ticks == 1 {
                    say("the first tick has come");
                }
            }
            Ok(Some(Err(error))) => break format!("cut: {error}"),
            Ok(None) => break "ended by the server".to_owned(),
            Err(_) => break format!("silent for {deadline:?}"),
        }
    };
    say(&format!("{ticks} ticks in {:.3} s, then {end}", start.elapsed().as_secs_f64()));
    Ok(true)
}

fn show(answer: &Answer) {
    let status = answer.status.map_or_else(|| "no answer".to_owned(), |s| s.to_string());
    say(&format!("{} → {status} in {} µs", answer.url, answer.microseconds));
    if let Some(error) = &answer.error {
        say(&format!("  {error}"));
    }
    match &answer.body {
        Value::Null => {}
        Value::Object(_) if answer.body.get("hop").is_some() => show_hop(&answer.body, 1),
        other => say(&format!("  {other}")),
    }
}

/// A hop and what it called, each a level further in.
fn show_hop(trace: &Value, depth: usize) {
    let field = |name: &str| trace.get(name).and_then(Value::as_str).unwrap_or("?");
    let indent = "  ".repeat(depth);
    say(&format!("{indent}{} at {} called by {}", field("hop"), field("local"), field("caller")));
    for call in trace.get("calls").and_then(Value::as_array).into_iter().flatten() {
        let url = call.get("url").and_then(Value::as_str).unwrap_or("?");
        let status = call.get("status").filter(|status| !status.is_null());
        let outcome = status.or_else(|| call.get("error")).map(ToString::to_string);
        say(&format!("{indent}→ {url}: {}", outcome.unwrap_or_default()));
        if let Some(body) = call.get("body").filter(|body| body.get("hop").is_some()) {
            show_hop(body, depth + 1);
        }
    }
}
