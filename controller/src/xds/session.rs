//! One stream: takes a client's requests, sends what its subscriptions have to tell.
//!
//! Every session is a task with a cursor for each type. What it prepares are references into the log, and the queue
//! to its connection is short, so a client that reads slowly holds up itself alone and costs no memory to speak of.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use weft_core::clock;
use weft_proto::discovery::DeltaDiscoveryRequest;

use super::clients::{ClientStatus, Clients, Record, unix_millis};
use super::codec::PreparedResponse;
use super::log::Log;
use super::named::Scope;
use super::node::Description;
use super::read::View;
use super::subscription::{Answer, Subscription};
use crate::metrics::{Metrics, TypeLabel};
use crate::serving_limits::{FIRST_REQUEST_DEADLINE, TYPES_PER_STREAM_MAX};
use crate::tokens::{Caller, Component};

/// Sessions end up to this share of their token's life early, so that those which began together don't all return
/// together.
const EXPIRY_SPREAD: f64 = 0.05;

/// What sessions share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) log: Log,
    pub(super) clients: Clients,
    pub(super) metrics: Arc<Metrics>,
    pub(super) root_namespace: Arc<str>,
    pub(super) stop: CancellationToken,
}

/// A stream and its subscriptions.
pub(super) struct Session {
    shared: Shared,
    caller: Caller,
    peer: Option<std::net::SocketAddr>,
    identified: Option<Identified>,
    subscriptions: Vec<Subscription>,
    nonces: u64,
}

struct Identified {
    description: Description,
    record: Record,
}

/// Where responses go.
pub(super) type Responses = mpsc::Sender<Result<PreparedResponse, Status>>;

impl Session {
    /// A session of an authenticated caller.
    pub(super) fn new(shared: Shared, caller: Caller, peer: Option<std::net::SocketAddr>) -> Self {
        Self { shared, caller, peer, identified: None, subscriptions: Vec::new(), nonces: 0 }
    }

    /// Serves until the client leaves, its token expires or the controller stops. An error is told to the client.
    pub(super) async fn run(
        mut self,
        requests: impl Stream<Item = Result<DeltaDiscoveryRequest, Status>> + Unpin,
        responses: Responses,
    ) {
        self.shared.metrics.clients.inc();
        let ended = self.serve(requests, &responses).await;
        self.shared.metrics.clients.dec();
        if let Err(status) = ended {
            let proxy = self.identified.as_ref().map(|known| known.description.proxy.as_str());
            tracing::info!(proxy, reason = status.message(), "discovery stream refused");
            // A full queue means that the client does not read; it will see the stream end.
            let _ = responses.try_send(Err(status));
        }
    }

