//! Virtual addresses for services that bring none.
//!
//! Nothing is stored: the address follows from the service's name by a hash, so a restarted controller and a second
//! replica give the same ones. Of two names that hash to one address the first by name has it and the other takes
//! its next one; adding a service can therefore move another's address, at a chance of about one in 65,000 for each
//! service that there is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::model::Model;
use crate::objects::{IpFamilies, Resolution, Service, ServiceEntry};

use super::names;
use super::settings::Settings;

/// Addresses that were given out, by namespace and host.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Addresses(BTreeMap<Arc<str>, BTreeMap<Arc<str>, Vec<IpAddr>>>);

/// Tries until a name goes without an address: at half the block taken, one name in 2^32 would.
const TRIES_MAX: u32 = 32;

impl Addresses {
    /// Gives out addresses for all services of `model` that need one.
    pub fn allocate(model: &Model, settings: &Settings) -> Self {
        let mut wanted = BTreeMap::new();
        let mut taken = BTreeSet::new();
        for (namespace, objects) in model.namespaces() {
            for service in objects.services.values() {
                taken.extend(service.addresses.iter().copied());
                if wants(service, settings) {
                    let host = names::service_host(service, settings).into();
                    wanted.insert((namespace.clone(), host), families(service, settings));
                }
            }
            for entry in objects.service_entries.values() {
                taken.extend(entry.addresses.iter().map(ipnet::IpNet::addr));
                for host in entry.hosts.iter().filter(|host| entry_wants(entry, host)) {
                    wanted.insert((namespace.clone(), host.clone()), (true, settings.allocates_v6));
                }
            }
        }
        let mut given: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for (name, (has_v4, has_v6)) in wanted {
            let pick = |of: fn(u64) -> IpAddr, taken: &mut BTreeSet<IpAddr>| {
                let mut picks = (0..TRIES_MAX).map(|attempt| of(hash(&name, attempt)));
                picks.find(|address| taken.insert(*address))
            };
            let v4 = has_v4.then(|| pick(v4, &mut taken)).flatten();
            let v6 = has_v6.then(|| pick(v6, &mut taken)).flatten();
            let (namespace, host) = name;
            given.entry(namespace).or_default().insert(host, v4.into_iter().chain(v6).collect());
        }
        Self(given)
    }

    /// What was given to a host.
    pub fn of(&self, namespace: &str, host: &str) -> &[IpAddr] {
        self.0.get(namespace).and_then(|hosts| hosts.get(host)).map_or(&[], Vec::as_slice)
    }

    /// The hosts whose addresses differ.
    pub(super) fn changed(&self, other: &Self) -> Vec<Arc<str>> {
        let differing = |one: &Self, other: &Self| -> Vec<Arc<str>> {
            let all = one.0.iter().flat_map(|(namespace, hosts)| {
                hosts.iter().map(move |(host, list)| (namespace, host, list))
            });
            all.filter(|(namespace, host, list)| other.of(namespace, host) != list.as_slice())
                .map(|(_, host, _)| host.clone())
                .collect()
        };
        let mut hosts = differing(self, other);
        hosts.extend(differing(other, self));
        hosts
    }
}

fn wants(service: &Service, settings: &Settings) -> bool {
    settings.is_standalone
        && !service.is_headless
        && !service.is_external_name
        && service.addresses.is_empty()
}

fn families(service: &Service, settings: &Settings) -> (bool, bool) {
    match service.ip_families {
        IpFamilies::Automatic => (true, settings.allocates_v6),
        IpFamilies::V4 => (true, false),
        IpFamilies::V6 => (false, true),
        IpFamilies::Dual => (true, true),
    }
}

/// Where clients' own destinations are kept there is nothing to stand in front of, and a wildcard is no name that a
/// client could look up, unless it is resolved as the client asks for it.
fn entry_wants(entry: &ServiceEntry, host: &str) -> bool {
    let is_allowed =
        entry.meta.labels.get("networking.istio.io/enable-autoallocate-ip") != Some("false");
    let is_resolved = match entry.resolution {
        Resolution::None => false,
        Resolution::DynamicDns => true,
        _ => !host.starts_with("*."),
    };
    is_allowed && is_resolved && entry.addresses.is_empty()
}

fn hash((namespace, host): &(Arc<str>, Arc<str>), attempt: u32) -> u64 {
    let text = format!("{namespace}/{host}/{attempt}");
    xxhash_rust::xxh3::xxh3_64(text.as_bytes())
}

/// 240.240.0.0/16, Istio's block, without its first and last address.
fn v4(hash: u64) -> IpAddr {
    let [.., high, low] = (1 + hash % 0xfffe).to_be_bytes();
    Ipv4Addr::new(240, 240, high, low).into()
}

/// 2001:2::/48, Istio's block.
fn v6(hash: u64) -> IpAddr {
    let [a, b, c, d, e, f, g, h] = hash.to_be_bytes();
    Ipv6Addr::from([0x20, 1, 0, 2, 0, 0, 0, 0, a, b, c, d, e, f, g, h]).into()
}
