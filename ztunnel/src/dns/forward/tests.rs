use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::{TcpListener, TcpSocket};

use super::*;

/// A name server that answers as it is told to.
pub(in super::super) struct Upstream {
    udp: SocketAddr,
    tcp: SocketAddr,
    pub(in super::super) asked: Arc<AtomicUsize>,
}

type Script = fn(Message) -> Vec<Message>;

impl UpstreamSockets for Upstream {
    fn udp(&self, _to: SocketAddr) -> BoxFuture<'_, io::Result<UdpSocket>> {
        Box::pin(async {
            let socket = UdpSocket::bind("127.0.0.1:0").await?;
            socket.connect(self.udp).await?;
            Ok(socket)
        })
    }

    fn tcp(&self, _to: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(async { TcpSocket::new_v4()?.connect(self.tcp).await })
    }
}

impl Upstream {
    pub(in super::super) async fn start(over_udp: Script, over_tcp: Script) -> Arc<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (udp, tcp) = (socket.local_addr().unwrap(), listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                count.fetch_add(1, Ordering::Relaxed);
                for reply in over_udp(Message::from_vec(&buffer[..length]).unwrap()) {
                    socket.send_to(&reply.to_vec().unwrap(), from).await.unwrap();
                }
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                while let Ok(Some(bytes)) = read_frame(&mut stream, 65_535).await {
                    for reply in over_tcp(Message::from_vec(&bytes).unwrap()) {
                        write_frame(&mut stream, &reply.to_vec().unwrap()).await.unwrap();
                    }
                }
            }
        });
        Arc::new(Self { udp, tcp, asked })
    }
}

pub(in super::super) fn nothing(_: Message) -> Vec<Message> {
    vec![]
}

pub(in super::super) fn good(request: Message) -> Vec<Message> {
    vec![with_address(request, [192, 0, 2, 1])]
}

fn with_address(request: Message, address: [u8; 4]) -> Message {
    let name = request.queries[0].name.clone();
    let mut reply = request.into_response();
    reply.add_answer(Record::from_rdata(name, 60, RData::A(A(address.into()))));
    reply
}

fn with_code(request: Message, code: ResponseCode) -> Message {
    let mut reply = request.into_response();
    reply.metadata.response_code = code;
    reply
}

fn query() -> Message {
    let mut query = Message::new(7, MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(Name::from_ascii("Www.Example.com.").unwrap(), RecordType::A));
    query
}

fn servers(count: u16) -> Vec<SocketAddr> {
    (0..count).map(|n| SocketAddr::from(([192, 0, 2, 53], 1 + n))).collect()
}

async fn ask(over_udp: Script, over_tcp: Script) -> Result<Message, ForwardError> {
    let upstream = Upstream::start(over_udp, over_tcp).await;
    Forwarder::new(servers(1), upstream).ask(&query()).await.map(|answered| answered.response)
}

fn address(response: &Message) -> String {
    response.answers[0].data.to_string()
}

#[tokio::test]
async fn answer_comes_back_under_the_clients_id_and_spelling() {
    let response = ask(good, nothing).await.unwrap();
    assert_eq!(response.metadata.id, 7);
    assert_eq!(response.queries[0].name.to_string(), "Www.Example.com.");
    assert_eq!(response.answers[0].name.to_string(), "Www.Example.com.");
    assert_eq!(address(&response), "192.0.2.1");
    assert!(response.edns.is_none(), "the client didn't speak EDNS");
}

#[tokio::test]
async fn forged_answers_are_passed_over() {
    fn forged_first(request: Message) -> Vec<Message> {
        let mut other_id = with_address(request.clone(), [6, 6, 6, 1]);
        other_id.metadata.id = request.metadata.id.wrapping_add(1);
        let mut other_name = with_address(request.clone(), [6, 6, 6, 2]);
        other_name.queries[0].name = Name::from_ascii("evil.example.").unwrap();
        let mut other_type = with_address(request.clone(), [6, 6, 6, 3]);
        other_type.queries[0].query_type = RecordType::AAAA;
        let query_again = request.clone();
        vec![other_id, other_name, other_type, query_again, with_address(request, [192, 0, 2, 1])]
    }
    assert_eq!(address(&ask(forged_first, nothing).await.unwrap()), "192.0.2.1");
}

