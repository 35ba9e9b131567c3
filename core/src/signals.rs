//! The signals by which a process is told to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT. From when this is made on, neither ends the process by itself.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Must be called within a runtime.
    pub fn new() -> std::io::Result<Self> {
        let (terminate, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
        Ok(Self { terminate: signal(terminate)?, interrupt: signal(interrupt)? })
    }

    /// Returns when one of them comes, or came since the last time.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::sys::signal::{Signal, raise};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn each_signal_is_told_once() {
        let mut signals = Signals::new().unwrap();
        for sent in [Signal::SIGTERM, Signal::SIGINT] {
            raise(sent).unwrap();
            timeout(Duration::from_secs(10), signals.next()).await.unwrap();
        }
        assert!(timeout(Duration::from_millis(1), signals.next()).await.is_err());
    }
}
