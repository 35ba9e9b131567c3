//! TCP to the controller, from the proxy's own namespace.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::limits;

/// First probe of an idle connection, the distance of further ones, and how many go unanswered before it is dead.
/// HTTP/2's PING notices sooner; these free what is left when our own process cannot.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(300);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(75);
const KEEPALIVE_PROBES: u32 = 9;

/// Looks `host` up and tries its addresses in turn, all within [`limits::CONNECT_DEADLINE`].
pub(super) async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    timeout(limits::CONNECT_DEADLINE, dial_each(host, port))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn dial_each(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> =
        tokio::net::lookup_host((host, port)).await?.take(limits::CONTROL_ADDRESSES_MAX).collect();
    // A share each, so that one which swallows packets does not use up the time of the others.
    let shares = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let share = limits::CONNECT_DEADLINE / shares;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match timeout(share, dial_one(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

async fn dial_one(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
    socket.connect(address).await
}
