//! A connection's driver goes last.
//!
//! When the sockets of many tunnels become readable at once, each tunnel's task queues a frame and wakes the driver. A
//! driver that ran after the first would send that frame alone, in a TLS record and a system call of its own; one that
//! lets all go first that are ready sends their frames together. A single busy tunnel would only pay for it, so the
//! driver waits while it finds several frames in a turn, and stops when it finds one.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;

/// Waits, after any wake, until all other tasks of this thread that were ready had their turn, if that pays.
#[derive(Debug)]
pub(super) struct Turn {
    queued: Arc<Queued>,
    others: Arc<Others>,
    waker: Waker,
    is_waiting: bool,
    /// Turns with a lone frame that are still waited for: all, after one with several.
    patience: u8,
}

const PATIENCE: u8 = 16;

/// Frames that tunnels queued since the last turn.
#[derive(Debug, Default)]
pub(super) struct Queued(AtomicUsize);

impl Queued {
    pub(super) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Others {
    are_done: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Others {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.are_done.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl Turn {
    pub(super) fn new() -> Self {
        let others = Arc::<Others>::default();
        let waker = others.clone().into();
        Self { queued: Arc::default(), others, waker, is_waiting: false, patience: 0 }
    }

    /// Where the connection's tunnels say that they queued a frame.
    pub(super) fn queued(&self) -> &Arc<Queued> {
        &self.queued
    }

    /// Ready once for each wake, or for several that came close together.
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.patience == 0 || self.others.are_done.swap(false, Ordering::Acquire) {
            self.is_waiting = false;
            // None says nothing: that turn was there to read.
            match self.queued.0.swap(0, Ordering::Relaxed) {
                0 => {}
                1 => self.patience = self.patience.saturating_sub(1),
                _ => self.patience = PATIENCE,
            }
            return Poll::Ready(());
        }
        self.others.task.register(cx.waker());
        if !self.is_waiting {
            self.is_waiting = true;
            // Its first poll asks the runtime for a wake once the others are done, and it is not needed for more.
            let _ = pin!(tokio::task::yield_now()).poll(&mut Context::from_waker(&self.waker));
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn lone_frame_is_not_waited_for_and_the_next_after_several_is() {
        let mut turn = Turn::new();
        let cx = Context::from_waker(Waker::noop());
        for frames in [1, 1, 2] {
            (0..frames).for_each(|_| turn.queued().add_one());
            assert!(turn.poll(&cx).is_ready());
        }
        turn.queued().add_one();
        assert!(turn.poll(&cx).is_pending());
    }

    #[tokio::test]
    async fn who_is_ready_already_goes_first() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut turn = Turn::new();
        turn.patience = 1;
        let last = {
            let order = order.clone();
            tokio::spawn(async move {
                poll_fn(|cx| turn.poll(cx)).await;
                order.lock().unwrap().push("driver");
            })
        };
        for _ in 0..3 {
            let order = order.clone();
            tokio::spawn(async move { order.lock().unwrap().push("tunnel") });
        }
        last.await.unwrap();
        assert_eq!(*order.lock().unwrap(), ["tunnel", "tunnel", "tunnel", "driver"]);
    }
}
