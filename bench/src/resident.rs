//! Memory of a process, as the kernel accounts for it.

use std::fs;

use anyhow::{Context, Result};

/// Resident memory, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Resident {
    /// All of it (`VmRSS`).
    pub(crate) all: u64,
    /// What the process alone has (`RssAnon`): without the program's own pages, which all processes
    /// of a machine that run it share.
    pub(crate) anonymous: u64,
}

impl Resident {
    /// Of a running process.
    ///
    /// # Errors
    /// It doesn't run.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        Self::parse(&status).with_context(|| format!("{path} tells no memory: has it just ended?"))
    }

    fn parse(status: &str) -> Option<Self> {
        let bytes = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
            kibibytes.checked_mul(1024)
        };
        Some(Self { all: bytes("VmRSS:")?, anonymous: bytes("RssAnon:")? })
    }
}

impl Resident {
    /// The larger of two, in each respect.
    pub(crate) fn larger(self, other: Self) -> Self {
        Self { all: self.all.max(other.all), anonymous: self.anonymous.max(other.anonymous) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_account_is_read_in_bytes() {
        let status = "Name:\tx\nVmRSS:\t    2000 kB\nRssAnon:\t     500 kB\nRssFile:\t 1500 kB\n";
        let one = Resident { all: 2_048_000, anonymous: 512_000 };
        assert_eq!(Resident::parse(status), Some(one));
        let other = Resident { all: 1, anonymous: 600_000 };
        assert_eq!(one.larger(other), Resident { all: 2_048_000, anonymous: 600_000 });
        assert_eq!(Resident::parse("Name:\tx\nState:\tZ (zombie)\n"), None);
    }
}
