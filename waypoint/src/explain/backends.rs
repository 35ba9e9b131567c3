//! Where the request would go.

use http::{StatusCode, request};
use weft_core::admin::explanation::ChosenBackend;
use weft_core::mesh::Service;

use super::Journey;
use super::story::Story;
use crate::dump;
use crate::http::{Plan, Seen};
use crate::retry;
use crate::route::{Backend, Destination, Subset, Target};
use crate::upstream::{Backend as LiveBackend, Wanted};

impl Journey<'_> {
    pub(super) fn forward(
        &self,
        plan: &Plan<'_>,
        seen: &Seen,
        head: &request::Parts,
        story: &mut Story,
    ) {
        let backends: Vec<_> = match plan.forward {
            None => vec![(self.chosen(self.service, self.target.port(), None), None)],
            Some(forward) => forward
                .backends
                .weighted()
                .map(|(weight, backend)| (self.backend(weight, backend), Some(backend)))
                .collect(),
        };
        let answers = answers(&backends);
        self.tell_backends(backends, story);
        if let Some(session) = plan.forward.and_then(|it| it.session.as_ref()) {
            story.step("session", session.to_string());
            let more = "a request that brings one goes to its endpoint, whatever the weights";
            story.details(vec![more.to_owned()]);
        }
        let timeouts = plan.forward.map(|it| it.timeouts).unwrap_or_default().in_words();
        let policy = plan.forward.and_then(|it| it.retry.as_ref());
        let retries = match policy {
            Some(policy) => policy.to_string(),
            None => format!("{} (the mesh's default)", retry::default_policy()),
        };
        story.step("attempts", retries);
        story.details(timeouts);
        if head.headers.contains_key("grpc-timeout") && seen.is_grpc() {
            story.details(vec!["the client's grpc-timeout counts too".to_owned()]);
        }
        if let Some(status) = answers {
            story.answered(status);
        }
    }

    pub(super) fn tell_backends(
        &self,
        backends: Vec<(Looked, Option<&Backend>)>,
        story: &mut Story,
    ) {
        let total: u64 = backends.iter().map(|(it, _)| it.chosen.weight).sum();
        for (Looked { chosen, before, .. }, backend) in &backends {
            let problem = match chosen.problem.is_empty() {
                true => String::new(),
                false => format!(": {}", chosen.problem),
            };
            let share = format!("weight {} of {total}", chosen.weight);
            story.step("backend", format!("{} ({share}){problem}", chosen.destination));
            story.details(backend.map(Backend::in_words).unwrap_or_default());
            if chosen.problem.is_empty() || !chosen.endpoints.is_empty() {
                story.details(vec![format!("balancing: {}", chosen.balancing)]);
                story.details(before.clone());
            }
            story.details(chosen.endpoints.iter().map(endpoint).collect());
        }
        story.told.backends = backends.into_iter().map(|(it, _)| it.chosen).collect();
    }

    /// Why a connection can't go where the client has to name a host below a wildcard.
    fn not_below(&self, live: &LiveBackend) -> Option<String> {
        let name = self.greeting?.server_name().unwrap_or_default();
        let refused = live.endpoints().into_iter().find_map(|it| it.for_host(name).err());
        refused.map(|why| format!("closed: {why}"))
    }

    /// What becomes of what has no way on.
    fn refused(&self, status: StatusCode) -> String {
        match self.greeting {
            None => format!("answered {}", status.as_u16()),
            Some(_) => "closed".to_owned(),
        }
    }

    pub(super) fn backend(&self, weight: u64, backend: &Backend) -> Looked {
        let mut looked = match &backend.target {
            Target::Invalid(why) => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                let chosen = ChosenBackend {
                    destination: "nowhere".to_owned(),
                    problem: format!("its share is {}: {why}", self.refused(status)),
                    ..ChosenBackend::default()
                };
                Looked { answers: Some(status), ..Looked::of(chosen) }
            }
            Target::To(to) => self.destination(to),
        };
        looked.chosen.weight = weight;
        looked
    }

    fn destination(&self, to: &Destination) -> Looked {
        let port = to.port.unwrap_or_else(|| self.target.port());
        let service = self.snapshot.service(&to.namespace, &to.hostname);
        match service.filter(|it| it.port(port).is_some()) {
            Some(service) => self.chosen(service, port, to.subset.as_ref()),
            None => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                let refused = self.refused(status);
                let chosen = ChosenBackend {
                    destination: to.to_string(),
                    problem: format!("its share is {refused}: there is no such service or port"),
                    ..ChosenBackend::default()
                };
                Looked { answers: Some(status), ..Looked::of(chosen) }
            }
        }
    }

    pub(super) fn chosen(&self, service: &Service, port: u16, subset: Option<&Subset>) -> Looked {
        let named = subset.map(|it| format!(", subset {}", it.name)).unwrap_or_default();
        let mut chosen = ChosenBackend {
            destination: format!("{}:{port}{named}", service.key),
            weight: 1,
            ..ChosenBackend::default()
        };
        let mut before = Vec::new();
        if let Some(home) = self.shared.own_workload() {
            let rules = self.shared.rules.of(&service.key);
            let wanted = Wanted { service, port, subset };
            let policy = rules.backends().map(|it| &**it);
            let live = self.shared.backends.look(&wanted, self.snapshot, policy, &home);
            let settings = live.cluster().settings();
            chosen.balancing = settings.balancer.to_string();
            // Connections have no sessions, and nobody counts them.
            if self.greeting.is_none() {
                before.extend(settings.session.as_ref().map(ToString::to_string));
                before.extend(settings.global_limit.as_ref().map(ToString::to_string));
            }
            chosen.endpoints = dump::endpoints(&live);
            chosen.problem = self.not_below(&live).unwrap_or_default();
        }
        let is_served = chosen.endpoints.iter().any(|it| it.takes_requests);
        let status = StatusCode::SERVICE_UNAVAILABLE;
        if !is_served && chosen.problem.is_empty() {
            chosen.problem = format!("{}: no endpoint takes requests", self.refused(status));
        }
        Looked { chosen, before, answers: (!is_served).then_some(status) }
    }
}

/// What is answered in the place of all of them, if it doesn't depend on the lot.
fn answers(backends: &[(Looked, Option<&Backend>)]) -> Option<StatusCode> {
    let mut wanted = backends.iter().filter(|(it, _)| it.chosen.weight > 0);
    match (wanted.next(), wanted.next()) {
        (None, _) => Some(StatusCode::INTERNAL_SERVER_ERROR),
        (Some((only, _)), None) => only.answers,
        _ => None,
    }
}

/// A backend, and what is answered in its place.
pub(super) struct Looked {
    chosen: ChosenBackend,
    /// What else is looked at before an endpoint is chosen.
    before: Vec<String>,
    answers: Option<StatusCode>,
}

impl Looked {
    fn of(chosen: ChosenBackend) -> Self {
        Self { chosen, before: Vec::new(), answers: None }
    }
}

fn endpoint(endpoint: &weft_core::admin::waypoint_dump::LiveEndpoint) -> String {
    let state = match (&endpoint.ejected_until, endpoint.takes_requests) {
        (Some(until), _) => format!("ejected until {until}"),
        (None, true) => "may be chosen".to_owned(),
        (None, false) => "is not chosen now".to_owned(),
    };
    let (address, workload) = (&endpoint.address, &endpoint.workload);
    format!("{address} ({workload}): {state}, {} active", endpoint.active_requests)
}
