//! Names of services, asked as applications ask them.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use weft_harness::Inside;

use crate::support::PORT;
use crate::support::calls::{is_refused, succeeds};
use crate::town::town;

pub(crate) fn names_resolve(_: &Inside) -> Result<()> {
    let town = town()?;
    let (web, cart) = (town.pod("front", "web")?, town.pod("shop", "cart")?);
    let mut addresses = Vec::new();
    for (from, name) in [
        (&cart, "checkout"),
        (&cart, "checkout.shop"),
        (&web, "checkout.shop"),
        (&web, "checkout.shop.svc"),
        (&web, "checkout.shop.svc.cluster.local"),
    ] {
        let answer = succeeds(from, &format!("http://{name}/"))?;
        let peer: SocketAddr =
            answer.text("/peer").parse().context("the address it resolved to")?;
        addresses.push(peer.ip());
    }
    let virtual_address = addresses.first().context("no address")?;
    ensure!(addresses.iter().all(|address| address == virtual_address), "{addresses:?}");
    ensure!(virtual_address.to_string().starts_with("240.240."), "{virtual_address}");
    // Without an address of its own a service resolves to its pods.
    let answer = succeeds(&web, &format!("http://peers.shop:{PORT}/"))?;
    let peer: SocketAddr = answer.text("/peer").parse().context("the address it resolved to")?;
    let pods = ["checkout", "cart"].map(|name| town.pod("shop", name).map(|pod| pod.ip));
    let is_pod = pods.into_iter().flatten().any(|ip| peer.ip() == ip);
    ensure!(is_pod, "{peer} is no pod of the service");
    // A short name is of the asker's own namespace.
    for (from, name) in [(&web, "checkout"), (&web, "nobody.shop"), (&web, "nobody.invalid")] {
        let answer = is_refused(from, &format!("http://{name}/"))?;
        ensure!(answer.text("/error").contains("doesn't resolve"), "{name}: {answer:?}");
    }
    Ok(())
}
