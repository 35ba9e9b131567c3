//! Asking a name server, from the pod's own network namespace.
//!
//! Off the path, an attacker who wants to plant an answer must guess the port, the id and the case of every letter of
//! the name (draft-vixie-dnsext-dns0x20) within the time that the right answer takes.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use weft_core::limits;

use super::answer::own_edns;
use super::cache::{Cache, Key};
use super::wire;

/// The capability to open sockets in a pod's network namespace, marked as the proxy's own.
pub trait UpstreamSockets: Send + Sync {
    /// A UDP socket connected to `to`, on a port that the kernel picked at random.
    fn udp(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<UdpSocket>>;
    /// A TCP connection to `to`.
    fn tcp(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>>;
}

/// Why a name server's answer is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ForwardError {
    /// There is none to ask.
    #[error("no name server in resolv.conf")]
    NoServer,
    /// The pod has too many questions open.
    #[error("the pod has {} queries waiting for name servers already", limits::DNS_FORWARDS_MAX)]
    Busy,
    /// None answered.
    #[error("no name server answered")]
    NoAnswer,
}

/// The name servers of one pod.
pub struct Forwarder {
    servers: Vec<SocketAddr>,
    sockets: Arc<dyn UpstreamSockets>,
    cache: Mutex<Cache>,
    permits: Semaphore,
}

/// A name server's answer, and how long it took; `None` if it was remembered.
pub(super) struct Answered {
    pub(super) response: Message,
    pub(super) took: Option<Duration>,
}

impl Forwarder {
    /// Asks `servers` in order. Without any, every query fails at once.
    pub fn new(servers: Vec<SocketAddr>, sockets: Arc<dyn UpstreamSockets>) -> Self {
        let permits = Semaphore::new(limits::DNS_FORWARDS_MAX);
        Self { servers, sockets, cache: Mutex::default(), permits }
    }

    /// The answer to `query`, under its id and its spelling.
    pub(super) async fn ask(&self, query: &Message) -> Result<Answered, ForwardError> {
        if self.servers.is_empty() {
            return Err(ForwardError::NoServer);
        }
        let key = Key::of(query);
        if let Some(response) = key.as_ref().and_then(|key| self.cache.lock().get(key)) {
            return Ok(Answered { response: restore(response, query), took: None });
        }
        let _permit = self.permits.try_acquire().map_err(|_| ForwardError::Busy)?;
        let began = Instant::now();
        let response = self.ask_servers(query).await.ok_or(ForwardError::NoAnswer)?;
        if let Some(key) = key {
            self.cache.lock().put(key, &response);
        }
        Ok(Answered { response: restore(response, query), took: Some(began.elapsed()) })
    }

    async fn ask_servers(&self, query: &Message) -> Option<Message> {
        let mut failure = None;
        for &server in self.servers.iter().cycle().take(limits::DNS_TRIES.max(self.servers.len())) {
            let attempt = timeout(limits::DNS_TRY_DEADLINE, self.ask_one(server, query));
            match attempt.await {
                Ok(Ok(response)) if is_final(&response) => return Some(response),
                Ok(Ok(response)) => {
                    failure = Some(response);
                    // The only one would fail again.
                    if self.servers.len() == 1 {
                        break;
                    }
                }
                Ok(Err(error)) => tracing::debug!(target: "dns", %server, %error, "name server"),
                Err(_) => tracing::debug!(target: "dns", %server, "name server is silent"),
            }
        }
        failure
    }

    /// The addresses of a host, of one family. For the proxy's own use, so that a host name in the mesh's
    /// configuration resolves as it would for the pod.
    pub async fn addresses(&self, host: &str, is_v6: bool) -> io::Result<Vec<IpAddr>> {
        let name = Name::from_ascii(host).map_err(io::Error::other)?;
        let record_type = if is_v6 { RecordType::AAAA } else { RecordType::A };
        let mut query = Message::new(rand::random(), MessageType::Query, OpCode::Query);
        query.metadata.recursion_desired = true;
        query.add_query(Query::query(name, record_type));
        let answered = self.ask(&query).await.map_err(io::Error::other)?;
        let addresses = answered.response.answers.iter().filter_map(|record| match &record.data {
            RData::A(address) => Some(IpAddr::from(address.0)),
            RData::AAAA(address) => Some(IpAddr::from(address.0)),
            _ => None,
        });
        Ok(addresses.take(limits::DNS_ADDRESSES_MAX).collect())
    }

