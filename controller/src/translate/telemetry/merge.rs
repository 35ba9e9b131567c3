//! Several Telemetry objects as one.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_proto::contract::telemetry::METRICS;
use weft_proto::route as proto;

use crate::objects::{
    MeshTelemetry, MetricChange, MetricValue, TagSource, Telemetry, TracingChange,
};

/// What holds for one service.
#[derive(Debug)]
pub(super) struct Merged {
    /// Names of the providers of logs in force.
    pub(super) logs: Vec<Arc<str>>,
    /// What was said of them.
    pub(super) said: BTreeMap<Arc<str>, Log>,
    pub(super) log_share_millionths: Option<u32>,
    pub(super) tracing: Tracing,
    pub(super) metrics: BTreeMap<proto::Metric, Metric>,
}

/// What is said of one log.
#[derive(Debug, Default, Clone)]
pub(super) struct Log {
    pub(super) is_disabled: bool,
    pub(super) filter: Option<Arc<str>>,
}

#[derive(Debug)]
pub(super) struct Tracing {
    pub(super) provider: Option<Arc<str>>,
    pub(super) share_millionths: u32,
    pub(super) is_silent: bool,
    pub(super) has_istio_tags: bool,
    pub(super) tags: Box<[(Arc<str>, TagSource)]>,
}

#[derive(Debug, Default)]
pub(super) struct Metric {
    pub(super) is_disabled: bool,
    /// By the label's name; nothing: it goes.
    pub(super) tags: BTreeMap<Arc<str>, Option<MetricValue>>,
}

impl Merged {
    /// What holds without any object.
    pub(super) fn new(mesh: &MeshTelemetry) -> Self {
        Self {
            logs: mesh.default_logs.to_vec(),
            said: BTreeMap::new(),
            log_share_millionths: None,
            tracing: Tracing {
                provider: mesh.default_tracing.clone(),
                share_millionths: mesh.default_share_millionths,
                is_silent: false,
                has_istio_tags: true,
                tags: Box::default(),
            },
            metrics: BTreeMap::new(),
        }
    }

    /// With a narrower object.
    pub(super) fn apply(&mut self, telemetry: &Telemetry) {
        self.apply_logs(telemetry);
        if let Some(change) = &telemetry.tracing {
            self.apply_tracing(change);
        }
        telemetry.metrics.iter().for_each(|change| self.apply_metric(change));
    }

    fn apply_logs(&mut self, telemetry: &Telemetry) {
        let named: Vec<Arc<str>> =
            telemetry.logs.iter().flat_map(|change| change.providers.iter().cloned()).collect();
        if !named.is_empty() {
            self.logs.clear();
            for name in named {
                if !self.logs.contains(&name) {
                    self.logs.push(name);
                }
            }
        }
        for change in &telemetry.logs {
            let log = Log { is_disabled: change.is_disabled, filter: change.filter.clone() };
            let inherited = if change.providers.is_empty() { self.logs.as_slice() } else { &[] };
            for name in change.providers.iter().chain(inherited) {
                self.said.insert(name.clone(), log.clone());
            }
        }
        self.log_share_millionths = telemetry.log_share_millionths.or(self.log_share_millionths);
    }

    fn apply_tracing(&mut self, change: &TracingChange) {
        let tracing = &mut self.tracing;
        if change.provider.is_some() {
            tracing.provider.clone_from(&change.provider);
        }
        if let Some(tags) = &change.tags {
            tracing.tags.clone_from(tags);
        }
        tracing.share_millionths = change.share_millionths.unwrap_or(tracing.share_millionths);
        tracing.is_silent = change.is_silent.unwrap_or(tracing.is_silent);
        tracing.has_istio_tags = change.has_istio_tags.unwrap_or(tracing.has_istio_tags);
    }

    fn apply_metric(&mut self, change: &MetricChange) {
        let of: &[proto::Metric] = match &change.metric {
            Some(metric) => std::slice::from_ref(metric),
            None => &METRICS,
        };
        for metric in of {
            let metric = self.metrics.entry(*metric).or_default();
            metric.is_disabled = change.is_disabled.unwrap_or(metric.is_disabled);
            metric.tags.extend(change.tags.iter().cloned());
        }
    }

    /// The logs that are written, by name.
    pub(super) fn written(&self) -> impl Iterator<Item = (&Arc<str>, Log)> {
        let logs = self.logs.iter();
        logs.map(|name| (name, self.said.get(name).cloned().unwrap_or_default()))
            .filter(|(_, log)| !log.is_disabled)
    }
}
