//! Entering the harness's own namespaces.
//!
//! The program starts itself twice. The outer process makes the namespaces, stays outside of the
//! pid namespace and forwards signals; the inner one is that namespace's first process, so that
//! the kernel ends everything below it when it ends, however it ends. Should the outer process be
//! killed, the kernel kills the inner one (`PR_SET_PDEATHSIG`).

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Gid, Pid, Uid, getgid, getuid};

use crate::config;
use crate::launch;

/// Exit status after an interrupt, as shells give it.
const INTERRUPTED: i32 = 130;

/// What the outer process tells the inner one: with a user namespace, or without.
const USER: &str = "user";
const ROOT: &str = "root";

/// Proof that the program runs in its own namespaces.
#[derive(Debug, Clone)]
pub struct Inside {
    /// This process's id as the machine sees it: what `nsenter --target` takes.
    pub pid_outside: u32,
    /// Whether there is a user namespace, so that `nsenter` needs `--user`.
    pub user_namespace: bool,
}

/// Enters the namespaces; call it first in `main`, before any thread exists.
///
/// Returns in the inner process only.
///
/// # Errors
/// A namespace or mount can't be made; the message says what to check.
pub fn enter() -> Result<Inside> {
    launch::run_if_asked()?;
    if config::is_set(config::INSIDE) {
        return settle();
    }
    let status = outer()?;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    std::process::exit(code.unwrap_or(1));
}

fn outer() -> Result<ExitStatus> {
    // A waiting process takes signals with `sigwait`, so they are blocked; `settle` unblocks them.
    let signals = forwarded_signals();
    signals.thread_block().context("blocking signals")?;
    let user_namespace = make_namespaces()?;
    let program = std::env::current_exe().context("finding the running program")?;
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let child = Command::new(program)
        .args(arguments)
        .env(config::INSIDE, if user_namespace { USER } else { ROOT })
        .env("PATH", config::path_with_system_programs())
        .spawn()
        .context("starting the inner process")?;
    supervise(child, &signals)
}

fn forwarded_signals() -> SigSet {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD] {
        signals.add(signal);
    }
    signals
}

fn supervise(mut child: Child, signals: &SigSet) -> Result<ExitStatus> {
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    let mut asked = false;
    loop {
        if let Some(status) = child.try_wait().context("waiting for the inner process")? {
            return Ok(status);
        }
        if signals.wait().context("waiting for a signal")? != Signal::SIGCHLD {
            // Asked twice: it doesn't listen. A pid that is gone shows at the next look.
            let signal = if asked { Signal::SIGKILL } else { Signal::SIGTERM };
            let _gone = kill(pid, signal);
            asked = true;
        }
    }
}

/// Makes all namespaces; true if a user namespace was among them.
fn make_namespaces() -> Result<bool> {
    let rest = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWPID;
    // Root keeps its own: in a user namespace with one id it couldn't write other users' folders.
    if getuid().is_root() && !config::is_set(config::FORCE_USER_NAMESPACE) && unshare(rest).is_ok()
    {
        return Ok(false);
    }
    let (uid, gid) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER).context(NO_USER_NAMESPACE)?;
    map_to_root(uid, gid).context(NO_USER_NAMESPACE)?;
    unshare(rest).context(NO_USER_NAMESPACE)?;
    Ok(true)
}

const NO_USER_NAMESPACE: &str = "can't make a user namespace with network, mount and pid \
    namespaces in it. Check, in this order: \
    `sysctl user.max_user_namespaces user.max_net_namespaces` (must not be 0); \
    `sysctl kernel.unprivileged_userns_clone` (1, or absent); \
    `sysctl kernel.apparmor_restrict_unprivileged_userns` (0, or absent; Ubuntu 24.04 sets 1); \
    in a container, its seccomp profile (docker: --privileged, or \
    --security-opt seccomp=unconfined --security-opt systempaths=unconfined)";

fn map_to_root(uid: Uid, gid: Gid) -> Result<()> {
    fs::write("/proc/self/setgroups", "deny").context("writing /proc/self/setgroups")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).context("writing /proc/self/uid_map")?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).context("writing /proc/self/gid_map")
}

/// What the inner process does before it returns to its caller.
fn settle() -> Result<Inside> {
    prctl::set_pdeathsig(Signal::SIGKILL).context("tying this process to the outer one")?;
    forwarded_signals().thread_unblock().context("unblocking signals")?;
    // Still the machine's /proc, in which `self` is the number that the machine knows.
    let pid_outside = fs::read_link("/proc/self")
        .ok()
        .and_then(|link| link.to_str()?.parse().ok())
        .context("/proc/self is no process id: is /proc mounted?")?;
    let user_namespace = config::value(config::INSIDE).as_deref() == Some(USER);
    private_mounts()?;
    raise_open_files();
    command_quietly("ip", &["link", "set", "lo", "up"])?;
    watch_for_signals()?;
    Ok(Inside { pid_outside, user_namespace })
}

fn private_mounts() -> Result<()> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("making this process's mounts private")?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none).context(
        "can't mount /proc for the pid namespace: something is mounted below /proc, as in a \
         container (docker: --security-opt systempaths=unconfined)",
    )?;
    mount(Some("weft"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
        .context("can't mount a private /run")?;
    for folder in ["/run/netns", "/run/ztunnel", "/run/weft"] {
        fs::create_dir_all(folder).with_context(|| format!("making {folder}"))?;
    }
    // Programs get mount namespaces of their own; a namespace named later must show in them too.
    mount(Some("/run/netns"), "/run/netns", none, MsFlags::MS_BIND, none)
        .context("binding /run/netns")?;
    mount(none, "/run/netns", none, MsFlags::MS_SHARED, none).context("sharing /run/netns")?;
    resolv_conf_target()
}

/// `/etc/resolv.conf` must exist to be covered by a pod's own; where a resolver service keeps it
/// below `/run` it has just gone out of sight.
fn resolv_conf_target() -> Result<()> {
    let path = Path::new("/etc/resolv.conf");
    if path.exists() {
        return Ok(());
    }
    let Ok(link) = fs::read_link(path) else {
        bail!("/etc/resolv.conf doesn't exist, so that pods can't be given their own: make one");
    };
    let target: PathBuf = Path::new("/etc").join(link);
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    fs::write(&target, "").with_context(|| format!("making {}", target.display()))
}

/// Thousands of held connections need more descriptors than the usual soft limit; a refusal shows
/// later, where they are missing.
fn raise_open_files() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _kept = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// The first process of a pid namespace has no default action for signals: without a handler it
/// would sleep through Ctrl-C.
fn watch_for_signals() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the signal thread")?;
    let (mut interrupt, mut terminate, mut hangup) = {
        let _context = runtime.enter();
        let listen = |kind| signal(kind).context("listening for signals");
        (
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        )
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
            });
            // Everything else in the pid namespace dies with its first process.
            std::process::exit(INTERRUPTED);
        })
        .context("starting the signal thread")?;
    Ok(())
}

/// Runs a small system program; its error output is the error.
pub(crate) fn command_quietly(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .process_group(0)
        .output()
        .with_context(|| format!("can't run {program}: run scripts/setup.sh"))?;
    if !output.status.success() {
        bail!(
            "{program} {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
