//! `weft proxy-config`: what a waypoint knows and does.

mod tables;

#[cfg(test)]
mod tests;

use anyhow::{Context as _, bail};
use serde::Serialize;
use weft_core::admin::waypoint_dump::{BoundService, LiveCluster, WaypointDump};

use crate::args::{DumpSource, Output, ProxyArgs, ProxyPart, Shown};
use crate::fetch::{Server, encoded};

/// The part asked for, as text.
pub(crate) async fn run(args: &ProxyArgs) -> anyhow::Result<String> {
    let shown = match &args.part {
        ProxyPart::Log { waypoint, .. } => {
            if waypoint.is_some() {
                check(&fetch(&args.source).await?, waypoint.as_deref(), args.namespace.as_deref())?;
            }
            return log(&args.source, &args.part).await;
        }
        ProxyPart::Routes(shown)
        | ProxyPart::Clusters(shown)
        | ProxyPart::Endpoints(shown)
        | ProxyPart::Policies(shown) => shown,
    };
    let dump = fetch(&args.source).await?;
    check(&dump, shown.waypoint.as_deref(), args.namespace.as_deref())?;
    let (services, clusters) = (services(&dump, shown), clusters(&dump, shown));
    match args.output {
        Output::Table => Ok(text(&args.part, &services, &clusters)),
        Output::Json => json(&args.part, &services, &clusters),
    }
}

async fn fetch(source: &DumpSource) -> anyhow::Result<WaypointDump> {
    let (text, what) = match &source.file {
        Some(file) => {
            let what = file.display().to_string();
            (std::fs::read(file).with_context(|| what.clone())?, what)
        }
        None => {
            let text = server(source).get("/config_dump").await?;
            (text.to_vec(), format!("the answer of {}", source.address))
        }
    };
    let dump: WaypointDump = serde_json::from_slice(&text)
        .with_context(|| format!("{what} is no /config_dump of a waypoint"))?;
    // Every field may be absent, so a ztunnel's dump is read as an empty one.
    if dump.waypoint.identity.is_empty() {
        bail!("{what} is no /config_dump of a waypoint; of a ztunnel, see `weft ztunnel-config`");
    }
    Ok(dump)
}

fn server(source: &DumpSource) -> Server<'_> {
    Server {
        address: &source.address,
        netns: source.netns.as_deref(),
        what: "the waypoint's admin server",
        hint: "is a waypoint running there, and is it in a namespace (--netns)?",
    }
}

/// Whether the dump is of the waypoint that was named.
fn check(dump: &WaypointDump, name: Option<&str>, namespace: Option<&str>) -> anyhow::Result<()> {
    let own = &dump.waypoint;
    let is_here = namespace.is_none_or(|it| *it == *own.namespace);
    let has_name = |name: &str| {
        own.service_account == name
            || own.services.iter().any(|key| {
                let host = key.split_once('/').map_or("", |(_, host)| host);
                host.split('.').next() == Some(name)
            })
    };
    match is_here && name.is_none_or(has_name) {
        true => Ok(()),
        false => bail!(
            "that is the waypoint {} in namespace {}; --address and --netns say which one is asked",
            own.service_account,
            own.namespace
        ),
    }
}

fn services<'a>(dump: &'a WaypointDump, shown: &Shown) -> Vec<&'a BoundService> {
    let wanted = shown.service.as_deref();
    let is_wanted =
        |it: &&BoundService| wanted.is_none_or(|name| it.name == name || it.hostname == name);
    dump.services.iter().filter(is_wanted).collect()
}

fn clusters<'a>(dump: &'a WaypointDump, shown: &Shown) -> Vec<&'a LiveCluster> {
    let wanted = shown.service.as_deref();
    let is_wanted = |it: &&LiveCluster| {
        let host = it.service.split_once('/').map_or("", |(_, host)| host);
        wanted.is_none_or(|name| host == name || host.split('.').next() == Some(name))
    };
    dump.clusters.iter().filter(is_wanted).collect()
}

fn text(part: &ProxyPart, services: &[&BoundService], clusters: &[&LiveCluster]) -> String {
    match part {
        ProxyPart::Routes(_) => tables::routes(services),
        ProxyPart::Clusters(_) => tables::clusters(clusters),
        ProxyPart::Endpoints(_) => tables::endpoints(clusters),
        ProxyPart::Policies(_) => tables::policies(services),
        ProxyPart::Log { .. } => String::new(),
    }
}

fn json(
    part: &ProxyPart,
    services: &[&BoundService],
    clusters: &[&LiveCluster],
) -> anyhow::Result<String> {
    fn pretty<T: Serialize>(value: &T) -> anyhow::Result<String> {
        Ok(format!("{}\n", serde_json::to_string_pretty(value)?))
    }
    match part {
        ProxyPart::Clusters(_) | ProxyPart::Endpoints(_) => pretty(&clusters),
        _ => pretty(&services),
    }
}

/// Levels, changed first if that is asked for.
async fn log(source: &DumpSource, part: &ProxyPart) -> anyhow::Result<String> {
    let ProxyPart::Log { level, reset, token_file, .. } = part else { return Ok(String::new()) };
    if source.file.is_some() {
        bail!("a saved dump has no log levels; leave --file out");
    }
    let change = match (level, reset) {
        (Some(level), _) => Some(format!("/logging?level={}", encoded(level))),
        (None, true) => Some("/logging?reset".to_owned()),
        (None, false) => None,
    };
    let answer = match change {
        None => server(source).get("/logging").await?,
        Some(path) => {
            let token = match token_file {
                Some(file) => std::fs::read_to_string(file)
                    .with_context(|| format!("token file {}", file.display()))?,
                None => String::new(),
            };
            server(source).post(&path, token.trim(), bytes::Bytes::new()).await?
        }
    };
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
