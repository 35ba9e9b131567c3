//! `shop bench-http`, and what the bench client does with it: small requests of HTTP/1.1.
//!
//! Both ends know what the other sends, so they do no more than tell where a message ends: what is measured is what lies
//! between them. Every request is answered 200 with 128 bytes.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::bench_client::{DEADLINE, Tally, Window};
use crate::{say, socket};

/// Longest head or whole answer: proxies add some headers.
const MESSAGE_MAX: usize = 16 << 10;
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
const KEPT: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 128\r\n\r\n";
const LAST: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 128\r\n\
    connection: close\r\n\r\n";
const BODY: [u8; 128] = [b'.'; 128];
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "0.0.0.0:9080")]
    listen: SocketAddr,
}

/// Serves until killed.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(arguments.listen))?;
    Ok(true)
}

async fn serve(on: SocketAddr) -> Result<()> {
    let listener = socket::listen(on).with_context(|| format!("listening on {on}"))?;
    say(&format!("bench server of HTTP on {on}"));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(async move {
                    // A client that breaks off is its own business.
                    let _ended = answer_all(stream).await;
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn answer_all(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let (mut heard, mut answer) = (Vec::with_capacity(1024), Vec::with_capacity(512));
    loop {
        if stream.read_buf(&mut heard).await? == 0 {
            return Ok(());
        }
        let mut is_last = false;
        answer.clear();
        while let Some((head, rest)) = cut_head(&heard) {
            is_last |=
                header(head, b"connection").is_some_and(|it| it.eq_ignore_ascii_case(b"close"));
            answer.extend_from_slice(if is_last { LAST } else { KEPT });
            answer.extend_from_slice(&BODY);
            // The buffer stays: a new one would begin with reads of 64 bytes.
            let used = heard.len() - rest.len();
            heard.drain(..used);
        }
        ensure!(heard.len() < MESSAGE_MAX, "a head without an end");
        stream.write_all(&answer).await?;
        if is_last {
            stream.shutdown().await?;
            return Ok(());
        }
    }
}

/// A request as it goes over the wire.
pub(crate) fn request(host: &str, is_last: bool) -> Vec<u8> {
    let connection = if is_last { "connection: close\r\n" } else { "" };
    let head = format!(
        "GET /bench/items HTTP/1.1\r\nhost: {host}\r\nuser-agent: weft-bench\r\naccept: */*\r\n{connection}\r\n"
    );
    head.into_bytes()
}

/// The length of an answer once all of it is there.
fn whole(heard: &[u8]) -> Result<Option<usize>> {
    let Some((head, rest)) = cut_head(heard) else {
        ensure!(heard.len() < MESSAGE_MAX, "an answer without an end of its head");
        return Ok(None);
    };
    if !head.starts_with(b"HTTP/1.1 200") {
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        bail!("answered {}", String::from_utf8_lossy(line));
    }
    let length = header(head, b"content-length").context("an answer without a length")?;
    let length: usize = std::str::from_utf8(length)?.parse().context("the length")?;
    ensure!(length == BODY.len(), "{length} bytes were answered");
    Ok((rest.len() >= length).then(|| heard.len() - rest.len() + length))
}

/// The head without its end, and what comes after.
fn cut_head(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.windows(END_OF_HEAD.len()).position(|window| window == END_OF_HEAD)?;
    let (head, rest) = text.split_at_checked(at)?;
    Some((head, rest.get(END_OF_HEAD.len()..)?))
}

/// The value of a header, by its name in lower case.
fn header<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let lines = head.split(|byte| *byte == b'\n').skip(1);
    let mut fields = lines.filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((line.get(..colon)?, line.get(colon + 1..)?))
    });
    fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim_ascii())
}

