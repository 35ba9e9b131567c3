//! The machine that the figures are of.

use std::fs;

use serde::{Deserialize, Serialize};

/// What a reader must know to compare figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Processors that may be used.
    pub(crate) cpus: usize,
    /// Their name.
    pub(crate) processor: String,
    /// Release of the kernel.
    pub(crate) kernel: String,
    /// What TCP paces itself by. It decides about bulk more than any proxy does.
    pub(crate) congestion_control: String,
    /// Installed memory, bytes.
    pub(crate) memory_bytes: u64,
    /// Running tasks over the minute before the run.
    pub(crate) load: f64,
}

impl Machine {
    /// Looks; what can't be found out is empty, for it is only told, not used.
    #[must_use]
    pub(crate) fn look() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self {
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            processor: field(&read("/proc/cpuinfo"), "model name").to_owned(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            congestion_control: read("/proc/sys/net/ipv4/tcp_congestion_control").trim().to_owned(),
            memory_bytes: kibibytes(field(&read("/proc/meminfo"), "MemTotal")) * 1024,
            load: first_number(&read("/proc/loadavg")),
        }
    }

    /// Whether so much else runs that figures will be of that, too.
    #[must_use]
    pub(crate) fn is_busy(&self) -> bool {
        self.load > self.cpus as f64 / 4.0
    }
}

/// The value of the first `name : value`.
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.trim() == name).map_or("", |(_, value)| value.trim())
}

fn kibibytes(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

fn first_number(text: &str) -> f64 {
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let text = "processor\t: 0\nmodel name\t: A: B\nmodel name\t: C\n";
        assert_eq!(field(text, "model name"), "A: B");
        assert_eq!(kibibytes(field("MemTotal:       100 kB\n", "MemTotal")), 100);
        assert_eq!(field("", "MemTotal"), "");
        assert!((first_number("0.52 0.58 0.59 1/1 2") - 0.52).abs() < 1e-9);
    }

    #[test]
    fn a_load_of_half_a_processor_is_busy_for_one() {
        let machine = |load| Machine { load, cpus: 1, ..Machine::look() };
        assert!(machine(0.5).is_busy());
        assert!(!machine(0.2).is_busy());
    }
}
