//! Packets of pods and of name servers, through the DNS proxy's own sockets.
//!
//! The sockets are real, so these targets are slower than the others, and each holds one proxy for all its inputs. What
//! the proxy remembers between inputs is the answers of name servers; every input asks for a name of its own.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::LocalKey;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use weft_core::limits;
use weft_core::telemetry::{Build, DnsMetrics, Registry};
use weft_ztunnel::dns::{
    ClientView, Forwarder, NameTable, NamedService, Names, PodDns, UpstreamSockets, serve_udp,
};

/// Longer than everything on loopback takes.
const PATIENCE: Duration = Duration::from_secs(20);
const HEADER_BYTES: usize = 12;
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

thread_local! {
    static ALONE: RefCell<Option<Running>> = const { RefCell::new(None) };
    static BELOW_A_SERVER: RefCell<Option<Running>> = const { RefCell::new(None) };
}

/// What a pod sends. There is at most one answer, with the id that was asked under, no longer than may be; nonsense is
/// not answered at more length than it had, and responses are not answered at all.
pub fn dns_query(data: &[u8]) {
    const SENTINEL: &[u8] = b"\x08sentinel\x07example\0";
    let is_sentinel =
        |bytes: &[u8]| bytes.get(HEADER_BYTES..).is_some_and(|it| it.starts_with(SENTINEL));
    if data.len() > limits::DNS_UDP_READ_BYTES_MAX || is_sentinel(data) {
        return;
    }
    with(&ALONE, Proxy::alone, async |proxy| {
        proxy.client.send(data).await?;
        // Answered after whatever `data` leads to, so that its answer marks the end.
        proxy.client.send(&question(0x5e47, SENTINEL)).await?;
        let mut replies = Vec::new();
        loop {
            let reply = proxy.receive().await?;
            if is_sentinel(&reply) {
                break;
            }
            replies.push(reply);
        }
        assert!(replies.len() <= 1, "several answers to one packet");
        let is_response = data.get(2).is_none_or(|flags| flags & 0x80 != 0);
        for reply in replies {
            assert!(data.len() >= HEADER_BYTES && !is_response, "a response was answered");
            assert_eq!(reply.first_chunk::<2>(), data.first_chunk::<2>(), "under another id");
            assert!(reply.len() <= usize::from(limits::DNS_UDP_BYTES_MAX));
            assert!(reply.len() > HEADER_BYTES || reply.len() <= data.len());
        }
        Ok(())
    });
}

/// What a name server says, below a header and question that fit: flags and counts, then everything after the question.
/// The pod gets exactly one answer, to its own question, whatever came.
pub fn dns_response(data: &[u8]) {
    let (counts, records) = data.split_at_checked(HEADER_BYTES - 2).unwrap_or((data, &[]));
    with(&BELOW_A_SERVER, Proxy::below_a_server, async |proxy| {
        proxy.asked += 1;
        let name = format!("\x08{:08x}\x07example\0", proxy.asked);
        let question = question(0x1234, name.as_bytes());
        proxy.client.send(&question).await?;
        let (server, listener) = proxy.server.as_ref().expect("it has a server");
        let mut buffer = [0; 512];
        loop {
            let asked = tokio::select! {
                reply = proxy.receive() => return check_response(&question, &reply?),
                asked = server.recv_from(&mut buffer) => asked?,
                accepted = listener.accept() => {
                    answer_tcp(accepted?.0, counts, records).await?;
                    continue;
                }
            };
            let (length, from) = asked;
            let asked = buffer.get(..length).unwrap_or_default();
            server.send_to(&craft(asked, counts, records), from).await?;
            // Where the first does not fit, the proxy waits for another; this one ends that.
            server.send_to(&craft(asked, &[0x81, 0x83, 0, 1], &[]), from).await?;
        }
    });
}

fn check_response(question: &[u8], reply: &[u8]) -> io::Result<()> {
    assert!(reply.len() <= usize::from(limits::DNS_UDP_BYTES_MAX));
    assert_eq!(reply.first_chunk::<2>(), question.first_chunk::<2>());
    let asked = question.get(HEADER_BYTES..).unwrap_or_default();
    let repeated = reply.get(HEADER_BYTES..).unwrap_or_default();
    assert!(repeated.starts_with(asked), "the answer is to another question");
    Ok(())
}

async fn answer_tcp(mut stream: TcpStream, counts: &[u8], records: &[u8]) -> io::Result<()> {
    let length = usize::from(stream.read_u16().await?);
    let mut asked = vec![0; length];
    stream.read_exact(&mut asked).await?;
    let answer = craft(&asked, counts, records);
    let length = u16::try_from(answer.len()).unwrap_or(u16::MAX);
    stream.write_all(&length.to_be_bytes()).await?;
    // The proxy may have hung up on a length that is too much for it.
    let _ = stream.write_all(&answer).await;
    Ok(())
}

