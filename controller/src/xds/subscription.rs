//! One type on one stream: what to read, what is on its way, when to send next.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;
use tonic::Status;
use weft_proto::contract::MORE_OF_LOAD_FOLLOWS;
use weft_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};

use super::clients::Refusal;
use super::codec::PreparedResponse;
use super::entry::parse_version;
use super::log::{Snapshot, TypeLog};
use super::named::{Named, Scope};
use super::read::{Batch, Behind, Progress, View};
use super::wildcard::Wildcard;
use crate::serving_limits::{
    COALESCE, NAMES_PER_CLIENT_MAX, REFUSAL_BYTES_MAX, REFUSALS_KEPT, RESOURCE_NAME_BYTES_MAX,
    RESPONSES_IN_FLIGHT_MAX, SCAN_MAX,
};

const EVERYTHING: &str = "*";

/// A type that a client subscribed to.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) view: View,
    reader: Reader,
    /// What is asked for doesn't count.
    is_confined: bool,
    in_flight: VecDeque<InFlight>,
    /// When there may be something to send. A client's own node is served at once. Other changes are sent at once
    /// too if nothing was sent for a while, else together when that while is over: no delay for what is rare, a
    /// bounded rate for what is frequent.
    due: Option<Instant>,
    last_sent: Option<Instant>,
    /// Up to here the log was searched for changes of the client's own node.
    seen: u64,
    /// The last request must be answered, or a load that goes on ended, even with nothing.
    owes_answer: bool,
    refused: Vec<Refusal>,
}

#[derive(Debug)]
enum Reader {
    Wildcard(Wildcard),
    Named(Named),
}

#[derive(Debug)]
struct InFlight {
    nonce: String,
    names: Vec<Arc<str>>,
    sent: Instant,
    oldest_change: Option<Instant>,
}

/// What an answer of the client told.
#[derive(Debug)]
pub(super) enum Answer {
    /// It took the response.
    Ack {
        /// When the response was sent.
        sent: Instant,
        /// When the oldest change in it entered the log.
        oldest_change: Option<Instant>,
    },
    /// It refused at least a part.
    Nack,
    /// It speaks of a response that is not on its way.
    Unknown,
}

impl Subscription {
    /// Starts with a stream's first request of a type. `scope` is what the client may see of it.
    pub(super) fn new(
        view: View,
        request: &DeltaDiscoveryRequest,
        snapshot: &Snapshot,
        scope: Scope,
    ) -> Result<Self, Status> {
        let known: HashMap<_, _> = request
            .initial_resource_versions
            .iter()
            .map(|(name, version)| (name.clone(), parse_version(version)))
            .collect();
        let start = snapshot.sequence();
        let empty = TypeLog::default();
        let log = snapshot.type_log(view.log_type()).unwrap_or(&empty);
        let is_confined = scope.is_confined();
        let reader = if is_confined {
            Reader::Named(Named::new(log, start, scope, known))
        } else if wants_everything(request) {
            Reader::Wildcard(Wildcard::new(start, known))
        } else {
            // Policies by name would leave out those of a namespace or of the mesh: they always go whole.
            match view {
                View::Authorization => Reader::Wildcard(Wildcard::new(start, known)),
                _ => Reader::Named(Named::new(log, start, scope, known)),
            }
        };
        let mut subscription = Self {
            view,
            reader,
            is_confined,
            in_flight: VecDeque::new(),
            due: Some(Instant::now()),
            last_sent: None,
            seen: start,
            owes_answer: true,
            refused: Vec::new(),
        };
        subscription.change_names(request, log)?;
        Ok(subscription)
    }

