//! How soon a changed route acts, with a large estate bound to the same waypoint, and that nobody else notices.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::Instant;
use weft_harness::Pod;

use super::bed::{self, Bed};
use super::estate::Estate;
use crate::progress::say;
use crate::report::{Measure, RunSettings, Side, SideValue, Subject, Unit};
use crate::statistics::percentile;

/// Changes: a 99th percentile needs a hundred.
const CHANGES: usize = 100;
const CHANGES_QUICK: usize = 5;
/// Longest wait for any one of them, and for an answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// The header by which an answer tells which version of the route it came by.
const VERSION: &str = "x-route-version";

/// Changes the route of one service again and again, and asks on a connection that stays open until an answer comes by it.
/// A connection to another service of the same waypoint must outlast them all.
///
/// # Errors
/// A change didn't act, or a connection was closed.
pub(super) fn measure(bed: &Bed, run: &RunSettings) -> Result<Vec<Measure>> {
    let (estate, changes) =
        if run.quick { (Estate::SMALL, CHANGES_QUICK) } else { (Estate::WHOLE, CHANGES) };
    estate.write(bed.mesh.manifests())?;
    bed.wait_loaded(estate.services)?;
    let site = bed.site(Side::Mesh)?;
    let mut changed = Caller::open(&site.client, site.target)?;
    let mut steady = Caller::open(&site.client, bed::steady())?;
    steady.ask().context("the other service before")?;
    let mut samples = Vec::with_capacity(changes);
    for number in 0..changes {
        let version = format!("{VERSION}: {number}\r\n");
        let start = Instant::now();
        bed::write_route(&bed.mesh, Some((VERSION, number)))?;
        while !changed.ask()?.contains(&version) {
            ensure!(start.elapsed() < DEADLINE, "change {number} didn't act within {DEADLINE:?}");
        }
        samples.push(start.elapsed().as_secs_f64() * 1e3);
    }
    steady.ask().context("the other service's connection")?;
    bed::write_route(&bed.mesh, None)?;
    let mut told = "l7-change:".to_owned();
    let measures = [("p50", 50), ("p99", 99)].map(|(name, percent)| {
        let value = percentile(&samples, percent);
        told.push_str(&format!("  {name} {}", Unit::Milliseconds.show(value)));
        let value = SideValue { side: Side::Mesh, value, ratio: None, samples: samples.clone() };
        Measure::new(Subject::new("l7-change", name, Unit::Milliseconds), vec![value])
    });
    say(&told);
    Ok(measures.into())
}

/// A connection of HTTP/1.1 that stays open.
struct Caller {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Caller {
    fn open(from: &Pod, to: SocketAddr) -> Result<Self> {
        Ok(Self { stream: from.netns.connect(to, DEADLINE)?, heard: vec![0; 4096] })
    }

    /// One request; the whole answer, which fits the buffer: 128 bytes and a few headers.
    fn ask(&mut self) -> Result<String> {
        self.stream.write_all(b"GET /bench/items HTTP/1.1\r\nhost: bench\r\n\r\n")?;
        let mut answer = String::new();
        while !is_whole(&answer) {
            let length = self.stream.read(&mut self.heard)?;
            ensure!(length > 0, "the connection was closed after {answer:?}");
            let piece = self.heard.get(..length).unwrap_or_default();
            answer.push_str(std::str::from_utf8(piece).context("an answer of other bytes")?);
        }
        ensure!(answer.starts_with("HTTP/1.1 200"), "answered {answer:?}");
        Ok(answer)
    }
}

fn is_whole(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return false };
    let mut lengths = head.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") { value.trim().parse().ok() } else { None }
    });
    body.len() >= lengths.next().unwrap_or(0_usize)
}

#[cfg(test)]
mod tests {
    use super::is_whole;

    #[test]
    fn an_answer_is_whole_with_as_much_as_it_promised() {
        assert!(!is_whole("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r"));
        assert!(!is_whole("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na"));
        assert!(is_whole("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"));
        assert!(is_whole("HTTP/1.1 204 No Content\r\n\r\n"));
    }
}
