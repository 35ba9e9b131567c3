//! Open connections of the node's pods.

use std::net::{IpAddr, SocketAddr};

use weft_core::admin::dump::Connection;

use super::view::View;
use crate::table::{Cell, table as columns};

const HEADER: [&str; 6] = ["WORKLOAD", "DIRECTION", "LOCAL", "REMOTE", "REMOTE TARGET", "PROTOCOL"];

pub(super) fn table(view: &View<'_>, raw: bool) -> String {
    let name = |address: &str| if raw { address.to_owned() } else { named(view, address) };
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for state in view.states() {
        let workload = format!("{}.{}", state.info.name, state.info.namespace);
        let mut push = |direction: &str, local: &str, remote: &str, connection: &Connection| {
            let target = connection.original_dst.as_deref().map(name).unwrap_or_default();
            rows.push(vec![
                workload.as_str().into(),
                direction.into(),
                name(local).into(),
                name(remote).into(),
                target.into(),
                connection.protocol.as_str().into(),
            ]);
        };
        for connection in &state.connections.inbound {
            push("Inbound", &connection.actual_dst, &connection.src, connection);
        }
        for connection in &state.connections.outbound {
            push("Outbound", &connection.src, &connection.actual_dst, connection);
        }
    }
    columns(&HEADER, &rows, 1, false)
}

/// `name:port` where the mesh knows the address; else the text as it is.
fn named(view: &View<'_>, text: &str) -> String {
    let Ok(address) = text.parse::<SocketAddr>() else { return text.to_owned() };
    let ip: IpAddr = address.ip();
    match view.name_at(&ip.to_string()) {
        Some(name) => format!("{name}:{}", address.port()),
        None => text.to_owned(),
    }
}