    /// Later changes of what is asked for; a request that is no acknowledgement gets an answer.
    pub(super) fn resubscribe(
        &mut self,
        request: &DeltaDiscoveryRequest,
        snapshot: &Snapshot,
    ) -> Result<(), Status> {
        let names = !request.resource_names_subscribe.is_empty()
            || !request.resource_names_unsubscribe.is_empty();
        if !request.response_nonce.is_empty() && !names {
            return Ok(());
        }
        let empty = TypeLog::default();
        self.change_names(request, snapshot.type_log(self.view.log_type()).unwrap_or(&empty))?;
        self.owes_answer = true;
        self.due = Some(Instant::now());
        Ok(())
    }

    fn change_names(
        &mut self,
        request: &DeltaDiscoveryRequest,
        log: &TypeLog,
    ) -> Result<(), Status> {
        let Reader::Named(reader) = &mut self.reader else {
            return Ok(());
        };
        if self.is_confined {
            return Ok(());
        }
        for name in &request.resource_names_subscribe {
            if name.len() > RESOURCE_NAME_BYTES_MAX || reader.len() >= NAMES_PER_CLIENT_MAX {
                return Err(Status::resource_exhausted(format!(
                    "at most {NAMES_PER_CLIENT_MAX} names of {RESOURCE_NAME_BYTES_MAX} bytes a type"
                )));
            }
            if name != EVERYTHING {
                reader.subscribe(log, name);
            }
        }
        if !request.resource_names_unsubscribe.is_empty() {
            reader.unsubscribe(log, &request.resource_names_unsubscribe);
        }
        Ok(())
    }

    /// Takes an acknowledgement or a refusal.
    pub(super) fn take_answer(&mut self, request: &DeltaDiscoveryRequest) -> Answer {
        let nonce = &request.response_nonce;
        let Some(at) = self.in_flight.iter().position(|sent| sent.nonce == *nonce) else {
            return Answer::Unknown;
        };
        // Answers come in order; what was sent before and never answered won't be.
        self.in_flight.drain(..at);
        let Some(answered) = self.in_flight.pop_front() else {
            return Answer::Unknown;
        };
        let about: HashSet<&str> = answered.names.iter().map(AsRef::as_ref).collect();
        // A refusal that named nothing can only be taken back by the next response that is taken whole.
        let is_whole = request.error_detail.is_none();
        self.refused.retain(|refusal| {
            let name = refusal.name.as_str();
            !(about.contains(name) || is_whole && name.is_empty())
        });
        match &request.error_detail {
            None => Answer::Ack { sent: answered.sent, oldest_change: answered.oldest_change },
            Some(error) => {
                self.note_refusals(&answered.names, &error.message);
                Answer::Nack
            }
        }
    }

    /// Resources that the client refuses now.
    pub(super) fn refused(&self) -> &[Refusal] {
        &self.refused
    }

    fn note_refusals(&mut self, names: &[Arc<str>], message: &str) {
        let room = REFUSALS_KEPT.saturating_sub(self.refused.len());
        let mut found = refusals(names, message);
        if found.is_empty() {
            found.push(Refusal { name: String::new(), reason: clip(message) });
        }
        self.refused.extend(found.into_iter().take(room));
    }

    /// Looks at what the log has gained, and decides when to send it.
    pub(super) fn notice(&mut self, snapshot: &Snapshot, node: Option<&Arc<str>>) {
        let Some(log) = snapshot.type_log(self.view.log_type()) else {
            return;
        };
        let head = log.head();
        if head <= self.seen {
            return;
        }
        let is_own = |node: &Arc<str>| {
            log.after(self.seen).take(SCAN_MAX).any(|(_, slot)| slot.node.as_ref() == Some(node))
        };
        let is_urgent = match self.view {
            View::Authorization | View::EnrolledPod => true,
            View::Address | View::Workload => node.is_some_and(is_own),
            View::RouteTable
            | View::BackendPolicy
            | View::Credentials
            | View::AccessPolicy
            | View::TelemetryPolicy => false,
        };
        self.seen = head;
        let now = Instant::now();
        let earliest = match self.last_sent {
            Some(last) if !is_urgent => now.max(last + COALESCE),
            _ => now,
        };
        self.due = Some(self.due.map_or(earliest, |due| due.min(earliest)));
    }

