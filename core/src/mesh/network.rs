//! What the addresses of one network lead to.

use std::cmp::{Ordering, Reverse};
use std::net::IpAddr;
use std::sync::Arc;

use imbl::OrdMap;
use ipnet::IpNet;

use super::few::{self, Few};
use super::snapshot::{candidate_rank, in_key_order};
use super::{Map, NetworkMode, Service, TunnelProtocol, Workload, WorkloadStatus};

/// The addresses of one network.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Network {
    workloads: Map<IpAddr, Few<Arc<Workload>>>,
    vips: Map<IpAddr, Few<Arc<Service>>>,
    blocks: Map<IpNet, Few<Arc<Service>>>,
    /// How many blocks there are of each family (true: IPv6) and prefix length: a look-up tries these alone.
    lengths: OrdMap<(bool, u8), usize>,
}

impl Network {
    pub(super) fn is_empty(&self) -> bool {
        self.workloads.is_empty() && self.vips.is_empty() && self.blocks.is_empty()
    }

    pub(super) fn workloads_at(&self, ip: IpAddr) -> &[Arc<Workload>] {
        self.workloads.get(&ip).map_or(&[], Few::as_slice)
    }

    /// The service that `ip` means to a client in `namespace`. An exact address comes before any block.
    pub(super) fn service_at(&self, ip: IpAddr, namespace: &str) -> Option<&Arc<Service>> {
        let exact = self.vips.get(&ip).map_or(&[][..], Few::as_slice).iter();
        let exact = exact.filter(|service| service.is_visible_to(namespace));
        exact
            .min_by_key(|service| candidate_rank(service, namespace, None))
            .or_else(|| self.service_of_block(ip, namespace))
    }

    /// The service at `ip` that a reference of the control plane's own means: no client's view limits it.
    pub(super) fn any_service_at(&self, ip: IpAddr) -> Option<&Arc<Service>> {
        let exact = self.vips.get(&ip).map_or(&[][..], Few::as_slice).iter();
        exact.min_by_key(|service| !service.is_canonical)
    }

    /// Blocks rank by the client's own namespace, then the longest prefix, then canonical services.
    fn service_of_block(&self, ip: IpAddr, namespace: &str) -> Option<&Arc<Service>> {
        let lengths = self.lengths.range((ip.is_ipv6(), u8::MIN)..=(ip.is_ipv6(), u8::MAX));
        let candidates = lengths.filter_map(|((_, length), _)| {
            let block = IpNet::new(ip, *length).ok()?.trunc();
            Some((*length, self.blocks.get(&block)?.as_slice()))
        });
        let services =
            candidates.flat_map(|(length, few)| few.iter().map(move |service| (length, service)));
        let visible = services.filter(|(_, service)| service.is_visible_to(namespace));
        let best = visible.min_by_key(|(length, service)| {
            (&*service.namespace != namespace, Reverse(*length), !service.is_canonical)
        });
        best.map(|(_, service)| service)
    }

    pub(super) fn add_workload(&mut self, ip: IpAddr, workload: &Arc<Workload>) {
        few::add(&mut self.workloads, ip, Arc::clone(workload), preferred_first);
    }

    pub(super) fn remove_workload(&mut self, ip: IpAddr, workload: &Workload) {
        few::remove(&mut self.workloads, &ip, |other| other.uid == workload.uid);
    }

    pub(super) fn add_service(&mut self, block: IpNet, service: &Arc<Service>) {
        let entry = Arc::clone(service);
        if block.prefix_len() == block.max_prefix_len() {
            few::add(&mut self.vips, block.addr(), entry, in_key_order);
        } else {
            few::add(&mut self.blocks, block, entry, in_key_order);
            *self.lengths.entry(length_of(&block)).or_insert(0) += 1;
        }
    }

    pub(super) fn remove_service(&mut self, block: IpNet, service: &Service) {
        let is_gone = |other: &Arc<Service>| other.key == service.key;
        if block.prefix_len() == block.max_prefix_len() {
            few::remove(&mut self.vips, &block.addr(), is_gone);
        } else {
            few::remove(&mut self.blocks, &block, is_gone);
            let length = length_of(&block);
            let remaining = self.lengths.get(&length).map_or(0, |count| count.saturating_sub(1));
            if remaining == 0 {
                self.lengths.remove(&length);
            } else {
                self.lengths.insert(length, remaining);
            }
        }
    }
}

fn length_of(block: &IpNet) -> (bool, u8) {
    (matches!(block, IpNet::V6(_)), block.prefix_len())
}

/// Several workloads at one address: a pod owns it, other kinds only mention it; HBONE is the safer way in; whoever
/// wants traffic comes before who does not.
fn preferred_first(a: &Arc<Workload>, b: &Arc<Workload>) -> Ordering {
    let rank = |workload: &Workload| {
        (
            !workload.is_pod(),
            workload.tunnel_protocol != TunnelProtocol::Hbone,
            workload.status != WorkloadStatus::Healthy,
        )
    };
    rank(a).cmp(&rank(b)).then_with(|| a.uid.cmp(&b.uid))
}

/// The addresses under which a workload is found: none if it shares its node's.
pub(super) fn addresses_of(workload: &Workload) -> Vec<IpAddr> {
    if workload.network_mode == NetworkMode::HostNetwork {
        return Vec::new();
    }
    let mut addresses = workload.addresses.to_vec();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// The blocks of a service by network, each once.
pub(super) fn blocks_of(service: &Service) -> Vec<(Arc<str>, IpNet)> {
    let mut blocks: Vec<_> =
        service.vips.iter().map(|vip| (Arc::clone(&vip.network), vip.block)).collect();
    blocks.sort_unstable();
    blocks.dedup();
    blocks
}
