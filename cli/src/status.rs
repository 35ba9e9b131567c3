//! `weft status`: who is connected to the controller, what it acknowledged, and what was refused and why.

pub(crate) mod conditions;

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weft_core::clock;

use crate::args::{ControllerArgs, Output, StatusArgs};
use crate::table::{Cell, Tone, table};
use crate::token::controller;
use conditions::ObjectConditions;

/// What the controller's `/weft/status` says. Everything may be absent, since it may be of another version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) ready: bool,
    pub(crate) trust_domain: String,
    pub(crate) cluster_id: String,
    /// When the first root expires, Unix seconds.
    pub(crate) root_expires_at: u64,
    /// The controller's clock, Unix seconds.
    pub(crate) now: u64,
    /// Objects in force, by kind.
    pub(crate) objects: BTreeMap<String, u64>,
    pub(crate) types: Vec<TypeCount>,
    pub(crate) clients: Vec<Client>,
    /// Documents left out.
    pub(crate) rejected: Vec<Rejected>,
    /// What became of objects; absent where the controller doesn't tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) conditions: Option<Vec<ObjectConditions>>,
    #[serde(flatten)]
    pub(crate) rest: BTreeMap<String, Value>,
}

/// Resources of one type.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TypeCount {
    pub(crate) type_url: String,
    pub(crate) resources: u64,
    pub(crate) clients: u64,
    pub(crate) in_sync: u64,
}

/// A connected client.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Client {
    /// `<pod>.<namespace>`, or the name alone where there is no namespace.
    pub(crate) proxy: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) kind: String,
    pub(crate) node: Option<String>,
    pub(crate) version: String,
    /// Unix seconds.
    pub(crate) connected_since: u64,
    /// By type URL.
    pub(crate) types: BTreeMap<String, Subscription>,
    #[serde(flatten)]
    pub(crate) rest: BTreeMap<String, Value>,
}

/// One type of one client.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Subscription {
    pub(crate) nonce_sent: String,
    pub(crate) nonce_acked: String,
    /// Unix milliseconds.
    pub(crate) acked_at_ms: u64,
    /// How long the last acknowledgement took, milliseconds.
    pub(crate) ack_ms: u64,
    /// Responses not yet answered.
    pub(crate) in_flight: u64,
    pub(crate) resources_sent: u64,
    pub(crate) refused: Vec<Refusal>,
    #[serde(flatten)]
    pub(crate) rest: BTreeMap<String, Value>,
}

/// A resource that a client refuses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Refusal {
    pub(crate) name: String,
    pub(crate) reason: String,
}

/// A document left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Rejected {
    pub(crate) file: String,
    pub(crate) line: u64,
    /// `<kind> <namespace>/<name>`.
    pub(crate) object: String,
    pub(crate) field: String,
    pub(crate) reason: String,
    /// Whether an earlier version stays in force.
    pub(crate) has_last_good: bool,
    #[serde(flatten)]
    pub(crate) rest: BTreeMap<String, Value>,
}

/// Asks the controller.
pub(crate) async fn fetch(args: &ControllerArgs) -> anyhow::Result<Status> {
    let answer = controller(args).get("/weft/status").await?;
    serde_json::from_slice(&answer).context("the controller's status can't be read")
}

/// The status as text.
pub(crate) async fn run(args: &StatusArgs, use_color: bool) -> anyhow::Result<String> {
    let mut status = fetch(&args.controller).await?;
    status.conditions = conditions::fetch(&args.controller).await.ok();
    Ok(match args.output {
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&status)?),
        Output::Table => text(&status, clock::unix_seconds(), use_color),
    })
}

fn text(status: &Status, now: u64, use_color: bool) -> String {
    let mut out = summary(status, now);
    out.push('\n');
    if status.clients.is_empty() {
        out.push_str("No proxy is connected: check that they reach this controller's port 15012 and hold a token.\n");
    } else {
        let header = [
            "NAME",
            "KIND",
            "NODE",
            "VERSION",
            "CONNECTED",
            "TYPE",
            "RESOURCES",
            "LAST ACK",
            "STATE",
        ];
        out.push_str(&table(&header, &client_rows(status), 2, use_color));
    }
    let refused = refused_rows(status);
    if !refused.is_empty() {
        out.push_str("\nRefused by proxies:\n");
        out.push_str(&table(&["NAME", "TYPE", "RESOURCE", "REASON"], &refused, 2, use_color));
    }
    if !status.rejected.is_empty() {
        out.push_str("\nDocuments left out:\n");
        let header = ["WHERE", "OBJECT", "FIELD", "IN FORCE", "REASON"];
        out.push_str(&table(&header, &rejected_rows(status), 2, use_color));
    }
    if let Some(conditions) = &status.conditions {
        out.push_str(&conditions::failing(conditions, use_color));
    }
    out
}

