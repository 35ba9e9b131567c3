//! Connections that aren't HTTP: one endpoint a connection.
//!
//! ```text
//!  greeting ─▶ judge (policies) ─▶ follow (rules) ─▶ choose (endpoint) ─▶ dial ─▶ relay ─▶ record
//!                    ▲                                                      │
//!                    └──────────── again at each change of policies ────────┘
//! ```

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout};
use weft_core::drain;
use weft_core::hbone::IncomingTunnel;
use weft_core::mesh::AppProtocol;

use super::choose::{self, Chosen, Greeting, Seen, Unreached};
use super::hello;
use super::record::Record;
use super::relay;
use super::stream::Inner;
use super::tunnel::{Tunnel, UNREACHED};
use crate::balance::{ConnectionPool, Outcome, Picked};
use crate::limits;
use crate::upstream::{Held, Io};

/// An application that was connected to.
pub(super) struct Reached {
    io: Io,
    /// What it said already.
    early: Bytes,
    pool: ConnectionPool,
    record: Record,
    /// Counts it at its endpoint and at its backend.
    _counted: (Option<Picked>, Option<Held>),
}

impl Reached {
    /// Waits for the application to say something. `false`: it ended the connection.
    pub(super) async fn look(&mut self) -> bool {
        let mut more = BytesMut::with_capacity(limits::LOOK_BYTES);
        let read = self.io.read_buf(&mut more).await;
        self.early = more.freeze();
        read.is_ok_and(|count| count > 0)
    }
}

/// A port that declares TCP: the caller's proxy is told only when the application is reached.
pub(super) async fn serve(tunnel: Arc<Tunnel>, mut incoming: IncomingTunnel, drain: drain::Watch) {
    let greeting = Greeting::Plain;
    let mut record = Record::new(&tunnel);
    record.count(&greeting);
    let reached = tokio::select! {
        reached = reach(&tunnel, &greeting, record) => reached,
        () = incoming.abandoned() => return,
    };
    match reached {
        Ok(reached) => {
            let Ok(stream) = incoming.accept(None) else { return };
            pass(&tunnel, Inner::new(stream), reached, &greeting, drain).await;
        }
        Err(Unreached::Denied(_)) => incoming.refuse(StatusCode::FORBIDDEN),
        Err(_) => incoming.refuse(UNREACHED),
    }
}

/// Joins the client to the application until both have ended. `reached`: it spoke first.
pub(super) async fn join(
    tunnel: Arc<Tunnel>,
    mut client: Inner,
    reached: Option<Box<Reached>>,
    drain: drain::Watch,
) {
    let (reached, greeting) = match reached {
        Some(mut reached) => {
            reached.record.count(&Greeting::Plain);
            (*reached, Greeting::Plain)
        }
        None => {
            let mut record = Record::new(&tunnel);
            // A client that has said nothing yet on a port that isn't TLS waits for the application.
            let begins = tunnel.target.declared() == AppProtocol::Tls || !client.seen().is_empty();
            let greeting = match begins {
                true => hello::read(&mut client).await,
                false => Greeting::Plain,
            };
            record.count(&greeting);
            let Ok(reached) = reach(&tunnel, &greeting, record).await else { return };
            (reached, greeting)
        }
    };
    pass(&tunnel, client, reached, &greeting, drain).await;
}

/// Connects to an endpoint that policies and rules allow.
pub(super) async fn reach(
    tunnel: &Tunnel,
    greeting: &Greeting,
    mut record: Record,
) -> Result<Reached, Unreached> {
    match dial(tunnel, greeting, &mut record).await {
        Ok((io, Chosen { picked, held, pool, .. })) => {
            Ok(Reached { io, early: Bytes::new(), pool, record, _counted: (picked, held) })
        }
        Err(error) => {
            let service = tunnel.target.name();
            tracing::info!(target: "tcp", %service, %error, "a connection failed");
            record.failed(&error);
            Err(error)
        }
    }
}

fn admit(tunnel: &Tunnel, seen: &Seen<'_>) -> Result<(), Unreached> {
    let (rules, mut reports) = (tunnel.rules(), Vec::new());
    let admitted = choose::judge(&rules, seen, &mut reports);
    reports.iter().for_each(|report| report.tell(tunnel.target.name()));
    admitted
}

async fn dial(
    tunnel: &Tunnel,
    greeting: &Greeting,
    record: &mut Record,
) -> Result<(Io, Chosen), Unreached> {
    let labels = tunnel.caller_labels();
    let seen = Seen::of(tunnel, labels.as_ref(), greeting);
    admit(tunnel, &seen)?;
    let chosen = choose::choose(tunnel, &seen, &mut rand::rng())?;
    record.tries(&chosen);
    let told = (tunnel.worker.baggage(), tunnel.trace);
    let dialer = tunnel.worker.shelf.dialer();
    let dialling = dialer.dial_secured(&chosen.to, told, chosen.origin.as_ref(), None);
    let limit = chosen.pool.connect_timeout;
    let dialled = match timeout(limit, Box::pin(dialling)).await {
        Ok(dialled) => dialled.map_err(Unreached::from),
        Err(_) => Err(Unreached::Slow(limit)),
    };
    if let Some(picked) = &chosen.picked {
        // Of a connection all that can be told is whether it came about.
        let outcome = if dialled.is_ok() { Outcome::Status(200) } else { Outcome::ConnectFailed };
        picked.report(outcome, Instant::now());
    }
    let io = dialled?;
    record.reached(&chosen);
    Ok((io, chosen))
}

/// Relays until both have ended, or policies or the process end it.
async fn pass(
    tunnel: &Tunnel,
    mut client: Inner,
    reached: Reached,
    greeting: &Greeting,
    drain: drain::Watch,
) {
    let Reached { mut io, early, pool, mut record, _counted } = reached;
    record.opened();
    let counters = record.counters.clone();
    let service = tunnel.target.name();
    tokio::select! {
        biased;
        why = forbidden(tunnel, greeting) => {
            tracing::info!(target: "policy", %service, caller = %tunnel.caller.identity, %why, "a connection was cut: its policies changed");
            record.cut(&why);
        }
        end = relay::relay(&mut client, &mut io, &early, &counters, &pool) => {
            record.ended(&end);
            if matches!(end, relay::End::Whole) {
                return;
            }
            tracing::debug!(target: "tcp", %service, error = ?end.error(), "cut");
        }
        () = drain.forced() => record.drained(),
    }
    io.cut();
}

/// Returns when the connection is no longer allowed, and why: it is judged again whenever what is set for its service's
/// access changes. Other services' changes wake nobody here.
async fn forbidden(tunnel: &Tunnel, greeting: &Greeting) -> Unreached {
    loop {
        let replaced = {
            let (rules, seen) = (tunnel.rules(), Seen::of(tunnel, None, greeting));
            if let Err(why) = choose::judge(&rules, &seen, &mut Vec::new()) {
                return why;
            }
            rules.access_replaced()
        };
        replaced.await;
    }
}