    /// When there may be something to send and room for it.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| self.in_flight.len() < RESPONSES_IN_FLIGHT_MAX)
    }

    /// Log position that has been read.
    pub(super) fn position(&self) -> u64 {
        match &self.reader {
            Reader::Wildcard(reader) => reader.cursor(),
            Reader::Named(reader) => reader.cursor(),
        }
    }

    /// Responses that the client has still to answer.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// How the client subscribed, in words.
    pub(super) fn mode(&self) -> &'static str {
        match (&self.reader, self.view) {
            (_, View::EnrolledPod) => "own node",
            (Reader::Named(_), view) if view.is_for_waypoints() => "own services",
            (Reader::Wildcard(_), _) => "all",
            (Reader::Named(_), _) => "by name",
        }
    }

    /// The next response, if there is something to tell.
    pub(super) fn next(
        &mut self,
        snapshot: &Snapshot,
        nonce: impl FnOnce() -> String,
    ) -> Result<Option<PreparedResponse>, Behind> {
        let empty = TypeLog::default();
        let log = snapshot.type_log(self.view.log_type()).unwrap_or(&empty);
        let mut batch = Batch::new(self.view);
        let progress = match &mut self.reader {
            Reader::Wildcard(reader) => reader.read(log, &mut batch)?,
            Reader::Named(reader) => reader.read(log, &mut batch)?,
        };
        let now = Instant::now();
        self.due = (progress == Progress::More).then_some(now);
        let is_done = progress == Progress::Complete;
        if batch.is_empty() && !(self.owes_answer && is_done) {
            return Ok(None);
        }
        // What was said to be unfinished must be said to be finished, even if the rest is nothing to tell.
        self.owes_answer = !is_done;
        self.last_sent = Some(now);
        let nonce = nonce();
        // Stock clients ignore this text. Ours learns from the mark that more of the same load follows.
        let mut version = self.position().to_string();
        if !is_done {
            version.push(MORE_OF_LOAD_FOLLOWS);
        }
        self.in_flight.push_back(InFlight {
            nonce: nonce.clone(),
            names: batch.names,
            sent: now,
            oldest_change: batch.oldest_change,
        });
        Ok(Some(PreparedResponse {
            head: DeltaDiscoveryResponse {
                system_version_info: version,
                resources: Vec::new(),
                type_url: self.view.type_url().to_owned(),
                nonce,
                removed_resources: batch.removed,
            },
            frames: batch.frames,
        }))
    }
}

/// Everything is asked for by no name at all or by `*`, unless `*` is taken back in the same breath, by which
/// clients say that they will ask by name.
fn wants_everything(request: &DeltaDiscoveryRequest) -> bool {
    let has = |names: &[String]| names.iter().any(|name| name == EVERYTHING);
    let subscribed = &request.resource_names_subscribe;
    (subscribed.is_empty() || has(subscribed)) && !has(&request.resource_names_unsubscribe)
}

/// Finds the resources of which a refusal speaks. Clients write `<name>: <reason>` a line, or with semicolons between.
fn refusals(names: &[Arc<str>], message: &str) -> Vec<Refusal> {
    let known: HashSet<&str> = names.iter().map(AsRef::as_ref).collect();
    let parts = message.lines().flat_map(|line| line.split("; "));
    let named = parts.filter_map(|part| {
        let (name, reason) = part.trim().split_once(": ")?;
        let name = known.get(name)?;
        Some(Refusal { name: (*name).to_owned(), reason: clip(reason) })
    });
    named.take(REFUSALS_KEPT).collect()
}

fn clip(text: &str) -> String {
    let mut end = text.len().min(REFUSAL_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.split_at_checked(end).map_or("", |(kept, _)| kept).to_owned()
}