    async fn ask_one(&self, server: SocketAddr, query: &Message) -> io::Result<Message> {
        let request =
            request(query).ok_or_else(|| io::Error::other("the query can't be encoded"))?;
        let bytes = request.to_vec().map_err(io::Error::other)?;
        let socket = self.sockets.udp(server).await?;
        socket.send(&bytes).await?;
        let mut buffer = vec![0; limits::DNS_UDP_READ_BYTES_MAX];
        for _ in 0..limits::DNS_WRONG_ANSWERS_MAX {
            let length = socket.recv(&mut buffer).await?;
            let received = buffer.get(..length).and_then(wire::read_response);
            let Some(response) = received else { continue };
            match fit(&request, &response) {
                Fit::Whole if !response.metadata.truncation => return Ok(response),
                // A server that doesn't keep the case is asked where nobody can slip in an answer.
                Fit::Whole | Fit::OtherCase => return self.ask_tcp(server, &request, &bytes).await,
                Fit::Not => {}
            }
        }
        Err(io::Error::other("too many wrong answers: somebody may be guessing"))
    }

    async fn ask_tcp(
        &self,
        to: SocketAddr,
        request: &Message,
        bytes: &[u8],
    ) -> io::Result<Message> {
        let mut stream = self.sockets.tcp(to).await?;
        write_frame(&mut stream, bytes).await?;
        let response = read_frame(&mut stream, usize::from(u16::MAX)).await?;
        let response = response.as_deref().and_then(wire::read_response);
        response
            .filter(|response| fit(request, response) != Fit::Not)
            .ok_or_else(|| io::Error::other("the answer over TCP doesn't fit the question"))
    }
}

/// Whether another server couldn't do better.
fn is_final(response: &Message) -> bool {
    matches!(response.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain)
}

/// What a name server is sent: the client's question, and nothing else of the client's message.
fn request(query: &Message) -> Option<Message> {
    let question = query.queries.first()?;
    let mut request = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    request.metadata.recursion_desired = query.metadata.recursion_desired;
    request.metadata.checking_disabled = query.metadata.checking_disabled;
    let mut name = question.name.clone();
    name.randomize_label_case();
    let mut asked = Query::query(name, question.query_type);
    asked.set_query_class(question.query_class);
    request.add_query(asked);
    request.set_edns(own_edns(query.edns.as_ref().unwrap_or(&Edns::new())));
    Some(request)
}

#[derive(Debug, PartialEq, Eq)]
enum Fit {
    Whole,
    OtherCase,
    Not,
}

/// Whether `response` answers `request` (RFC 5452, section 9.1).
fn fit(request: &Message, response: &Message) -> Fit {
    let ([asked], [answered]) = (request.queries.as_slice(), response.queries.as_slice()) else {
        return Fit::Not;
    };
    let is_same = request.metadata.id == response.metadata.id
        && asked.query_type == answered.query_type
        && asked.query_class == answered.query_class
        && asked.name == answered.name;
    match is_same {
        true if asked.name.eq_case(&answered.name) => Fit::Whole,
        true => Fit::OtherCase,
        false => Fit::Not,
    }
}

/// The response under the client's id, in the client's spelling, and with what we speak of EDNS.
fn restore(mut response: Message, query: &Message) -> Message {
    response.metadata.id = query.metadata.id;
    response.metadata.truncation = false;
    response.queries.clone_from(&query.queries);
    response.edns = query.edns.as_ref().map(own_edns);
    response.signature = None;
    if let Some(question) = query.queries.first() {
        for record in &mut response.answers {
            if record.name == question.name {
                record.name = question.name.clone();
            }
        }
    }
    response
}

/// Writes a message with its length before it (RFC 1035, section 4.2.2), in one go.
pub(super) async fn write_frame(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut frame = Vec::with_capacity(message.len() + 2);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(message);
    stream.write_all(&frame).await
}

/// Reads a message with its length before it; `None` at the end of the stream.
pub(super) async fn read_frame(
    stream: &mut TcpStream,
    bytes_max: usize,
) -> io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u16().await {
        Ok(length) => usize::from(length),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > bytes_max {
        return Err(io::Error::other("the message is longer than any sensible one"));
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}

#[cfg(test)]
pub(super) mod tests;
