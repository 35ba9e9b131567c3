//! Asking the admin servers of the mesh's programs, which listen on the loopback of their host.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::netns::Netns;

/// Longest time for an answer; a configuration of 10,000 workloads is the slowest.
const DEADLINE: Duration = Duration::from_secs(5);

/// The body of `GET path` from the loopback of `netns`.
///
/// # Errors
/// No connection, no answer in time, or a status other than 200.
pub fn get(netns: &Netns, port: u16, path: &str) -> Result<String> {
    request(netns, SocketAddr::from((Ipv4Addr::LOCALHOST, port)), "GET", path)
}

/// The body of a request made inside `netns`.
///
/// # Errors
/// No connection, no answer in time, or a status other than 200.
pub fn request(netns: &Netns, to: SocketAddr, method: &str, path: &str) -> Result<String> {
    let mut stream = netns.connect(to, DEADLINE)?;
    // 1.0: the answer then ends with the connection, never in chunks.
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: {to}\r\nContent-Length: 0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .with_context(|| format!("{method} {path} from {to} in {}", netns.name()))?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without an end of head")?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if status != "200" {
        bail!("{method} {path} from {to} in {}: status {status}: {}", netns.name(), body.trim());
    }
    Ok(body.to_owned())
}
