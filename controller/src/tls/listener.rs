//! Accepts connections: a permit first, then TLS and the HTTP/2 preface under one deadline.
//!
//! Reading the preface here means that whoever completes a handshake and then keeps silent, or speaks something
//! else, never becomes a connection; after it, pings find out the dead.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use crate::metrics::Metrics;
use crate::serving_limits::{
    ACCEPT_BACKOFF_MAX, ACCEPT_BACKOFF_MIN, CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX,
    HANDSHAKE_DEADLINE, HANDSHAKES_MAX, HANDSHAKES_PER_ADDRESS_MAX,
};

/// RFC 9113 section 3.4.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Where a request's connection comes from.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddress(pub SocketAddr);

/// An established connection.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    /// How much of the preface, which was read from the stream already, has been handed on.
    replayed: usize,
    peer: SocketAddr,
    metrics: Arc<Metrics>,
    _permits: (OwnedSemaphorePermit, AddressPermit),
}

/// Accepts until `stop`, and sends what is established.
pub async fn listen(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    metrics: Arc<Metrics>,
    established: mpsc::Sender<io::Result<Connection>>,
    stop: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(config);
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let addresses = AddressCounts::new(CONNECTIONS_PER_ADDRESS_MAX);
    let shaking_addresses = AddressCounts::new(HANDSHAKES_PER_ADDRESS_MAX);
    let mut tasks = JoinSet::new();
    let mut backoff = ACCEPT_BACKOFF_MIN;
    loop {
        let permits = async {
            let handshake = handshakes.clone().acquire_owned().await;
            let connection = connections.clone().acquire_owned().await;
            Some((handshake.ok()?, connection.ok()?))
        };
        let (handshake_permit, permit) = tokio::select! {
            () = stop.cancelled() => break,
            permits = permits => match permits {
                Some(permits) => permits,
                None => break,
            },
        };
        while tasks.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (tcp, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept failed; waiting");
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(ACCEPT_BACKOFF_MAX);
                continue;
            }
        };
        backoff = ACCEPT_BACKOFF_MIN;
        let counted = (addresses.take(peer.ip()), shaking_addresses.take(peer.ip()));
        let (Some(address_permit), Some(shaking_permit)) = counted else {
            metrics.handshakes_failed.inc();
            tracing::debug!(%peer, "too many connections of one address");
            continue;
        };
        let (acceptor, metrics) = (acceptor.clone(), metrics.clone());
        let established = established.clone();
        tasks.spawn(async move {
            let handshake = tokio::time::timeout(HANDSHAKE_DEADLINE, establish(acceptor, tcp));
            let outcome = match handshake.await {
                Ok(outcome) => outcome,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            };
            drop((handshake_permit, shaking_permit));
            match outcome {
                Ok(stream) => {
                    let permits = (permit, address_permit);
                    let connection = Connection::new(stream, peer, metrics, permits);
                    let _ = established.send(Ok(connection)).await;
                }
                Err(error) => {
                    metrics.handshakes_failed.inc();
                    tracing::debug!(%peer, %error, "handshake failed");
                }
            }
        });
    }
}

async fn establish(acceptor: TlsAcceptor, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    tcp.set_nodelay(true)?;
    let mut stream = acceptor.accept(tcp).await?;
    let mut preface = [0; PREFACE.len()];
    stream.read_exact(&mut preface).await?;
    if preface == *PREFACE {
        return Ok(stream);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "not HTTP/2"))
}

impl Connection {
    fn new(
        stream: TlsStream<TcpStream>,
        peer: SocketAddr,
        metrics: Arc<Metrics>,
        permits: (OwnedSemaphorePermit, AddressPermit),
    ) -> Self {
        metrics.connections.inc();
        Self { stream, replayed: 0, peer, metrics, _permits: permits }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

impl Connected for Connection {
    type ConnectInfo = PeerAddress;

    fn connect_info(&self) -> PeerAddress {
        PeerAddress(self.peer)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = PREFACE.get(self.replayed..).unwrap_or_default();
        if rest.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(rest.get(..count).unwrap_or_default());
        self.replayed += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Counts by address. Holds as many keys as there are connections.
#[derive(Clone)]
struct AddressCounts {
    max: usize,
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

struct AddressPermit {
    address: IpAddr,
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl AddressCounts {
    fn new(max: usize) -> Self {
        Self { max, counts: Arc::default() }
    }

    fn take(&self, address: IpAddr) -> Option<AddressPermit> {
        let mut counts = self.counts.lock();
        let count = counts.entry(address).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(AddressPermit { address, counts: self.counts.clone() })
    }
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_is_bounded_and_forgotten_when_it_leaves() {
        let counts = AddressCounts::new(2);
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let held = [counts.take(one), counts.take(one)];
        assert!(held.iter().all(Option::is_some));
        assert!(counts.take(one).is_none());
        assert!(counts.take(other).is_some());
        drop(held);
        assert!(counts.counts.lock().is_empty());
    }
}
