//! Which way a connection goes that isn't HTTP: whether policies let it, which rule it follows, and to which endpoint.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::HeaderMap;
use rand::Rng;
use tokio::time::Instant;
use weft_core::identity::SpiffeId;
use weft_core::mesh::{IpFamilies, OwnLabels, Service};

use super::target::Target;
use super::tunnel::{Tunnel, source};
use crate::access::{AccessConnection, Denial, Report, Verdict};
use crate::balance::{Balancer, ConnectionPool, Overflow, PickContext, Picked};
use crate::resources::ServiceRules;
use crate::route::{Connection, ConnectionRoutes, ConnectionRule, Subset, Target as Backend};
use crate::upstream::{
    self, Backend as LiveBackend, DialError, Endpoint, EndpointError, Held, Origin, Wanted,
};

/// What a client of a connection begins with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// Nothing that a waypoint reads.
    #[default]
    Plain,
    /// TLS, for this server if the client names one.
    Tls(Option<Box<str>>),
}

impl Greeting {
    /// The server that the client names.
    pub(crate) fn server_name(&self) -> Option<&str> {
        match self {
            Self::Tls(name) => name.as_deref(),
            Self::Plain => None,
        }
    }
}

/// A connection, as policies and rules see it.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    /// Who calls.
    pub caller: &'a SpiffeId,
    /// From where.
    pub caller_ip: IpAddr,
    /// The labels of its workload, as far as routes name them.
    pub labels: Option<&'a Arc<OwnLabels>>,
    /// What is called.
    pub target: &'a Target,
    /// This waypoint's address: it stands for that of a target that was called by name.
    pub own: IpAddr,
    /// What the client begins with.
    pub greeting: &'a Greeting,
}

/// What rules say about a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Followed<'a> {
    /// There are none for it: it goes to what it was made to.
    Nothing,
    /// This one, at this place in this list, fits first.
    Rule(&'a ConnectionRoutes, usize, &'a ConnectionRule),
    /// None of these fits, and the connection is closed.
    NoneOf(&'a ConnectionRoutes),
}

/// Why an application wasn't reached.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreached {
    #[error("{0}")]
    Denied(String),
    #[error("the policies of the service haven't arrived")]
    NoPolicies,
    #[error("no route matches the connection")]
    NoRoute,
    #[error("the route leads nowhere")]
    Nowhere,
    #[error("how the service's endpoints are treated can't be read")]
    Unusable,
    #[error(transparent)]
    Overflow(#[from] Overflow),
    #[error("connecting took longer than {0:?}")]
    Slow(std::time::Duration),
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error(transparent)]
    Dial(#[from] DialError),
}

/// Where a connection goes.
pub(super) struct Chosen {
    /// To this application.
    pub to: Endpoint,
    /// In TLS, if that is asked for.
    pub origin: Option<Origin>,
    /// Counts it at its endpoint.
    pub picked: Option<Picked>,
    /// Its place among the connections of its backend.
    pub held: Option<Held>,
    /// The bounds that are set for it.
    pub pool: ConnectionPool,
    /// Of the rule that it follows; may be empty.
    pub route: Box<str>,
    /// The service that it goes to; `None`: a workload was called itself.
    pub service: Option<Arc<Service>>,
}

/// By the service's policies, as far as they can be asked about connections. Pure. `reports` takes what policies say that
/// aren't enforced.
pub(super) fn judge<'a>(
    rules: &'a ServiceRules,
    seen: &Seen<'_>,
    reports: &mut Vec<Report<'a>>,
) -> Result<(), Unreached> {
    let access = rules.access().ok_or(Unreached::NoPolicies)?;
    match access.evaluate_connection(&seen.asked(), reports) {
        Verdict::Allow => Ok(()),
        Verdict::Deny(denial) => Err(Unreached::Denied(denial.to_string())),
        // Nobody can be asked about a connection.
        Verdict::Check { policy, .. } => {
            Err(Unreached::Denied(Denial::Policy { name: policy, rule: 0 }.to_string()))
        }
    }
}

/// The rule that a connection follows. Pure.
pub(crate) fn follow<'a>(rules: &'a ServiceRules, seen: &Seen<'_>) -> Followed<'a> {
    // Routes belong to services.
    let Target::Service { port, address, .. } = seen.target else { return Followed::Nothing };
    let set = rules.table().and_then(|it| it.select(*port, Some(seen.caller.namespace())));
    let Some(set) = set else { return Followed::Nothing };
    // TLS without rules of its own goes as TCP does.
    let is_tls = matches!(seen.greeting, Greeting::Tls(_));
    let routes = set.tls.as_ref().filter(|_| is_tls).or(set.tcp.as_ref());
    let Some(routes) = routes else { return Followed::Nothing };
    let connection = Connection {
        server_name: seen.greeting.server_name(),
        source: source(seen.caller, seen.labels),
        destination: address.unwrap_or_else(|| ([0, 0, 0, 0], *port).into()),
    };
    match routes.find_ranked(&connection) {
        Some((rank, rule)) => Followed::Rule(routes, rank, rule),
        None => Followed::NoneOf(routes),
    }
}

