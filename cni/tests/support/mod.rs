//! Network namespaces made by the tests themselves, and small peers in them.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use socket2::{Domain, Protocol, Socket, Type};

/// How long a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Runs a test's body where it may make network namespaces. Without privilege the test runs itself again, alone, in user
/// and network namespaces of its own. It never skips.
pub(crate) fn privileged(test: &str, body: impl FnOnce()) {
    if std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET).is_ok()).join().unwrap() {
        return body();
    }
    assert!(!nix::unistd::geteuid().is_root(), "root here may not make network namespaces");
    let status = Command::new("unshare")
        .args(["-Urnm", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .status()
        .expect("unshare (util-linux) is installed");
    assert!(status.success(), "{test} failed in a user namespace of its own");
}

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace, held by a thread that lives in it.
pub(crate) struct Sandbox {
    jobs: mpsc::Sender<Job>,
    thread: nix::unistd::Pid,
    descriptor: Arc<OwnedFd>,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (reply, made) = mpsc::channel();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let descriptor = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
            reply.send((nix::unistd::gettid(), OwnedFd::from(descriptor))).unwrap();
            inbox.into_iter().for_each(|job| job());
        });
        let (thread, descriptor) = made.recv().unwrap();
        let sandbox = Self { jobs, thread, descriptor: Arc::new(descriptor) };
        sandbox.sh("ip link set lo up");
        sandbox
    }

    /// Runs `work` inside and waits for it.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (reply, result) = mpsc::channel();
        self.jobs.send(Box::new(move || drop(reply.send(work())))).unwrap();
        result.recv().expect("the work inside the namespace panicked")
    }

    /// Runs `work` inside on a thread of its own.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let descriptor = self.descriptor.clone();
        std::thread::spawn(move || {
            setns(descriptor.as_ref(), CloneFlags::CLONE_NEWNET).unwrap();
            work()
        })
    }

    /// Runs a command line inside; what it printed.
    pub(crate) fn sh(&self, script: &str) -> String {
        let command = script.to_owned();
        let output = self.run(move || Command::new("sh").args(["-ec", &command]).output().unwrap());
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{script}: {complaint}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts a program inside.
    pub(crate) fn start(&self, program: &str, arguments: &[&str]) -> std::process::Child {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        self.run(move || command.spawn().unwrap())
    }

    /// Names this namespace in `folder`, as a runtime would in /run/netns.
    pub(crate) fn name_in(&self, folder: &Path, name: &str) {
        let target = format!("/proc/{}/task/{}/ns/net", std::process::id(), self.thread);
        symlink(target, folder.join(name)).unwrap();
    }
}

pub(crate) fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

pub(crate) const NODE_V4: &str = "10.44.1.1";
pub(crate) const POD_V4: &str = "10.44.1.10";
pub(crate) const NODE_V6: &str = "fd00:44:1::1";
pub(crate) const POD_V6: &str = "fd00:44:1::10";
pub(crate) const PROBE_V4: &str = "169.254.7.127";
pub(crate) const PROBE_V6: &str = "fd16:9254:7127:1337:ffff:ffff:ffff:ffff";

/// The families that this kernel has, as (node, pod, probe) addresses.
pub(crate) fn families() -> Vec<(IpAddr, IpAddr, IpAddr)> {
    let parse = |text: &str| text.parse().unwrap();
    let mut families = vec![(parse(NODE_V4), parse(POD_V4), parse(PROBE_V4))];
    if has_ipv6() {
        families.push((parse(NODE_V6), parse(POD_V6), parse(PROBE_V6)));
    }
    families
}

/// A node and a pod on it, joined by a veth pair; the pod's default route leads to the node.
pub(crate) fn node_and_pod() -> (Sandbox, Sandbox) {
    let (node, pod) = (Sandbox::new(), Sandbox::new());
    node.sh(&format!(
        "ip link add veth0 type veth peer name eth0 netns {} && ip link set veth0 up
         ip addr add {NODE_V4}/24 dev veth0 && ip addr add {PROBE_V4}/32 dev lo",
        pod.thread
    ));
    pod.sh(&format!(
        "ip addr add {POD_V4}/24 dev eth0 && ip link set eth0 up && ip route add default via {NODE_V4}"
    ));
    if has_ipv6() {
        node.sh(&format!(
            "ip addr add {NODE_V6}/64 dev veth0 nodad && ip addr add {PROBE_V6}/128 dev lo"
        ));
        pod.sh(&format!(
            "ip addr add {POD_V6}/64 dev eth0 nodad && ip route add default via {NODE_V6}"
        ));
    }
    (node, pod)
}

