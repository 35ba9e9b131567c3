//! The workloads behind one service.

use std::sync::Arc;

use super::{HealthPolicy, Port, Service, Workload, WorkloadStatus};

/// Workloads of one service in uid order, in chunks. Changing one copies its chunk and the list of chunks, so that a
/// service with ten thousand endpoints costs little more than one with ten.
#[derive(Debug, Clone, Default)]
pub struct Endpoints {
    chunks: Arc<Vec<Chunk>>,
    len: usize,
    /// How many have a capacity other than 1.
    weighted: usize,
}

type Chunk = Arc<[Arc<Workload>]>;

/// A change copies at most 512 bytes of pointers, and the list of the 160 to 320 chunks that 10,000 endpoints make.
const CHUNK_MAX: usize = 64;

impl Endpoints {
    /// How many there are, whether they want traffic or not.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of them in uid order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// Whether they differ in capacity, so that a uniform draw would be unfair.
    pub(super) fn has_weights(&self) -> bool {
        self.weighted > 0
    }

    /// The one at `index` in uid order.
    pub(super) fn nth(&self, mut index: usize) -> Option<&Arc<Workload>> {
        for chunk in self.chunks.iter() {
            match chunk.get(index) {
                Some(workload) => return Some(workload),
                None => index -= chunk.len(),
            }
        }
        None
    }

    /// Adds, or replaces the one with the same uid.
    pub(super) fn put(&mut self, workload: &Arc<Workload>) {
        let at = self.chunk_for(&workload.uid);
        let chunks = Arc::make_mut(&mut self.chunks);
        let mut values = chunks.get(at).map_or_else(Vec::new, |chunk| chunk.to_vec());
        let index = values.partition_point(|other| other.uid < workload.uid);
        match values.get_mut(index).filter(|other| other.uid == workload.uid) {
            Some(known) => {
                self.weighted -= usize::from(known.capacity != 1);
                *known = Arc::clone(workload);
            }
            None => {
                values.insert(index, Arc::clone(workload));
                self.len += 1;
            }
        }
        self.weighted += usize::from(workload.capacity != 1);
        let upper = (values.len() > CHUNK_MAX).then(|| values.split_off(values.len() / 2));
        let replaced = at..chunks.len().min(at + 1);
        let parts = [Some(values), upper].into_iter().flatten().map(Chunk::from);
        chunks.splice(replaced, parts);
    }

    /// Removes, if it is there.
    pub(super) fn remove(&mut self, uid: &str) {
        let at = self.chunk_for(uid);
        let Some(chunk) = self.chunks.get(at) else {
            return;
        };
        let Some(known) = chunk.iter().find(|other| &*other.uid == uid) else {
            return;
        };
        self.weighted -= usize::from(known.capacity != 1);
        self.len -= 1;
        let rest: Vec<_> = chunk.iter().filter(|other| &*other.uid != uid).cloned().collect();
        let rest = (!rest.is_empty()).then(|| Chunk::from(rest));
        Arc::make_mut(&mut self.chunks).splice(at..at + 1, rest);
    }

    /// The chunk where `uid` is or belongs. Out of range only if there is none.
    fn chunk_for(&self, uid: &str) -> usize {
        let starts_before =
            |chunk: &Chunk| chunk.first().is_some_and(|workload| &*workload.uid <= uid);
        self.chunks.partition_point(starts_before).saturating_sub(1)
    }
}

/// The same workloads, however they are cut into chunks: that depends on the order of arrival.
impl PartialEq for Endpoints {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

/// One workload as an endpoint of one service.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint<'a> {
    /// Who it is.
    pub workload: &'a Arc<Workload>,
    /// Its own ports for the service.
    pub ports: &'a [Port],
}

impl<'a> Endpoint<'a> {
    /// `None` if the health policy of `service` leaves the workload out.
    pub(super) fn of(service: &Service, workload: &'a Arc<Workload>) -> Option<Self> {
        let policy = service.load_balancing.as_ref().map(|it| it.health_policy);
        let counts =
            workload.status == WorkloadStatus::Healthy || policy == Some(HealthPolicy::AllowAll);
        let ports = workload.ports_of(&service.key).unwrap_or(&[]);
        counts.then_some(Self { workload, ports })
    }

    /// Where the workload takes connections to `service_port` of `service`: its own number, else the service's.
    pub fn target_port(&self, service: &Service, service_port: u16) -> Option<u16> {
        let own = self.ports.iter().find(|port| port.service_port == service_port);
        let own = own.map(|port| port.target_port).filter(|port| *port != 0);
        let common = service.port(service_port).map(|port| port.target_port);
        own.or(common).filter(|port| *port != 0)
    }
}
