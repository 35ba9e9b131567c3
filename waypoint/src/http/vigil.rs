//! What watches over an exchange while it lasts: that something moves, that its time isn't over, and that policies still
//! allow it.
//!
//! All of that is on one timer, first looked at when the exchange is a second old. So a short exchange pays for the timer that
//! its deadline needs anyway, and only a long one is told of changes of policies.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderMap;
use tokio::time::{Instant, Sleep};
use weft_core::config::HttpConfig;

use super::access;
use super::exchange::Seen;
use crate::access::{Access, Authenticated};
use crate::limits;
use crate::serve::Tunnel;

/// Why an exchange has to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Alarm {
    /// Its time is over.
    Late,
    /// Nothing moved.
    Silent,
    /// Something moved, and too little.
    Slow,
    /// It is no longer allowed: why.
    Forbidden(String),
}

/// How long who may be silent. `None`: for as long as they like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Of a message that has an end to come to.
    pub(super) message: Duration,
    stream: Option<Duration>,
    live: Option<Duration>,
}

/// What has to move in which time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    within: Option<Duration>,
    bytes: u64,
}

impl Patience {
    /// As it is set, else as it is by default.
    pub(super) fn of(config: &HttpConfig) -> Self {
        let unless_never = |it: Duration| Some(it).filter(|it| !it.is_zero());
        Self {
            message: config.message_idle.unwrap_or(limits::MESSAGE_SILENCE_MAX),
            stream: unless_never(config.stream_idle.unwrap_or(limits::STREAM_SILENCE_MAX)),
            live: unless_never(config.live_idle.unwrap_or(limits::LIVE_SILENCE_MAX)),
        }
    }

    /// Of a request's body, before there is a response. `is_live`: it may be a conversation, such as gRPC's. What has no
    /// declared length may be written as it comes about; what has one is there.
    pub(super) fn asking(&self, is_live: bool, is_measured: bool) -> Pace {
        match (is_live, is_measured) {
            (true, _) => Pace { within: self.live, bytes: 1 },
            (false, true) => Pace { within: Some(self.message), bytes: limits::BODY_BYTES_MIN },
            (false, false) => Pace { within: Some(self.message), bytes: 1 },
        }
    }

    /// Of both bodies, once there is a response. One without a declared length may be a stream: a log that is followed, a
    /// watch.
    pub(super) fn answering(&self, is_live: bool, is_measured: bool) -> Pace {
        let within = match (is_live, is_measured) {
            (true, _) => self.live,
            (false, true) => Some(self.message),
            (false, false) => self.stream,
        };
        Pace { within, bytes: 1 }
    }
}

/// A request as policies judged it, so that they can again.
pub(super) struct Standing<'a> {
    pub(super) tunnel: &'a Tunnel,
    pub(super) seen: &'a Seen,
    pub(super) headers: &'a HeaderMap,
    pub(super) authenticated: Option<&'a Authenticated>,
    /// By these.
    pub(super) judged_by: Option<&'a Arc<Access>>,
}

