//! A program of the mesh: started in a namespace, logging to a file, killed and started again.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::config;
use crate::enter::Inside;
use crate::launch::{FLAG, Place};
use crate::poll;

/// Time that a program has to go after SIGTERM before it counts as stuck.
const STOP_DEADLINE: Duration = Duration::from_secs(35);

/// What to run and where.
#[derive(Debug, Clone)]
pub struct Launch {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
    place: Place,
}

impl Launch {
    /// `program` in the network namespace whose file is `netns`.
    pub fn new(program: impl Into<PathBuf>, netns: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            place: Place { netns: netns.into(), binds: Vec::new() },
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((key.into(), value.into()));
        self
    }

    /// Lets the program see `source` in the place of `target`; both exist already.
    #[must_use]
    pub fn bind(mut self, source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        self.place.binds.push((source.into(), target.into()));
        self
    }

    /// A shell command that runs the same from outside of the harness, for people.
    ///
    /// # Errors
    /// The running program's path can't be found.
    pub fn from_outside(&self, inside: &Inside) -> Result<String> {
        let helper = std::env::current_exe().context("finding the running program")?;
        let mut words = vec![format!("nsenter --target {} --mount --pid", inside.pid_outside)];
        if inside.user_namespace {
            words.push("--user --preserve-credentials".to_owned());
        }
        words.push(format!("-- {}", quoted(&helper.to_string_lossy())));
        words.push(FLAG.to_owned());
        words.push(quoted(&serde_json::to_string(&self.place)?));
        words.push(quoted(&self.program.to_string_lossy()));
        words.extend(self.arguments.iter().map(|word| quoted(&word.to_string_lossy())));
        Ok(words.join(" "))
    }

    fn command(&self) -> Result<Command> {
        let helper = std::env::current_exe().context("finding the running program")?;
        let mut command = Command::new(helper);
        command
            .arg(FLAG)
            .arg(serde_json::to_string(&self.place)?)
            .arg(&self.program)
            .args(&self.arguments)
            .env_remove(config::INSIDE)
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            // Ctrl-C is for the harness; its end is theirs.
            .process_group(0);
        Ok(command)
    }

    /// Runs to the end and gives status and output; killed when `deadline` passes.
    ///
    /// # Errors
    /// It can't be started or takes too long. A failing status is no error here.
    pub fn run(&self, deadline: Duration) -> Result<Finished> {
        let mut child = self.command()?.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        // Read on threads: a full pipe would stop the program.
        let reader = |pipe: Option<Box<dyn std::io::Read + Send>>| {
            std::thread::spawn(move || {
                let mut text = String::new();
                if let Some(mut pipe) = pipe {
                    let _cut = pipe.read_to_string(&mut text);
                }
                text
            })
        };
        let out = reader(child.stdout.take().map(|pipe| Box::new(pipe) as _));
        let err = reader(child.stderr.take().map(|pipe| Box::new(pipe) as _));
        let ended =
            poll::until(&self.describe(), deadline, || child.try_wait()?.context("still running"));
        if ended.is_err() {
            child.kill()?;
            child.wait()?;
        }
        let (stdout, stderr) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
        let status = ended.with_context(|| format!("it said: {stdout}{stderr}"))?;
        Ok(Finished { status, stdout, stderr })
    }

    fn describe(&self) -> String {
        let name = self.program.file_name().unwrap_or_default().to_string_lossy();
        let words: Vec<_> = self.arguments.iter().map(|a| a.to_string_lossy()).collect();
        format!("{name} {}", words.join(" "))
    }
}

/// A program that ran to its end.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to its output.
    pub stdout: String,
    /// What it wrote to its error output.
    pub stderr: String,
}

impl Finished {
    /// Its output, if it ended well.
    ///
    /// # Errors
    /// It failed; the message holds what it wrote.
    pub fn success(self) -> Result<String> {
        if !self.status.success() {
            bail!("{}: {}{}", self.status, self.stdout.trim(), self.stderr.trim());
        }
        Ok(self.stdout)
    }
}

/// A running (or killed) program of the mesh; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    launch: Mutex<Launch>,
    log: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Process {
    /// Starts `launch` as `name`, writing its output to `<logs>/<name>.log`.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(name: &str, launch: Launch, logs: &Path) -> Result<Self> {
        let process = Self {
            name: name.to_owned(),
            launch: Mutex::new(launch),
            log: logs.join(format!("{name}.log")),
            child: Mutex::new(None),
        };
        process.restart()?;
        Ok(process)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its log so far.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn log(&self) -> Result<String> {
        let bytes = fs::read(&self.log).with_context(|| self.log.display().to_string())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The last `count` lines of its log, for error messages.
    #[must_use]
    pub fn log_tail(&self, count: usize) -> String {
        let log = self.log().unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let skipped = lines.len().saturating_sub(count);
        lines.into_iter().skip(skipped).collect::<Vec<_>>().join("\n")
    }

    /// Changes how it runs from the next start on.
    pub fn relaunch_as(&self, launch: Launch) {
        *lock(&self.launch) = launch;
    }

    /// Kills it if it runs and starts it; the log goes on.
    ///
    /// # Errors
    /// It can't be started.
    pub fn restart(&self) -> Result<()> {
        self.kill()?;
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let child = lock(&self.launch)
            .command()?
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", self.name))?;
        *lock(&self.child) = Some(child);
        Ok(())
    }

    /// Kills it at once (SIGKILL) and waits for its end.
    ///
    /// # Errors
    /// It can't be waited for.
    pub fn kill(&self) -> Result<()> {
        if let Some(mut child) = lock(&self.child).take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Sends a signal without waiting.
    ///
    /// # Errors
    /// It doesn't run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid()?)?);
        kill(pid, signal).with_context(|| format!("{signal} to {}", self.name))
    }

    /// Asks it to stop (SIGTERM) and gives its exit status.
    ///
    /// # Errors
    /// It isn't gone in time; it is killed then.
    pub fn stop(&self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        let status = self.wait(STOP_DEADLINE);
        self.kill()?;
        status
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It still runs after `deadline`, or never ran.
    pub fn wait(&self, deadline: Duration) -> Result<ExitStatus> {
        poll::until(&format!("end of {}", self.name), deadline, || {
            let mut child = lock(&self.child);
            child.as_mut().context("not running")?.try_wait()?.context("still running")
        })
    }

    /// Fails, with the end of its log, unless it runs.
    ///
    /// # Errors
    /// It has ended.
    pub fn check_running(&self) -> Result<()> {
        let ended = lock(&self.child).as_mut().context("not running")?.try_wait()?;
        match ended {
            None => Ok(()),
            Some(status) => {
                bail!("{} ended ({status}); its log:\n{}", self.name, self.log_tail(15))
            }
        }
    }

    /// Its process id.
    ///
    /// # Errors
    /// It doesn't run.
    pub fn pid(&self) -> Result<u32> {
        let child = lock(&self.child);
        Ok(child.as_ref().with_context(|| format!("{} isn't running", self.name))?.id())
    }

    /// Its resident memory, bytes.
    ///
    /// # Errors
    /// It doesn't run.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let kibibytes: u64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next())
            .context("no VmRSS: has it just ended?")?
            .parse()?;
        Ok(kibibytes * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing can be done about a child that can't be killed; the pid namespace will.
        let _ended = self.kill();
    }
}

/// A panic of another thread while it held the lock leaves nothing half-done here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A word that a shell takes as it is.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn quotes_in_words_do_not_end_them() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
