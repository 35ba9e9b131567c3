//! Which backend a request goes to.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::HeaderValue;
use http::{HeaderMap, StatusCode, Version};
use rand::Rng;
use tokio::time::Instant;
use weft_core::mesh::{AppProtocol, IpFamilies, Service, Snapshot};

use super::forward::Plan;
use crate::balance::{Balancer, H2Upgrade, HashKey, PickContext, Picked};
use crate::route::{self, Destination};
use crate::serve::{Target, Tunnel};
use crate::session::EndpointTag;
use crate::telemetry::ResponseFlags;
use crate::upstream::{Backend, Endpoint, EndpointError, Spoken, Wanted};

/// Where a request goes.
pub(super) struct Backed<'a> {
    /// The rule's backend, if a rule counts.
    pub(super) rule: Option<&'a route::Backend>,
    pub(super) place: Place,
    pub(super) spoken: Spoken,
    /// Its service; `None`: a workload is addressed itself.
    pub(super) service: Option<Arc<Service>>,
}

/// Which endpoints count.
pub(super) enum Place {
    Backend(Arc<Backend>),
    One(Endpoint),
}

/// Why there is no backend, as the client and the records are told.
pub(super) type NoBackend = (StatusCode, ResponseFlags, &'static str);

const NO_CLUSTER: NoBackend =
    (StatusCode::SERVICE_UNAVAILABLE, ResponseFlags::NO_CLUSTER, "cluster_not_found");
const NOBODY: NoBackend =
    (StatusCode::SERVICE_UNAVAILABLE, ResponseFlags::NO_HEALTHY_UPSTREAM, "no_healthy_upstream");
const INVALID: NoBackend =
    (StatusCode::INTERNAL_SERVER_ERROR, ResponseFlags::NONE, "direct_response");

/// What of the client's request decides what is spoken on.
#[derive(Clone, Copy)]
pub(super) struct Spoke {
    pub(super) version: Version,
    pub(super) is_upgrade: bool,
}

impl Spoke {
    fn on(
        self,
        declared: AppProtocol,
        asked: route::Protocol,
        backend: Option<&Backend>,
    ) -> Spoken {
        let upgrade = backend.map(|it| {
            let settings = it.cluster().settings();
            (settings.pool.h2_upgrade, settings.pool.uses_client_protocol)
        });
        let as_client = match self.version {
            Version::HTTP_2 => Spoken::Http2,
            _ => Spoken::Http1,
        };
        match (asked, upgrade, declared) {
            _ if self.is_upgrade => Spoken::Http1,
            (route::Protocol::Http1, ..) => Spoken::Http1,
            (route::Protocol::Http2, ..) => Spoken::Http2,
            (_, Some((_, true)), _) => as_client,
            (_, Some((H2Upgrade::Always, _)), _) => Spoken::Http2,
            (.., AppProtocol::Http2 | AppProtocol::Grpc) => Spoken::Http2,
            (_, Some((H2Upgrade::Never, _)), _) if self.version != Version::HTTP_2 => Spoken::Http1,
            _ => as_client,
        }
    }
}

/// The backend of a request: of one that belongs to a session that which has its endpoint, whatever the weights.
pub(super) fn choose<'a>(
    tunnel: &Tunnel,
    plan: &Plan<'a>,
    spoke: Spoke,
    session: Option<EndpointTag>,
    rng: &mut impl Rng,
) -> Result<Backed<'a>, NoBackend> {
    let snapshot = tunnel.mesh().load();
    let Some(forward) = plan.forward else { return direct(tunnel, &snapshot, spoke) };
    let of_session = session.and_then(|tag| {
        let mut all = forward.backends.weighted().map(|(_, rule)| rule);
        all.find_map(|rule| {
            let backed = by_rule(tunnel, &snapshot, rule, spoke).ok()?;
            let Place::Backend(backend) = &backed.place else { return None };
            backend.find(tag).is_some().then_some(backed)
        })
    });
    if let Some(backed) = of_session {
        return Ok(backed);
    }
    let rule = forward.backends.choose(rng.next_u64()).ok_or(INVALID)?;
    by_rule(tunnel, &snapshot, rule, spoke)
}

