//! What the controller says about the services that are bound to this waypoint.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use weft_core::mesh::Store;
use weft_core::xds::{Change, Handler, Rejected};
use weft_proto::contract::type_url;

use crate::access::Access;
use crate::balance::{self, Credentials, Policy};
use crate::route::{self, Table};
use crate::telemetry::{Hub, Told};

/// All that is set for one service. Immutable; a request keeps the one that it began with.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServiceRules {
    table: Part<Table>,
    access: Option<Arc<Access>>,
    /// Cancelled when something else is said about access. Clones share it until then.
    access_replaced: CancellationToken,
    /// With what is in the Secrets.
    backends: Part<Policy>,
    credentials: Part<Credentials>,
    told: Option<Arc<Told>>,
}

/// Something that was sent.
#[derive(Debug, Default)]
enum Part<T> {
    /// Nothing was.
    #[default]
    None,
    /// The last that could be read.
    Some(Arc<T>),
    /// Something that can't be read, and nothing before it.
    Unusable,
}

impl<T> Clone for Part<T> {
    fn clone(&self) -> Self {
        match self {
            Self::None => Self::None,
            Self::Some(it) => Self::Some(it.clone()),
            Self::Unusable => Self::Unusable,
        }
    }
}

impl<T> Part<T> {
    fn get(&self) -> Option<&Arc<T>> {
        match self {
            Self::Some(it) => Some(it),
            _ => None,
        }
    }

    fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// What can't be read leaves the last good one in force.
    fn take(&mut self, read: Option<Result<T, String>>) -> Result<(), String> {
        match read {
            None => *self = Self::None,
            Some(Ok(new)) => *self = Self::Some(Arc::new(new)),
            Some(Err(reason)) => {
                if self.is_none() {
                    *self = Self::Unusable;
                }
                return Err(reason);
            }
        }
        Ok(())
    }
}

impl ServiceRules {
    /// Its routes; `None`: requests go to the service itself.
    pub(crate) fn table(&self) -> Option<&Table> {
        self.table.get().map(|it| &**it)
    }

    /// Requests are answered 500: what was set about their way can't be read.
    pub(crate) fn is_unusable(&self) -> bool {
        matches!(self.table, Part::Unusable) || matches!(self.backends, Part::Unusable)
    }

    /// Whether something was sent about its routes that can't be read, and nothing before it.
    pub(crate) fn has_unusable_routes(&self) -> bool {
        matches!(self.table, Part::Unusable)
    }

    /// How its endpoints are treated can't be read, so that nothing may be sent to them: TLS may be asked for.
    pub(crate) fn hides_backends(&self) -> bool {
        matches!(self.backends, Part::Unusable)
    }

    /// Who may do what. A service that is bound always has one: without it, it isn't known yet what is forbidden.
    pub(crate) fn access(&self) -> Option<&Arc<Access>> {
        self.access.as_ref()
    }

    /// Returns when something else holds than [`Self::access`]. Whoever waits keeps none of the rules alive.
    pub(crate) fn access_replaced(&self) -> impl Future<Output = ()> + use<> {
        self.access_replaced.clone().cancelled_owned()
    }

    /// How its endpoints are treated.
    pub(crate) fn backends(&self) -> Option<&Arc<Policy>> {
        self.backends.get()
    }

    /// What is told of its requests.
    pub(crate) fn told(&self) -> Option<&Arc<Told>> {
        self.told.as_ref()
    }

    /// Puts what is in the Secrets where it is needed: either may come first, or change alone.
    fn secure(&mut self) {
        let Some(policy) = self.backends.get().filter(|it| it.names_secrets()) else { return };
        let none = Credentials::default();
        let credentials = self.credentials.get().map_or(&none, |it| &**it);
        self.backends = Part::Some(Arc::new(policy.with(credentials)));
    }

    fn is_empty(&self) -> bool {
        self.table.is_none()
            && self.access.is_none()
            && self.backends.is_none()
            && self.credentials.is_none()
            && self.told.is_none()
    }
}

type All = HashMap<Arc<str>, Arc<ServiceRules>, foldhash::fast::RandomState>;

/// The rules of all services, as they are now. Clones see the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules(Arc<ArcSwap<All>>);

impl Rules {
    /// Of one service, by `namespace/hostname`.
    pub(crate) fn of(&self, service: &str) -> Arc<ServiceRules> {
        self.0.load().get(service).cloned().unwrap_or_default()
    }

    /// Of workloads that are called by their own addresses: the waypoint's own, `namespace/~gateway`. A waypoint is sent
    /// its own alone.
    pub(crate) fn of_workloads(&self) -> Arc<ServiceRules> {
        let all = self.0.load();
        let own = all.iter().find(|(name, _)| name.contains("/~"));
        own.map(|(_, rules)| rules.clone()).unwrap_or_default()
    }
}

