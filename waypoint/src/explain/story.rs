//! An explanation as it grows.

use http::StatusCode;
use weft_core::admin::explanation::{Explanation, Step};
use weft_core::mesh::Service;

use super::parties::Caller;

pub(super) struct Story {
    pub(super) told: Explanation,
}

impl Story {
    pub(super) fn new(caller: &Caller, service: &Service, port: u16) -> Self {
        let source = caller.identity.to_string();
        let destination = format!("{}:{port}", service.key);
        Self { told: Explanation { source, destination, ..Explanation::default() } }
    }

    /// The next step.
    pub(super) fn step(&mut self, phase: &str, text: impl Into<String>) {
        let (phase, text) = (phase.to_owned(), text.into());
        self.told.steps.push(Step { phase, text, details: Vec::new() });
    }

    /// More about the last step.
    pub(super) fn details(&mut self, details: Vec<String>) {
        if let Some(step) = self.told.steps.last_mut() {
            step.details.extend(details);
        }
    }

    /// The waypoint answers this itself.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.told.answers = Some(status.as_u16());
    }

    pub(super) fn end(self) -> Explanation {
        self.told
    }
}