impl<'a> Seen<'a> {
    /// A connection in this tunnel. `labels`: see [`Tunnel::caller_labels`].
    pub(super) fn of(
        tunnel: &'a Tunnel,
        labels: Option<&'a Arc<OwnLabels>>,
        greeting: &'a Greeting,
    ) -> Self {
        Self {
            caller: &tunnel.caller.identity,
            caller_ip: tunnel.caller.address.ip(),
            labels,
            target: &tunnel.target,
            own: tunnel.worker.shared.own.address,
            greeting,
        }
    }

    /// As policies are asked about it.
    pub(crate) fn asked(&self) -> AccessConnection<'a> {
        AccessConnection {
            source: Some(self.caller),
            source_ip: self.caller_ip,
            destination_ip: self.target.address().map_or(self.own, |it| it.ip()),
            destination_port: self.target.port(),
            sni: self.greeting.server_name(),
        }
    }
}

/// An endpoint that the rules allow.
pub(super) fn choose(
    tunnel: &Tunnel,
    seen: &Seen<'_>,
    rng: &mut impl Rng,
) -> Result<Chosen, Unreached> {
    let snapshot = tunnel.mesh().load();
    let (service, port, address) = match &tunnel.target {
        Target::Workload { workload, address } => {
            let (families, asked) = (IpFamilies::Automatic, Some(*address));
            let to = Endpoint::of(workload.clone(), address.port(), families, asked)?;
            return Ok(Chosen::plain(to, ConnectionPool::default(), None));
        }
        Target::Service { service, port, address } => (service, *port, *address),
    };
    let rules = tunnel.rules();
    let (route, to) = match follow(&rules, seen) {
        Followed::Nothing => {
            let name = seen.greeting.server_name();
            return towards(tunnel, (service, port, None), address, name, rng);
        }
        Followed::NoneOf(_) => return Err(Unreached::NoRoute),
        Followed::Rule(_, _, rule) => {
            let backend = rule.backends.choose(rng.next_u64()).ok_or(Unreached::Nowhere)?;
            let Backend::To(to) = &backend.target else { return Err(Unreached::Nowhere) };
            (rule.origin.rule.clone(), to)
        }
    };
    let service = snapshot.service(&to.namespace, &to.hostname).ok_or(Unreached::Nowhere)?;
    let to = (service, to.port.unwrap_or(port), to.subset.as_ref());
    let chosen = towards(tunnel, to, address, seen.greeting.server_name(), rng)?;
    Ok(Chosen { route, ..chosen })
}

/// An endpoint of a service, or of a subset of it.
fn towards(
    tunnel: &Tunnel,
    (service, port, subset): (&Arc<Service>, u16, Option<&Subset>),
    address: Option<SocketAddr>,
    server_name: Option<&str>,
    rng: &mut impl Rng,
) -> Result<Chosen, Unreached> {
    let shared = &tunnel.worker.shared;
    let rules = shared.rules.of(&service.key);
    if rules.hides_backends() {
        return Err(Unreached::Unusable);
    }
    let (snapshot, own) = (tunnel.mesh().load(), tunnel.worker.own_workload());
    let policy = rules.backends().map(|it| &**it);
    let mut chosen = match own.as_ref().filter(|_| subset.is_some() || policy.is_some()) {
        Some(home) => {
            let wanted = Wanted { service, port, subset };
            let backend = shared.backends.get(&wanted, &snapshot, policy, home);
            // Not waited for, as by requests: a connection has no bound after which its client is told.
            let held = backend.hold()?;
            let hash = hash(&backend, tunnel.caller.address.ip());
            let context = PickContext { hash, tried: &[], is_anywhere: false, now: Instant::now() };
            let (picked, to) = backend.pick(&context, rng)?;
            let pool = backend.cluster().settings().pool.clone();
            let (picked, held) = (Some(picked), Some(held));
            Chosen { picked, held, ..Chosen::plain(to, pool, Some(service.clone())) }
        }
        None => {
            let own = own.as_deref();
            let to = upstream::endpoint(&snapshot, service, port, own, address, rng)?;
            Chosen::plain(to, ConnectionPool::default(), Some(service.clone()))
        }
    };
    chosen.to = chosen.to.for_host(server_name.unwrap_or_default())?;
    let name = subset.map(|subset| &*subset.name);
    let tls = policy.and_then(|policy| policy.settings(port, name).tls.clone());
    // Below a wildcard the service's own host is none that a certificate could be for.
    let host = server_name.filter(|_| service.hostname.starts_with("*."));
    chosen.origin = tls.map(|tls| Origin::new(tls, host.unwrap_or(&service.hostname)));
    Ok(chosen)
}

/// What consistent hashes go by that a connection has: its source's address.
fn hash(backend: &LiveBackend, source: IpAddr) -> Option<u64> {
    match &backend.cluster().settings().balancer {
        Balancer::Hash(by) => by.key.as_ref()?.hash(&HeaderMap::new(), "", Some(source)),
        _ => None,
    }
}

impl Chosen {
    fn plain(to: Endpoint, pool: ConnectionPool, service: Option<Arc<Service>>) -> Self {
        Self { to, origin: None, picked: None, held: None, pool, route: "".into(), service }
    }
}