fn by_rule<'a>(
    tunnel: &Tunnel,
    snapshot: &Snapshot,
    rule: &'a route::Backend,
    spoke: Spoke,
) -> Result<Backed<'a>, NoBackend> {
    let route::Target::To(destination) = &rule.target else { return Err(INVALID) };
    let (service, port) = find(snapshot, tunnel, destination).ok_or(NO_CLUSTER)?;
    let subset = destination.subset.as_ref();
    let backend = backend(tunnel, snapshot, &service, port, subset)?;
    let declared = service.port(port).map_or(AppProtocol::Unknown, |port| port.app_protocol);
    let spoken = spoke.on(declared, destination.protocol, Some(&backend));
    Ok(Backed { rule: Some(rule), place: Place::Backend(backend), spoken, service: Some(service) })
}

fn direct<'a>(tunnel: &Tunnel, snapshot: &Snapshot, spoke: Spoke) -> Result<Backed<'a>, NoBackend> {
    match &tunnel.target {
        Target::Service { service, port, .. } => {
            // The service as it is now: the tunnel may be older.
            let service = snapshot.service_with_key(&service.key).unwrap_or(service).clone();
            let backend = backend(tunnel, snapshot, &service, *port, None)?;
            let declared = tunnel.target.declared();
            let spoken = spoke.on(declared, route::Protocol::Auto, Some(&backend));
            Ok(Backed {
                rule: None,
                place: Place::Backend(backend),
                spoken,
                service: Some(service),
            })
        }
        Target::Workload { workload, address } => {
            let workload = snapshot.workload(&workload.uid).unwrap_or(workload).clone();
            let families = IpFamilies::Automatic;
            let to = Endpoint::of(workload, address.port(), families, Some(*address));
            let place = Place::One(to.map_err(|_| NOBODY)?);
            let spoken = spoke.on(AppProtocol::Unknown, route::Protocol::Auto, None);
            Ok(Backed { rule: None, place, spoken, service: None })
        }
    }
}

/// The live state of a service's port.
pub(super) fn backend(
    tunnel: &Tunnel,
    snapshot: &Snapshot,
    service: &Service,
    port: u16,
    subset: Option<&route::Subset>,
) -> Result<Arc<Backend>, NoBackend> {
    let shared = &tunnel.worker.shared;
    let home = shared.own_workload().ok_or(NOBODY)?;
    let rules = shared.rules.of(&service.key);
    if rules.hides_backends() {
        return Err(NOBODY);
    }
    let wanted = Wanted { service, port, subset };
    Ok(shared.backends.get(&wanted, snapshot, rules.backends().map(|it| &**it), &home))
}

/// The service and port of a destination.
pub(super) fn find(
    snapshot: &Snapshot,
    tunnel: &Tunnel,
    to: &Destination,
) -> Option<(Arc<Service>, u16)> {
    let service = snapshot.service(&to.namespace, &to.hostname)?.clone();
    let port = to.port.unwrap_or_else(|| tunnel.target.port());
    service.port(port)?;
    Some((service, port))
}

/// What of a request a hash is taken of.
pub(super) struct Hashed<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) query: &'a str,
    pub(super) source: IpAddr,
}

impl Place {
    /// The hash of a request, and the cookie that its client is to keep for the next one.
    pub(super) fn hash(
        &self,
        request: &Hashed<'_>,
        rng: &mut impl Rng,
    ) -> (Option<u64>, Option<HeaderValue>) {
        let Self::Backend(backend) = self else { return (None, None) };
        let settings = backend.cluster().settings();
        let Balancer::Hash(consistent) = &settings.balancer else { return (None, None) };
        let Some(key) = &consistent.key else { return (None, None) };
        let hash = key.hash(request.headers, request.query, Some(request.source));
        match (hash, key) {
            (None, HashKey::Cookie(cookie)) => match cookie.give(rng) {
                Some((hash, header)) => (Some(hash), Some(header)),
                None => (None, None),
            },
            (hash, _) => (hash, None),
        }
    }

    /// The endpoint of a session, if it takes requests.
    pub(super) fn of_session(&self, tag: EndpointTag) -> Option<(Option<Picked>, Endpoint)> {
        let Self::Backend(backend) = self else { return None };
        backend.pick_for_session(tag).map(|(picked, to)| (Some(picked), to))
    }

    /// An endpoint for the next attempt.
    pub(super) fn endpoint(
        &self,
        hash: Option<u64>,
        tried: &[Arc<str>],
        is_anywhere: bool,
        rng: &mut impl Rng,
    ) -> Result<(Option<Picked>, Endpoint), EndpointError> {
        match self {
            Self::One(to) => Ok((None, to.clone())),
            Self::Backend(backend) => {
                let context = PickContext { hash, tried, is_anywhere, now: Instant::now() };
                backend.pick(&context, rng).map(|(picked, to)| (Some(picked), to))
            }
        }
    }
}
