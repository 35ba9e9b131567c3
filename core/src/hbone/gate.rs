//! A waker that can be held shut.
//!
//! h2 tells whoever waits on a stream about every growth of its capacity, and so also the task that is just asking for
//! some. A task that is woken while it runs is queued again behind the others, and a sleeping thread is woken to take
//! it: two system calls and an idle poll for every message. Behind a gate that is shut meanwhile, it isn't told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use futures::task::AtomicWaker;

/// Passes wakes on while it is open. Whoever shuts it looks again at what it waits for after opening it: wakes that
/// came meanwhile are lost.
#[derive(Debug)]
pub(super) struct Gate {
    inner: Arc<Inner>,
    waker: Waker,
}

#[derive(Debug, Default)]
struct Inner {
    is_shut: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Inner {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_shut.load(Ordering::Acquire) {
            self.task.wake();
        }
    }
}

impl Gate {
    pub(super) fn new() -> Self {
        let inner = Arc::<Inner>::default();
        Self { waker: inner.clone().into(), inner }
    }

    /// A context to wait with, on behalf of `cx`.
    pub(super) fn context(&self, cx: &Context<'_>) -> Context<'_> {
        self.inner.task.register(cx.waker());
        Context::from_waker(&self.waker)
    }

    /// Runs `work` with the gate shut.
    pub(super) fn shut_during<R>(&self, work: impl FnOnce() -> R) -> R {
        self.inner.is_shut.store(true, Ordering::Release);
        let result = work();
        self.inner.is_shut.store(false, Ordering::Release);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn shut_gate_passes_nothing_on_and_an_open_one_everything() {
        let count = Arc::<Count>::default();
        let waker = Waker::from(count.clone());
        let cx = Context::from_waker(&waker);
        let gate = Gate::new();
        let inside = gate.context(&cx).waker().clone();
        gate.shut_during(|| inside.wake_by_ref());
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        let inside = gate.context(&cx).waker().clone();
        inside.wake_by_ref();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
