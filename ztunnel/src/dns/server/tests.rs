use hickory_proto::op::{Edns, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use tokio::net::TcpSocket;
use tokio::sync::oneshot;
use weft_core::telemetry::{Build, DnsMetrics, Exposition, Registry};

use super::super::forward::tests::{Upstream, good, nothing};
use super::super::names::testing::{Table, client, service};
use super::*;

struct Proxy {
    udp: SocketAddr,
    tcp: SocketAddr,
    registry: Registry,
    _stop: [oneshot::Sender<()>; 2],
}

async fn start(table: Table, upstream: Arc<Upstream>, servers: Vec<SocketAddr>) -> Proxy {
    let mut registry = Registry::new(&Build::default());
    let dns = Arc::new(PodDns {
        names: Names {
            cluster_domain: "cluster.local".into(),
            preferred_namespace: None,
            ipv6: true,
        },
        table: Arc::new(table),
        client: client(),
        forwarder: Forwarder::new(servers, upstream),
        metrics: DnsMetrics::new(&mut registry).client(&"web".into(), &"v1".into()),
    });
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (udp, tcp) = (socket.local_addr().unwrap(), listener.local_addr().unwrap());
    let (stop_udp, stopped_udp) = oneshot::channel::<()>();
    let (stop_tcp, stopped_tcp) = oneshot::channel::<()>();
    tokio::spawn(serve_udp(Arc::clone(&dns), socket, async move {
        let _ = stopped_udp.await;
    }));
    tokio::spawn(serve_tcp(dns, listener, async move {
        let _ = stopped_tcp.await;
    }));
    Proxy { udp, tcp, registry, _stop: [stop_udp, stop_tcp] }
}

async fn standalone(table: Table) -> Proxy {
    start(table, Upstream::start(nothing, nothing).await, vec![]).await
}

fn shop() -> Table {
    Table::default().with("checkout.shop.svc.cluster.local", &["10.1.0.1"])
}

fn query(name: &str, record_type: RecordType) -> Message {
    let mut query = Message::new(7, MessageType::Query, OpCode::Query);
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
    query
}

async fn over_udp(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(bytes, to).await.unwrap();
    let mut buffer = vec![0; 65_535];
    let length = timeout(Duration::from_secs(10), socket.recv(&mut buffer)).await.unwrap().unwrap();
    buffer.truncate(length);
    buffer
}

async fn ask(proxy: &Proxy, query: &Message) -> Message {
    Message::from_vec(&over_udp(proxy.udp, &query.to_vec().unwrap()).await).unwrap()
}

async fn code(proxy: &Proxy, name: &str, record_type: RecordType) -> (ResponseCode, usize) {
    let reply = ask(proxy, &query(name, record_type)).await;
    (reply.metadata.response_code, reply.answers.len())
}

#[tokio::test]
async fn service_name_is_answered_over_udp_and_tcp_and_counted() {
    let proxy = standalone(shop()).await;
    let asked = query("checkout.shop.", RecordType::A);
    assert_eq!(ask(&proxy, &asked).await.answers[0].data.to_string(), "10.1.0.1");
    let mut stream = TcpSocket::new_v4().unwrap().connect(proxy.tcp).await.unwrap();
    for _ in 0..3 {
        write_frame(&mut stream, &asked.to_vec().unwrap()).await.unwrap();
        let reply = read_frame(&mut stream, 65_535).await.unwrap().unwrap();
        let reply = Message::from_vec(&reply).unwrap();
        assert_eq!(reply.answers[0].data.to_string(), "10.1.0.1");
    }
    let text = proxy.registry.encode(Exposition::Text).unwrap();
    let count = |protocol: &str| {
        let labels = format!(r#"{{request_query_type="A",request_protocol="{protocol}","#);
        let line =
            text.lines().find(|l| l.starts_with(&format!("istio_dns_requests_total{labels}")));
        line.unwrap().rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!((count("udp"), count("tcp")), ("1".to_owned(), "3".to_owned()));
}

#[tokio::test]
async fn without_name_servers_answers_are_quick_and_right() {
    let proxy = standalone(shop()).await;
    for (name, record_type, expected) in [
        ("checkout.shop.", RecordType::A, (ResponseCode::NoError, 1)),
        ("checkout.shop.", RecordType::AAAA, (ResponseCode::NoError, 0)),
        ("checkout.shop.", RecordType::HTTPS, (ResponseCode::NoError, 0)),
        ("nobody.shop.svc.cluster.local.", RecordType::A, (ResponseCode::NXDomain, 0)),
        ("example.com.shop.svc.cluster.local.", RecordType::A, (ResponseCode::NXDomain, 0)),
        ("example.com.", RecordType::A, (ResponseCode::ServFail, 0)),
    ] {
        assert_eq!(code(&proxy, name, record_type).await, expected, "{name} {record_type}");
    }
}

#[tokio::test]
async fn other_names_come_from_a_name_server() {
    let upstream = Upstream::start(good, nothing).await;
    let proxy = start(shop(), upstream, vec![([192, 0, 2, 53], 53).into()]).await;
    assert_eq!(code(&proxy, "example.com.", RecordType::A).await, (ResponseCode::NoError, 1));
    let text = proxy.registry.encode(Exposition::Text).unwrap();
    assert!(text.contains("istio_dns_upstream_requests_total{request_query_type=\"A\""), "{text}");
}

#[tokio::test]
async fn name_server_cant_deny_a_service_that_exists() {
    fn denies(request: Message) -> Vec<Message> {
        let mut reply = request.into_response();
        reply.metadata.response_code = ResponseCode::NXDomain;
        vec![reply]
    }
    let upstream = Upstream::start(denies, nothing).await;
    let proxy = start(shop(), upstream, vec![([192, 0, 2, 53], 53).into()]).await;
    let known = code(&proxy, "checkout.shop.", RecordType::HTTPS).await;
    assert_eq!(known, (ResponseCode::NoError, 0));
    assert_eq!(code(&proxy, "nobody.shop.", RecordType::A).await, (ResponseCode::NXDomain, 0));
}

#[tokio::test]
async fn long_answer_is_cut_to_what_the_client_takes_and_whole_over_tcp() {
    let endpoints = (0..60).map(|n| [10, 44, 1, n].into()).collect();
    let headless = service("shop", "db.shop.svc.cluster.local", &[]);
    let proxy = standalone(Table(vec![(headless, endpoints)])).await;
    let mut asked = query("db.", RecordType::A);
    let bytes = over_udp(proxy.udp, &asked.to_vec().unwrap()).await;
    let reply = Message::from_vec(&bytes).unwrap();
    assert!(reply.metadata.truncation && bytes.len() <= 512);
    let mut edns = Edns::new();
    edns.set_max_payload(65_535);
    asked.set_edns(edns);
    let bytes = over_udp(proxy.udp, &asked.to_vec().unwrap()).await;
    assert!(bytes.len() > 512 && bytes.len() <= usize::from(limits::DNS_UDP_BYTES_MAX));
    assert_eq!(Message::from_vec(&bytes).unwrap().answers.len(), 60);
    let mut stream = TcpSocket::new_v4().unwrap().connect(proxy.tcp).await.unwrap();
    write_frame(&mut stream, &query("db.", RecordType::A).to_vec().unwrap()).await.unwrap();
    let reply = read_frame(&mut stream, 65_535).await.unwrap().unwrap();
    assert_eq!(Message::from_vec(&reply).unwrap().answers.len(), 60);
}

#[tokio::test]
async fn garbage_changes_nothing_for_the_next_query() {
    let proxy = standalone(shop()).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for garbage in
        [&[][..], &[0], &[0xff; 12], &[0; 4000], &[0x12, 0x34, 1, 0, 0, 9, 0, 0, 0, 0, 0, 0]]
    {
        socket.send_to(garbage, proxy.udp).await.unwrap();
    }
    let expected = (ResponseCode::NoError, 1);
    assert_eq!(code(&proxy, "checkout.shop.", RecordType::A).await, expected);
    let refusal = over_udp(proxy.udp, &[0x12, 0x34, 1, 0, 0, 9, 0, 0, 0, 0, 0, 0]).await;
    assert_eq!((refusal.len(), refusal[0], refusal[1], refusal[3] & 0xf), (12, 0x12, 0x34, 1));
}

#[tokio::test(start_paused = true)]
async fn silent_connection_is_closed() {
    let proxy = standalone(shop()).await;
    let mut stream = TcpSocket::new_v4().unwrap().connect(proxy.tcp).await.unwrap();
    let began = tokio::time::Instant::now();
    assert!(read_frame(&mut stream, 65_535).await.unwrap().is_none());
    assert!(began.elapsed() >= limits::DNS_TCP_IDLE);
}

#[tokio::test]
async fn update_is_not_implemented() {
    let proxy = standalone(shop()).await;
    let mut asked = query("checkout.shop.", RecordType::A);
    asked.metadata.op_code = OpCode::Notify;
    assert_eq!(ask(&proxy, &asked).await.metadata.response_code, ResponseCode::NotImp);
}
