//! A plain HTTP/1.1 client: a name is asked of the system's resolver each time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::socket;

/// Longest answer that is read: the trace of a call chain is a few kilobytes, `/echo` the largest.
const BODY_MAX: usize = 64 << 20;

/// What a request came to.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Answer {
    pub(crate) url: String,
    /// None if no answer came.
    pub(crate) status: Option<u16>,
    /// The answer's headers.
    pub(crate) headers: BTreeMap<String, String>,
    /// The body, parsed where it is JSON.
    pub(crate) body: Value,
    pub(crate) error: Option<String>,
    /// From before the name was looked up to the last byte.
    pub(crate) microseconds: u64,
    /// Address that the name resolved to.
    pub(crate) peer: Option<SocketAddr>,
}

impl Answer {
    /// Whether it is a success of HTTP.
    pub(crate) fn is_success(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// What of a request isn't its URL.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Ask {
    /// The request's method.
    #[arg(long, default_value = "GET")]
    pub(crate) method: String,
    /// A header to send, `name: value`; may be given several times.
    #[arg(long = "header", value_parser = header)]
    pub(crate) headers: Vec<(String, String)>,
    /// The request's body.
    #[arg(long, default_value = "")]
    pub(crate) body: String,
}

impl Ask {
    /// A plain GET with these headers.
    pub(crate) fn get(headers: Vec<(String, String)>) -> Self {
        Self { method: "GET".to_owned(), headers, body: String::new() }
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header is written `name: value`")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// An open connection.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    pub(crate) peer: SocketAddr,
    host: String,
}

impl Connection {
    /// Resolves and connects; the first address is taken, as simple clients do.
    pub(crate) async fn open(url: &str, deadline: Duration) -> Result<Self> {
        let (host, port) = host_of(url)?;
        let peer = timeout(deadline, tokio::net::lookup_host((host.as_str(), port)))
            .await
            .with_context(|| format!("{host}: no answer from the resolver"))?
            .with_context(|| format!("{host} doesn't resolve"))?
            .next()
            .with_context(|| format!("{host} has no address"))?;
        let stream = socket::connect(peer, deadline).await.with_context(|| format!("to {peer}"))?;
        let (sender, connection) =
            timeout(deadline, handshake(TokioIo::new(stream))).await.context("handshake")??;
        // Ends with its sender; an error of it shows at the sender.
        tokio::spawn(connection);
        Ok(Self { sender, peer, host })
    }

    /// Whether a request can be sent on it, as far as is known here: the other side may have ended it.
    pub(crate) async fn is_open(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    /// Sends a request and gives the head of the answer.
    pub(crate) async fn send(&mut self, url: &str, ask: &Ask) -> Result<Response<Incoming>> {
        let uri: Uri = url.parse().context("the URL")?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder().method(ask.method.as_str()).uri(path);
        request = request.header("host", &self.host);
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        self.sender.ready().await.context("the connection")?;
        let body = Full::new(Bytes::copy_from_slice(ask.body.as_bytes()));
        Ok(self.sender.send_request(request.body(body)?).await?)
    }
}

/// One request on a connection of its own.
pub(crate) async fn ask(url: &str, ask: &Ask, deadline: Duration) -> Answer {
    let start = Instant::now();
    let mut answer = Answer {
        url: url.to_owned(),
        status: None,
        headers: BTreeMap::new(),
        body: Value::Null,
        error: None,
        microseconds: 0,
        peer: None,
    };
    let exchange = exchange(url, ask, deadline, &mut answer);
    let result = match timeout(deadline, exchange).await {
        Ok(result) => result,
        Err(_) => Err(anyhow::anyhow!("no whole answer within {deadline:?}")),
    };
    answer.error = result.err().map(|error| format!("{error:#}"));
    answer.microseconds = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    answer
}

async fn exchange(url: &str, ask: &Ask, deadline: Duration, answer: &mut Answer) -> Result<()> {
    let mut connection = Connection::open(url, deadline).await?;
    answer.peer = Some(connection.peer);
    let response = connection.send(url, ask).await?;
    let status = response.status().as_u16();
    let shown = response.headers().iter();
    let shown = shown.map(|(name, value)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    answer.headers = shown.collect();
    let body = read_whole(response).await?;
    answer.status = Some(status);
    answer.body = serde_json::from_slice(&body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
    Ok(())
}

/// The body of an answer.
pub(crate) async fn read_whole(response: Response<Incoming>) -> Result<Bytes> {
    match Limited::new(response.into_body(), BODY_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => bail!("the body: {error}"),
    }
}

fn host_of(url: &str) -> Result<(String, u16)> {
    let uri: Uri = url.parse().with_context(|| format!("{url} is no URL"))?;
    if uri.scheme_str() != Some("http") {
        bail!("{url}: only http:// is spoken here");
    }
    let host = uri.host().with_context(|| format!("{url} names no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((host.to_owned(), uri.port_u16().unwrap_or(80)))
}

#[cfg(test)]
mod tests {
    use super::host_of;

    #[test]
    fn hosts_and_ports_are_read_from_urls() {
        assert_eq!(host_of("http://checkout.shop").unwrap(), ("checkout.shop".into(), 80));
        assert_eq!(host_of("http://10.44.1.10:8080/x").unwrap(), ("10.44.1.10".into(), 8080));
        assert_eq!(host_of("http://[fd44::1]:81/").unwrap(), ("fd44::1".into(), 81));
        assert!(host_of("https://checkout.shop").is_err());
    }
}