    async fn serve(
        &mut self,
        mut requests: impl Stream<Item = Result<DeltaDiscoveryRequest, Status>> + Unpin,
        responses: &Responses,
    ) -> Result<(), Status> {
        let mut head = self.shared.log.watch();
        let stop = self.shared.stop.clone();
        let expiry = Instant::now() + self.time_left();
        let opened = Instant::now();
        loop {
            let due = self.due();
            let is_due = due.is_some_and(|due| due <= Instant::now());
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                // A plain end: the client comes back at once, with the fresh token that it has by then.
                () = sleep_until(expiry) => return Ok(()),
                () = sleep_until(opened + FIRST_REQUEST_DEADLINE), if self.identified.is_none() => {
                    return Err(Status::deadline_exceeded("no request came on the stream"));
                }
                request = requests.next() => match request {
                    Some(Ok(request)) => self.take(&request)?,
                    Some(Err(_)) | None => return Ok(()),
                },
                permit = responses.reserve(), if is_due => {
                    let Ok(permit) = permit else { return Ok(()) };
                    if let Some(response) = self.prepare()? {
                        permit.send(Ok(response));
                    }
                }
                grown = head.changed() => {
                    if grown.is_err() {
                        return Ok(());
                    }
                    self.notice();
                }
                () = sleep_until(due.unwrap_or(expiry)), if due.is_some() && !is_due => {}
            }
        }
    }

    fn time_left(&self) -> Duration {
        let left = self.caller.expires_at.saturating_sub(clock::unix_seconds());
        let early = rand::random::<f64>() * EXPIRY_SPREAD;
        Duration::from_secs(left).mul_f64(1.0 - early)
    }

    fn due(&self) -> Option<Instant> {
        self.subscriptions.iter().filter_map(Subscription::due).min()
    }

    fn node(&self) -> Option<&Arc<str>> {
        self.identified.as_ref().and_then(|known| known.description.node.as_ref())
    }

    fn notice(&mut self) {
        let snapshot = self.shared.log.snapshot();
        let node = self.node().cloned();
        for subscription in &mut self.subscriptions {
            subscription.notice(&snapshot, node.as_ref());
        }
    }

    fn take(&mut self, request: &DeltaDiscoveryRequest) -> Result<(), Status> {
        self.identify(request)?;
        let Some(view) = View::of(&request.type_url) else {
            // What we don't serve has no resources, which a client learns by never being sent any.
            tracing::debug!(
                type_url = request.type_url,
                "subscription to a type that is not served"
            );
            return Ok(());
        };
        let snapshot = self.shared.log.snapshot();
        let known = self.subscriptions.iter_mut().find(|known| known.view == view);
        let Some(subscription) = known else {
            return self.subscribe(view, request);
        };
        let answer =
            (!request.response_nonce.is_empty()).then(|| subscription.take_answer(request));
        subscription.resubscribe(request, &snapshot)?;
        if let Some(answer) = answer {
            self.note(view, request, &answer);
        }
        Ok(())
    }

    fn identify(&mut self, request: &DeltaDiscoveryRequest) -> Result<(), Status> {
        if self.identified.is_some() {
            return Ok(());
        }
        let missing = || Status::invalid_argument("the first request must carry a node");
        let node = request.node.as_ref().ok_or_else(missing)?;
        let description = Description::check(node, &self.caller)?;
        let mut status = ClientStatus::new(&description);
        status.account = format!("{}/{}", self.caller.namespace, self.caller.service_account);
        status.peer = self.peer;
        status.token_expires_at = self.caller.expires_at;
        tracing::info!(
            proxy = description.proxy,
            node = description.node.as_deref(),
            peer = self.peer.map(tracing::field::display),
            "discovery client connected"
        );
        let record = self.shared.clients.enter(status);
        self.identified = Some(Identified { description, record });
        Ok(())
    }

    fn subscribe(&mut self, view: View, request: &DeltaDiscoveryRequest) -> Result<(), Status> {
        if self.subscriptions.len() >= TYPES_PER_STREAM_MAX {
            return Err(Status::resource_exhausted("too many types on one stream"));
        }
        let scope = match view {
            // Only the token counts here, never the client's own word.
            View::EnrolledPod => Scope::Node(self.node_of_agent()?),
            // Routes lead to services that aren't bound themselves, so a waypoint gets all of these.
            View::BackendPolicy => {
                self.waypoint()?;
                Scope::Open(None)
            }
            view if view.is_for_waypoints() => Scope::Waypoint(self.waypoint()?),
            _ => Scope::Open(self.node().cloned()),
        };
        let snapshot = self.shared.log.snapshot();
        let subscription = Subscription::new(view, request, &snapshot, scope)?;
        let at = self.subscriptions.partition_point(|other| other.view < view);
        self.subscriptions.insert(at, subscription);
        self.show(view);
        Ok(())
    }

    fn node_of_agent(&self) -> Result<Arc<str>, Status> {
        if !self.caller.is(Component::Agent, &self.shared.root_namespace) {
            return Err(Status::permission_denied("only node agents are told a node's pods"));
        }
        let node = self.caller.node.clone();
        node.ok_or_else(|| Status::permission_denied("the token is not bound to a node"))
    }

    fn waypoint(&self) -> Result<Arc<str>, Status> {
        let reason = "only waypoints are told what is done with requests";
        self.caller.waypoint.clone().ok_or_else(|| Status::permission_denied(reason))
    }

    /// The next response of the first type that is due.
    fn prepare(&mut self) -> Result<Option<PreparedResponse>, Status> {
        let now = Instant::now();
        let snapshot = self.shared.log.snapshot();
        let is_due = |known: &&mut Subscription| known.due().is_some_and(|due| due <= now);
        let Some(subscription) = self.subscriptions.iter_mut().find(is_due) else {
            return Ok(None);
        };
        let nonces = &mut self.nonces;
        let next_nonce = || {
            *nonces += 1;
            format!("{nonces:x}")
        };
        let response = subscription.next(&snapshot, next_nonce).map_err(|_| {
            Status::aborted("the client is too far behind; it must reconnect with its versions")
        })?;
        let view = subscription.view;
        if let Some(response) = &response {
            self.count(view, response);
        }
        self.show(view);
        Ok(response)
    }

    fn count(&self, view: View, response: &PreparedResponse) {
        let label = TypeLabel { r#type: view.label() };
        let bytes: usize = response.frames.iter().map(bytes::Bytes::len).sum();
        self.shared.metrics.pushes.get_or_create(&label).inc();
        self.shared.metrics.push_bytes.get_or_create(&label).observe(bytes as f64);
        let Some(known) = &self.identified else {
            return;
        };
        known.record.update(view.type_url(), |status| {
            status.nonce_sent.clone_from(&response.head.nonce);
            status.sent_at_ms = unix_millis();
            let resources = u64::try_from(response.frames.len()).unwrap_or(u64::MAX);
            status.resources_sent = status.resources_sent.saturating_add(resources);
        });
    }

    fn note(&self, view: View, request: &DeltaDiscoveryRequest, answer: &Answer) {
        let Some(known) = &self.identified else {
            return;
        };
        match answer {
            Answer::Unknown => return,
            Answer::Ack { sent, oldest_change } => {
                if let Some(at) = oldest_change {
                    self.shared.metrics.convergence.observe(at.elapsed().as_secs_f64());
                }
                let took = u64::try_from(sent.elapsed().as_millis()).unwrap_or(u64::MAX);
                known.record.update(view.type_url(), |status| {
                    status.nonce_acked.clone_from(&request.response_nonce);
                    status.acked_at_ms = unix_millis();
                    status.ack_ms = took;
                });
            }
            Answer::Nack => {
                self.shared.metrics.rejects.inc();
                let reason = request.error_detail.as_ref().map_or("", |error| &error.message);
                let proxy = &known.description.proxy;
                tracing::warn!(proxy, r#type = view.label(), reason, "client refused resources");
                known.record.update(view.type_url(), |status| status.rejects += 1);
            }
        }
        self.show(view);
    }

    fn show(&self, view: View) {
        let known = self.identified.as_ref();
        let subscription = self.subscriptions.iter().find(|known| known.view == view);
        let (Some(known), Some(subscription)) = (known, subscription) else {
            return;
        };
        known.record.update(view.type_url(), |status| {
            if status.subscribed != subscription.mode() {
                subscription.mode().clone_into(&mut status.subscribed);
            }
            status.in_flight = subscription.in_flight();
            status.position = subscription.position();
            if status.refused != subscription.refused() {
                status.refused = subscription.refused().to_vec();
            }
        });
    }
}
