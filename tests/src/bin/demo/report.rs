//! What the demo prints: a line a proof, and the counts at the end.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

/// The proofs so far.
pub(crate) struct Report {
    colour: bool,
    passed: usize,
    failed: usize,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { colour: std::io::stdout().is_terminal(), passed: 0, failed: 0 }
    }

    /// Says something that is no proof.
    pub(crate) fn note(&self, text: &str) {
        say(text);
    }

    /// A proof held.
    pub(crate) fn proved(&mut self, name: &str, evidence: &str) {
        self.passed += 1;
        say(&format!("{} {name} — {evidence}", self.painted("✔", "32")));
    }

    /// A proof failed.
    pub(crate) fn failed(&mut self, name: &str, error: &anyhow::Error) {
        self.failed += 1;
        say(&format!("{} {name} — {error:#}", self.painted("✘", "31")));
    }

    /// Prints the counts.
    pub(crate) fn summary(&self) {
        say(&format!("{} proofs passed, {} failed", self.passed, self.failed));
    }

    /// Prints the counts and gives the exit status: a demo without a proof has proved nothing.
    pub(crate) fn finish(&self) -> ExitCode {
        self.summary();
        if self.failed == 0 && self.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn painted(&self, text: &str, colour: &str) -> String {
        if self.colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    // Whoever reads it has gone: nobody left to tell.
    let _gone = writeln!(out, "{text}").and_then(|()| out.flush());
}
