//! `shop bench-client`: measures one thing and prints it as one line of JSON.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use crate::bench_http;
use crate::bench_server::{BULK_PIECE, ECHO, MESSAGE_MAX, ONCE, SINK, SOURCE};
use crate::figures::{Latencies, Percentiles};
use crate::{say, socket};

/// Longest wait for any one answer: past that the run has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
/// Part of a run's time that goes before anything is counted: windows and caches fill.
const WARM_UP_PART: u32 = 10;
/// Connections that are being opened at a time in hold mode.
const OPENING_AT_ONCE: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// One message at a time on each connection, a blocking thread each.
    Latency,
    /// As many messages as go, one at a time on each connection.
    Rps,
    /// Bytes to the server as fast as they go.
    Bulk,
    /// Bytes from the server as fast as they go.
    Download,
    /// Connections, each for one message.
    Connect,
    /// Opens connections, holds them, checks that all still work.
    Hold,
    /// One request of HTTP/1.1 at a time on each connection, a blocking thread each.
    HttpLatency,
    /// The same, `--rate` of them a second.
    HttpPaced,
    /// As many requests as go, one at a time on each connection.
    HttpRps,
    /// Connections, each for one request.
    HttpConnect,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The bench server.
    #[arg(long)]
    target: SocketAddr,
    /// What to measure.
    #[arg(long, value_enum)]
    mode: Mode,
    /// Connections at a time.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// For how long.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Bytes a message.
    #[arg(long, default_value_t = 128)]
    size: u32,
    /// Threads for `rps` and `connect`; 0 for one a core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Requests a second for `http-paced`, on all connections together.
    #[arg(long, default_value_t = 1000.0)]
    rate: f64,
    /// The host that requests of HTTP name.
    #[arg(long, default_value = "bench")]
    host: String,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    mode: String,
    connections: usize,
    seconds: f64,
    /// Messages (or connections) that were answered.
    count: u64,
    failed: u64,
    /// Of those a second.
    rate: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    gigabits_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<Percentiles>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_error: Option<String>,
}

/// Runs the command; true if nothing failed.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let size = usize::try_from(arguments.size)?;
    if arguments.connections == 0 || size == 0 || size > MESSAGE_MAX {
        bail!("--connections must not be 0, --size must be 1 to {MESSAGE_MAX}");
    }
    let mut report = match arguments.mode {
        Mode::Latency => latency(arguments)?,
        Mode::HttpLatency | Mode::HttpPaced => http_in_turn(arguments)?,
        Mode::Bulk | Mode::Download => bulk(arguments)?,
        Mode::Rps | Mode::Connect | Mode::HttpRps | Mode::HttpConnect => exchanges(arguments)?,
        Mode::Hold => hold(arguments)?,
    };
    report.mode = format!("{:?}", arguments.mode).to_lowercase();
    report.connections = arguments.connections;
    say(&serde_json::to_string(&report)?);
    Ok(report.failed == 0 && report.count > 0)
}

/// What to count and until when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    opened: Instant,
    begin: Instant,
    end: Instant,
}

impl Window {
    fn of(arguments: &Arguments) -> Self {
        let length = Duration::from_secs_f64(arguments.seconds);
        let opened = Instant::now();
        let begin = opened + length / WARM_UP_PART;
        Self { opened, begin, end: begin + length }
    }

    /// When the run began, its warm-up included.
    pub(crate) fn opened(&self) -> Instant {
        self.opened
    }

    /// When it is over.
    pub(crate) fn end(&self) -> Instant {
        self.end
    }

    /// Whether what began then counts.
    pub(crate) fn holds(&self, at: Instant) -> bool {
        at >= self.begin && at < self.end
    }
}

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    latencies: Latencies,
    failed: u64,
    first_error: Option<String>,
}

impl Tally {
    /// Counts an answer.
    pub(crate) fn add(&mut self, latency: Duration) {
        self.latencies.add(latency);
    }

    fn fail(&mut self, error: &anyhow::Error) {
        self.failed += 1;
        self.first_error.get_or_insert_with(|| format!("{error:#}"));
    }

    fn merge(&mut self, other: Self) {
        self.latencies.merge(other.latencies);
        self.failed += other.failed;
        self.first_error = self.first_error.take().or(other.first_error);
    }

    fn report(self, arguments: &Arguments) -> Report {
        let count = self.latencies.count() as u64;
        Report {
            seconds: arguments.seconds,
            count,
            failed: self.failed,
            rate: count as f64 / arguments.seconds,
            latency: Some(self.latencies.percentiles()),
            first_error: self.first_error,
            ..Report::default()
        }
    }
}

fn opening(mode: u8, size: u32) -> [u8; 5] {
    let [a, b, c, d] = size.to_be_bytes();
    [mode, a, b, c, d]
}

fn open_blocking(arguments: &Arguments, mode: u8) -> Result<TcpStream> {
    let to = arguments.target;
    let mut stream = TcpStream::connect_timeout(&to, DEADLINE).with_context(|| to.to_string())?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    stream.write_all(&opening(mode, arguments.size))?;
    Ok(stream)
}

