//! Sockets, and the only place that names their options.
//!
//! Making a socket and using it are apart: [`stream_socket`] and [`listen`] are synchronous, so that a caller can
//! make them inside another network namespace, where they then stay; nothing here changes a namespace.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::limits;

/// Options of a socket that connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamSettings {
    /// Packet mark (SO_MARK). Needs CAP_NET_ADMIN.
    pub mark: Option<u32>,
    /// Address to connect from.
    pub source: Option<SocketAddr>,
    /// The source may be an address of somebody else (IP_TRANSPARENT, IP_FREEBIND). Needs CAP_NET_ADMIN.
    pub is_transparent: bool,
    /// Both ends are on this node; see [`set_within_node`].
    pub is_within_node: bool,
}

/// Options of a socket that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListenSettings {
    /// Accepts connections to addresses of somebody else, and lets accepted sockets answer from them
    /// (IP_TRANSPARENT). Needs CAP_NET_ADMIN.
    pub is_transparent: bool,
    /// Shares the port with another process (SO_REUSEPORT): the next version of this one.
    pub reuse_port: bool,
    /// Packet mark, inherited by what is accepted. Needs CAP_NET_ADMIN.
    pub mark: Option<u32>,
    /// An IPv6 wildcard takes IPv4 connections too.
    pub is_dual_stack: bool,
    /// What is accepted comes from this node; see [`set_within_node`].
    pub is_within_node: bool,
}

/// Why a connection was not made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectFailure {
    /// The system said so.
    #[error("connecting to {to}: {error}")]
    Io {
        /// Where to.
        to: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// Nobody answered.
    #[error("no answer from {to} within {} ms", waited.as_millis())]
    Timeout {
        /// Where to.
        to: SocketAddr,
        /// For how long.
        waited: Duration,
    },
}

/// A socket for connections to `to`'s family, not yet connected.
pub fn stream_socket(to: SocketAddr, settings: &StreamSettings) -> io::Result<TcpSocket> {
    prepare_stream_socket(new_socket(to.is_ipv6(), Type::STREAM, settings.mark)?, to, settings)
}

