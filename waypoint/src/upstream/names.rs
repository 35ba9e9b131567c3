//! Addresses of endpoints that are known by name.
//!
//! The system's resolver is asked, so that what its owner set up for it (search lists, a company's servers) holds here
//! too. It doesn't tell how long an answer lasts; half a minute is what most names of services in clouds have.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use weft_core::mesh::SnapshotReader;

use crate::limits;

/// Asks for the addresses of a name.
pub(crate) type Lookup =
    Box<dyn Fn(Arc<str>) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// Why a name has no address that may be used.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum NameError {
    /// The resolver says so.
    #[error("{name} can't be resolved: {reason}")]
    Unresolved {
        /// The name.
        name: Arc<str>,
        /// What the resolver says.
        reason: Arc<str>,
    },
    /// The resolver says nothing.
    #[error("{name} can't be resolved within {} ms", .after.as_millis())]
    Slow {
        /// The name.
        name: Arc<str>,
        /// How long it was waited for.
        after: Duration,
    },
    /// The name was the client's choice, and leads to where it may not go by it.
    #[error("{name} leads to {address}, which is inside of the mesh or of this machine")]
    Inside {
        /// The name.
        name: Arc<str>,
        /// Where it leads.
        address: IpAddr,
    },
}

type Answer = Result<Arc<[IpAddr]>, NameError>;

/// Asked about by one at a time; the others wait for the answer.
type Known = Arc<tokio::sync::Mutex<Option<(Instant, Answer)>>>;

/// Names that connections were made to lately. One for a process.
pub(crate) struct Names {
    lookup: Lookup,
    mesh: SnapshotReader,
    network: Arc<str>,
    known: Mutex<HashMap<Arc<str>, Known>>,
    turn: AtomicUsize,
}

impl Names {
    /// `network`: in which the mesh's addresses mean something here.
    pub(crate) fn new(mesh: SnapshotReader, network: Arc<str>, lookup: Lookup) -> Self {
        Self { lookup, mesh, network, known: Mutex::default(), turn: AtomicUsize::new(0) }
    }

    /// By the system's resolver.
    pub(crate) fn of_system(mesh: SnapshotReader, network: Arc<str>) -> Self {
        let lookup = |name: Arc<str>| {
            async move {
                let found = tokio::net::lookup_host((&*name, 0)).await?;
                Ok(found.map(|address| address.ip()).collect())
            }
            .boxed()
        };
        Self::new(mesh, network, Box::new(lookup))
    }

