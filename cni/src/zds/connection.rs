//! One connected proxy: introduction, snapshot, then the differences as they arise.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};
use weft_core::limits::ZDS_DEADLINE;
use weft_core::zds::{Answer, AsyncSeqpacket, PodUid, Request, ZdsError, decode_hello};

use super::plan::{Retry, Step, Told, next_step};
use super::{Announcement, Announcements, Connection, ConnectionId, Connections, Serving, Shared};
use crate::backoff::Backoff;
use crate::limits;
use crate::redirect::{Redirect, RedirectError};

/// Waits for the proxy's first packet.
pub(super) async fn introduce(socket: &AsyncSeqpacket) -> Result<i32, ZdsError> {
    let hello = timeout(ZDS_DEADLINE, socket.recv()).await.map_err(|_| ZdsError::Deadline)?;
    let (packet, descriptors) = hello?;
    decode_hello(&packet, descriptors)
}

/// A proxy that has introduced itself.
pub(super) struct Session<R> {
    socket: AsyncSeqpacket,
    id: ConnectionId,
    redirect: Arc<R>,
    announced: watch::Receiver<Option<Arc<Announcements>>>,
    connections: watch::Sender<Connections>,
    changes: watch::Receiver<Connections>,
    told: BTreeMap<PodUid, Told>,
}

impl<R: Redirect> Session<R> {
    pub(super) fn new(shared: &Shared<R>, socket: AsyncSeqpacket, id: ConnectionId) -> Self {
        Self {
            socket,
            id,
            redirect: shared.redirect.clone(),
            announced: shared.announced.clone(),
            changes: shared.connections.subscribe(),
            connections: shared.connections.clone(),
            told: BTreeMap::new(),
        }
    }

    /// Runs until the connection ends; why it did.
    pub(super) async fn run(mut self) -> ZdsError {
        match self.talk().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn talk(&mut self) -> Result<std::convert::Infallible, ZdsError> {
        let first = loop {
            let known = self.announced.borrow_and_update().clone();
            match known {
                Some(known) => break known,
                None => self.wait(None).await?,
            }
        };
        self.send_snapshot(&first).await?;
        loop {
            let announced = self.announced.borrow_and_update().clone().unwrap_or_default();
            let newest = self.changes.borrow_and_update().keys().next_back().copied();
            let is_newest = newest == Some(self.id);
            match next_step(&announced, &self.told, is_newest, Instant::now()) {
                Step::Add(uid) => {
                    if let Some(announcement) = announced.get(&uid) {
                        self.add(&uid, announcement).await?;
                    }
                }
                Step::Del(uid) => self.delete(&uid).await?,
                Step::Idle(until) => self.wait(until).await?,
            }
        }
    }

    /// Waits for a change or for `until`. The proxy has nothing to say meanwhile, so whatever comes ends the connection.
    async fn wait(&mut self, until: Option<Instant>) -> Result<(), ZdsError> {
        let timer = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            received = self.socket.recv() => received.and(Err(UNASKED)),
            changed = self.announced.changed() => changed.map_err(|_| ZdsError::Closed),
            changed = self.changes.changed() => changed.map_err(|_| ZdsError::Closed),
            () = timer => Ok(()),
        }
    }

    async fn send_snapshot(&mut self, announced: &Announcements) -> Result<(), ZdsError> {
        for (uid, announcement) in announced {
            let is_said = self.add(uid, announcement).await?;
            if !is_said && !self.is_gone(announcement) {
                // Nobody but the proxy can say whether it still serves the pod: it must not drop it for our failure.
                self.request(&Request::Keep { uid: uid.clone() }).await?;
            }
        }
        match self.request(&Request::SnapshotSent).await? {
            Said::Done => {}
            Said::Refused(_) | Said::Not(_) => {
                return Err(ZdsError::Malformed("the snapshot was refused"));
            }
        }
        self.report(|connection| connection.is_snapshot_sent = true);
        Ok(())
    }

    fn is_gone(&self, announcement: &Announcement) -> bool {
        match self.redirect.identify(Some(&announcement.netns)) {
            Ok(namespace) => namespace != announcement.namespace,
            Err(error) => error.is_gone(),
        }
    }

