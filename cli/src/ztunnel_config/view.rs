//! A dump through the flags' filters, sorted. The whole dump stays at hand, since names are looked up in it.

use weft_core::admin::dump::{
    Certificate, ConfigDump, GatewayAddress, Policy, Service, Workload, WorkloadState,
};

use crate::args::{Direction, Part};

/// What of a dump is shown.
pub(super) struct View<'a> {
    dump: &'a ConfigDump,
    namespace: Option<&'a str>,
    node: Option<&'a str>,
    direction: Option<Direction>,
}

impl<'a> View<'a> {
    pub(super) fn new(dump: &'a ConfigDump, namespace: Option<&'a str>, part: &'a Part) -> Self {
        let (mut node, mut direction) = (None, None);
        match part {
            Part::Workload { node: of } => node = of.as_deref(),
            Part::Connections { direction: of, .. } => direction = *of,
            _ => {}
        }
        Self { dump, namespace, node, direction }
    }

    fn is_wanted(&self, namespace: &str) -> bool {
        self.namespace.is_none_or(|wanted| wanted.eq_ignore_ascii_case(namespace))
    }

    pub(super) fn workloads(&self) -> Vec<&'a Workload> {
        let is_here =
            |it: &&Workload| self.node.is_none_or(|node| it.node.eq_ignore_ascii_case(node));
        let all = self.dump.workloads.iter().filter(is_here);
        let mut wanted: Vec<_> = all.filter(|it| self.is_wanted(&it.namespace)).collect();
        wanted.sort_by(|a, b| {
            (&a.namespace, &a.name, &a.node).cmp(&(&b.namespace, &b.name, &b.node))
        });
        wanted
    }

    pub(super) fn services(&self) -> Vec<&'a Service> {
        let all = self.dump.services.iter();
        let mut wanted: Vec<_> = all.filter(|it| self.is_wanted(&it.namespace)).collect();
        wanted.sort_by(|a, b| {
            (&a.namespace, &a.name, &a.hostname).cmp(&(&b.namespace, &b.name, &b.hostname))
        });
        wanted
    }

    pub(super) fn policies(&self) -> Vec<&'a Policy> {
        let all = self.dump.policies.iter();
        let mut wanted: Vec<_> = all.filter(|it| self.is_wanted(&it.namespace)).collect();
        wanted.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        wanted
    }

    /// In the proxy's own order.
    pub(super) fn certificates(&self) -> Vec<&'a Certificate> {
        let namespace_of = |it: &'a Certificate| {
            it.identity
                .split_once("/ns/")
                .and_then(|(_, rest)| rest.split('/').next())
                .unwrap_or("")
        };
        let all = self.dump.certificates.iter();
        all.filter(|it| self.is_wanted(namespace_of(it))).collect()
    }

    /// Pods with the connections of the wanted direction.
    pub(super) fn states(&self) -> Vec<WorkloadState> {
        let all = self.dump.workload_state.values();
        let mut wanted: Vec<_> =
            all.filter(|it| self.is_wanted(&it.info.namespace)).cloned().collect();
        wanted.sort_by(|a, b| {
            (&a.info.namespace, &a.info.name).cmp(&(&b.info.namespace, &b.info.name))
        });
        for state in &mut wanted {
            match self.direction {
                Some(Direction::Inbound) => state.connections.outbound.clear(),
                Some(Direction::Outbound) => state.connections.inbound.clear(),
                None => {}
            }
        }
        wanted
    }

    /// The dump with only what is wanted.
    pub(super) fn filtered(&self) -> ConfigDump {
        let states = self.dump.workload_state.iter();
        ConfigDump {
            workloads: self.workloads().into_iter().cloned().collect(),
            services: self.services().into_iter().cloned().collect(),
            policies: self.policies().into_iter().cloned().collect(),
            certificates: self.certificates().into_iter().cloned().collect(),
            workload_state: states
                .filter(|(_, state)| self.is_wanted(&state.info.namespace))
                .map(|(uid, state)| (uid.clone(), state.clone()))
                .collect(),
            ..self.dump.clone()
        }
    }

    /// Whether the workload of this uid is healthy, as far as it is known.
    pub(super) fn is_healthy(&self, uid: &str) -> bool {
        let workload = self.dump.workloads.iter().find(|workload| workload.uid == uid);
        workload.is_some_and(|workload| workload.status == "Healthy")
    }

    /// The name of a waypoint: of the service that has its address or its host name.
    pub(super) fn waypoint(&self, waypoint: Option<&GatewayAddress>) -> &'a str {
        let Some(waypoint) = waypoint else { return "None" };
        let is_it = |service: &&Service| {
            let by_host = waypoint.destination.split_once('/')
                == Some((service.namespace.as_str(), service.hostname.as_str()));
            by_host || service.vips.contains(&waypoint.destination)
        };
        self.dump.services.iter().find(is_it).map_or("NA", |service| service.name.as_str())
    }

    /// The service's host name, or `pod.namespace`, at an address without its network.
    pub(super) fn name_at(&self, address: &str) -> Option<String> {
        let has_vip = |service: &&Service| {
            service
                .vips
                .iter()
                .any(|vip| vip.split_once('/').map_or(vip.as_str(), |(_, ip)| ip) == address)
        };
        if let Some(service) = self.dump.services.iter().find(has_vip) {
            return Some(service.hostname.clone());
        }
        let workload =
            self.dump.workloads.iter().find(|it| it.workload_ips.iter().any(|ip| ip == address))?;
        Some(format!("{}.{}", workload.name, workload.namespace))
    }
}
