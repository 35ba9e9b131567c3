//! The two handshakes, each under its deadline, each ending in a confirmed peer.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::CommonState;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::certificate::WorkloadCertificate;
use super::config::ALPN_H2;
use super::error::{PeerFault, TlsError};
use super::read_ahead::ReadAhead;
use super::verify::Admission;
use crate::identity::{ExpectedPeers, TrustDomains};
use crate::x509::PeerCertificate;
use crate::{clock, limits};

/// An accepted connection.
pub type ServerStream<IO> = server::TlsStream<ReadAhead<IO>>;
/// A dialled connection.
pub type ClientStream<IO> = client::TlsStream<ReadAhead<IO>>;

/// Accepts a workload of `domains` as the workload of `cert`.
///
/// The deadline is [`limits::TLS_DEADLINE`] for the whole handshake. Dropping the future drops `io`.
pub async fn accept<IO>(
    cert: &Arc<WorkloadCertificate>,
    domains: &TrustDomains,
    io: IO,
) -> Result<(ServerStream<IO>, PeerCertificate), TlsError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    accept_by(clock::now, cert, domains, io).await
}

/// Dials, over an open connection, one of `expected` as the workload of `cert`. Sessions are kept by the address of
/// `tcp`'s other end.
///
/// A server's refusal of *our* certificate arrives after this has succeeded, with the first read: TLS 1.3 lets the
/// client finish first (RFC 8446, section 4.4.4). [`TlsError::of_stream`] reads it.
pub async fn connect(
    cert: &Arc<WorkloadCertificate>,
    expected: &ExpectedPeers,
    tcp: TcpStream,
) -> Result<(ClientStream<TcpStream>, PeerCertificate), TlsError> {
    let address = tcp.peer_addr().map_err(TlsError::Io)?.ip();
    connect_to(cert, expected, address, tcp).await
}

/// [`connect`] over anything that carries bytes. `address` only tells servers apart for resumption: a ticket offered
/// to another server than its issuer is one wasted.
pub async fn connect_to<IO>(
    cert: &Arc<WorkloadCertificate>,
    expected: &ExpectedPeers,
    address: IpAddr,
    io: IO,
) -> Result<(ClientStream<IO>, PeerCertificate), TlsError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    connect_by(clock::now, cert, expected, address, io).await
}

/// `now` is a parameter so that a test can let a certificate expire between two handshakes.
pub(super) async fn accept_by<IO>(
    now: impl Fn() -> SystemTime,
    cert: &Arc<WorkloadCertificate>,
    domains: &TrustDomains,
    io: IO,
) -> Result<(ServerStream<IO>, PeerCertificate), TlsError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    check_own(cert, now())?;
    let config = cert.configs.server(cert, domains)?;
    let handshake = Box::pin(TlsAcceptor::from(config).accept(ReadAhead::new(io)));
    let mut stream = in_time(handshake).await?;
    stream.get_mut().1.set_buffer_limit(Some(limits::TLS_WRITE_BYTES_MAX));
    let peer = confirm(stream.get_ref().1, &Admission::Domains(domains.clone()), now())?;
    Ok((stream, peer))
}

pub(super) async fn connect_by<IO>(
    now: impl Fn() -> SystemTime,
    cert: &Arc<WorkloadCertificate>,
    expected: &ExpectedPeers,
    address: IpAddr,
    io: IO,
) -> Result<(ClientStream<IO>, PeerCertificate), TlsError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    check_own(cert, now())?;
    let config = cert.configs.client(cert, expected)?;
    let (name, io) = (ServerName::from(address), ReadAhead::new(io));
    let mut stream = in_time(Box::pin(TlsConnector::from(config).connect(name, io))).await?;
    stream.get_mut().1.set_buffer_limit(Some(limits::TLS_WRITE_BYTES_MAX));
    let peer = confirm(stream.get_ref().1, &Admission::OneOf(expected.clone()), now())?;
    Ok((stream, peer))
}

/// The handshake comes boxed: its state is larger than anything else that a connection's task holds, and of use only
/// meanwhile.
async fn in_time<S>(
    handshake: Pin<Box<impl Future<Output = io::Result<S>>>>,
) -> Result<S, TlsError> {
    tokio::time::timeout(limits::TLS_DEADLINE, handshake)
        .await
        .map_err(|_| TlsError::Deadline)?
        .map_err(TlsError::of_stream)
}

/// A ticket of this certificate would resume even after it expired; nothing is started then.
fn check_own(cert: &WorkloadCertificate, now: SystemTime) -> Result<(), TlsError> {
    if cert.is_valid_at(now) {
        Ok(())
    } else {
        Err(TlsError::OwnCertificate(cert.identity().clone()))
    }
}

fn confirm(
    connection: &CommonState,
    admission: &Admission,
    now: SystemTime,
) -> Result<PeerCertificate, TlsError> {
    // rustls takes a peer that offers no ALPN at all; HTTP/2 would then be a guess.
    if connection.alpn_protocol() != Some(ALPN_H2) {
        return Err(PeerFault::NotHttp2.into());
    }
    Ok(admission.confirm(connection.peer_certificates(), now)?)
}
