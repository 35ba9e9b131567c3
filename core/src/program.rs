//! What the proxies' programs do alike: the command line, settings from the environment, the log, the control runtime,
//! and how a program says that it failed.

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::config::{Config, ConfigErrors, ProcessEnv};
use crate::socket;
use crate::telemetry::{self, LogControl, LogError, LogSettings};

/// What a proxy says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// As it is called on the command line.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What `help` prints.
    pub help: &'static str,
}

/// What a proxy serves with.
#[derive(Debug)]
pub struct Started {
    /// As the environment has it.
    pub config: Config,
    /// A runtime of one thread, this one, apart from those of the connections.
    pub control: Runtime,
    /// Threads for connections, each with a runtime of its own: whoever stays on one of them is never woken from another,
    /// and no idle one wakes for what a busy one has in hand. At least one.
    pub workers: Vec<Handle>,
    /// The log, which can be changed while the process runs.
    pub log: LogControl,
}

/// Why a proxy doesn't come to serving.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The environment can't be used.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The log can't be set up.
    #[error("RUST_LOG")]
    Log(#[from] LogError),
    /// The system gave no runtime.
    #[error("starting the control runtime")]
    Control(#[source] std::io::Error),
    /// The system gave no thread.
    #[error("starting the workers")]
    Workers(#[source] std::io::Error),
}

impl Program {
    /// Does what the first argument says; without one, serves by `serve`. What is left of the log is written out before
    /// this returns.
    pub fn main<E>(self, serve: impl FnOnce(Started) -> Result<(), E>) -> ExitCode
    where
        E: From<StartError> + Display,
    {
        match Command::of(std::env::args().nth(1).as_deref()) {
            Command::Serve => ended(self.name, start(serve)),
            Command::Version => print(&format!("{} {}\n", self.name, self.version)),
            Command::Help => print(self.help),
            Command::Unknown(other) => {
                let name = self.name;
                let unknown = format!("no command is called {other:?}; see `{name} help`");
                ended(name, Err(unknown))
            }
        }
    }
}

/// The end of a program's `main`. A failure is told with the chain of its causes, if it has one, and never with a
/// backtrace: it is the operator who reads this.
pub fn ended<E: Display>(name: &str, outcome: Result<(), E>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a standard error there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start<E: From<StartError>>(serve: impl FnOnce(Started) -> Result<(), E>) -> Result<(), E> {
    let config = Config::from_env(&ProcessEnv::read()).map_err(StartError::from)?;
    let settings = LogSettings { levels: config.log.levels.clone(), format: config.log.format };
    let (log, _guard) = telemetry::init(&settings).map_err(StartError::from)?;
    socket::raise_descriptor_limit();
    let control = Builder::new_current_thread().enable_all().build();
    let control = control.map_err(StartError::Control)?;
    let workers = (0..config.worker_threads.max(1)).map(worker).collect::<Result<_, _>>();
    let workers = workers.map_err(StartError::Workers)?;
    serve(Started { config, control, workers, log })
}

/// A thread that lives as long as the process.
fn worker(number: usize) -> std::io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name(format!("worker-{number}"))
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(handle)
}

#[expect(clippy::print_stdout, reason = "what the commands that use it are for")]
fn print(text: &str) -> ExitCode {
    print!("{text}");
    ExitCode::SUCCESS
}

#[derive(Debug, PartialEq, Eq)]
enum Command<'a> {
    Serve,
    Version,
    Help,
    Unknown(&'a str),
}

impl<'a> Command<'a> {
    fn of(argument: Option<&'a str>) -> Self {
        match argument {
            None | Some("proxy") => Self::Serve,
            Some("version" | "--version") => Self::Version,
            Some("help" | "--help" | "-h") => Self::Help,
            Some(other) => Self::Unknown(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_serves_unless_it_is_asked_for_something_else() {
        let cases = [
            (None, Command::Serve),
            (Some("proxy"), Command::Serve),
            (Some("version"), Command::Version),
            (Some("--version"), Command::Version),
            (Some("help"), Command::Help),
            (Some("-h"), Command::Help),
            (Some("Proxy"), Command::Unknown("Proxy")),
            (Some(""), Command::Unknown("")),
        ];
        for (argument, command) in cases {
            assert_eq!(Command::of(argument), command, "{argument:?}");
        }
    }

    #[test]
    fn only_a_failure_ends_a_program_with_a_failure() {
        assert_eq!(ended("here", Ok::<(), &str>(())), ExitCode::SUCCESS);
        assert_eq!(ended("here", Err("told")), ExitCode::FAILURE);
    }
}
