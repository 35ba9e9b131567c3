//! Listening on a node's cable: what really crosses the wire.

mod packet;
mod tls;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::sockopt::{RcvBuf, ReceiveTimeout};
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use crate::netns::{Netns, join_thread};
use packet::Packet;

/// Payload kept by one recording, bytes; what comes after is counted and not kept.
const KEPT_MAX: usize = 64 << 20;
/// Longest frame: segments leave a veth as large as the kernel joins them, with IPv6 jumbograms.
const FRAME_MAX: usize = 1 << 20;
/// The kernel's queue for the listener, bytes; more than that at a time is lost to it.
const QUEUE_BYTES: usize = 8 << 20;
/// How often the listener looks whether it is to stop, and how long it waits for a straggler.
const TICK_MILLISECONDS: i64 = 20;
/// Time for the listener to come up.
const START_DEADLINE: Duration = Duration::from_secs(5);

/// A recording under way; stops when finished or dropped.
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Recording>>>,
}

impl Capture {
    /// Starts to record every frame that `interface` of `netns` sends or receives.
    ///
    /// # Errors
    /// The interface doesn't exist, or the kernel has no packet sockets.
    pub fn start(netns: &Netns, interface: &str) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (started, up) = sync_channel(1);
        let (path, interface, flag) = (netns.path(), interface.to_owned(), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("capture".into()).spawn(move || {
            join_thread(&path)?;
            record(&interface, &flag, &started)
        })?;
        let mut capture = Self { stop, thread: Some(thread) };
        // No word within the deadline: the thread has ended, and its error says why.
        match up.recv_timeout(START_DEADLINE) {
            Ok(()) => Ok(capture),
            Err(_) => Err(capture.join().err().unwrap_or_else(|| anyhow!("no capture"))),
        }
    }

    /// Stops and gives what was heard.
    ///
    /// # Errors
    /// The listener failed.
    pub fn finish(mut self) -> Result<Recording> {
        self.join()
    }

    fn join(&mut self) -> Result<Recording> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the capture has ended already")?;
        thread.join().unwrap_or_else(|_| Err(anyhow!("the capture thread panicked")))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn record(interface: &str, stop: &AtomicBool, started: &SyncSender<()>) -> Result<Recording> {
    let index = usize::try_from(if_nametoindex(interface).context(interface.to_owned())?)?;
    let listener = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        Some(SockProtocol::EthAll),
    )
    .context("making a packet socket: is CONFIG_PACKET in this kernel?")?;
    setsockopt(&listener, ReceiveTimeout, &TimeVal::milliseconds(TICK_MILLISECONDS))?;
    // Capped at net.core.rmem_max without privileges; the recordings here are of light traffic.
    setsockopt(&listener, RcvBuf, &QUEUE_BYTES)?;
    let _listening = started.send(());
    let mut recording = Recording::default();
    let mut frame = vec![0_u8; FRAME_MAX];
    loop {
        match recvfrom::<LinkAddr>(listener.as_raw_fd(), &mut frame) {
            // An unbound packet socket hears every interface of its namespace.
            Ok((length, Some(from))) if from.ifindex() == index => {
                recording.add(frame.get(..length).unwrap_or_default());
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) if stop.load(Ordering::Relaxed) => return Ok(recording),
            Err(Errno::EAGAIN) => {}
            Err(error) => return Err(error).context("listening on the cable"),
        }
    }
}

/// What was heard.
#[derive(Debug, Default)]
pub struct Recording {
    flows: Vec<Flow>,
    /// Index of the newest flow between two ends.
    newest: HashMap<(SocketAddr, SocketAddr), usize>,
    /// Payloads that aren't TCP.
    datagrams: Vec<Vec<u8>>,
    /// Frames heard.
    pub frames: u64,
    /// Bytes of payload heard.
    pub payload_bytes: u64,
    /// Bytes of payload that were heard and not kept.
    pub forgotten_bytes: u64,
    kept: usize,
}

/// One direction of one TCP connection.
#[derive(Debug)]
pub struct Flow {
    /// Who sends.
    pub from: SocketAddr,
    /// Who receives.
    pub to: SocketAddr,
    first_sequence: u32,
    /// Whether its beginning was heard.
    pub from_its_start: bool,
    segments: BTreeMap<u32, Vec<u8>>,
}

impl Flow {
    /// Its bytes in order; repeated segments once, a gap ends it.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut stream = Vec::new();
        for (offset, payload) in &self.segments {
            let Ok(offset) = usize::try_from(*offset) else {
                break;
            };
            let Some(repeated) = stream.len().checked_sub(offset) else {
                break;
            };
            stream.extend_from_slice(payload.get(repeated..).unwrap_or_default());
        }
        stream
    }
}