    /// Names a pod; whether that could be said at all.
    async fn add(&mut self, uid: &PodUid, announcement: &Announcement) -> Result<bool, ZdsError> {
        let said = match self.open(announcement) {
            Ok(netns) => {
                let identity = Some(announcement.identity.clone());
                self.request(&Request::Add { uid: uid.clone(), identity, netns }).await?
            }
            Err(reason) => Said::Not(reason),
        };
        let is_said = !matches!(said, Said::Not(_));
        let earlier = self.told.remove(uid).and_then(|told| told.retry);
        let retry = match said {
            Said::Done => None,
            Said::Refused(reason) | Said::Not(reason) => {
                Some(self.refused(uid, earlier, false, reason))
            }
        };
        if retry.is_none() {
            debug!(%uid, "a node proxy serves the pod");
            self.report(|connection| drop(connection.pods.insert(uid.clone(), Serving::Yes)));
        }
        self.told.insert(uid.clone(), Told { announcement: announcement.clone(), retry });
        Ok(is_said)
    }

    fn open(&self, announcement: &Announcement) -> Result<std::os::fd::OwnedFd, String> {
        let opened: Result<_, RedirectError> = self.redirect.open(&announcement.netns);
        let (namespace, descriptor) = opened.map_err(|error| error.to_string())?;
        if namespace == announcement.namespace {
            Ok(descriptor)
        } else {
            Err("the network namespace was replaced after the pod was enrolled".to_owned())
        }
    }

    async fn delete(&mut self, uid: &PodUid) -> Result<(), ZdsError> {
        let said = self.request(&Request::Del { uid: uid.clone() }).await?;
        let Some(told) = self.told.remove(uid) else {
            return Ok(());
        };
        if let Said::Refused(reason) | Said::Not(reason) = said {
            let retry = self.refused(uid, told.retry, true, reason);
            if retry.backoff.failures() < limits::REMOVAL_ATTEMPTS_MAX {
                self.told.insert(uid.clone(), Told { retry: Some(retry), ..told });
                return Ok(());
            }
            // A proxy that never had the pod may say so each time.
            warn!(%uid, "a node proxy does not confirm that it dropped the pod; not asked again");
        }
        self.report(|connection| drop(connection.pods.remove(uid)));
        Ok(())
    }

    fn refused(
        &self,
        uid: &PodUid,
        earlier: Option<Retry>,
        is_removal: bool,
        reason: String,
    ) -> Retry {
        let earlier = earlier.filter(|retry| retry.is_removal == is_removal);
        let fresh = || Backoff::new(limits::REFUSAL_RETRY_MIN, limits::REFUSAL_RETRY_MAX);
        let mut backoff = earlier.map_or_else(fresh, |retry| retry.backoff);
        let due = Instant::now() + backoff.pause();
        warn!(%uid, reason, attempts = backoff.failures(), "a node proxy does not serve the pod");
        let reason = reason.chars().take(limits::REASON_BYTES_MAX).collect();
        let serving = Serving::No { reason, attempts: backoff.failures() };
        self.report(|connection| drop(connection.pods.insert(uid.clone(), serving)));
        Retry { due, is_removal, backoff }
    }

    /// Says one thing and waits for its answer.
    async fn request(&self, request: &Request) -> Result<Said, ZdsError> {
        let (packet, descriptor) = match request.encode() {
            Ok(encoded) => encoded,
            // Nothing was said, so the connection is still in step.
            Err(error @ ZdsError::TooLong { .. }) => return Ok(Said::Not(error.to_string())),
            Err(error) => return Err(error),
        };
        // An answer to nothing would be taken for the answer to this.
        if let Some(received) = self.socket.recv().now_or_never() {
            return received.and(Err(UNASKED));
        }
        self.socket.send(&packet, descriptor).await?;
        let answer = timeout(ZDS_DEADLINE, self.socket.recv()).await;
        let (packet, descriptors) = answer.map_err(|_| ZdsError::Deadline)??;
        Ok(match Answer::decode(&packet, descriptors)? {
            Answer::Done => Said::Done,
            Answer::Failed(reason) => Said::Refused(reason),
        })
    }

    fn report(&self, change: impl FnOnce(&mut Connection)) {
        self.connections.send_modify(|all| {
            if let Some(connection) = all.get_mut(&self.id) {
                change(connection);
            }
        });
    }
}

/// What came of a request.
enum Said {
    Done,
    /// The proxy would not, and why.
    Refused(String),
    /// It never left the agent, and why.
    Not(String),
}

const UNASKED: ZdsError = ZdsError::Malformed("an answer that nobody asked for");