/// Runs `work` on a thread a connection.
fn on_threads<T: Send>(count: usize, work: impl Fn() -> Result<T> + Sync) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(&work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked"))))
            .collect()
    })
}

fn latency(arguments: &Arguments) -> Result<Report> {
    let window = Window::of(arguments);
    let tallies = on_threads(arguments.connections, || {
        let mut stream = open_blocking(arguments, ECHO)?;
        let mut message = vec![0; usize::try_from(arguments.size)?];
        let mut tally = Tally::default();
        loop {
            let start = Instant::now();
            if start >= window.end {
                return Ok(tally);
            }
            stream.write_all(&message)?;
            stream.read_exact(&mut message)?;
            if window.holds(start) {
                tally.latencies.add(start.elapsed());
            }
        }
    })?;
    Ok(merged(tallies).report(arguments))
}

/// Each connection on a thread of its own: a sleeping thread is woken to the tenth of a millisecond.
fn http_in_turn(arguments: &Arguments) -> Result<Report> {
    let window = Window::of(arguments);
    let connections = u32::try_from(arguments.connections)?;
    let interval = match arguments.mode {
        Mode::HttpPaced if arguments.rate > 0.0 => {
            Some(Duration::from_secs_f64(f64::from(connections) / arguments.rate))
        }
        Mode::HttpPaced => bail!("--rate must be more than 0"),
        _ => None,
    };
    let number = AtomicU64::new(0);
    let tallies = on_threads(arguments.connections, || {
        let turn = u32::try_from(number.fetch_add(1, Ordering::Relaxed))?;
        // Evenly: they must not all ask at once.
        let pace = interval.map(|interval| (interval / connections * turn, interval));
        bench_http::blocking((arguments.target, &arguments.host), pace, window)
    })?;
    Ok(merged(tallies).report(arguments))
}

fn merged(tallies: Vec<Tally>) -> Tally {
    let mut all = Tally::default();
    for tally in tallies {
        all.merge(tally);
    }
    all
}

/// Counts bytes where they arrive: what is in a sender's buffer has not crossed.
fn bulk(arguments: &Arguments) -> Result<Report> {
    let window = Window::of(arguments);
    let upload = arguments.mode == Mode::Bulk;
    let totals = on_threads(arguments.connections, || {
        if upload { send_bulk(arguments, window) } else { receive_bulk(arguments, window) }
    })?;
    let bytes: u64 = totals.iter().map(|(bytes, _)| bytes).sum();
    let slowest = totals.iter().map(|(_, seconds)| *seconds).fold(0.0, f64::max);
    let bits = bytes as f64 * 8.0;
    Ok(Report {
        seconds: slowest,
        count: bytes,
        rate: bytes as f64 / slowest,
        gigabits_per_second: Some(bits / slowest / 1e9),
        ..Report::default()
    })
}

/// Bytes that the server says it has read, and the time until it said so.
fn send_bulk(arguments: &Arguments, window: Window) -> Result<(u64, f64)> {
    let mut stream = open_blocking(arguments, SINK)?;
    let piece = vec![0; BULK_PIECE];
    let start = Instant::now();
    while Instant::now() < window.end {
        stream.write_all(&piece)?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut total = [0; 8];
    stream.read_exact(&mut total).context("the server's count")?;
    Ok((u64::from_be_bytes(total), start.elapsed().as_secs_f64()))
}

fn receive_bulk(arguments: &Arguments, window: Window) -> Result<(u64, f64)> {
    let mut stream = open_blocking(arguments, SOURCE)?;
    let mut piece = vec![0; BULK_PIECE];
    let mut total = 0;
    loop {
        let length = stream.read(&mut piece)?;
        if length == 0 {
            bail!("the server ended the stream");
        }
        let now = Instant::now();
        if now >= window.end {
            return Ok((total, (window.end - window.begin).as_secs_f64()));
        }
        if now >= window.begin {
            total += length as u64;
        }
    }
}

/// `rps` and `connect`: a runtime a thread, each with its share of the connections.
fn exchanges(arguments: &Arguments) -> Result<Report> {
    let cores = std::thread::available_parallelism()?.get();
    let wanted = if arguments.threads == 0 { cores } else { arguments.threads };
    let threads = wanted.min(arguments.connections);
    let window = Window::of(arguments);
    let left = AtomicU64::new(arguments.connections as u64);
    let tallies = on_threads(threads, || {
        let share = share_of(&left, arguments.connections.div_ceil(threads));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..share {
                let (target, size) = (arguments.target, arguments.size);
                let host = arguments.host.clone();
                match arguments.mode {
                    Mode::Connect => {
                        tasks.spawn(connect_loop(window, move || one_connection(target, size)))
                    }
                    Mode::HttpConnect => tasks.spawn(connect_loop(window, move || {
                        let host = host.clone();
                        async move { bench_http::one_connection(target, &host).await }
                    })),
                    Mode::HttpRps => tasks.spawn(request_loop(target, host, window)),
                    _ => tasks.spawn(message_loop(target, size, window)),
                };
            }
            let mut tally = Tally::default();
            while let Some(ended) = tasks.join_next().await {
                tally.merge(ended?);
            }
            Ok(tally)
        })
    })?;
    Ok(merged(tallies).report(arguments))
}

