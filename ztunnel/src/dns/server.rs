//! The sockets in a pod at which its name look-ups arrive.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use weft_core::serve::{AcceptSettings, accept_loop};
use weft_core::telemetry::{DnsClientMetrics, DnsProtocol, QueryType};
use weft_core::{drain, limits};

use super::answer::{Names, Verdict, answer, respond};
use super::forward::{ForwardError, Forwarder, read_frame, write_frame};
use super::names::{ClientView, NameTable};
use super::wire::{self, Received};

/// Pause after the UDP socket failed, so that a lasting failure doesn't take a processor.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);

/// The DNS proxy of one pod.
pub struct PodDns {
    /// How names are understood.
    pub names: Names,
    /// The mesh's services.
    pub table: Arc<dyn NameTable>,
    /// The pod.
    pub client: ClientView,
    /// For everything else.
    pub forwarder: Forwarder,
    /// The pod's counters.
    pub metrics: DnsClientMetrics,
}

/// What was decided at once about a query.
enum Next {
    /// With the size of a UDP response that the query offers to take.
    Send(Box<Message>, Option<u16>),
    Ask(Box<Message>, Unanswered),
    Nothing,
}

/// What a query is, should no name server answer it.
#[derive(Clone, Copy)]
struct Unanswered {
    is_known: bool,
    is_cluster_name: bool,
}

impl PodDns {
    fn decide(&self, bytes: &[u8], protocol: DnsProtocol) -> Next {
        let query = match wire::read_query(bytes) {
            Received::Query(query) => query,
            Received::Refuse(reply) => return Next::Send(reply, None),
            Received::Ignore => return Next::Nothing,
        };
        self.metrics.request(counted(&query), protocol);
        match answer(&self.names, self.table.as_ref(), &self.client, &query) {
            Verdict::Reply(reply) => Next::Send(reply, payload(&query)),
            Verdict::Forward { is_known, is_cluster_name } => {
                Next::Ask(query, Unanswered { is_known, is_cluster_name })
            }
        }
    }

    async fn forward(
        &self,
        query: &Message,
        protocol: DnsProtocol,
        unanswered: Unanswered,
    ) -> Message {
        let counted = counted(query);
        match self.forwarder.ask(query).await {
            Ok(answered) => {
                if let Some(took) = answered.took {
                    self.metrics.upstream(counted, protocol, Some(took));
                }
                // A name server doesn't know the mesh's services; we do, and this one exists.
                let code = answered.response.metadata.response_code;
                if unanswered.is_known && code == ResponseCode::NXDomain {
                    return authoritative(query, ResponseCode::NoError);
                }
                answered.response
            }
            Err(error) => {
                tracing::debug!(target: "dns", %error, "not forwarded");
                if error != ForwardError::NoServer {
                    self.metrics.upstream(counted, protocol, None);
                }
                match (error, unanswered) {
                    (_, Unanswered { is_known: true, .. }) => {
                        authoritative(query, ResponseCode::NoError)
                    }
                    // Nobody else could know a name of the cluster. Some resolvers give up at a failure (musl),
                    // though the next search domain would lead to an answer.
                    (ForwardError::NoServer, Unanswered { is_cluster_name: true, .. }) => {
                        authoritative(query, ResponseCode::NXDomain)
                    }
                    _ => respond(query, ResponseCode::ServFail),
                }
            }
        }
    }
}

fn counted(query: &Message) -> QueryType {
    query.queries.first().map_or(QueryType::Other, |query| wire::counted_as(query.query_type))
}

fn payload(query: &Message) -> Option<u16> {
    query.edns.as_ref().map(|edns| edns.max_payload())
}

fn authoritative(query: &Message, code: ResponseCode) -> Message {
    let mut response = respond(query, code);
    response.metadata.authoritative = true;
    response
}

/// The longest response that the client can take over UDP: 512 bytes without EDNS (RFC 1035, section 4.2.1).
fn udp_bytes_max(payload: Option<u16>) -> usize {
    usize::from(payload.unwrap_or(512).clamp(512, limits::DNS_UDP_BYTES_MAX))
}

