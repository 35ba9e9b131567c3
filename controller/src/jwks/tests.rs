//! Fetching by script, and over loopback.

use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const KEYS: &str = r#"{"keys":[{"kid":"1","kty":"RSA"}]}"#;

/// Answers from a table that a test changes.
#[derive(Clone, Default)]
struct Scripted {
    answers: Arc<Mutex<BTreeMap<String, Result<&'static str, FetchError>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    fn answer(&self, uri: &str, answer: Result<&'static str, FetchError>) {
        self.answers.lock().insert(uri.to_owned(), answer);
    }
}

impl Get for Scripted {
    async fn get(&self, uri: &Uri) -> Result<Bytes, FetchError> {
        self.asked.lock().push(uri.to_string());
        let answer = self.answers.lock().get(&uri.to_string()).cloned();
        match answer {
            Some(answer) => answer.map(|text| Bytes::from_static(text.as_bytes())),
            None => std::future::pending().await,
        }
    }
}

fn uri(text: &str) -> KeySource {
    KeySource::Uri(text.into())
}

fn wanted(sources: &[KeySource]) -> Wanted {
    sources.iter().map(|source| (source.clone(), limits::TIMEOUT)).collect()
}

fn good() -> FetchedKeys {
    FetchedKeys { keys: Some(KEYS.into()), error: None }
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_kept_through_an_outage_and_given_up_after_a_day() {
    let (web, source) = (Scripted::default(), uri("https://a.example/keys"));
    web.answer("https://a.example/keys", Ok(KEYS));
    let mut keys = spawn(web.clone());
    keys.wanted.send_replace(wanted(std::slice::from_ref(&source)));
    assert_eq!(keys.updates.recv().await, Some((source.clone(), good())));
    let start = tokio::time::Instant::now();
    web.answer("https://a.example/keys", Err(FetchError::Status(500)));
    let failing = FetchedKeys { error: Some("HTTP status 500".into()), ..good() };
    assert_eq!(keys.updates.recv().await, Some((source.clone(), failing)));
    let refreshed = start.elapsed();
    assert!(refreshed >= limits::REFRESH / 2 && refreshed <= limits::REFRESH, "{refreshed:?}");
    let gone = FetchedKeys { keys: None, error: Some("HTTP status 500".into()) };
    assert_eq!(keys.updates.recv().await, Some((source.clone(), gone)));
    assert!(start.elapsed() > limits::KEPT);
    assert!(start.elapsed() < limits::KEPT + limits::BACKOFF_MAX * 2);
    // A failure costs no more than one attempt every few minutes.
    let attempts = web.asked.lock().len();
    assert!(attempts < 24 * 60 / 2, "{attempts}");
    web.answer("https://a.example/keys", Ok(KEYS));
    assert_eq!(keys.updates.recv().await, Some((source, good())));
}

/// Every failure ends without keys: there are none that everybody knows.
#[tokio::test(start_paused = true)]
async fn failed_fetch_gives_no_keys() {
    let answers = [
        Ok("no JSON"),
        Ok("{}"),
        Err(FetchError::Status(404)),
        Err(FetchError::TooLong),
        Err(FetchError::Exchange("refused".into())),
    ];
    for answer in answers {
        let (web, source) = (Scripted::default(), uri("http://a.example/"));
        web.answer("http://a.example/", answer);
        let mut keys = spawn(web);
        keys.wanted.send_replace(wanted(&[source]));
        let (_, fetched) = keys.updates.recv().await.unwrap();
        assert!(fetched.keys.is_none() && fetched.error.is_some(), "{fetched:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn silent_sources_are_given_up_and_hold_up_no_others() {
    let web = Scripted::default();
    web.answer("http://z.example/", Ok(KEYS));
    let silent: Vec<_> = (0..20).map(|at| uri(&format!("http://a{at}.example/"))).collect();
    let sources = [silent, vec![uri("http://z.example/")]].concat();
    let mut keys = spawn(web);
    keys.wanted.send_replace(wanted(&sources));
    let start = tokio::time::Instant::now();
    loop {
        let (source, fetched) = keys.updates.recv().await.unwrap();
        if source == uri("http://z.example/") {
            assert_eq!(fetched, good());
            break;
        }
        assert_eq!(fetched.error.as_deref(), Some("no answer within 5000 ms"));
    }
    assert!(start.elapsed() <= limits::TIMEOUT * 5, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn source_that_is_in_use_no_more_is_not_fetched_again() {
    let web = Scripted::default();
    web.answer("http://a.example/", Ok(KEYS));
    let mut keys = spawn(web.clone());
    keys.wanted.send_replace(wanted(&[uri("http://a.example/")]));
    keys.updates.recv().await.unwrap();
    keys.wanted.send_replace(Wanted::new());
    tokio::time::advance(limits::REFRESH * 3).await;
    tokio::task::yield_now().await;
    assert_eq!(web.asked.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn issuers_document_leads_to_its_keys_and_to_no_other_issuers() {
    const AT: &str = "https://i.example/x/.well-known/openid-configuration";
    let web = Scripted::default();
    web.answer("https://i.example/keys", Ok(KEYS));
    web.answer("http://i.example/keys", Ok(KEYS));
    let source = KeySource::Issuer("https://i.example/x/".into());
    let table = [
        (r#"{"issuer": "https://i.example/x/", "jwks_uri": "https://i.example/keys"}"#, true),
        (r#"{"issuer": "https://other.example", "jwks_uri": "https://i.example/keys"}"#, false),
        (r#"{"issuer": "https://i.example/x/", "jwks_uri": "http://i.example/keys"}"#, false),
        (r#"{"issuer": "https://i.example/x/", "jwks_uri": "file:///etc/keys"}"#, false),
        (r#"{"issuer": "https://i.example/x/"}"#, false),
    ];
    for (document, is_good) in table {
        web.answer(AT, Ok(document));
        let found = source::keys(&web, &source, limits::TIMEOUT).await;
        assert_eq!(found.is_ok(), is_good, "{document}: {found:?}");
    }
}

/// Answers one connection with these bytes; returns what was asked.
async fn serve(listener: TcpListener, answer: Vec<u8>) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    // The client may have read enough before all is sent.
    let _sent = stream.write_all(&answer).await;
    let _closed = stream.shutdown().await;
    String::from_utf8(head).unwrap()
}

async fn fetched(answer: Vec<u8>) -> (Result<Bytes, FetchError>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let uri: Uri = format!("http://user:secret@{address}/keys?a=b").parse().unwrap();
    let web = Web::default();
    let both = async { tokio::join!(web.get(&uri), serve(listener, answer)) };
    tokio::time::timeout(Duration::from_secs(10), Box::pin(both)).await.unwrap()
}

#[tokio::test]
async fn web_fetches_a_body_and_refuses_what_is_none() {
    let (body, head) = fetched(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab".to_vec()).await;
    assert_eq!(body, Ok(Bytes::from_static(b"ab")));
    assert!(head.starts_with("GET /keys?a=b HTTP/1.1\r\nhost: 127.0.0.1:"), "{head}");
    assert!(!head.contains("secret"), "{head}");
    let (body, _) = fetched(b"HTTP/1.1 200 OK\r\n\r\nab".to_vec()).await;
    assert_eq!(body, Ok(Bytes::from_static(b"ab")));
    let moved =
        b"HTTP/1.1 302 Found\r\nlocation: http://evil.example/\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(fetched(moved.to_vec()).await.0, Err(FetchError::Status(302)));
    let mut long = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    long.resize(2 << 20, b' ');
    assert_eq!(fetched(long).await.0, Err(FetchError::TooLong));
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab";
    assert!(matches!(fetched(cut.to_vec()).await.0, Err(FetchError::Exchange(_))));
}

#[tokio::test]
async fn web_trusts_its_roots_and_the_hosts_own_name_only() {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(issued.cert.der().clone()).unwrap();
    let key =
        rustls_pki_types::PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(weft_core::tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key)
        .unwrap();
    let server = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let ask = |web: Web, host: &'static str| {
        let server = server.clone();
        async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let uri: Uri = format!("https://{host}:{port}/keys").parse().unwrap();
            let serving = async {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = server.accept(stream).await else { return };
                let mut head = [0; 256];
                let _read = stream.read(&mut head).await;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab";
                let _sent = stream.write_all(answer).await;
                let _closed = stream.shutdown().await;
            };
            let both = Box::pin(async { tokio::join!(web.get(&uri), serving) });
            tokio::time::timeout(Duration::from_secs(10), both).await.unwrap().0
        }
    };
    let trusting = || Web::with_roots(roots.clone());
    assert_eq!(ask(trusting(), "localhost").await, Ok(Bytes::from_static(b"ab")));
    assert!(matches!(ask(trusting(), "127.0.0.1").await, Err(FetchError::Exchange(_))));
    let stranger = Web::with_roots(rustls::RootCertStore::empty());
    assert!(matches!(ask(stranger, "localhost").await, Err(FetchError::Exchange(_))));
}
