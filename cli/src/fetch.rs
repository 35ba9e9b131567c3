//! Reads an admin server over HTTP/1.1, from inside a network namespace if need be.

use std::fs::File;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use nix::sched::{CloneFlags, setns};
use tokio::time::timeout;

/// Time to connect. Admin servers are on this machine.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// Time for the whole answer. The dump of a large mesh is 100 MB.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);
/// Longest answer, bytes: five times that.
const ANSWER_BYTES_MAX: usize = 512 << 20;
/// How much of an error's text is repeated.
const ERROR_BYTES_MAX: usize = 2048;

/// A text as a query's value (RFC 3986, section 2.1).
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// An admin server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Server<'a> {
    /// `host:port`.
    pub(crate) address: &'a str,
    /// The network namespace from which to reach it.
    pub(crate) netns: Option<&'a str>,
    /// What it is, and what to check if it isn't there.
    pub(crate) what: &'a str,
    pub(crate) hint: &'a str,
}

impl Server<'_> {
    /// GET.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Bytes> {
        self.request(Method::GET, path, None, Bytes::new()).await
    }

    /// POST of JSON with a bearer token.
    pub(crate) async fn post(&self, path: &str, token: &str, body: Bytes) -> anyhow::Result<Bytes> {
        self.request(Method::POST, path, Some(token), body).await
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Bytes,
    ) -> anyhow::Result<Bytes> {
        let Self { address, what, hint, .. } = self;
        let stream = self.connect().with_context(|| {
            let place = self.netns.map(|name| format!(" in namespace {name}")).unwrap_or_default();
            format!("can't reach {what} at {address}{place} ({hint})")
        })?;
        let exchange = exchange(stream, request(address, method, path, token, body)?);
        timeout(ANSWER_DEADLINE, exchange)
            .await
            .map_err(|_| anyhow!("{what} at {address} didn't answer within {ANSWER_DEADLINE:?}"))?
            .with_context(|| format!("{what} at {address}, {path}"))
    }

    fn connect(&self) -> anyhow::Result<TcpStream> {
        let address = self.address.to_owned();
        let Some(netns) = self.netns else { return connect(&address) };
        let path = if netns.contains('/') {
            PathBuf::from(netns)
        } else {
            PathBuf::from("/run/netns").join(netns)
        };
        let namespace =
            File::open(&path).with_context(|| format!("network namespace {}", path.display()))?;
        // A namespace belongs to a thread. This one ends when it has its socket, so nothing has to be put back.
        let thread = std::thread::spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).context(
                "entering a network namespace needs root in the namespace's own user namespace",
            )?;
            connect(&address)
        });
        thread.join().map_err(|_| anyhow!("the connecting thread failed"))?
    }
}

fn connect(address: &str) -> anyhow::Result<TcpStream> {
    let addresses: Vec<SocketAddr> =
        address.to_socket_addrs().context("expected HOST:PORT")?.collect();
    let mut last = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_DEADLINE) {
            Ok(stream) => {
                stream.set_nonblocking(true)?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| anyhow!("the name has no address"), anyhow::Error::from))
}

fn request(
    address: &str,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: Bytes,
) -> anyhow::Result<Request<Full<Bytes>>> {
    let mut builder = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, address)
        .header(ACCEPT, "application/json, text/plain");
    if let Some(token) = token {
        let value = format!("Bearer {token}");
        builder = builder.header(AUTHORIZATION, value).header(CONTENT_TYPE, "application/json");
    }
    Ok(builder.body(Full::new(body))?)
}

async fn exchange(stream: TcpStream, request: Request<Full<Bytes>>) -> anyhow::Result<Bytes> {
    let io = TokioIo::new(tokio::net::TcpStream::from_std(stream)?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| anyhow!("the answer broke off: {error}"))?.to_bytes();
    connection.abort();
    if !status.is_success() {
        let text = String::from_utf8_lossy(body.get(..ERROR_BYTES_MAX).unwrap_or(&body));
        bail!("{status}: {}", text.trim());
    }
    Ok(body)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::mpsc;

    use super::*;

    /// A server that gives one answer and tells what it was asked.
    pub(crate) fn answering(answer: &'static str) -> (String, mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            let is_whole = |request: &[u8]| {
                let text = String::from_utf8_lossy(request).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                body.len() >= length.map_or(0, |length| length.parse().unwrap())
            };
            while !is_whole(&request) {
                let length = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..length]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            tell.send(String::from_utf8(request).unwrap()).unwrap();
        });
        (address, told)
    }

    fn server(address: &str) -> Server<'_> {
        Server { address, netns: None, what: "the controller", hint: "is it running?" }
    }

    #[tokio::test]
    async fn answer_is_read_and_the_host_is_named() {
        let (address, told) = answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
        assert_eq!(server(&address).get("/weft/status").await.unwrap(), "hello");
        let request = told.recv().unwrap();
        assert!(request.starts_with("GET /weft/status HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("host: {address}\r\n")));
    }

    #[tokio::test]
    async fn refusal_is_told_in_the_servers_words() {
        let (address, _told) =
            answering("HTTP/1.1 403 Forbidden\r\ncontent-length: 9\r\n\r\nno token\n");
        let error = format!("{:#}", server(&address).get("/x").await.unwrap_err());
        assert!(error.ends_with("403 Forbidden: no token"), "{error}");
    }

    #[tokio::test]
    async fn absent_server_gives_a_hint() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let error = format!("{:#}", server(&address).get("/").await.unwrap_err());
        assert!(
            error.starts_with(&format!("can't reach the controller at {address} (is it running?)")),
            "{error}"
        );
        let nowhere = Server { netns: Some("no-such-namespace"), ..server(&address) };
        let error = format!("{:#}", nowhere.get("/").await.unwrap_err());
        assert!(error.contains("network namespace /run/netns/no-such-namespace"), "{error}");
        assert!(server("nonsense").get("/").await.is_err());
    }
}
