//! What a reader gathers for one response.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;
use weft_proto::contract::type_url;

use super::entry::Entry;
use crate::serving_limits::{RESPONSE_BYTES_MAX, SCAN_MAX};

/// A type as a client subscribes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum View {
    /// Workloads and services.
    Address,
    /// Workloads alone, out of the log of addresses.
    Workload,
    /// L4 policies.
    Authorization,
    /// What waypoints do with a service's requests.
    RouteTable,
    /// What waypoints prove themselves with to a service's endpoints.
    Credentials,
    /// How waypoints treat a service's endpoints.
    BackendPolicy,
    /// Who may do what with a service, asked by waypoints.
    AccessPolicy,
    /// What waypoints tell of a service's requests.
    TelemetryPolicy,
    /// Pods of the caller's node.
    EnrolledPod,
}

impl View {
    /// The view of a type URL; `None` if the type is not served.
    pub(super) fn of(type_url: &str) -> Option<Self> {
        match type_url {
            type_url::ADDRESS => Some(Self::Address),
            type_url::WORKLOAD => Some(Self::Workload),
            type_url::AUTHORIZATION => Some(Self::Authorization),
            type_url::ROUTE_TABLE => Some(Self::RouteTable),
            type_url::CREDENTIALS => Some(Self::Credentials),
            type_url::BACKEND_POLICY => Some(Self::BackendPolicy),
            type_url::ACCESS_POLICY => Some(Self::AccessPolicy),
            type_url::TELEMETRY_POLICY => Some(Self::TelemetryPolicy),
            type_url::ENROLLED_POD => Some(Self::EnrolledPod),
            _ => None,
        }
    }

    /// The type URL on the wire.
    pub(super) fn type_url(self) -> &'static str {
        match self {
            Self::Address => type_url::ADDRESS,
            Self::Workload => type_url::WORKLOAD,
            Self::Authorization => type_url::AUTHORIZATION,
            Self::RouteTable => type_url::ROUTE_TABLE,
            Self::Credentials => type_url::CREDENTIALS,
            Self::BackendPolicy => type_url::BACKEND_POLICY,
            Self::AccessPolicy => type_url::ACCESS_POLICY,
            Self::TelemetryPolicy => type_url::TELEMETRY_POLICY,
            Self::EnrolledPod => type_url::ENROLLED_POD,
        }
    }

    /// The type whose log is read.
    pub(super) fn log_type(self) -> &'static str {
        match self {
            Self::Workload => type_url::ADDRESS,
            other => other.type_url(),
        }
    }

    /// Whether it is served to waypoints alone, each what concerns the services that it stands before.
    pub(super) fn is_for_waypoints(self) -> bool {
        match self {
            Self::RouteTable
            | Self::AccessPolicy
            | Self::BackendPolicy
            | Self::Credentials
            | Self::TelemetryPolicy => true,
            Self::Address | Self::Workload | Self::Authorization | Self::EnrolledPod => false,
        }
    }

    /// Short name, for metrics and status.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Workload => "workload",
            Self::Authorization => "authorization",
            Self::RouteTable => "route_table",
            Self::Credentials => "credentials",
            Self::BackendPolicy => "backend_policy",
            Self::AccessPolicy => "access_policy",
            Self::TelemetryPolicy => "telemetry_policy",
            Self::EnrolledPod => "enrolled_pod",
        }
    }

    /// The bytes to send for an entry; `None` if this view does not show it.
    fn frame(self, entry: &Entry) -> Option<Bytes> {
        match self {
            Self::Workload => entry.as_workload(),
            _ => Some(entry.frame.clone()),
        }
    }
}

/// The session has not read for so long that removals which it needs are forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Behind;

/// How far a reader came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// All that there is has been read.
    Complete,
    /// The batch is full, or enough has been read for one go.
    More,
}

/// What goes into one response.
#[derive(Debug)]
pub(super) struct Batch {
    view: View,
    pub(super) frames: Vec<Bytes>,
    /// Of the frames.
    pub(super) names: Vec<Arc<str>>,
    pub(super) removed: Vec<String>,
    /// Of frames and removed names.
    pub(super) bytes: usize,
    /// When the oldest of the changes entered the log; not set by a first load.
    pub(super) oldest_change: Option<Instant>,
    scanned: usize,
}

impl Batch {
    /// An empty batch.
    pub(super) fn new(view: View) -> Self {
        Self {
            view,
            frames: Vec::new(),
            names: Vec::new(),
            removed: Vec::new(),
            bytes: 0,
            oldest_change: None,
            scanned: 0,
        }
    }

    /// Whether there is nothing to tell.
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.removed.is_empty()
    }

    /// Adds a resource. `false`: it doesn't fit any more.
    #[must_use]
    pub(super) fn push(&mut self, name: &Arc<str>, entry: &Entry) -> bool {
        let Some(frame) = self.view.frame(entry) else {
            return true;
        };
        if !self.fits(frame.len()) {
            return false;
        }
        self.frames.push(frame);
        self.names.push(name.clone());
        true
    }

    /// Adds a removal. `false`: it doesn't fit any more.
    #[must_use]
    pub(super) fn remove(&mut self, name: &str) -> bool {
        // A key, a length and the text.
        if !self.fits(name.len() + 4) {
            return false;
        }
        self.removed.push(name.to_owned());
        true
    }

    /// Notes the age of a change.
    pub(super) fn note_age(&mut self, at: Instant) {
        self.oldest_change = Some(self.oldest_change.map_or(at, |oldest| oldest.min(at)));
    }

    /// Counts a log entry as read. `false`: it is time to let others have the thread.
    #[must_use]
    pub(super) fn count_scan(&mut self) -> bool {
        self.scanned += 1;
        self.scanned <= SCAN_MAX
    }

    /// One resource always fits an empty batch, however large it is.
    fn fits(&mut self, bytes: usize) -> bool {
        if self.bytes > 0 && self.bytes + bytes > RESPONSE_BYTES_MAX {
            return false;
        }
        self.bytes += bytes;
        true
    }
}