    /// Addresses in the order in which they are to be tried: each call begins with another one, so that all are used.
    /// `is_clients_choice`: not what lies inside of the mesh or of this machine.
    pub(crate) async fn addresses(
        &self,
        name: &Arc<str>,
        is_clients_choice: bool,
    ) -> Result<Vec<IpAddr>, NameError> {
        let found = self.find(name).await?;
        if is_clients_choice
            && let Some(address) = found.iter().find(|address| self.is_inside(**address))
        {
            // Not the others either: who answers so means no good.
            return Err(NameError::Inside { name: name.clone(), address: *address });
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        // Where both families are there, one may not lead outside.
        let (v4, v6): (Vec<_>, Vec<_>) = found.iter().partition(|address| address.is_ipv4());
        let rotated = [v4, v6].into_iter().flat_map(|mut family| {
            let by = turn.checked_rem(family.len()).unwrap_or(0);
            family.rotate_left(by);
            family
        });
        Ok(rotated.take(limits::NAME_ADDRESSES_TRIED).collect())
    }

    async fn find(&self, name: &Arc<str>) -> Answer {
        let known = self.place(name);
        let mut known = known.lock().await;
        if let Some((until, answer)) = &*known
            && Instant::now() < *until
        {
            return answer.clone();
        }
        let answer = self.ask(name).await;
        let lasts = match &answer {
            Ok(_) => limits::NAME_TIME,
            Err(_) => limits::NAME_FAILURE_TIME,
        };
        // A resolver that fails for a while takes nothing away that it gave before.
        let answer = match (&*known, answer) {
            (Some((_, Ok(old))), Err(error)) if !matches!(error, NameError::Inside { .. }) => {
                tracing::info!(target: "names", %name, %error, "the last answer is kept");
                Ok(old.clone())
            }
            (_, answer) => answer,
        };
        *known = Some((Instant::now() + lasts, answer.clone()));
        answer
    }

    async fn ask(&self, name: &Arc<str>) -> Answer {
        let after = limits::NAME_DEADLINE;
        let found = timeout(after, (self.lookup)(name.clone())).await;
        let found = found.map_err(|_| NameError::Slow { name: name.clone(), after })?;
        let unresolved =
            |reason: &str| NameError::Unresolved { name: name.clone(), reason: reason.into() };
        let mut found = found.map_err(|error| unresolved(&error.to_string()))?;
        found.sort_unstable();
        found.dedup();
        found.truncate(limits::NAME_ADDRESSES_MAX);
        if found.is_empty() {
            return Err(unresolved("it has no address"));
        }
        Ok(found.into())
    }

    fn place(&self, name: &Arc<str>) -> Known {
        let mut known = self.known.lock();
        if known.len() >= limits::NAMES_MAX && !known.contains_key(name) {
            // Those that somebody asks about stay.
            known.retain(|_, place| Arc::strong_count(place) > 1);
        }
        known.entry(name.clone()).or_default().clone()
    }

    fn is_inside(&self, address: IpAddr) -> bool {
        let ip = address.to_canonical();
        let is_link_local = match ip {
            IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        let snapshot = self.mesh.load();
        ip.is_loopback()
            || ip.is_unspecified()
            || ip.is_multicast()
            || is_link_local
            || !snapshot.workloads_at(&self.network, ip).is_empty()
            || snapshot.service_at(&self.network, ip, "").is_some()
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Names").field("known", &self.known.lock().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use weft_core::mesh::{Store, StoreSettings};

    use super::*;

    fn names(lookup: impl Fn(usize) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Names {
        let asked = AtomicUsize::new(0);
        let lookup = move |_: Arc<str>| {
            let found = lookup(asked.fetch_add(1, Ordering::SeqCst));
            async move { found }.boxed()
        };
        let mesh = Store::new(&StoreSettings::default()).reader();
        Names::new(mesh, "".into(), Box::new(lookup))
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn every_address_has_its_turn_and_the_other_family_comes_last() {
        let names = names(|_| Ok(ips(&["2001:db8::1", "192.0.2.2", "192.0.2.1"])));
        let name: Arc<str> = "a.example".into();
        let first = names.addresses(&name, true).await.unwrap();
        assert_eq!(first, ips(&["192.0.2.1", "192.0.2.2", "2001:db8::1"]));
        let second = names.addresses(&name, true).await.unwrap();
        assert_eq!(second, ips(&["192.0.2.2", "192.0.2.1", "2001:db8::1"]));
    }

    #[tokio::test(start_paused = true)]
    async fn answers_last_half_a_minute_and_outlast_a_failure() {
        let names = names(|number| match number {
            0 => Ok(ips(&["192.0.2.1"])),
            1 => Err(io::Error::other("out of order")),
            _ => Ok(ips(&["192.0.2.9"])),
        });
        let name: Arc<str> = "a.example".into();
        for (wait, wanted) in
            [(0, "192.0.2.1"), (29, "192.0.2.1"), (2, "192.0.2.1"), (2, "192.0.2.9")]
        {
            tokio::time::advance(Duration::from_secs(wait)).await;
            assert_eq!(names.addresses(&name, true).await.unwrap(), ips(&[wanted]));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn name_that_a_client_chose_never_leads_inside() {
        for inside in
            ["127.0.0.1", "::1", "169.254.169.254", "fe80::1", "0.0.0.0", "::ffff:127.0.0.1"]
        {
            let names = names(move |_| Ok(ips(&["192.0.2.1", inside])));
            let name: Arc<str> = "a.example".into();
            let found = names.addresses(&name, true).await;
            assert!(matches!(found, Err(NameError::Inside { .. })), "{inside}: {found:?}");
            assert!(names.addresses(&name, false).await.is_ok());
        }
    }
}
