//! Where what is told of requests goes: metrics, lines, collectors of traces.

use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use weft_core::telemetry::{LogLines, Registry};

use crate::telemetry::metrics::RequestMetrics;
use crate::telemetry::policy::{CollectorAddress, ServiceTelemetry};
use crate::telemetry::trace::{Collector, Dial, Exporter, Io, Origin, SpanMetrics, SpanQueue, Tracer};
use crate::upstream::ByName;

/// What is told of one service's requests, ready for use.
#[derive(Debug)]
pub struct Told {
    /// As it was set.
    pub telemetry: ServiceTelemetry,
    /// Traces of its requests.
    pub tracer: Option<Arc<Tracer>>,
}

impl Told {
    /// Whether more than counting is to be done.
    pub fn is_detailed(&self) -> bool {
        !self.telemetry.logs.is_empty() || self.tracer.is_some()
    }
}

/// The places that everything goes to. Clones share them.
#[derive(Clone)]
pub struct Observers {
    /// Counters.
    pub requests: RequestMetrics,
    /// Lines of access logs.
    pub lines: LogLines,
    spans: SpanMetrics,
    origin: Arc<Origin>,
    collectors: Arc<Mutex<Collectors>>,
}

#[derive(Default)]
struct Collectors {
    queues: Vec<(CollectorAddress, SpanQueue)>,
    /// Those that can't be reached yet: who reaches them comes later than the first policy.
    waiting: Vec<(CollectorAddress, PendingExport)>,
    reach: Option<Reach>,
}

type PendingExport = Box<dyn FnOnce(&Reach) -> Exporter + Send>;

/// How collectors are reached, and where that is done.
#[derive(Clone)]
pub struct Reach {
    /// The mesh.
    pub by_name: Arc<ByName>,
    /// Runs exporters.
    pub runtime: Handle,
}

impl Observers {
    /// Adds metrics to `registry`.
    pub fn new(registry: &mut Registry, lines: LogLines, origin: Origin) -> Self {
        Self {
            requests: RequestMetrics::new(registry),
            lines,
            spans: SpanMetrics::new(registry),
            origin: Arc::new(origin),
            collectors: Arc::default(),
        }
    }

    /// From now on collectors can be reached.
    pub fn start(&self, reach: Reach) {
        let mut collectors = self.collectors.lock();
        for (_, exporter) in collectors.waiting.drain(..) {
            reach.runtime.spawn(exporter(&reach).run());
        }
        collectors.reach = Some(reach);
    }

    /// What is set for a service, ready for use.
    pub fn told(&self, telemetry: ServiceTelemetry) -> Told {
        let tracer = telemetry.tracing.as_ref().map(|tracing| {
            let queue = self.queue(&tracing.collector);
            Arc::new(tracing.tracer(self.origin.clone(), queue))
        });
        Told { telemetry, tracer }
    }

    /// Services with one collector share its queue.
    fn queue(&self, to: &CollectorAddress) -> SpanQueue {
        let mut collectors = self.collectors.lock();
        if let Some((_, queue)) = collectors.queues.iter().find(|(own, _)| own == to) {
            return queue.clone();
        }
        let late = Arc::new(Late::default());
        let collector = Collector::new(
            to.authority.clone(),
            to.protocol.clone(),
            late.clone(),
            to.headers.clone(),
            to.deadline,
        );
        let (queue, exporter) = SpanQueue::new(collector, self.origin.clone(), self.spans.clone());
        let authority = to.authority.clone();
        let finish = move |reach: &Reach| {
            late.set(authority, reach.by_name.clone());
            exporter
        };
        match collectors.reach.clone() {
            Some(reach) => {
                reach.runtime.spawn(finish(&reach).run());
            }
            None => collectors.waiting.push((to.clone(), Box::new(finish))),
        }
        collectors.queues.push((to.clone(), queue.clone()));
        queue
    }
}

/// A way that is known only after the first policies are: they come with the mesh that it leads through.
#[derive(Default)]
struct Late(Mutex<Option<(http::uri::Authority, Arc<ByName>)>>);

impl Late {
    fn set(&self, authority: http::uri::Authority, by_name: Arc<ByName>) {
        *self.0.lock() = Some((authority, by_name));
    }
}

impl Dial for Late {
    fn dial(&self) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        let way = self.0.lock().clone();
        Box::pin(async move {
            let (authority, by_name) = way.ok_or_else(|| io::Error::other("not started yet"))?;
            let (host, port) = (authority.host(), authority.port_u16().unwrap_or(4317));
            match by_name.reach("", host, port).await {
                Ok(stream) => Ok(Box::new(stream) as Box<dyn Io>),
                // Outside of the mesh, or an address.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    Ok(Box::new(TcpStream::connect((host, port)).await?) as Box<dyn Io>)
                }
                Err(error) => Err(error),
            }
        })
    }
}