/// See the top of the file.
pub(super) struct Vigil<'a> {
    timer: Pin<&'a mut Sleep>,
    first_look: Instant,
    until: Option<Instant>,
    pace: Pace,
    /// How much had moved when it last was enough, and when that was.
    moved: (u64, Instant),
    standing: Standing<'a>,
    /// By what it was judged again.
    judged_by: Option<Arc<Access>>,
    /// Returns when other policies hold. Nothing as long as the exchange is young.
    replaced: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<'a> Vigil<'a> {
    /// Of an exchange that begins now. `timer`: [`first_look`].
    pub(super) fn new(timer: Pin<&'a mut Sleep>, standing: Standing<'a>) -> Self {
        let first_look = timer.deadline();
        Self {
            timer,
            first_look,
            until: None,
            pace: Pace { within: None, bytes: 1 },
            moved: (0, first_look),
            standing,
            judged_by: None,
            replaced: None,
        }
    }

    /// A part of the exchange begins, before which so many bytes have moved. It has to be over by `until`.
    pub(super) fn begin(&mut self, until: Option<Instant>, pace: Pace, moved: u64) {
        let now = Instant::now();
        (self.until, self.pace, self.moved) = (until, pace, (moved, now));
        let next = self.next_look(now);
        // Looked at too early it is put right then.
        if next < self.timer.deadline() {
            self.timer.as_mut().reset(next);
        }
    }

    /// Returns when it has to be looked at. May be dropped while it waits.
    pub(super) async fn due(&mut self) {
        poll_fn(|cx| self.poll_due(cx)).await;
    }

    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let replaced = self.replaced.as_mut();
        if replaced.is_some_and(|it| it.as_mut().poll(cx).is_ready()) {
            self.replaced = None;
            return Poll::Ready(());
        }
        self.timer.as_mut().poll(cx)
    }

    /// Whether the exchange has to end. `moved`: bytes so far; `None`: nobody can be blamed for silence now.
    pub(super) fn look(&mut self, moved: Option<u64>) -> Option<Alarm> {
        let now = Instant::now();
        if self.until.is_some_and(|until| now >= until) {
            return Some(Alarm::Late);
        }
        if now >= self.first_look
            && self.replaced.is_none()
            && let Err(why) = self.judge()
        {
            return Some(Alarm::Forbidden(why));
        }
        let (counted, since) = self.moved;
        let is_over = |within| now.duration_since(since) >= within;
        match moved {
            Some(moved) if moved.saturating_sub(counted) < self.pace.bytes => {
                if self.pace.within.is_some_and(is_over) {
                    return Some(if moved == counted { Alarm::Silent } else { Alarm::Slow });
                }
            }
            moved => self.moved = (moved.unwrap_or(counted), now),
        }
        let next = self.next_look(now);
        self.timer.as_mut().reset(next);
        None
    }

    /// Does something during which only time and policies count.
    pub(super) async fn guard<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Alarm> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = self.due() => if let Some(alarm) = self.look(None) {
                    return Err(alarm);
                }
            }
        }
    }

    /// Hands something on that has to be taken within this time.
    pub(super) async fn hand<T>(
        &mut self,
        within: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, Alarm> {
        let mut work = pin!(work);
        // As a rule there is room, and nothing to be timed.
        if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await {
            return Ok(done);
        }
        let (pace, moved) = (self.pace, self.moved.0);
        self.begin(self.until, Pace { within: Some(within), bytes: 1 }, moved);
        let done = loop {
            tokio::select! {
                biased;
                done = &mut work => break done,
                () = self.due() => if let Some(alarm) = self.look(Some(moved)) {
                    return Err(alarm);
                }
            }
        };
        self.begin(self.until, pace, moved);
        Ok(done)
    }

    /// By what holds now, if that isn't what it was judged by; and waits for the next change. Other services' changes wake
    /// nobody here.
    fn judge(&mut self) -> Result<(), String> {
        let rules = self.standing.tunnel.rules();
        let judged_by = self.judged_by.as_ref().or(self.standing.judged_by);
        let is_same = match (judged_by, rules.access()) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            _ => false,
        };
        if !is_same {
            access::judge_again(rules.access().map(|it| &**it), &self.standing)?;
            self.judged_by = rules.access().cloned();
        }
        self.replaced = Some(Box::pin(rules.access_replaced()));
        Ok(())
    }

    fn next_look(&self, now: Instant) -> Instant {
        let silence = self.pace.within.map(|it| now + (it / LOOKS).max(LOOK_INTERVAL_MIN));
        let first = Some(self.first_look).filter(|_| self.replaced.is_none());
        let next = [self.until, silence, first].into_iter().flatten().min();
        next.unwrap_or(now + limits::VIGIL_INTERVAL_MAX)
    }
}

/// Within the time of a pace: silence is noticed at most a quarter later. A timer for each read would cost more than that is
/// worth.
const LOOKS: u32 = 4;
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(1);