/// The same of a socket that [`new_socket`] made earlier, in whatever namespace.
pub fn prepare_stream_socket(
    socket: Socket,
    to: SocketAddr,
    settings: &StreamSettings,
) -> io::Result<TcpSocket> {
    if settings.is_transparent {
        set_transparent(&socket, to.is_ipv6())?;
        set_freebind(&socket, to.is_ipv6())?;
    }
    if let Some(source) = settings.source {
        if source.port() == 0 {
            // The port is chosen when the destination is known, among 28,000 for each. Otherwise it would be one that
            // no connection at all uses or has just used, and soon a search for the last of them. Without the option it
            // works, too.
            let _ = setsockopt(&socket, IpBindAddressNoPort, &true);
        }
        socket.bind(&source.into())?;
    }
    if settings.is_within_node {
        set_within_node(&socket);
    }
    set_stream_options(&socket)?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

/// A bare socket in the calling thread's network namespace: not blocking, closed on exec, marked.
pub fn new_socket(is_v6: bool, kind: Type, mark: Option<u32>) -> io::Result<Socket> {
    let domain = if is_v6 { Domain::IPV6 } else { Domain::IPV4 };
    let protocol = if kind == Type::DGRAM { Protocol::UDP } else { Protocol::TCP };
    let socket = Socket::new(domain, kind.nonblocking().cloexec(), Some(protocol))?;
    if let Some(mark) = mark {
        socket.set_mark(mark)?;
    }
    Ok(socket)
}

/// Connects within [`limits::CONNECT_DEADLINE`].
pub async fn connect(socket: TcpSocket, to: SocketAddr) -> Result<TcpStream, ConnectFailure> {
    let waited = limits::CONNECT_DEADLINE;
    match timeout(waited, socket.connect(to)).await {
        Ok(result) => result.map_err(|error| ConnectFailure::Io { to, error }),
        Err(_) => Err(ConnectFailure::Timeout { to, waited }),
    }
}

/// A listener on the calling runtime; see [`listening_socket`].
pub fn listen(at: SocketAddr, settings: &ListenSettings) -> io::Result<TcpListener> {
    TcpListener::from_std(listening_socket(at, settings)?.into())
}

/// A listening socket, in the calling thread's network namespace. An IPv6 one takes IPv6 only, so that both families
/// can have one on the same port, unless it is to take both.
///
/// What is accepted inherits every option (tcp(7), socket(7)), so that none costs a system call a connection.
pub fn listening_socket(at: SocketAddr, settings: &ListenSettings) -> io::Result<Socket> {
    let socket = new_socket(at.is_ipv6(), Type::STREAM, settings.mark)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(settings.reuse_port)?;
    if at.is_ipv6() {
        socket.set_only_v6(!settings.is_dual_stack)?;
    }
    if settings.is_transparent {
        set_transparent(&socket, at.is_ipv6())?;
    }
    if settings.is_within_node {
        set_within_node(&socket);
    }
    set_stream_options(&socket)?;
    socket.bind(&at.into())?;
    socket.listen(limits::LISTEN_BACKLOG)?;
    Ok(socket)
}

/// Where a redirected connection was going before the redirection (SO_ORIGINAL_DST, IP6T_SO_ORIGINAL_DST), with an
/// IPv4 address mapped into IPv6 as the IPv4 address. An error if it was not redirected.
pub fn original_destination(stream: &TcpStream) -> io::Result<SocketAddr> {
    let socket = SockRef::from(stream);
    let is_v6 = stream.local_addr()?.ip().to_canonical().is_ipv6();
    let address = if is_v6 { socket.original_dst_v6() } else { socket.original_dst_v4() }?;
    let address = address.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// Closing it sends RST (SO_LINGER of zero) and drops what is unsent: the peer must not take a cut for an end.
pub fn reset_on_close(stream: &TcpStream) {
    // It fails on a socket that is gone already, which resets nobody.
    let _ = stream.set_zero_linger();
}

/// Takes the system's congestion control off connections that never leave the node's memory, where there is no network
/// to be gentle with. Where the system's is BBR its pacing timers cost such a connection most of its speed. Reno does
/// nothing until a segment is lost, is in every kernel, and needs no permission.
fn set_within_node(socket: &Socket) {
    // Without it the connection works as any other.
    let _ = socket.set_tcp_congestion(b"reno");
}

/// What every connection gets: no delay of small segments, and probes after long silence.
fn set_stream_options(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(limits::TCP_KEEPALIVE_TIME)
            .with_interval(limits::TCP_KEEPALIVE_INTERVAL)
            .with_retries(limits::TCP_KEEPALIVE_PROBES),
    )
}

fn set_transparent(socket: &Socket, is_v6: bool) -> io::Result<()> {
    if is_v6 { socket.set_ip_transparent_v6(true) } else { socket.set_ip_transparent_v4(true) }
}

fn set_freebind(socket: &Socket, is_v6: bool) -> io::Result<()> {
    if is_v6 { socket.set_freebind_v6(true) } else { socket.set_freebind_v4(true) }
}

/// Two descriptors a connection: the soft limit of 1,024 that many systems start with is for other programs.
pub fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(%error, "the limit of open files can't be raised");
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn connection_has_no_delay_and_keeps_itself_alive() {
        let listener = listen("127.0.0.1:0".parse().unwrap(), &ListenSettings::default()).unwrap();
        let to = listener.local_addr().unwrap();
        let socket = stream_socket(to, &StreamSettings::default()).unwrap();
        let mut client = connect(socket, to).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        for stream in [&client, &server] {
            assert!(stream.nodelay().unwrap());
            let keepalive = SockRef::from(stream);
            assert_eq!(keepalive.tcp_keepalive_time().unwrap(), limits::TCP_KEEPALIVE_TIME);
            assert_eq!(keepalive.tcp_keepalive_retries().unwrap(), limits::TCP_KEEPALIVE_PROBES);
        }
        client.write_all(b"x").await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), b'x');
    }

    #[tokio::test]
    async fn both_ends_within_a_node_take_the_systems_congestion_control_off() {
        let within = ListenSettings { is_within_node: true, ..ListenSettings::default() };
        let listener = listen("127.0.0.1:0".parse().unwrap(), &within).unwrap();
        let to = listener.local_addr().unwrap();
        let within = StreamSettings { is_within_node: true, ..StreamSettings::default() };
        let client = connect(stream_socket(to, &within).unwrap(), to).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        for stream in [&client, &server] {
            let name = SockRef::from(stream).tcp_congestion().unwrap();
            assert!(name.starts_with(b"reno"), "{name:?}");
        }
    }

    #[tokio::test]
    async fn connection_leaves_from_the_source_that_was_asked_for() {
        let listener = listen("127.0.0.1:0".parse().unwrap(), &ListenSettings::default()).unwrap();
        let to = listener.local_addr().unwrap();
        let source = Some("127.0.0.9:0".parse().unwrap());
        let socket = stream_socket(to, &StreamSettings { source, ..Default::default() }).unwrap();
        let _client = connect(socket, to).await.unwrap();
        let (_, from) = listener.accept().await.unwrap();
        assert_eq!(from.ip().to_string(), "127.0.0.9");
    }

    #[tokio::test]
    async fn wildcard_takes_both_families_if_asked_to() {
        let settings = ListenSettings { is_dual_stack: true, ..ListenSettings::default() };
        let listener = listen("[::]:0".parse().unwrap(), &settings).unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "::1"] {
            let to = SocketAddr::new(host.parse().unwrap(), port);
            let socket = stream_socket(to, &StreamSettings::default()).unwrap();
            let _client = connect(socket, to).await.unwrap();
            let (_, from) = listener.accept().await.unwrap();
            assert_eq!(from.ip().to_canonical(), to.ip());
        }
    }

    #[tokio::test]
    async fn two_processes_can_share_a_port_if_both_agree() {
        let shared = ListenSettings { reuse_port: true, ..Default::default() };
        let first = listen("127.0.0.1:0".parse().unwrap(), &shared).unwrap();
        let at = first.local_addr().unwrap();
        assert!(listen(at, &shared).is_ok());
        assert!(listen(at, &ListenSettings::default()).is_err());
    }

    #[tokio::test]
    async fn refused_connection_is_an_error_at_once() {
        let free = listen("127.0.0.1:0".parse().unwrap(), &ListenSettings::default()).unwrap();
        let to = free.local_addr().unwrap();
        drop(free);
        let socket = stream_socket(to, &StreamSettings::default()).unwrap();
        let error = connect(socket, to).await.unwrap_err();
        assert!(matches!(error, ConnectFailure::Io { .. }), "{error}");
    }
}
