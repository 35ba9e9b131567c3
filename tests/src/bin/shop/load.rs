//! `shop load`: requests at a steady rate, and what became of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Serialize;
use tokio::time::{Instant, timeout};

use crate::client::{Ask, Connection, read_whole};
use crate::figures::{Latencies, Percentiles};
use crate::say;

/// Failures whose words are kept.
const REASONS_MAX: usize = 5;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What to ask for.
    #[arg(long)]
    url: String,
    /// Requests a second, all connections together.
    #[arg(long, default_value_t = 100)]
    rps: u32,
    /// For how long; without it until SIGINT or SIGTERM.
    #[arg(long)]
    seconds: Option<f64>,
    /// Connections at a time.
    #[arg(long, default_value_t = 4)]
    connections: u32,
    /// A new connection (and look-up) for each request.
    #[arg(long)]
    new_connections: bool,
    #[command(flatten)]
    ask: Ask,
    /// So many requests and no more.
    #[arg(long)]
    count: Option<u64>,
    /// A connection that the other side closed while no request was on it is opened anew, as pools do; without this it
    /// counts as a failure.
    #[arg(long, conflicts_with = "new_connections")]
    pooled: bool,
    /// Time for one request, milliseconds.
    #[arg(long, default_value_t = 2_000)]
    deadline_ms: u64,
    /// Print the totals so far each second.
    #[arg(long)]
    progress: bool,
}

#[derive(Debug, Default)]
struct Counters {
    begun: AtomicU64,
    total: AtomicU64,
    failed: AtomicU64,
}

impl Counters {
    /// Whether another request may begin.
    fn take(&self, most: Option<u64>) -> bool {
        let before = self.begun.fetch_add(1, Ordering::Relaxed);
        most.is_none_or(|most| before < most)
    }
}

#[derive(Debug, Default)]
struct Tally {
    latencies: Latencies,
    reasons: Vec<String>,
    /// Answers by status, and by the version that gave them.
    statuses: BTreeMap<u16, u64>,
    versions: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
struct Report {
    total: u64,
    failed: u64,
    seconds: f64,
    rate: f64,
    reasons: Vec<String>,
    statuses: BTreeMap<u16, u64>,
    versions: BTreeMap<String, u64>,
    #[serde(flatten)]
    latency: Percentiles,
}

/// Runs the command; true if nothing failed.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    if arguments.rps == 0 || arguments.connections == 0 {
        bail!("--rps and --connections must not be 0");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(drive(arguments))?;
    say(&serde_json::to_string(&report)?);
    Ok(report.failed == 0)
}

async fn drive(arguments: &Arguments) -> Result<Report> {
    let counters = Arc::new(Counters::default());
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let start = Instant::now();
    let mut workers = tokio::task::JoinSet::new();
    // Each worker has its share of the rate, offset so that they take turns.
    let interval = Duration::from_secs(1) * arguments.connections / arguments.rps;
    for number in 0..arguments.connections {
        let worker = Worker {
            url: arguments.url.clone(),
            keep: !arguments.new_connections,
            ask: arguments.ask.clone(),
            count: arguments.count,
            pooled: arguments.pooled,
            deadline: Duration::from_millis(arguments.deadline_ms),
            counters: Arc::clone(&counters),
            connection: None,
        };
        let begin = start + interval * number / arguments.connections;
        workers.spawn(worker.run(begin, interval, stopped.clone()));
    }
    wait_for_end(arguments, &counters).await?;
    // The workers end at their next turn, so that no request is broken off.
    let _all_ended = stop.send(true);
    let mut tally = Tally::default();
    while let Some(ended) = workers.join_next().await {
        let ended = ended?;
        tally.latencies.merge(ended.latencies);
        tally.reasons.extend(ended.reasons);
        for (status, count) in ended.statuses {
            *tally.statuses.entry(status).or_default() += count;
        }
        for (version, count) in ended.versions {
            *tally.versions.entry(version).or_default() += count;
        }
    }
    tally.reasons.truncate(REASONS_MAX);
    let seconds = start.elapsed().as_secs_f64();
    let rate = f64::from(u32::try_from(tally.latencies.count())?) / seconds;
    Ok(Report {
        total: counters.total.load(Ordering::Relaxed),
        failed: counters.failed.load(Ordering::Relaxed),
        seconds,
        rate,
        reasons: tally.reasons,
        statuses: tally.statuses,
        versions: tally.versions,
        latency: tally.latencies.percentiles(),
    })
}

async fn wait_for_end(arguments: &Arguments, counters: &Counters) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut progress = tokio::time::interval(Duration::from_secs(1));
    let end = async {
        match arguments.seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs_f64(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(end);
    loop {
        let is_counted =
            arguments.count.is_some_and(|count| counters.total.load(Ordering::Relaxed) >= count);
        if is_counted {
            return Ok(());
        }
        tokio::select! {
            () = &mut end => return Ok(()),
            () = tokio::time::sleep(Duration::from_millis(20)), if arguments.count.is_some() => {}
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = progress.tick(), if arguments.progress => {
                let total = counters.total.load(Ordering::Relaxed);
                let failed = counters.failed.load(Ordering::Relaxed);
                say(&serde_json::json!({"total": total, "failed": failed}).to_string());
            }
        }
    }
}

struct Worker {
    url: String,
    keep: bool,
    ask: Ask,
    count: Option<u64>,
    pooled: bool,
    deadline: Duration,
    counters: Arc<Counters>,
    connection: Option<Connection>,
}

impl Worker {
    async fn run(
        mut self,
        begin: Instant,
        interval: Duration,
        stopped: tokio::sync::watch::Receiver<bool>,
    ) -> Tally {
        let mut tally = Tally::default();
        let mut turns = tokio::time::interval_at(begin, interval);
        // After a stall go on at the rate; a burst would measure itself.
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            if *stopped.borrow() || !self.counters.take(self.count) {
                return tally;
            }
            let start = Instant::now();
            let result = match timeout(self.deadline, self.request(&mut tally)).await {
                Ok(result) => result,
                Err(_) => Err(anyhow::anyhow!("nothing within {:?}", self.deadline)),
            };
            self.counters.total.fetch_add(1, Ordering::Relaxed);
            match result {
                Ok(()) => tally.latencies.add(start.elapsed()),
                Err(error) => {
                    self.counters.failed.fetch_add(1, Ordering::Relaxed);
                    self.connection = None;
                    if tally.reasons.len() < REASONS_MAX {
                        tally.reasons.push(format!("{error:#}"));
                    }
                }
            }
        }
    }

    /// What is kept. A pool doesn't give out what has ended; who keeps one connection notices.
    async fn still_open(&mut self) -> Option<Connection> {
        let mut kept = self.connection.take()?;
        (!self.pooled || kept.is_open().await).then_some(kept)
    }

    async fn request(&mut self, tally: &mut Tally) -> Result<()> {
        let mut connection = match self.still_open().await {
            Some(connection) => connection,
            None => Connection::open(&self.url, self.deadline).await?,
        };
        let response = connection.send(&self.url, &self.ask).await?;
        let status = response.status();
        *tally.statuses.entry(status.as_u16()).or_default() += 1;
        let is_last = response.headers().get("connection").is_some_and(|it| it == "close");
        let version = response.headers().get("x-version").and_then(|it| it.to_str().ok());
        if let Some(version) = version {
            *tally.versions.entry(version.to_owned()).or_default() += 1;
        }
        read_whole(response).await?;
        if !status.is_success() {
            bail!("status {status}");
        }
        if self.keep && !(self.pooled && is_last) {
            self.connection = Some(connection);
        }
        Ok(())
    }
}