fn summary(status: &Status, now: u64) -> String {
    let Status { version, trust_domain, .. } = status;
    let state = if status.ready { "ready" } else { "not ready: it hasn't read all objects yet" };
    let mut out = format!("Controller {version}, trust domain {trust_domain}: {state}\n");
    if !status.objects.is_empty() {
        let objects = status.objects.iter().map(|(kind, count)| format!("{count} {kind}"));
        out.push_str(&format!("Objects: {}\n", objects.collect::<Vec<_>>().join(", ")));
    }
    if let Some(conditions) = &status.conditions {
        out.push_str(&conditions::summary(conditions));
    }
    if status.root_expires_at > 0 {
        let left = status.root_expires_at.saturating_sub(status.now.max(now));
        let verdict =
            if left == 0 { "has expired".into() } else { format!("expires in {}", age(left)) };
        out.push_str(&format!("Root certificate {verdict}\n"));
    }
    // Certificates are valid by the clock; more than their margin of two minutes breaks handshakes.
    if status.now.abs_diff(now) > 60 && status.now > 0 {
        out.push_str(&format!(
            "The controller's clock differs from this one by {}\n",
            age(status.now.abs_diff(now))
        ));
    }
    out
}

fn client_rows(status: &Status) -> Vec<Vec<Cell>> {
    let mut clients: Vec<_> = status.clients.iter().collect();
    clients.sort_by(|a, b| (&a.node, &a.kind, &a.proxy).cmp(&(&b.node, &b.kind, &b.proxy)));
    let mut rows = Vec::new();
    for client in clients {
        let own = || -> Vec<Cell> {
            vec![
                client.proxy.as_str().into(),
                client.kind.as_str().into(),
                client.node.as_deref().unwrap_or("-").into(),
                if client.version.is_empty() {
                    "unknown".into()
                } else {
                    client.version.as_str().into()
                },
                age(status.now.saturating_sub(client.connected_since)).into(),
            ]
        };
        if client.types.is_empty() {
            let mut row = own();
            row.extend([
                "-".into(),
                "-".into(),
                "-".into(),
                Cell::new("no subscription", Tone::Pending),
            ]);
            rows.push(row);
        }
        for (type_url, subscription) in &client.types {
            let mut row = own();
            row.push(short(type_url).into());
            row.push(subscription.resources_sent.to_string().into());
            row.push(last_ack(subscription, status.now).into());
            row.push(state(subscription));
            rows.push(row);
        }
    }
    rows
}

fn last_ack(subscription: &Subscription, now: u64) -> String {
    if subscription.nonce_acked.is_empty() {
        return "never".into();
    }
    let ago = age(now.saturating_sub(subscription.acked_at_ms / 1000));
    format!("{ago} ago ({} ms)", subscription.ack_ms)
}

fn state(subscription: &Subscription) -> Cell {
    if !subscription.refused.is_empty() {
        return Cell::new(format!("refuses {}", subscription.refused.len()), Tone::Bad);
    }
    if subscription.in_flight > 0 || subscription.nonce_acked != subscription.nonce_sent {
        return Cell::new("waiting for its answer", Tone::Pending);
    }
    Cell::new("in sync", Tone::Good)
}

fn refused_rows(status: &Status) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for client in &status.clients {
        for (type_url, subscription) in &client.types {
            for refusal in &subscription.refused {
                let name = if refusal.name.is_empty() { "-" } else { &refusal.name };
                let reason = Cell::new(refusal.reason.as_str(), Tone::Bad);
                rows.push(vec![
                    client.proxy.as_str().into(),
                    short(type_url).into(),
                    name.into(),
                    reason,
                ]);
            }
        }
    }
    rows
}

fn rejected_rows(status: &Status) -> Vec<Vec<Cell>> {
    let or_dash = |text: &str| Cell::from(if text.is_empty() { "-" } else { text });
    let row = |rejected: &Rejected| {
        let in_force = if rejected.has_last_good {
            Cell::new("last good version", Tone::Pending)
        } else {
            Cell::new("nothing", Tone::Bad)
        };
        vec![
            format!("{}:{}", rejected.file, rejected.line).into(),
            or_dash(&rejected.object),
            or_dash(&rejected.field),
            in_force,
            rejected.reason.as_str().into(),
        ]
    };
    status.rejected.iter().map(row).collect()
}

/// The last part of a type URL: `Address`.
fn short(type_url: &str) -> &str {
    type_url.rsplit(['.', '/']).next().unwrap_or(type_url)
}

/// A time span as kubectl shows one: its largest unit, with the next one while that says something.
fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => format!("{minutes}m{}s", seconds % 60),
        600..7200 => format!("{minutes}m"),
        7200..172_800 => format!("{hours}h"),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
pub(crate) mod tests;
