//! Sockets inside pods' network namespaces, made by one thread that does nothing else.
//!
//! A thread is in one namespace at a time, so a proxy that changed its workers' namespace around every socket
//! would pay two system calls a connection and risk running a stranger's code in the wrong pod. Here only the
//! broker thread moves; the workers get finished descriptors, which keep their namespace for life.
//! Pods that open many connections get their sockets in batches ahead of need ([`PodSockets`]).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sched::{CloneFlags, setns};
use parking_lot::Mutex;
use socket2::{Socket, Type};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{mpsc, oneshot};

use crate::limits;
use weft_core::socket::{self, ConnectFailure, ListenSettings, StreamSettings};

/// A pod's network namespace: the descriptor keeps it alive, the inode tells it from another.
#[derive(Debug, Clone)]
pub(crate) struct Netns {
    descriptor: Arc<OwnedFd>,
    inode: (u64, u64),
}

impl Netns {
    /// Takes the descriptor that the node agent passed.
    pub(crate) fn new(descriptor: OwnedFd) -> io::Result<Self> {
        let file = std::fs::File::from(descriptor);
        let metadata = file.metadata()?;
        Ok(Self {
            inode: (metadata.dev(), metadata.ino()),
            descriptor: Arc::new(OwnedFd::from(file)),
        })
    }
}

impl PartialEq for Netns {
    fn eq(&self, other: &Self) -> bool {
        self.inode == other.inode
    }
}

/// What a listener takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listening {
    /// Connections of the pod itself.
    FromPod,
    /// Connections from anywhere, to be answered under addresses that may not be the pod's.
    Transparent,
}

/// What the broker is asked for.
#[derive(Debug, Clone, Copy)]
enum Order {
    /// A listening TCP socket.
    Listen { address: SocketAddr, kind: Listening },
    /// A bound UDP socket.
    Datagram { address: SocketAddr },
    /// TCP sockets to connect with.
    Unconnected { v6: bool, count: usize },
}

struct Request {
    netns: Netns,
    order: Order,
    reply: oneshot::Sender<io::Result<Vec<Socket>>>,
}

/// The way to the broker thread.
#[derive(Debug, Clone)]
pub(crate) struct Broker {
    requests: mpsc::Sender<Request>,
}

impl Broker {
    /// Starts the broker thread. Every socket that it makes carries `mark`, by which the pod's own rules tell
    /// the proxy's packets from the application's.
    pub(crate) fn spawn(mark: u32) -> io::Result<Self> {
        let (requests, inbox) = mpsc::channel(limits::BROKER_QUEUE);
        std::thread::Builder::new()
            .name("netns-broker".into())
            .spawn(move || serve_requests(inbox, mark))?;
        Ok(Self { requests })
    }

    /// Listens in `netns`. Several listeners may share an address, so that a new proxy can take over from an
    /// old one.
    pub(crate) async fn listen(
        &self,
        netns: &Netns,
        address: SocketAddr,
        kind: Listening,
    ) -> io::Result<TcpListener> {
        Ok(self.one(netns, Order::Listen { address, kind }).await?.into())
    }

    /// Binds a datagram socket in `netns`.
    pub(crate) async fn datagram(
        &self,
        netns: &Netns,
        address: SocketAddr,
    ) -> io::Result<UdpSocket> {
        UdpSocket::from_std(self.one(netns, Order::Datagram { address }).await?.into())
    }

    async fn one(&self, netns: &Netns, order: Order) -> io::Result<Socket> {
        let mut sockets = self.ask(netns, order).await?;
        sockets.pop().ok_or_else(|| io::Error::other("the namespace broker made no socket"))
    }

    async fn ask(&self, netns: &Netns, order: Order) -> io::Result<Vec<Socket>> {
        let (reply, answer) = oneshot::channel();
        let request = Request { netns: netns.clone(), order, reply };
        let gone = || io::Error::other("the namespace broker has ended");
        let exchange = async {
            self.requests.send(request).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        };
        tokio::time::timeout(limits::BROKER_DEADLINE, exchange).await.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, "the namespace broker is overloaded")
        })?
    }
}

/// The broker thread: stays in the namespace of the last request, since it has nowhere better to be.
fn serve_requests(mut inbox: mpsc::Receiver<Request>, mark: u32) {
    let mut current: Option<Netns> = None;
    while let Some(request) = inbox.blocking_recv() {
        let made = enter(&mut current, &request.netns).and_then(|()| make(request.order, mark));
        // The asker may have given up; its sockets close with the answer.
        let _ = request.reply.send(made);
    }
}

fn enter(current: &mut Option<Netns>, wanted: &Netns) -> io::Result<()> {
    if current.as_ref() == Some(wanted) {
        return Ok(());
    }
    setns(wanted.descriptor.as_fd(), CloneFlags::CLONE_NEWNET)?;
    *current = Some(wanted.clone());
    Ok(())
}

