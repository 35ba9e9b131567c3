//! A writer that never makes its caller wait.
//!
//! Standard output is often a pipe to a container runtime, which may stall. A data path that logs must not stall
//! with it, so lines go into a bounded buffer that a thread writes out; what doesn't fit is dropped and counted.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use parking_lot::{Condvar, Mutex};

use crate::limits;

/// Where lines are handed in. Those of one process share its standard output.
#[derive(Debug, Clone)]
pub struct LogLines(Arc<Queue>);

/// Writes out what is left when dropped, for a bounded time.
#[derive(Debug)]
pub struct LogGuard(Arc<Queue>);

#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Whole lines that wait.
    lines: Vec<u8>,
    /// The thread has just written and lets lines gather: waking it for each would cost their callers a system call.
    is_gathering: bool,
    is_closed: bool,
    has_ended: bool,
}

/// Starts the thread that writes to `sink`.
pub(super) fn spawn(sink: impl Write + Send + 'static) -> std::io::Result<(LogLines, LogGuard)> {
    let queue = Arc::new(Queue {
        state: Mutex::default(),
        changed: Condvar::new(),
        dropped: AtomicU64::new(0),
    });
    let writer = Arc::clone(&queue);
    thread::Builder::new().name("log".into()).spawn(move || write_out(&writer, sink))?;
    Ok((LogLines(Arc::clone(&queue)), LogGuard(queue)))
}

impl LogLines {
    /// Starts a thread that writes to `sink` alone, for what isn't the process's own log.
    pub fn start(sink: impl Write + Send + 'static) -> std::io::Result<(Self, LogGuard)> {
        spawn(sink)
    }

    /// Hands in one line that ends with a newline. It never waits: what doesn't fit is dropped and counted.
    pub fn push(&self, line: &str) {
        let mut state = self.0.state.lock();
        if state.lines.len().saturating_add(line.len()) > limits::LOG_QUEUE_BYTES_MAX {
            drop(state);
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let before = state.lines.len();
        state.lines.extend_from_slice(line.as_bytes());
        let half = limits::LOG_QUEUE_BYTES_MAX / 2;
        let is_pressing = before < half && state.lines.len() >= half;
        let is_due = is_pressing || (before == 0 && !state.is_gathering);
        drop(state);
        if is_due {
            self.0.changed.notify_all();
        }
    }

    /// LogLines that didn't fit.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

fn write_out(queue: &Queue, mut sink: impl Write) {
    let mut batch = Vec::new();
    loop {
        let mut state = queue.state.lock();
        while state.lines.is_empty() && !state.is_closed {
            queue.changed.wait(&mut state);
        }
        if state.lines.is_empty() {
            break;
        }
        std::mem::swap(&mut state.lines, &mut batch);
        drop(state);
        // There is nobody left to tell that the log can't be written.
        let _ = sink.write_all(&batch).and_then(|()| sink.flush());
        batch.clear();
        batch.shrink_to(limits::LOG_LINE_BYTES_MAX);
        gather(queue);
    }
    queue.state.lock().has_ended = true;
    queue.changed.notify_all();
}

/// Waits a moment, or until there is no time to lose.
fn gather(queue: &Queue) {
    let mut state = queue.state.lock();
    if !state.is_closed {
        state.is_gathering = true;
        // A half full buffer or the end wakes it earlier, and a wake without reason does no harm.
        queue.changed.wait_for(&mut state, limits::LOG_GATHER);
        state.is_gathering = false;
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.is_closed = true;
        self.0.changed.notify_all();
        while !state.has_ended {
            if self.0.changed.wait_for(&mut state, limits::LOG_FLUSH_DEADLINE).timed_out() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Sink {
        written: Arc<Mutex<Vec<u8>>>,
        gate: Arc<Mutex<()>>,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _open = self.gate.lock();
            self.written.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_written_in_order_before_the_guard_is_gone() {
        let sink = Sink::default();
        let (lines, guard) = spawn(sink.clone()).unwrap();
        for n in 0..1000 {
            lines.push(&format!("line {n}\n"));
        }
        drop(guard);
        let expected: String = (0..1000).map(|n| format!("line {n}\n")).collect();
        assert_eq!(String::from_utf8(sink.written.lock().clone()).unwrap(), expected);
    }

    #[test]
    fn stalled_output_drops_lines_and_counts_them_but_stops_nobody() {
        let sink = Sink::default();
        let stall = sink.gate.lock();
        let (lines, guard) = spawn(sink.clone()).unwrap();
        let line = format!("{}\n", "x".repeat(1023));
        let pushed = 10 * limits::LOG_QUEUE_BYTES_MAX / line.len();
        for _ in 0..pushed {
            lines.push(&line);
        }
        let dropped = lines.dropped();
        assert!(dropped > 0);
        drop(stall);
        drop(guard);
        let written = u64::try_from(sink.written.lock().len() / line.len()).unwrap();
        assert_eq!(written + dropped, u64::try_from(pushed).unwrap());
    }
}
