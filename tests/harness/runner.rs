//! A test program with a main of its own.
//!
//! The namespaces must be entered before any thread exists, so the standard test main is too late.
//! A test file says `harness = false` in `Cargo.toml` and has
//!
//! ```no_run
//! use weft_harness::{Inside, Mesh, tests};
//!
//! fn pods_of_two_nodes_reach_each_other(_: &Inside) -> anyhow::Result<()> {
//!     let _mesh = Mesh::builder().build()?;
//!     Ok(())
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     tests![pods_of_two_nodes_reach_each_other].run()
//! }
//! ```
//!
//! It takes a filter, `--exact`, `--skip` and `--list` as the standard one does; tests run one
//! after the other, each under a deadline.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::Instant;

use crate::config;
use crate::enter::{Inside, enter};

/// Longest time for one test; the slowest waits for two renewals of a one-minute certificate.
const TEST_DEADLINE: Duration = Duration::from_secs(180);
/// Exit status of a failed run, as the standard runner's.
const FAILED: u8 = 101;

/// One test.
#[derive(Clone, Copy)]
pub struct Test {
    /// Its name: the outcome that it proves.
    pub name: &'static str,
    /// What it does.
    pub run: fn(&Inside) -> Result<()>,
}

/// The tests of a program; see [`crate::tests`].
pub struct Tests(pub Vec<Test>);

/// Names test functions once for [`Tests`].
#[macro_export]
macro_rules! tests {
    ($($test:path),* $(,)?) => {
        $crate::runner::Tests(vec![
            $($crate::runner::Test { name: stringify!($test), run: $test }),*
        ])
    };
}

impl Tests {
    /// Enters the namespaces, runs what the command line asks for, and says how it went.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let asked = Asked::parse(std::env::args().skip(1));
        if asked.list {
            for test in &self.0 {
                say(&format!("{}: test\n", test.name));
            }
            return ExitCode::SUCCESS;
        }
        let inside = match enter() {
            Ok(inside) => inside,
            Err(error) => {
                // Not a skip: a tier that can't run has not passed.
                say(&format!("error: {error:#}\n\ntest result: FAILED. 0 passed; 1 failed\n"));
                return ExitCode::from(FAILED);
            }
        };
        self.run_inside(&inside, &asked)
    }

    fn run_inside(self, inside: &Inside, asked: &Asked) -> ExitCode {
        let all = self.0.len();
        let chosen: Vec<Test> = self.0.into_iter().filter(|test| asked.wants(test.name)).collect();
        say(&format!("\nrunning {} tests\n", chosen.len()));
        let start = Instant::now();
        let mut failures = Vec::new();
        for test in &chosen {
            say(&format!("test {} ... ", test.name));
            let began = Instant::now();
            match run_one(*test, inside) {
                Outcome::Passed => {
                    say(&format!("ok ({:.1} s)\n", began.elapsed().as_secs_f64()));
                    clear_state();
                }
                Outcome::Failed(reason) => {
                    say("FAILED\n");
                    failures.push((test.name, reason));
                    keep_logs(test.name);
                }
                Outcome::Stuck => {
                    say("STUCK\n");
                    // Its thread can't be ended, and would disturb what comes after.
                    failures.push((test.name, anyhow!("still running after {TEST_DEADLINE:?}")));
                    keep_logs(test.name);
                    break;
                }
            }
        }
        for (name, reason) in &failures {
            say(&format!("\n---- {name} ----\n{reason:?}\n"));
        }
        let passed = if failures.is_empty() { chosen.len() } else { chosen.len() - failures.len() };
        say(&format!(
            "\ntest result: {}. {passed} passed; {} failed; 0 ignored; 0 measured; {} filtered \
             out; finished in {:.2}s\n\n",
            if failures.is_empty() { "ok" } else { "FAILED" },
            failures.len(),
            all - chosen.len(),
            start.elapsed().as_secs_f64()
        ));
        if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
    }
}

enum Outcome {
    Passed,
    Failed(anyhow::Error),
    Stuck,
}

fn run_one(test: Test, inside: &Inside) -> Outcome {
    let (done, outcome) = sync_channel(1);
    let inside = inside.clone();
    let spawned = std::thread::Builder::new().name(test.name.to_owned()).spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(|| (test.run)(&inside)));
        // No receiver: the deadline has passed.
        let _late = done.send(result.unwrap_or_else(|panic| Err(anyhow!(words_of(&*panic)))));
    });
    if let Err(error) = spawned {
        return Outcome::Failed(error.into());
    }
    match outcome.recv_timeout(TEST_DEADLINE) {
        Ok(Ok(())) => Outcome::Passed,
        Ok(Err(error)) => Outcome::Failed(error),
        Err(RecvTimeoutError::Timeout) => Outcome::Stuck,
        Err(RecvTimeoutError::Disconnected) => Outcome::Failed(anyhow!("the test's thread ended")),
    }
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", words.unwrap_or("without words"))
}

/// State is in memory until the program ends; that of a test that held is of no use.
fn clear_state() {
    for entry in std::fs::read_dir("/run/weft").into_iter().flatten().flatten() {
        // What can't be removed only takes room.
        let _kept = std::fs::remove_dir_all(entry.path());
    }
}

/// The state folders end with the namespaces; whoever wants the logs says where to put them.
fn keep_logs(test: &str) {
    let Some(target) = config::failed_logs_folder() else {
        return;
    };
    let name: String = test.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect();
    if let Err(error) = copy_folder(Path::new("/run/weft"), &target.join(name)) {
        say(&format!("(logs not kept: {error})\n"));
    }
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let (entry, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
        let Some(name) = entry.file_name() else {
            continue;
        };
        if kind.is_dir() {
            copy_folder(&entry, &to.join(name))?;
        } else if kind.is_file() {
            std::fs::copy(&entry, to.join(name))?;
        }
    }
    Ok(())
}

/// Part of the command line of the standard runner.
#[derive(Debug, Default)]
struct Asked {
    filters: Vec<String>,
    skipped: Vec<String>,
    exact: bool,
    list: bool,
}

impl Asked {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut asked = Self::default();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--exact" => asked.exact = true,
                "--list" => asked.list = true,
                "--skip" => asked.skipped.extend(arguments.next()),
                "--test-threads" | "--format" | "--color" => drop(arguments.next()),
                flag if flag.starts_with('-') => {}
                filter => asked.filters.push(filter.to_owned()),
            }
        }
        asked
    }

    fn wants(&self, name: &str) -> bool {
        let fits = |filter: &String| {
            if self.exact { name == filter } else { name.contains(filter.as_str()) }
        };
        (self.filters.is_empty() || self.filters.iter().any(fits)) && !self.skipped.iter().any(fits)
    }
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    // Whoever reads the results has gone: nothing to say it to.
    let _gone = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::Asked;

    fn asked(words: &[&str]) -> Asked {
        Asked::parse(words.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn filters_choose_by_part_and_exactly_by_name() {
        assert!(asked(&["drop"]).wants("packet_drop_works"));
        assert!(!asked(&["--exact", "drop"]).wants("packet_drop_works"));
        assert!(!asked(&["--skip", "drop"]).wants("packet_drop_works"));
        assert!(asked(&["--nocapture", "--test-threads", "1"]).wants("anything"));
    }
}