impl Recording {
    fn add(&mut self, frame: &[u8]) {
        self.frames += 1;
        let Some(packet) = Packet::parse(frame) else {
            return;
        };
        let payload = packet.payload();
        self.payload_bytes += payload.len() as u64;
        if self.kept + payload.len() > KEPT_MAX {
            self.forgotten_bytes += payload.len() as u64;
            return;
        }
        self.kept += payload.len();
        match packet {
            Packet::Tcp { from, to, sequence, opening, payload } => {
                let flow = self.flow(from, to, sequence, opening);
                if !payload.is_empty() {
                    let offset = sequence.wrapping_sub(flow.first_sequence);
                    flow.segments.entry(offset).or_default().clone_from(&payload.to_vec());
                }
            }
            Packet::Other(payload) => self.datagrams.push(payload.to_vec()),
        }
    }

    fn flow(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        sequence: u32,
        opening: bool,
    ) -> &mut Flow {
        let first_sequence = if opening { sequence.wrapping_add(1) } else { sequence };
        let known = self.newest.get(&(from, to)).copied().filter(|index| {
            // A repeated SYN is no new connection.
            !opening || self.flows.get(*index).is_some_and(|f| f.first_sequence == first_sequence)
        });
        let index = known.unwrap_or_else(|| {
            let index = self.flows.len();
            let segments = BTreeMap::new();
            self.flows.push(Flow { from, to, first_sequence, from_its_start: opening, segments });
            self.newest.insert((from, to), index);
            index
        });
        #[expect(clippy::indexing_slicing, reason = "the index is of an entry that is there")]
        &mut self.flows[index]
    }

    /// All TCP flows that carried bytes.
    pub fn flows(&self) -> impl Iterator<Item = &Flow> {
        self.flows.iter().filter(|flow| !flow.segments.is_empty())
    }

    /// Flows from or to a port.
    pub fn flows_of_port(&self, port: u16) -> impl Iterator<Item = &Flow> {
        self.flows().filter(move |flow| flow.from.port() == port || flow.to.port() == port)
    }

    /// Whether `text` crossed the cable readably, in a TCP stream or in any other packet.
    #[must_use]
    pub fn contains(&self, text: &str) -> bool {
        let wanted = text.as_bytes();
        let has = |bytes: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
        self.flows().any(|flow| {
            // Each segment by itself, too, so that nothing hides behind a gap.
            has(&flow.bytes()) || flow.segments.values().any(|segment| has(segment))
        }) || self.datagrams.iter().any(|datagram| has(datagram))
    }

    /// How many handshakes on `port` ended in which TLS version (0x0304 is TLS 1.3): the one that
    /// the server selected.
    #[must_use]
    pub fn tls_versions(&self, port: u16) -> BTreeMap<u16, usize> {
        let mut versions = BTreeMap::new();
        for flow in self.flows().filter(|flow| flow.from.port() == port && flow.from_its_start) {
            if let Some(version) = tls::selected_version(&flow.bytes()) {
                *versions.entry(version).or_default() += 1;
            }
        }
        versions
    }

    /// TLS records on `port`, by content type (20 change cipher spec, 21 alert, 22 handshake,
    /// 23 encrypted).
    ///
    /// # Errors
    /// A flow on that port isn't a sequence of TLS records.
    pub fn tls_records(&self, port: u16) -> Result<BTreeMap<u8, usize>> {
        let mut counts = BTreeMap::new();
        for flow in self.flows_of_port(port).filter(|flow| flow.from_its_start) {
            let records = tls::record_types(&flow.bytes())
                .with_context(|| format!("from {} to {}", flow.from, flow.to))?;
            for content_type in records {
                *counts.entry(content_type).or_default() += 1;
            }
        }
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> (SocketAddr, SocketAddr) {
        ("10.0.0.1:1000".parse().unwrap(), "10.0.0.2:15008".parse().unwrap())
    }

    fn flow_of(segments: &[(u32, &[u8])]) -> Flow {
        let (from, to) = ends();
        let segments = segments.iter().map(|(at, bytes)| (*at, bytes.to_vec())).collect();
        Flow { from, to, first_sequence: 0, from_its_start: true, segments }
    }

    #[test]
    fn repeated_and_overlapping_segments_count_once() {
        assert_eq!(flow_of(&[(0, b"abc"), (2, b"cde"), (3, b"de")]).bytes(), b"abcde");
    }

    #[test]
    fn a_gap_ends_the_stream() {
        assert_eq!(flow_of(&[(0, b"abc"), (5, b"xyz")]).bytes(), b"abc");
    }

    #[test]
    fn a_reused_port_is_a_new_flow() {
        let (from, to) = ends();
        let mut recording = Recording::default();
        recording.flow(from, to, 7, true);
        recording.flow(from, to, 7, true);
        recording.flow(from, to, 8, false);
        recording.flow(from, to, 9000, true);
        assert_eq!(recording.flows.len(), 2);
    }

    #[test]
    fn text_across_two_segments_is_found() {
        let mut recording = Recording::default();
        recording.flows.push(flow_of(&[(0, b"the sec"), (7, b"ret word")]));
        assert!(recording.contains("secret"));
        assert!(!recording.contains("secrets"));
    }
}
