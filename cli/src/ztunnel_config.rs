//! `weft ztunnel-config`: what a node's proxy knows and does, in istioctl's tables.

mod certificates;
mod connections;
mod tables;
mod view;

#[cfg(test)]
mod tests;

use anyhow::Context as _;
use serde::Serialize;
use weft_core::admin::dump::ConfigDump;
use weft_core::{clock, telemetry};

use crate::args::{DumpSource, Output, Part, ZtunnelArgs};
use crate::fetch::Server;
use view::View;

/// The part asked for, as text.
pub(crate) async fn run(args: &ZtunnelArgs) -> anyhow::Result<String> {
    let dump = fetch(&args.source).await?;
    let view = View::new(&dump, args.namespace.as_deref(), &args.part);
    match args.output {
        Output::Table => Ok(text(&view, &args.part, &telemetry::rfc3339(clock::now()))),
        Output::Json => json(&view, &args.part),
    }
}

async fn fetch(source: &DumpSource) -> anyhow::Result<ConfigDump> {
    if let Some(file) = &source.file {
        let text = std::fs::read(file).with_context(|| format!("{}", file.display()))?;
        return serde_json::from_slice(&text)
            .with_context(|| format!("{} is no /config_dump of a ztunnel", file.display()));
    }
    let server = Server {
        address: &source.address,
        netns: source.netns.as_deref(),
        what: "ztunnel's admin server",
        hint: "is ztunnel running there, and is it in a namespace (--netns)?",
    };
    let answer = server.get("/config_dump").await?;
    serde_json::from_slice(&answer).context("the answer is no /config_dump of a ztunnel")
}

fn text(view: &View<'_>, part: &Part, now: &str) -> String {
    match part {
        Part::Workload { .. } => tables::workloads(view),
        Part::Service => tables::services(view),
        Part::Policy => tables::policies(view),
        Part::Certificate => certificates::table(view, now),
        Part::Connections { raw, .. } => connections::table(view, *raw),
        Part::All => {
            let sections = [
                ("WORKLOAD INFO", tables::workloads(view)),
                ("SERVICE INFO", tables::services(view)),
                ("POLICY INFO", tables::policies(view)),
                ("SECRET INFO", certificates::table(view, now)),
                ("CONNECTIONS INFO", connections::table(view, false)),
            ];
            let section =
                |(title, table): &(&str, String)| format!("\n------ {title} ------\n\n{table}");
            sections.iter().map(section).collect()
        }
    }
}

fn json(view: &View<'_>, part: &Part) -> anyhow::Result<String> {
    fn pretty<T: Serialize>(value: &T) -> anyhow::Result<String> {
        Ok(format!("{}\n", serde_json::to_string_pretty(value)?))
    }
    match part {
        Part::Workload { .. } => pretty(&view.workloads()),
        Part::Service => pretty(&view.services()),
        Part::Policy => pretty(&view.policies()),
        Part::Certificate => pretty(&view.certificates()),
        Part::Connections { .. } => pretty(&view.states()),
        Part::All => pretty(&view.filtered()),
    }
}
