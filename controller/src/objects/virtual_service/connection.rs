//! Rules for connections.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::Deserialize;
use weft_proto::contract::route::LIST_MAX;

use super::matcher::labels;
use super::parts::{self, RawRoute};
use super::{ConnectionMatch, VirtualConnection, VirtualHeaders, names_mesh};
use crate::objects::Pool;
use crate::objects::fields::{self, AllHosts, FieldError, Port};
use crate::objects::route::check_count;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConnection {
    #[serde(rename = "match", default, deserialize_with = "fields::or_default")]
    matches: Vec<RawMatch>,
    #[serde(default, deserialize_with = "fields::or_default")]
    route: Vec<RawRoute>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawMatch {
    #[serde(default, deserialize_with = "fields::or_default")]
    sni_hosts: Vec<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    destination_subnets: Vec<String>,
    port: Option<Port>,
    #[serde(default, deserialize_with = "fields::or_default")]
    source_labels: BTreeMap<String, String>,
    source_namespace: Option<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    gateways: Vec<String>,
}

pub(super) fn rules(
    raw: &[RawConnection],
    field: &str,
    ignored: &mut Vec<String>,
    pool: &mut Pool,
) -> Result<Box<[VirtualConnection]>, FieldError> {
    let mut built = Vec::with_capacity(raw.len());
    for (place, it) in raw.iter().enumerate() {
        let field = format!("{field}[{place}]");
        let mut matches = Vec::with_capacity(it.matches.len());
        for (at, raw) in it.matches.iter().enumerate() {
            let read = matched(raw, &format!("{field}.match[{at}]"), pool)?;
            if names_mesh(&raw.gateways) {
                matches.push(read);
            }
        }
        let mut routes = parts::routes(&it.route, &format!("{field}.route"), pool)?;
        // Connections have none.
        for (at, route) in routes.iter_mut().enumerate() {
            if std::mem::take(&mut route.headers) != VirtualHeaders::default() {
                ignored.push(format!("{field}.route[{at}].headers"));
            }
        }
        if it.matches.is_empty() || !matches.is_empty() {
            built.push(VirtualConnection { place, matches: matches.into(), routes });
        }
    }
    Ok(built.into())
}

fn matched(raw: &RawMatch, field: &str, pool: &mut Pool) -> Result<ConnectionMatch, FieldError> {
    check_count(raw.sni_hosts.len(), LIST_MAX, &format!("{field}.sniHosts"))?;
    let field_of_subnets = format!("{field}.destinationSubnets");
    check_count(raw.destination_subnets.len(), LIST_MAX, &field_of_subnets)?;
    let field_of_names = format!("{field}.sniHosts");
    let server_names =
        fields::host_patterns(&raw.sni_hosts, &field_of_names, AllHosts::Allowed, pool)?;
    let subnets = raw.destination_subnets.iter().enumerate().map(|(at, text)| {
        fields::block_of_text(text)
            .map_err(|reason| FieldError::new(format!("{field}.destinationSubnets[{at}]"), reason))
    });
    Ok(ConnectionMatch {
        server_names,
        destinations: subnets.collect::<Result<Box<[IpNet]>, _>>()?,
        port: raw.port.map(Port::get),
        source_labels: labels(&raw.source_labels, &format!("{field}.sourceLabels"), pool)?,
        source_namespace: raw.source_namespace.as_deref().map(|it| pool.text(it)),
    })
}