/// Answers queries on `socket` until `stop` ends.
pub async fn serve_udp(dns: Arc<PodDns>, socket: UdpSocket, stop: impl Future<Output = ()> + Send) {
    let socket = Arc::new(socket);
    let mut forwards = JoinSet::new();
    let mut buffer = vec![0; limits::DNS_UDP_READ_BYTES_MAX];
    let mut stop = pin!(stop);
    loop {
        while forwards.try_join_next().is_some() {}
        let received = tokio::select! {
            () = &mut stop => return,
            received = socket.recv_from(&mut buffer) => received,
        };
        let (length, from) = match received {
            Ok(received) => received,
            Err(error) => {
                tracing::warn!(target: "dns", %error, "DNS socket");
                sleep(FAILURE_PAUSE).await;
                continue;
            }
        };
        match dns.decide(buffer.get(..length).unwrap_or_default(), DnsProtocol::Udp) {
            Next::Nothing => {}
            Next::Send(reply, payload) => send(&socket, from, &reply, payload).await,
            Next::Ask(query, unanswered) => {
                // The forwarder has its own, lower bound; this one covers queries that it answers from memory.
                if forwards.len() >= 2 * limits::DNS_FORWARDS_MAX {
                    let reply = respond(&query, ResponseCode::ServFail);
                    send(&socket, from, &reply, None).await;
                    continue;
                }
                let (dns, socket) = (Arc::clone(&dns), Arc::clone(&socket));
                forwards.spawn(async move {
                    let reply = dns.forward(&query, DnsProtocol::Udp, unanswered).await;
                    send(&socket, from, &reply, payload(&query)).await;
                });
            }
        }
    }
}

async fn send(socket: &UdpSocket, to: SocketAddr, reply: &Message, payload: Option<u16>) {
    let Some(bytes) = wire::write_response(reply, udp_bytes_max(payload)) else {
        tracing::debug!(target: "dns", %to, "the response can't be encoded");
        return;
    };
    // A full socket buffer drops the answer, as UDP does anyway; the client asks again.
    if let Err(error) = socket.try_send_to(&bytes, to) {
        tracing::debug!(target: "dns", %to, %error, "response not sent");
    }
}

/// Answers queries on connections of `listener` until `stop` ends.
pub async fn serve_tcp(
    dns: Arc<PodDns>,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send,
) {
    let permits = Arc::new(Semaphore::new(limits::DNS_TCP_CONNECTIONS_MAX));
    let settings = AcceptSettings { name: "dns", permits };
    let (signal, watch) = drain::pair();
    let answer = move |stream, _| {
        let dns = Arc::clone(&dns);
        async move {
            if let Err(error) = connection(&dns, stream).await {
                tracing::debug!(target: "dns", %error, "DNS connection ended");
            }
        }
    };
    let stop = async {
        stop.await;
        // Nobody waits for a look-up of a pod that leaves.
        signal.force();
    };
    tokio::join!(accept_loop(listener, settings, watch, answer), stop);
}

async fn connection(dns: &PodDns, mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let read = read_frame(&mut stream, limits::DNS_UDP_READ_BYTES_MAX);
        let Some(bytes) = timeout(limits::DNS_TCP_IDLE, read).await?? else {
            return Ok(());
        };
        let reply = match dns.decide(&bytes, DnsProtocol::Tcp) {
            Next::Nothing => return Ok(()),
            Next::Send(reply, _) => *reply,
            Next::Ask(query, unanswered) => dns.forward(&query, DnsProtocol::Tcp, unanswered).await,
        };
        let Some(bytes) = wire::write_response(&reply, usize::from(u16::MAX)) else {
            return Ok(());
        };
        timeout(limits::DNS_TCP_IDLE, write_frame(&mut stream, &bytes)).await??;
    }
}

#[cfg(test)]
mod tests;