fn make(order: Order, mark: u32) -> io::Result<Vec<Socket>> {
    let mark = Some(mark);
    match order {
        Order::Listen { address, kind } => {
            let settings = ListenSettings {
                is_transparent: kind == Listening::Transparent,
                is_within_node: kind == Listening::FromPod,
                reuse_port: true,
                mark,
                is_dual_stack: false,
            };
            Ok(vec![socket::listening_socket(address, &settings)?])
        }
        Order::Datagram { address } => {
            let socket = socket::new_socket(address.is_ipv6(), Type::DGRAM, mark)?;
            // Two proxies answer side by side while one takes over from the other; nobody else asks for port 0.
            socket.set_reuse_port(address.port() != 0)?;
            socket.bind(&address.into())?;
            Ok(vec![socket])
        }
        Order::Unconnected { v6, count } => {
            (0..count).map(|_| socket::new_socket(v6, Type::STREAM, mark)).collect()
        }
    }
}

/// The sockets of one pod.
#[derive(Debug)]
pub(crate) struct PodSockets {
    broker: Broker,
    netns: Netns,
    v4: Stash,
    v6: Stash,
}

/// Sockets made ahead of need. The batch doubles each time that it runs out and starts small, so that a quiet
/// pod holds one spare descriptor and a busy one asks the broker once in [`limits::SOCKET_BATCH_MAX`] connections.
#[derive(Debug)]
struct Stash {
    spare: Mutex<Vec<Socket>>,
    batch: AtomicUsize,
}

impl Default for Stash {
    fn default() -> Self {
        Self { spare: Mutex::default(), batch: AtomicUsize::new(1) }
    }
}

impl PodSockets {
    /// Sockets of `netns`, made by `broker`.
    pub(crate) fn new(broker: Broker, netns: Netns) -> Self {
        Self { broker, netns, v4: Stash::default(), v6: Stash::default() }
    }

    /// The pod's namespace.
    pub(crate) fn netns(&self) -> &Netns {
        &self.netns
    }

    /// The broker that makes this pod's sockets.
    pub(crate) fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Connects from within the pod to wherever.
    pub(crate) async fn connect(&self, to: SocketAddr) -> Result<TcpStream, ConnectFailure> {
        self.connect_with(to, &StreamSettings::default()).await
    }

    /// Connects to the pod's application. With `source` the connection appears to come from that address.
    pub(crate) async fn connect_to_application(
        &self,
        to: SocketAddr,
        source: Option<IpAddr>,
    ) -> Result<TcpStream, ConnectFailure> {
        let settings = StreamSettings {
            source: source.map(|ip| SocketAddr::new(ip, 0)),
            is_transparent: source.is_some(),
            is_within_node: true,
            ..StreamSettings::default()
        };
        self.connect_with(to, &settings).await
    }

    async fn connect_with(
        &self,
        to: SocketAddr,
        settings: &StreamSettings,
    ) -> Result<TcpStream, ConnectFailure> {
        let failure = |error| ConnectFailure::Io { to, error };
        let socket = self.unconnected(to.is_ipv6()).await.map_err(failure)?;
        let socket = socket::prepare_stream_socket(socket, to, settings).map_err(failure)?;
        socket::connect(socket, to).await
    }

    /// Listens on `port` of every address of the pod, one listener a family that the kernel has. Several such share what comes
    /// (SO_REUSEPORT).
    pub(crate) async fn listen_any(
        &self,
        port: u16,
        kind: Listening,
    ) -> io::Result<Vec<TcpListener>> {
        let mut listeners = Vec::new();
        for ip in [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()] {
            let address = SocketAddr::new(ip, port);
            match self.broker.listen(&self.netns, address, kind).await {
                Ok(listener) => listeners.push(listener),
                Err(error) if ip.is_ipv6() && is_without_ipv6(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(listeners)
    }

    async fn unconnected(&self, v6: bool) -> io::Result<Socket> {
        let stash = if v6 { &self.v6 } else { &self.v4 };
        if let Some(socket) = stash.spare.lock().pop() {
            return Ok(socket);
        }
        let count = stash.batch.load(Ordering::Relaxed);
        stash.batch.store((count * 2).min(limits::SOCKET_BATCH_MAX), Ordering::Relaxed);
        let mut made = self.broker.ask(&self.netns, Order::Unconnected { v6, count }).await?;
        let socket =
            made.pop().ok_or_else(|| io::Error::other("the namespace broker made no socket"))?;
        stash.spare.lock().append(&mut made);
        Ok(socket)
    }
}

/// The kernel has no IPv6, or it is switched off in this namespace.
fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}
