//! The relay phase, and how its end is told.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;

use weft_core::drain;
use weft_core::relay::{self, End, RelayError, RelaySettings};
use weft_core::telemetry::OpenSocket;

use crate::connections::Tracked;
use crate::error::ConnectionError;
use crate::record::Record;
use crate::shared::Shared;

/// The two ends of a connection that nothing stands in the way of.
pub(crate) struct Joined {
    /// The end that asked.
    pub downstream: End,
    /// The end that was asked.
    pub upstream: End,
    /// Its place in the pod's table.
    pub tracked: Tracked,
    /// Where both ends are pods of this node, what the other pod knows of it.
    pub other_pod: Option<Box<OtherPod>>,
}

/// All that is kept of a connection while it lasts. A node holds thousands.
pub(crate) struct Ready {
    joined: Joined,
    record: Record,
}

/// The destination's view of a connection within the node.
pub(crate) struct OtherPod {
    /// Its record, open. Bytes are counted in the source's record, whose counters it shares.
    pub record: Record,
    /// Its place in that pod's table.
    pub tracked: Tracked,
}

/// What is held exactly as long as a connection lasts.
pub(crate) struct Keep {
    shared: Arc<Shared>,
    _drain: drain::Watch,
    _socket: Option<OpenSocket>,
}

impl Keep {
    /// `drain` waits for the connection; `socket` counts it, unless it has no socket of its own, as a tunnel.
    pub(crate) fn new(
        shared: Arc<Shared>,
        drain: drain::Watch,
        socket: Option<OpenSocket>,
    ) -> Self {
        Self { shared, _drain: drain, _socket: socket }
    }
}

/// Relays what `preparing` made ready, if it did, and closes its records.
///
/// Boxed, `preparing` needs memory only until then: its phases are larger than all that comes after.
pub(crate) async fn serve(keep: Keep, preparing: Pin<Box<impl Future<Output = Option<Ready>>>>) {
    let Some(mut ready) = preparing.await else { return };
    let outcome = relay(&mut ready).await;
    ready.close(&keep.shared, outcome);
}

/// Relays until both directions ended, or the connection is cut by either of its pods.
async fn relay(ready: &mut Ready) -> Result<(), ConnectionError> {
    let abort = ready.joined.tracked.cut().clone();
    let settings = RelaySettings { abort, ..RelaySettings::default() };
    let Ready { joined: Joined { downstream, upstream, tracked, other_pod }, record } = ready;
    let mut joining = pin!(relay::join(downstream, upstream, &record.counters, &settings));
    let other_cut = other_pod.as_ref().map(|other| other.tracked.cut());
    // Boxed: connections between nodes have none.
    let mut cut_there = other_cut.map(|cut| Box::pin(cut.cancelled()));
    let outcome = poll_fn(|cx| {
        if let Some(cut) = &mut cut_there
            && cut.as_mut().poll(cx).is_ready()
        {
            tracked.cut().cancel();
            cut_there = None;
        }
        joining.as_mut().poll(cx)
    })
    .await;
    let others = other_pod.as_ref().and_then(|other| other.tracked.cut_reason());
    let reason = others.or_else(|| tracked.cut_reason());
    outcome.map(|_| ()).map_err(|error| match (error, reason) {
        (RelayError::Aborted, Some(denial)) => ConnectionError::Cut(denial.clone()),
        (RelayError::Aborted, None) => ConnectionError::Drained,
        (error, _) => ConnectionError::Relay(Arc::new(error)),
    })
}

impl Ready {
    /// Opens the record of a connection that came about, and closes that of one that did not.
    pub(crate) fn open(
        outcome: Result<Joined, ConnectionError>,
        mut record: Record,
        shared: &Shared,
    ) -> Option<Self> {
        match outcome {
            Ok(joined) => {
                record.open(&shared.traffic);
                Some(Self { joined, record })
            }
            Err(error) => {
                record.close(&shared.traffic, &Err(error));
                None
            }
        }
    }

    fn close(self, shared: &Shared, outcome: Result<(), ConnectionError>) {
        if let Some(other) = self.joined.other_pod {
            other.record.close(&shared.traffic, &outcome);
        }
        self.record.close(&shared.traffic, &outcome);
    }
}