/// A response under the id of `asked` and with its question, which ends before the EDNS record that we send.
fn craft(asked: &[u8], counts: &[u8], records: &[u8]) -> Vec<u8> {
    let question = HEADER_BYTES..HEADER_BYTES + 18 + 4;
    let mut response = asked.get(..2).unwrap_or_default().to_vec();
    response.extend_from_slice(counts);
    response.resize(HEADER_BYTES, 0);
    response.extend_from_slice(asked.get(question).unwrap_or_default());
    response.extend_from_slice(records);
    response.truncate(limits::DNS_UDP_READ_BYTES_MAX);
    response
}

/// Asks for addresses (type A, class IN) of a name that is encoded already.
fn question(id: u16, name: &[u8]) -> Vec<u8> {
    let mut packet = id.to_be_bytes().to_vec();
    packet.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    packet.extend_from_slice(name);
    packet.extend_from_slice(&[0, 1, 0, 1]);
    packet
}

/// The mesh: one service with a virtual address, and one with more endpoints than fit a packet.
struct Table;

impl NameTable for Table {
    fn services(&self, host: &str, _: &ClientView) -> Vec<NamedService> {
        let addresses = match host {
            "web.demo.svc.cluster.local" => vec![[10, 1, 0, 1].into()],
            "db.demo.svc.cluster.local" => Vec::new(),
            _ => return Vec::new(),
        };
        let (namespace, host) = ("demo".into(), host.into());
        vec![NamedService { namespace, host, addresses, ..Default::default() }]
    }

    fn endpoints(&self, _: &NamedService, _: &ClientView) -> Vec<IpAddr> {
        (0..=u8::MAX).map(|last| [10, 0, 0, last].into()).collect()
    }
}

struct Loopback;

impl UpstreamSockets for Loopback {
    fn udp(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<UdpSocket>> {
        Box::pin(connected(to))
    }

    fn tcp(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(async move { TcpSocket::new_v4()?.connect(to).await })
    }
}

async fn connected(to: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(LOOPBACK).await?;
    socket.connect(to).await?;
    Ok(socket)
}

/// The proxy's tasks end with its runtime.
type Running = (Runtime, Proxy);

/// A running proxy as one pod sees it.
struct Proxy {
    client: UdpSocket,
    /// The one name server, over both transports, at one address.
    server: Option<(UdpSocket, TcpListener)>,
    asked: u32,
}

impl Proxy {
    async fn alone() -> io::Result<Self> {
        Self::start(None).await
    }

    async fn below_a_server() -> io::Result<Self> {
        let listener = TcpListener::bind(LOOPBACK).await?;
        let socket = UdpSocket::bind(listener.local_addr()?).await?;
        Self::start(Some((socket, listener))).await
    }

    async fn start(server: Option<(UdpSocket, TcpListener)>) -> io::Result<Self> {
        let servers = server.iter().map(|(socket, _)| socket.local_addr());
        let servers = servers.collect::<io::Result<_>>()?;
        let mut registry = Registry::new(&Build::default());
        let dns = Arc::new(PodDns {
            names: Names {
                cluster_domain: "cluster.local".into(),
                preferred_namespace: None,
                ipv6: true,
            },
            table: Arc::new(Table),
            client: ClientView { namespace: "demo".into(), network: "".into() },
            forwarder: Forwarder::new(servers, Arc::new(Loopback)),
            metrics: DnsMetrics::new(&mut registry).client(&"web".into(), &"v1".into()),
        });
        let socket = UdpSocket::bind(LOOPBACK).await?;
        let client = connected(socket.local_addr()?).await?;
        tokio::spawn(serve_udp(dns, socket, std::future::pending()));
        Ok(Self { client, server, asked: 0 })
    }

    async fn receive(&self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; usize::from(u16::MAX)];
        let length = self.client.recv(&mut buffer).await?;
        buffer.truncate(length);
        Ok(buffer)
    }
}

/// Runs `attempt` on the thread's proxy, which is started for the first input and after a panic. The sockets of a test
/// machine are taken to work.
fn with(
    known: &'static LocalKey<RefCell<Option<Running>>>,
    start: impl AsyncFnOnce() -> io::Result<Proxy>,
    attempt: impl AsyncFnOnce(&mut Proxy) -> io::Result<()>,
) {
    let (runtime, mut proxy) = known.take().unwrap_or_else(|| {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let proxy = runtime.block_on(start()).expect("loopback");
        (runtime, proxy)
    });
    let outcome = runtime.block_on(async { timeout(PATIENCE, attempt(&mut proxy)).await });
    outcome.expect("the proxy is silent").expect("loopback");
    known.set(Some((runtime, proxy)));
}