/// One request after the other on a blocking connection; with an `interval`, each not before its time.
///
/// A request that is due while the one before it is still under way counts from when it was due.
pub(crate) fn blocking(
    (target, host): (SocketAddr, &str),
    pace: Option<(Duration, Duration)>,
    window: Window,
) -> Result<Tally> {
    let mut stream = std::net::TcpStream::connect_timeout(&target, DEADLINE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    let (request, mut heard) = (request(host, false), vec![0; MESSAGE_MAX]);
    let mut tally = Tally::default();
    let mut due = pace.map(|(first, _)| window.opened() + first);
    loop {
        let mut start = Instant::now();
        if let (Some(at), Some((_, interval))) = (due, pace) {
            if let Some(left) = at.checked_duration_since(start).filter(|it| !it.is_zero()) {
                std::thread::sleep(left);
                start = Instant::now();
            } else {
                start = at;
            }
            due = Some(at + interval);
        }
        if start >= window.end() {
            return Ok(tally);
        }
        stream.write_all(&request)?;
        read_blocking(&mut stream, &mut heard)?;
        if window.holds(start) {
            tally.add(start.elapsed());
        }
    }
}

fn read_blocking(stream: &mut std::net::TcpStream, heard: &mut [u8]) -> Result<()> {
    let mut filled = 0;
    loop {
        let room = heard.get_mut(filled..).unwrap_or_default();
        let length = stream.read(room)?;
        ensure!(length > 0, "the connection was closed");
        filled += length;
        if is_whole(heard.get(..filled).unwrap_or_default())? {
            return Ok(());
        }
    }
}

fn is_whole(heard: &[u8]) -> Result<bool> {
    let length = whole(heard)?;
    ensure!(length.is_none_or(|length| length == heard.len()), "more than one answer came");
    Ok(length.is_some())
}

/// As many requests as go, one at a time on one connection.
pub(crate) async fn requests(
    (target, host): (SocketAddr, &str),
    window: Window,
    tally: &mut Tally,
) -> Result<()> {
    let mut stream = socket::connect(target, DEADLINE).await?;
    let (request, mut heard) = (request(host, false), Vec::with_capacity(1024));
    let mut start = Instant::now();
    // One deadline for the whole loop and not a timer a request, which would be measured too.
    let exchange = async {
        while start < window.end() {
            stream.write_all(&request).await?;
            heard.clear();
            while !is_whole(&heard)? {
                ensure!(stream.read_buf(&mut heard).await? > 0, "the connection was closed");
            }
            let end = Instant::now();
            if window.holds(start) {
                tally.add(end - start);
            }
            start = end;
        }
        Ok(())
    };
    tokio::time::timeout_at(window.end() + DEADLINE, exchange).await.context("no answer")?
}

/// A connection for one request, until the other side has closed it.
pub(crate) async fn one_connection(target: SocketAddr, host: &str) -> Result<()> {
    let mut stream = socket::connect(target, DEADLINE).await?;
    stream.write_all(&request(host, true)).await?;
    let mut heard = Vec::with_capacity(1024);
    while stream.read_buf(&mut heard).await? > 0 {}
    ensure!(is_whole(&heard)?, "closed after {} bytes of an answer", heard.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(head: &[u8]) -> Vec<u8> {
        [head, &BODY].concat()
    }

    #[test]
    fn an_answer_is_whole_with_its_last_byte() {
        let whole_one = answer(KEPT);
        assert_eq!(whole(&whole_one).unwrap(), Some(whole_one.len()));
        for length in 0..whole_one.len() {
            assert_eq!(whole(whole_one.get(..length).unwrap()).unwrap(), None, "{length}");
        }
        assert!(is_whole(&[whole_one.clone(), whole_one].concat()).is_err());
    }

    #[test]
    fn what_is_no_success_is_an_error() {
        let refused = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        assert!(whole(refused).unwrap_err().to_string().contains("503 Service Unavailable"));
        assert!(whole(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(whole(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n").is_err());
        assert!(whole(&[b'x'; MESSAGE_MAX]).is_err());
    }

    #[test]
    fn headers_are_found_in_any_case() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection:  close ";
        assert_eq!(header(head, b"connection"), Some(&b"close"[..]));
        assert_eq!(header(head, b"content-length"), None);
        let (head, _) = cut_head(LAST).map(|(head, rest)| (head, rest.len())).unwrap();
        assert_eq!(header(head, b"content-length"), Some(&b"128"[..]));
    }
}