fn share_of(left: &AtomicU64, most: usize) -> u64 {
    let take = |left: u64| Some(left.saturating_sub(most as u64));
    let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).unwrap_or_default();
    before.min(most as u64)
}

async fn message_loop(target: SocketAddr, size: u32, window: Window) -> Tally {
    let mut tally = Tally::default();
    if let Err(error) = messages(target, size, window, &mut tally).await {
        tally.fail(&error);
    }
    tally
}

async fn messages(target: SocketAddr, size: u32, window: Window, tally: &mut Tally) -> Result<()> {
    let mut stream = socket::connect(target, DEADLINE).await?;
    stream.write_all(&opening(ECHO, size)).await?;
    let mut message = vec![0; usize::try_from(size)?];
    let mut start = Instant::now();
    // One deadline for the whole loop and not a timer a message, which would be measured too.
    let exchange = async {
        while start < window.end {
            stream.write_all(&message).await?;
            stream.read_exact(&mut message).await?;
            let end = Instant::now();
            if window.holds(start) {
                tally.latencies.add(end - start);
            }
            start = end;
        }
        Ok(())
    };
    tokio::time::timeout_at(window.end + DEADLINE, exchange).await.context("no answer")?
}

async fn request_loop(target: SocketAddr, host: String, window: Window) -> Tally {
    let mut tally = Tally::default();
    if let Err(error) = bench_http::requests((target, &host), window, &mut tally).await {
        tally.fail(&error);
    }
    tally
}

/// Connections one after the other, each for what `connection` does with it.
async fn connect_loop<C, F>(window: Window, connection: C) -> Tally
where
    C: Fn() -> F,
    F: Future<Output = Result<()>>,
{
    let mut tally = Tally::default();
    loop {
        let start = Instant::now();
        if start >= window.end {
            return tally;
        }
        match tokio::time::timeout(DEADLINE, connection()).await {
            Ok(Ok(())) if window.holds(start) => tally.latencies.add(start.elapsed()),
            Ok(Ok(())) => {}
            Ok(Err(error)) => tally.fail(&error),
            Err(_) => tally.fail(&anyhow!("no answer within {DEADLINE:?}")),
        }
    }
}

async fn one_connection(target: SocketAddr, size: u32) -> Result<()> {
    let mut stream = socket::connect(target, DEADLINE).await?;
    let mut message = Vec::with_capacity(size as usize + 5);
    message.extend_from_slice(&opening(ONCE, size));
    message.resize(size as usize + 5, 0);
    stream.write_all(&message).await?;
    let mut answered = 0;
    loop {
        match stream.read(&mut message).await? {
            0 if answered == size as usize => return Ok(()),
            0 => bail!("{answered} of {size} bytes came back"),
            length => answered += length,
        }
    }
}

/// Opens all, says so in a line of its own, waits, and checks that each still answers.
fn hold(arguments: &Arguments) -> Result<Report> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let start = Instant::now();
        let permits = Arc::new(tokio::sync::Semaphore::new(OPENING_AT_ONCE));
        let (target, size) = (arguments.target, arguments.size);
        let mut opened = tokio::task::JoinSet::new();
        for _ in 0..arguments.connections {
            let permits = Arc::clone(&permits);
            opened.spawn(async move {
                let _permit = permits.acquire_owned().await?;
                let mut stream = socket::connect(target, DEADLINE).await?;
                stream.write_all(&opening(ECHO, size)).await?;
                ping(&mut stream, size).await?;
                Ok::<_, anyhow::Error>(stream)
            });
        }
        let mut tally = Tally::default();
        let mut held = Vec::with_capacity(arguments.connections);
        for ended in opened.join_all().await {
            match ended {
                Ok(stream) => held.push(stream),
                Err(error) => tally.fail(&error),
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        say(&serde_json::json!({"held": held.len(), "seconds": seconds}).to_string());
        tokio::time::sleep(Duration::from_secs_f64(arguments.seconds)).await;
        for stream in &mut held {
            let start = Instant::now();
            match ping(stream, size).await {
                Ok(()) => tally.latencies.add(start.elapsed()),
                Err(error) => tally.fail(&error),
            }
        }
        Ok(tally.report(arguments))
    })
}

async fn ping(stream: &mut tokio::net::TcpStream, size: u32) -> Result<()> {
    let mut message = vec![0; usize::try_from(size)?];
    tokio::time::timeout(DEADLINE, async {
        stream.write_all(&message).await?;
        stream.read_exact(&mut message).await?;
        Ok(())
    })
    .await
    .context("no answer")?
}
