//! A pod's name look-ups: the mesh's services from the snapshot, the rest from name servers, asked from inside the pod.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use weft_core::mesh::{Service, SnapshotReader, pod_uid};
use weft_core::zds::PodIdentity;
use weft_core::{drain, limits};

use crate::dns::{
    ClientView, Forwarder, NameTable, NamedService, Names, PodDns, UpstreamSockets, serve_tcp,
    serve_udp,
};
use crate::netns::{Listening, PodSockets};
use crate::shared::Shared;

/// What answers one pod's look-ups.
pub(crate) struct PodNames(Arc<PodDns>);

impl PodNames {
    /// For the pod of that name, asking from its namespace.
    pub(crate) fn new(shared: &Shared, pod: &PodIdentity, sockets: &Arc<PodSockets>) -> Arc<Self> {
        let config = &shared.config;
        let uid = pod_uid(&config.mesh.cluster_id, &pod.namespace, &pod.name);
        let (service, revision) = match shared.mesh.load().workload(&uid) {
            Some(own) => (own.canonical_name.clone(), own.canonical_revision.clone()),
            None => (pod.name.as_str().into(), "latest".into()),
        };
        let upstream = Arc::new(InPod(sockets.clone()));
        Arc::new(Self(Arc::new(PodDns {
            names: Names {
                cluster_domain: config.mesh.cluster_domain.clone(),
                preferred_namespace: config.dns.preferred_namespace.clone(),
                ipv6: config.dns.ipv6,
            },
            table: Arc::new(MeshNames(shared.mesh.clone())),
            client: ClientView {
                namespace: pod.namespace.as_str().into(),
                network: config.mesh.network.clone(),
            },
            forwarder: Forwarder::new(shared.name_servers.clone(), upstream),
            metrics: shared.dns.client(&service, &revision),
        })))
    }

    /// An address of a host that has none in the mesh's configuration.
    pub(crate) async fn address_of(
        &self,
        host: &str,
        prefers_v6: bool,
    ) -> Result<IpAddr, Arc<str>> {
        let mut last = None;
        for is_v6 in [prefers_v6, !prefers_v6] {
            match self.0.forwarder.addresses(host, is_v6).await {
                Ok(found) => {
                    if let Some(address) = found.first() {
                        return Ok(*address);
                    }
                }
                Err(error) => last = Some(error.to_string()),
            }
        }
        Err(last.unwrap_or_else(|| "the name has no address".into()).into())
    }
}

/// Where a pod's look-ups arrive.
pub(crate) struct NameSockets {
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
}

impl NameSockets {
    /// On `address`'s port of the pod's loopback; redirected queries arrive there for both families, where there are
    /// both.
    pub(crate) async fn open(sockets: &PodSockets, address: SocketAddr) -> io::Result<Self> {
        let (mut udp, mut tcp) = (Vec::new(), Vec::new());
        let (broker, netns) = (sockets.broker(), sockets.netns());
        for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            let at = SocketAddr::new(ip, address.port());
            let opened = async {
                let datagram = broker.datagram(netns, at).await?;
                let listener = broker.listen(netns, at, Listening::FromPod).await?;
                Ok((datagram, TcpListener::from_std(listener)?))
            };
            match opened.await {
                Ok((datagram, listener)) => {
                    udp.push(datagram);
                    tcp.push(listener);
                }
                // No IPv6 here: then nobody asks over it.
                Err(_) if ip.is_ipv6() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { udp, tcp })
    }

    /// Answers until the pod drains.
    pub(crate) fn serve(self, names: &PodNames, drain: &drain::Watch) {
        let stop = |drain: drain::Watch| async move { drain.graceful().await };
        for socket in self.udp {
            tokio::spawn(serve_udp(names.0.clone(), socket, stop(drain.clone())));
        }
        for listener in self.tcp {
            tokio::spawn(serve_tcp(names.0.clone(), listener, stop(drain.clone())));
        }
    }
}

/// Sockets of the pod's namespace: what it asks passes its own network policy and routes.
struct InPod(Arc<PodSockets>);

impl UpstreamSockets for InPod {
    fn udp(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<UdpSocket>> {
        Box::pin(async move {
            let unspecified = match to {
                SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
                SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let any = SocketAddr::new(unspecified, 0);
            let socket = self.0.broker().datagram(self.0.netns(), any).await?;
            socket.connect(to).await?;
            Ok(socket)
        })
    }

    fn tcp(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(async move { self.0.connect(to).await.map_err(io::Error::other) })
    }
}

/// The services of the newest snapshot.
struct MeshNames(SnapshotReader);

impl NameTable for MeshNames {
    fn services(&self, host: &str, client: &ClientView) -> Vec<NamedService> {
        let snapshot = self.0.load();
        let named = |service: &Arc<Service>| NamedService {
            namespace: service.namespace.clone(),
            host: service.hostname.clone(),
            canonical: service.is_canonical,
            private: !service.is_visible_to(""),
            addresses: addresses(service, client),
        };
        snapshot.services_named(host).iter().map(named).collect()
    }

    fn endpoints(&self, service: &NamedService, client: &ClientView) -> Vec<IpAddr> {
        let snapshot = self.0.load();
        let Some(service) = snapshot.service(&service.namespace, &service.host) else {
            return Vec::new();
        };
        let endpoints = snapshot.endpoints(service);
        let near = endpoints.filter(|endpoint| endpoint.workload.network == client.network);
        near.flat_map(|endpoint| endpoint.workload.addresses.iter().copied())
            .take(limits::DNS_ADDRESSES_MAX)
            .collect()
    }
}

fn addresses(service: &Service, client: &ClientView) -> Vec<IpAddr> {
    let near = service.vips.iter().filter(|vip| vip.network == client.network);
    near.filter_map(|vip| vip.ip()).collect()
}
