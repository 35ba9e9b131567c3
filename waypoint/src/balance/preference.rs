//! What a service itself says about its endpoints: Kubernetes' `trafficDistribution` and `internalTrafficPolicy`.

use std::sync::Arc;

use weft_core::mesh::{LoadBalancing, LoadBalancingMode, LoadBalancingScope};

use super::settings::{Balancer, Localities, Scope, Settings};

impl Settings {
    /// These settings for a service with that preference. What is only preferred holds where no rule says anything about
    /// localities; what the service requires holds whatever rules say.
    pub fn for_service(this: &Arc<Self>, preference: Option<&LoadBalancing>) -> Arc<Self> {
        let Some(preference) = preference else {
            return this.clone();
        };
        let scopes = || preference.scopes.iter().map(|scope| own(*scope)).collect();
        let is_unsaid = this.localities == Localities::default();
        match preference.mode {
            LoadBalancingMode::Strict => {
                let localities = Localities::Required(scopes());
                Arc::new(Self { localities, ..Self::clone(this) })
            }
            LoadBalancingMode::Failover if is_unsaid => {
                let localities = Localities::Nearest {
                    scopes: scopes(),
                    failover: Box::default(),
                    needs_outlier: false,
                };
                Arc::new(Self { localities, ..Self::clone(this) })
            }
            LoadBalancingMode::Passthrough if this.balancer == Balancer::default() => {
                Arc::new(Self { balancer: Balancer::Passthrough, ..Self::clone(this) })
            }
            LoadBalancingMode::Random
            | LoadBalancingMode::Failover
            | LoadBalancingMode::Passthrough => this.clone(),
        }
    }
}

fn own(scope: LoadBalancingScope) -> Scope {
    match scope {
        LoadBalancingScope::Region => Scope::Region,
        LoadBalancingScope::Zone => Scope::Zone,
        LoadBalancingScope::Subzone => Scope::Subzone,
        LoadBalancingScope::Node => Scope::Node,
        LoadBalancingScope::Cluster => Scope::Cluster,
        LoadBalancingScope::Network => Scope::Network,
        LoadBalancingScope::Unknown => Scope::Unknown,
    }
}
