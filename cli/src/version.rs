//! `weft version`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::args::{Output, VersionArgs};
use crate::status::{Status, fetch};

const OWN: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    client: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    controller: Option<String>,
    /// How many proxies have a version.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    proxies: BTreeMap<String, usize>,
    /// Why the controller's is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Our own version, and others' if they can be had: without a controller the command still helps.
pub(crate) async fn run(args: &VersionArgs) -> anyhow::Result<String> {
    let versions = if args.client {
        versions(None, None)
    } else {
        match fetch(&args.controller).await {
            Ok(status) => versions(Some(status), None),
            Err(error) => versions(None, Some(format!("{error:#}"))),
        }
    };
    Ok(match args.output {
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&versions)?),
        Output::Table => text(&versions),
    })
}

fn versions(status: Option<Status>, error: Option<String>) -> Versions {
    let mut proxies = BTreeMap::new();
    for client in status.iter().flat_map(|status| &status.clients) {
        if client.kind == "ztunnel" || client.kind == "waypoint" {
            *proxies.entry(or_unknown(&client.version).to_owned()).or_insert(0) += 1;
        }
    }
    let controller = status.map(|status| status.version);
    Versions { client: OWN.into(), controller, proxies, error }
}

fn or_unknown(version: &str) -> &str {
    if version.is_empty() { "unknown" } else { version }
}

fn text(versions: &Versions) -> String {
    let mut text = format!("client version: {}\n", versions.client);
    if let Some(controller) = &versions.controller {
        text.push_str(&format!("control plane version: {controller}\n"));
        for (version, count) in &versions.proxies {
            let noun = if *count == 1 { "proxy" } else { "proxies" };
            text.push_str(&format!("data plane version: {version} ({count} {noun})\n"));
        }
        if versions.proxies.is_empty() {
            text.push_str("data plane version: no proxy is connected\n");
        }
    }
    if let Some(error) = &versions.error {
        text.push_str(&format!("control plane version: {error}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::status;

    #[test]
    fn versions_of_all_parts_are_shown() {
        let expected = format!(
            "client version: {OWN}\ncontrol plane version: 0.1.0\ndata plane version: 0.1.0 (2 proxies)\n"
        );
        assert_eq!(text(&versions(Some(status()), None)), expected);
    }

    #[test]
    fn own_version_is_shown_without_a_controller() {
        let shown = text(&versions(None, Some("can't reach it".into())));
        assert_eq!(
            shown,
            format!("client version: {OWN}\ncontrol plane version: can't reach it\n")
        );
    }
}
