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
use crate::upstream::Wanted;

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
        let total: u64 = backends.iter().map(|(it, _)| it.chosen.weight).sum();
        for (Looked { chosen, .. }, backend) in &backends {
            let problem = match chosen.problem.is_empty() {
                true => String::new(),
                false => format!(": {}", chosen.problem),
            };
            let share = format!("weight {} of {total}", chosen.weight);
            story.step("backend", format!("{} ({share}){problem}", chosen.destination));
            story.details(backend.map(Backend::in_words).unwrap_or_default());
            if chosen.problem.is_empty() || !chosen.endpoints.is_empty() {
                story.details(vec![format!("balancing: {}", chosen.balancing)]);
            }
            story.details(chosen.endpoints.iter().map(endpoint).collect());
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
        let mut wanted = backends.iter().filter(|(it, _)| it.chosen.weight > 0);
        match (wanted.next(), wanted.next()) {
            (None, _) => story.answered(StatusCode::INTERNAL_SERVER_ERROR),
            (Some((only, _)), None) => {
                only.answers.into_iter().for_each(|status| story.answered(status));
            }
            _ => {}
        }
        story.told.backends = backends.into_iter().map(|(it, _)| it.chosen).collect();
    }

    fn backend(&self, weight: u64, backend: &Backend) -> Looked {
        let mut looked = match &backend.target {
            Target::Invalid(why) => {
                let chosen = ChosenBackend {
                    destination: "nowhere".to_owned(),
                    problem: format!("its share is answered 500: {why}"),
                    ..ChosenBackend::default()
                };
                Looked { chosen, answers: Some(StatusCode::INTERNAL_SERVER_ERROR) }
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
                let chosen = ChosenBackend {
                    destination: to.to_string(),
                    problem: "its share is answered 503: there is no such service or port".into(),
                    ..ChosenBackend::default()
                };
                Looked { chosen, answers: Some(StatusCode::SERVICE_UNAVAILABLE) }
            }
        }
    }

    fn chosen(&self, service: &Service, port: u16, subset: Option<&Subset>) -> Looked {
        let named = subset.map(|it| format!(", subset {}", it.name)).unwrap_or_default();
        let mut chosen = ChosenBackend {
            destination: format!("{}:{port}{named}", service.key),
            weight: 1,
            ..ChosenBackend::default()
        };
        if let Some(home) = self.shared.own_workload() {
            let rules = self.shared.rules.of(&service.key);
            let wanted = Wanted { service, port, subset };
            let policy = rules.backends().map(|it| &**it);
            let live = self.shared.backends.look(&wanted, self.snapshot, policy, &home);
            chosen.balancing = live.cluster().settings().balancer.to_string();
            chosen.endpoints = dump::endpoints(&live);
        }
        let is_served = chosen.endpoints.iter().any(|it| it.takes_requests);
        if !is_served {
            chosen.problem = "answered 503: no endpoint takes requests".to_owned();
        }
        Looked { chosen, answers: (!is_served).then_some(StatusCode::SERVICE_UNAVAILABLE) }
    }
}

/// A backend, and what is answered in its place.
struct Looked {
    chosen: ChosenBackend,
    answers: Option<StatusCode>,
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