#[tokio::test]
async fn answer_that_lost_the_case_is_asked_for_again_over_tcp() {
    fn lower_case(request: Message) -> Vec<Message> {
        let mut reply = with_address(request, [6, 6, 6, 6]);
        let lower = reply.queries[0].name.to_lowercase();
        // The random case may happen to be all lower: then this isn't a lost case.
        let is_lost = !lower.eq_case(&reply.queries[0].name);
        reply.queries[0].name = lower;
        if !is_lost {
            reply.metadata.truncation = true;
        }
        vec![reply]
    }
    assert_eq!(address(&ask(lower_case, good).await.unwrap()), "192.0.2.1");
}

#[tokio::test]
async fn truncated_answer_is_asked_for_again_over_tcp() {
    fn truncated(request: Message) -> Vec<Message> {
        let mut reply = request.into_response();
        reply.metadata.truncation = true;
        vec![reply]
    }
    let response = ask(truncated, good).await.unwrap();
    assert_eq!(address(&response), "192.0.2.1");
    assert!(!response.metadata.truncation);
}

#[tokio::test]
async fn flood_of_wrong_answers_ends_the_attempt() {
    fn flood(request: Message) -> Vec<Message> {
        let wrong = |n: u16| {
            let mut reply = with_address(request.clone(), [6, 6, 6, 6]);
            reply.metadata.id = request.metadata.id.wrapping_add(n);
            reply
        };
        (1..100).map(wrong).collect()
    }
    assert_eq!(ask(flood, nothing).await, Err(ForwardError::NoAnswer));
}

#[tokio::test(start_paused = true)]
async fn silence_fails_within_the_clients_patience() {
    let upstream = Upstream::start(nothing, nothing).await;
    let forwarder = Forwarder::new(servers(1), Arc::clone(&upstream) as _);
    let began = Instant::now();
    assert_eq!(forwarder.ask(&query()).await.err(), Some(ForwardError::NoAnswer));
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn next_server_is_asked_when_one_fails() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    fn second_knows(request: Message) -> Vec<Message> {
        if ASKED.fetch_add(1, Ordering::Relaxed) == 0 {
            vec![with_code(request, ResponseCode::ServFail)]
        } else {
            good(request)
        }
    }
    let upstream = Upstream::start(second_knows, nothing).await;
    let forwarder = Forwarder::new(servers(2), upstream);
    assert_eq!(address(&forwarder.ask(&query()).await.unwrap().response), "192.0.2.1");
}

#[tokio::test]
async fn failure_of_every_server_is_told_as_it_is() {
    fn refused(request: Message) -> Vec<Message> {
        vec![with_code(request, ResponseCode::Refused)]
    }
    let response = ask(refused, nothing).await.unwrap();
    assert_eq!(response.metadata.response_code, ResponseCode::Refused);
}

#[tokio::test]
async fn second_question_is_answered_from_memory() {
    let upstream = Upstream::start(good, nothing).await;
    let forwarder = Forwarder::new(servers(1), Arc::clone(&upstream) as _);
    assert!(forwarder.ask(&query()).await.unwrap().took.is_some());
    let mut again = query();
    again.metadata.id = 8;
    let answered = forwarder.ask(&again).await.unwrap();
    assert!(answered.took.is_none());
    assert_eq!(
        (answered.response.metadata.id, address(&answered.response)),
        (8, "192.0.2.1".into())
    );
    assert_eq!(upstream.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn without_a_server_a_query_fails_at_once() {
    let upstream = Upstream::start(good, nothing).await;
    let forwarder = Forwarder::new(vec![], upstream);
    assert_eq!(forwarder.ask(&query()).await.err(), Some(ForwardError::NoServer));
}

#[tokio::test]
async fn pod_with_too_many_open_questions_is_told_so() {
    let upstream = Upstream::start(nothing, nothing).await;
    let forwarder = Arc::new(Forwarder::new(servers(1), Arc::clone(&upstream) as _));
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..limits::DNS_FORWARDS_MAX {
        let forwarder = Arc::clone(&forwarder);
        waiting.spawn(async move { forwarder.ask(&query()).await.is_ok() });
    }
    while forwarder.permits.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(forwarder.ask(&query()).await.err(), Some(ForwardError::Busy));
}

#[test]
fn requests_differ_in_id_and_case() {
    let requests: Vec<_> = (0..20).map(|_| request(&query()).unwrap()).collect();
    let ids: std::collections::HashSet<_> = requests.iter().map(|r| r.metadata.id).collect();
    let names: std::collections::HashSet<_> =
        requests.iter().map(|r| r.queries[0].name.to_string()).collect();
    assert!(ids.len() > 10 && names.len() > 5, "{ids:?} {names:?}");
}
