//! How the shop's programs make and accept connections.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// Connections waiting to be accepted: as many as the largest test opens at once.
const BACKLOG: i32 = 4096;

/// A connection within a deadline, without Nagle's delay.
#[expect(clippy::disallowed_methods, reason = "this is where the shop makes its connections")]
pub(crate) async fn connect(to: SocketAddr, deadline: Duration) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(deadline, TcpStream::connect(to))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time"))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A listener; several may share the address, each with its own queue.
pub(crate) fn listen(on: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(on), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&on.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
