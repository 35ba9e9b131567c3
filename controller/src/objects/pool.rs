//! Sharing of texts that repeat.

use std::collections::HashSet;
use std::sync::Arc;

use super::meta::Labels;

/// Texts and label sets that are held already. Pods of one deployment have the same labels, service account and
/// namespace, so ten thousand pods need a few hundred of each.
#[derive(Debug, Default)]
pub struct Pool {
    texts: HashSet<Arc<str>>,
    labels: HashSet<Arc<Labels>>,
    live: usize,
}

/// Below this many entries a pool isn't swept: it is then smaller than one file's text.
const SWEEP_MIN: usize = 4096;

impl Pool {
    /// The one copy of `text`.
    pub fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(held) = self.texts.get(text) {
            return held.clone();
        }
        let held: Arc<str> = text.into();
        self.texts.insert(held.clone());
        held
    }

    /// The one copy of `labels`.
    pub fn labels(&mut self, labels: Labels) -> Arc<Labels> {
        if let Some(held) = self.labels.get(&labels) {
            return held.clone();
        }
        let held = Arc::new(labels);
        self.labels.insert(held.clone());
        held
    }

    /// Drops what nobody else holds any more, once as much has been added as was live after the last sweep.
    pub fn sweep(&mut self) {
        if self.len() < SWEEP_MIN.max(self.live.saturating_mul(2)) {
            return;
        }
        self.labels.retain(|held| Arc::strong_count(held) > 1);
        self.texts.retain(|held| Arc::strong_count(held) > 1);
        self.live = self.len();
    }

    fn len(&self) -> usize {
        self.texts.len() + self.labels.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_held_once_and_dropped_when_unused() {
        let mut pool = Pool::default();
        let (first, second) = (pool.text("shop"), pool.text("shop"));
        assert!(Arc::ptr_eq(&first, &second));
        for number in 0..SWEEP_MIN {
            pool.text(&format!("passing-{number}"));
        }
        pool.sweep();
        assert_eq!(pool.len(), 1);
    }
}