/// Takes what discovery brings: the mesh to its store, the rest here.
pub(crate) struct Feed {
    mesh: Store,
    rules: Rules,
    hub: Arc<Hub>,
}

impl Feed {
    /// Feeds `mesh`, and what is returned.
    pub(crate) fn new(mesh: Store, hub: Arc<Hub>) -> (Self, Rules) {
        let rules = Rules::default();
        (Self { mesh, rules: rules.clone(), hub }, rules)
    }

    fn change(
        &mut self,
        changes: Vec<Change>,
        one: impl Fn(&mut ServiceRules, &str, Option<Bytes>) -> Result<(), String>,
    ) -> Vec<Rejected> {
        let mut all = All::clone(&self.rules.0.load());
        let (mut rejected, mut replaced) = (Vec::new(), Vec::new());
        for Change { name, resource, .. } in changes {
            let rules = Arc::make_mut(all.entry(name.clone()).or_default());
            let access = rules.access.clone();
            if let Err(reason) = one(rules, &name, resource) {
                rejected.push(Rejected { name, reason });
            }
            if !is_same(access.as_ref(), rules.access.as_ref()) {
                replaced.push(std::mem::take(&mut rules.access_replaced));
            }
        }
        all.retain(|_, rules| !rules.is_empty());
        self.rules.0.store(Arc::new(all));
        // Only now: whoever is woken has to see what is new.
        replaced.iter().for_each(CancellationToken::cancel);
        rejected
    }
}

fn is_same(one: Option<&Arc<Access>>, other: Option<&Arc<Access>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

impl Handler for Feed {
    fn apply(&mut self, type_url: &str, changes: Vec<Change>) -> Vec<Rejected> {
        let hub = self.hub.clone();
        match type_url {
            type_url::ROUTE_TABLE => self.change(changes, |rules, name, bytes| {
                rules.table.take(bytes.map(|bytes| table(name, &bytes)))
            }),
            type_url::BACKEND_POLICY => self.change(changes, |rules, name, bytes| {
                rules.backends.take(bytes.map(|bytes| backends(name, &bytes)))?;
                rules.secure();
                Ok(())
            }),
            type_url::CREDENTIALS => self.change(changes, |rules, name, bytes| {
                let read = bytes.map(|bytes| Credentials::decode(name, &bytes));
                let read = read.map(|it| it.map_err(|error| error.to_string()));
                rules.credentials.take(read)?;
                rules.secure();
                Ok(())
            }),
            type_url::ACCESS_POLICY => self.change(changes, |rules, name, bytes| {
                rules.access = bytes.map(|bytes| Arc::new(access(name, &bytes)));
                Ok(())
            }),
            type_url::TELEMETRY_POLICY => self.change(changes, |rules, name, bytes| {
                let read = bytes.map(|bytes| told(&hub, name, &bytes)).transpose()?;
                rules.told = read.map(Arc::new);
                Ok(())
            }),
            _ => Handler::apply(&mut self.mesh, type_url, changes),
        }
    }
}

fn table(name: &str, bytes: &[u8]) -> Result<Table, String> {
    let decoded = route::decode(name, bytes).map_err(|error| error.to_string())?;
    if let Some(problem) = decoded.problems.first() {
        let more = decoded.problem_count.saturating_sub(1);
        let problem = format!("{}: {} ({more} more)", problem.field, problem.reason);
        tracing::warn!(service = name, problem, "not all routes are understood");
    }
    Ok(decoded.table)
}

fn backends(name: &str, bytes: &[u8]) -> Result<Policy, String> {
    let decoded = balance::decode(name, bytes).map_err(|error| error.to_string())?;
    for problem in &decoded.problems {
        let (field, reason) = (&problem.field, problem.reason);
        tracing::warn!(service = name, field, reason, "not all of a backend policy is understood");
    }
    Ok(decoded.policy)
}

/// What can't be read denies; so there is always something.
fn access(name: &str, bytes: &[u8]) -> Access {
    let access = Access::decode(name, bytes);
    for problem in access.problems() {
        tracing::warn!(service = name, problem, "not all of an access policy is understood");
    }
    access
}

fn told(hub: &Hub, name: &str, bytes: &[u8]) -> Result<Told, String> {
    let (told, problems) = hub.understand(bytes).map_err(|error| error.to_string())?;
    for problem in &problems {
        tracing::warn!(service = name, problem, "not all of a telemetry policy is understood");
    }
    Ok(told)
}