/// Listens inside and tells each caller `label` and the caller's own address as seen here.
pub(crate) fn answer_tcp(sandbox: &Sandbox, address: SocketAddr, label: &str) {
    let listener = sandbox.run(move || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(16)?;
        io::Result::Ok(TcpListener::from(socket))
    });
    let listener = listener.unwrap();
    let label = label.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let peer = stream.peer_addr().unwrap().ip().to_canonical();
            let _ = stream.write_all(format!("{label} {peer}").as_bytes());
        }
    });
}

/// Answers each datagram inside with `label` and the asker's address.
pub(crate) fn answer_udp(sandbox: &Sandbox, address: SocketAddr, mark: Option<u32>, label: &str) {
    let socket = sandbox.run(move || {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
        if let Some(mark) = mark {
            socket.set_mark(mark)?;
        }
        socket.bind(&address.into())?;
        io::Result::Ok(UdpSocket::from(socket))
    });
    let (socket, label) = (socket.unwrap(), label.to_owned());
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(format!("{label} {}", peer.ip()).as_bytes(), peer);
        }
    });
}

/// How a call is made.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Call {
    pub(crate) from: Option<IpAddr>,
    pub(crate) mark: Option<u32>,
    pub(crate) transparent: bool,
}

/// Calls `to` from inside and reads what it says.
pub(crate) fn call(sandbox: &Sandbox, to: SocketAddr, how: Call) -> io::Result<String> {
    let work = move || {
        let socket =
            Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP)).unwrap();
        if let Some(mark) = how.mark {
            socket.set_mark(mark).unwrap();
        }
        if how.transparent {
            // Linux keeps one flag for both families.
            socket.set_ip_transparent_v4(true).unwrap();
        }
        if let Some(from) = how.from {
            socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
        }
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect_timeout(&to.into(), PATIENCE)?;
        let mut said = String::new();
        TcpStream::from(socket).read_to_string(&mut said)?;
        Ok(said)
    };
    sandbox.spawn(work).join().unwrap()
}

/// Sends a datagram from inside and waits for the answer.
pub(crate) fn ask(sandbox: &Sandbox, to: SocketAddr, mark: Option<u32>) -> io::Result<String> {
    let work = move || {
        let socket = Socket::new(Domain::for_address(to), Type::DGRAM, None)?;
        if let Some(mark) = mark {
            socket.set_mark(mark)?;
        }
        socket.connect(&to.into())?;
        let socket = UdpSocket::from(socket);
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send(b"?")?;
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    sandbox.spawn(work).join().unwrap()
}

/// The numbers that the kernel gives to a namespace's generations of rules: one a transaction.
pub(crate) struct Generations {
    monitor: std::process::Child,
    lines: mpsc::Receiver<String>,
}

impl Generations {
    pub(crate) fn watch(sandbox: &Sandbox) -> Self {
        let mut monitor = sandbox.start("nft", &["monitor"]);
        let output = io::BufReader::new(monitor.stdout.take().unwrap());
        let (line, lines) = mpsc::channel();
        std::thread::spawn(move || {
            io::BufRead::lines(output).map_while(Result::ok).try_for_each(|text| line.send(text))
        });
        // The monitor says nothing once it listens, so it is spoken to until it answers.
        for attempt in 0.. {
            sandbox.sh("nft add table inet hello; nft delete table inet hello");
            if lines.recv_timeout(Duration::from_millis(100)).is_ok() {
                break;
            }
            assert!(attempt < 50, "nft monitor says nothing");
        }
        Self { monitor, lines }
    }

    /// The generation that a new table called `name` makes.
    pub(crate) fn made_by_table(&self, sandbox: &Sandbox, name: &str) -> u32 {
        sandbox.sh(&format!("nft add table inet {name}"));
        let next = || self.lines.recv_timeout(PATIENCE).expect("nft monitor goes on");
        while !next().contains(&format!("add table inet {name}")) {}
        loop {
            if let Some((_, number)) = next().split_once("new generation ") {
                return number.split(' ').next().unwrap().parse().unwrap();
            }
        }
    }
}

impl Drop for Generations {
    fn drop(&mut self) {
        let _ = self.monitor.kill();
        let _ = self.monitor.wait();
    }
}
