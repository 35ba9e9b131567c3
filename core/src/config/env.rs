//! Where settings come from: a trait, so that a test needs no process.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

/// Named texts.
pub trait Env {
    /// The text of `key`.
    fn get(&self, key: &str) -> Option<String>;
    /// All keys that begin with `prefix`, whole, with their texts, in order.
    fn with_prefix(&self, prefix: &str) -> Vec<(String, String)>;
    /// Processors that this process may use.
    fn processors(&self) -> usize;
}

/// The environment of this process, as it was when this was made.
#[derive(Debug, Clone)]
pub struct ProcessEnv(BTreeMap<String, String>);

impl ProcessEnv {
    /// Reads the environment. A variable that isn't UTF-8 is left out.
    pub fn read() -> Self {
        let pairs = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        Self(pairs.collect())
    }
}

impl Env for ProcessEnv {
    fn get(&self, key: &str) -> Option<String> {
        self.0.get(key).cloned()
    }

    fn with_prefix(&self, prefix: &str) -> Vec<(String, String)> {
        with_prefix(&self.0, prefix)
    }

    fn processors(&self) -> usize {
        std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
    }
}

/// A table, for tests.
impl Env for BTreeMap<String, String> {
    fn get(&self, key: &str) -> Option<String> {
        BTreeMap::get(self, key).cloned()
    }

    fn with_prefix(&self, prefix: &str) -> Vec<(String, String)> {
        with_prefix(self, prefix)
    }

    fn processors(&self) -> usize {
        4
    }
}

fn with_prefix(map: &BTreeMap<String, String>, prefix: &str) -> Vec<(String, String)> {
    map.range(prefix.to_owned()..)
        .take_while(|(key, _)| key.starts_with(prefix))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}
