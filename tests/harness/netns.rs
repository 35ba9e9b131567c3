//! A named network namespace.

use std::fs::File;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::sched::{CloneFlags, setns};

use crate::enter::command_quietly;

/// A network namespace under `/run/netns`; removed when dropped.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes a namespace with its loopback up.
    ///
    /// # Errors
    /// The name is taken, or the kernel's `user.max_net_namespaces` is reached.
    pub fn create(name: &str) -> Result<Self> {
        command_quietly("ip", &["netns", "add", name])?;
        let netns = Self { name: name.to_owned() };
        // Nobody else is here to have an address twice; the check would delay the first packets.
        if Path::new("/proc/sys/net/ipv6").exists() {
            netns.sysctl(&[
                ("net/ipv6/conf/all/accept_dad", "0"),
                ("net/ipv6/conf/default/accept_dad", "0"),
            ])?;
        }
        netns.ip(&["link set lo up".to_owned()])?;
        Ok(netns)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// Runs lines of `ip` commands (without the word `ip`) inside.
    ///
    /// # Errors
    /// The first line that fails, as `ip` words it.
    pub fn ip(&self, lines: &[String]) -> Result<()> {
        let arguments = ["-netns", &self.name, "-batch", "-"];
        feed("ip", &arguments, &lines.join("\n"))
            .with_context(|| format!("in {}: {}", self.name, lines.join("; ")))
    }

    /// Runs an nftables script inside, all of it or nothing.
    ///
    /// # Errors
    /// What `nft` says.
    pub fn nft(&self, script: &str) -> Result<()> {
        let net = format!("--net={}", self.path().display());
        feed("nsenter", &[&net, "nft", "-f", "-"], script)
            .with_context(|| format!("in {}: nft -f: {script}", self.name))
    }

    /// The output of a program run inside.
    ///
    /// # Errors
    /// It can't be run or fails.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = Command::new("nsenter")
            .arg(format!("--net={}", self.path().display()))
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .process_group(0)
            .output()
            .context("can't run nsenter: run scripts/setup.sh")?;
        if !output.status.success() {
            bail!(
                "in {}: {program} {}: {}",
                self.name,
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Writes kernel settings (`net/ipv4/ip_forward`, `1`) of this namespace.
    ///
    /// # Errors
    /// The setting doesn't exist or isn't writable here.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.run(|| {
            for (key, value) in settings {
                std::fs::write(Path::new("/proc/sys").join(key), value)
                    .with_context(|| format!("setting {key} to {value}"))?;
            }
            Ok(())
        })
    }

    /// Runs `work` on a thread of its own that is in this namespace.
    ///
    /// # Errors
    /// The thread can't enter, or what `work` returns.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = self.path();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                join_thread(&path)?;
                work()
            });
            thread.join().unwrap_or_else(|_| Err(anyhow!("the thread in {} panicked", self.name)))
        })
    }

    /// A TCP connection made from inside; the socket stays in this namespace wherever it is used.
    /// Reads and writes on it fail after `deadline`, too.
    ///
    /// # Errors
    /// As `connect(2)`.
    pub fn connect(&self, to: SocketAddr, deadline: Duration) -> Result<TcpStream> {
        self.run(|| {
            let stream = TcpStream::connect_timeout(&to, deadline)
                .with_context(|| format!("connecting from {} to {to}", self.name))?;
            stream.set_read_timeout(Some(deadline))?;
            stream.set_write_timeout(Some(deadline))?;
            stream.set_nodelay(true)?;
            Ok(stream)
        })
    }

    /// Whether something listens on a TCP port, on whatever address.
    ///
    /// # Errors
    /// The kernel's socket table can't be read.
    pub fn has_tcp_listener(&self, port: u16) -> Result<bool> {
        let tables = self.run(|| {
            let mut text = std::fs::read_to_string("/proc/thread-self/net/tcp")?;
            text.push_str(
                &std::fs::read_to_string("/proc/thread-self/net/tcp6").unwrap_or_default(),
            );
            Ok(text)
        })?;
        Ok(tables.lines().any(|line| is_listener(line, port)))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // Whatever is left goes with the mount namespace.
        let _left = command_quietly("ip", &["netns", "delete", &self.name]);
    }
}

/// Moves the calling thread into the namespace at `path`.
pub(crate) fn join_thread(path: &Path) -> Result<()> {
    let file = File::open(path).with_context(|| format!("opening namespace {}", path.display()))?;
    setns(file, CloneFlags::CLONE_NEWNET)
        .with_context(|| format!("entering namespace {}", path.display()))
}

/// A line of the kernel's socket table: `sl local_address rem_address st …`, 0A being LISTEN.
fn is_listener(line: &str, port: u16) -> bool {
    let mut fields = line.split_whitespace().skip(1);
    let (local, _remote, state) = (fields.next(), fields.next(), fields.next());
    state == Some("0A") && local.is_some_and(|local| local.ends_with(&format!(":{port:04X}")))
}

/// Runs a program with `input`; its error output is the error.
fn feed(program: &str, arguments: &[&str], input: &str) -> Result<()> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(|| format!("can't run {program}: run scripts/setup.sh"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
        stdin.write_all(b"\n")?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::is_listener;

    #[test]
    fn listeners_are_told_from_connections() {
        let listening = "   0: 00000000:3AA0 00000000:0000 0A 00000000:00000000 00:00000000";
        let connected = "   1: 0A01A8C0:3AA0 0B01A8C0:C001 01 00000000:00000000 00:00000000";
        assert!(is_listener(listening, 15008));
        assert!(!is_listener(listening, 15001));
        assert!(!is_listener(connected, 15008));
    }
}
