//! Bytes of no protocol, half a handshake, and nothing at all, on every port there is.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use tokio::time::Instant;
use weft_harness::{Inside, Netns};
use weft_proto::contract::port;

use crate::mint::Claims;

use crate::range::{Range, WELCOME, range};
use crate::support::SOON;
use crate::support::peer;
use crate::support::tcp::read_to_close;

/// Longest that any port may wait for somebody who says nothing: ten seconds for a first tunnel, the longest of the
/// mesh's own deadlines, and time for a busy machine.
const SILENCE_MAX: Duration = Duration::from_secs(16);
/// Silent connections to each port.
const SILENT: usize = 100;
/// To those that serve fewer than that at a time: the DNS proxy 32 of a pod, metrics and readiness 64.
const SILENT_TO_SMALL: usize = 30;
/// Bytes of garbage to each port.
const GARBAGE: usize = 64 << 10;

/// A port, and where its attacker stands.
struct Door<'a> {
    name: &'static str,
    from: &'a Netns,
    to: SocketAddr,
    speaks_tls: bool,
}

fn doors(range: &Range) -> Result<Vec<Door<'_>>> {
    let victim = &range.victim.netns;
    let node = &range.mesh.node(1)?.netns;
    let inside = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let outside = |port| range.victim.address(port);
    let attacker = &range.attacker.netns;
    let control = SocketAddr::from((range.mesh.control_ip(), port::CONTROLLER));
    let door = |name, from, to, speaks_tls| Door { name, from, to, speaks_tls };
    Ok(vec![
        door("HBONE", attacker, outside(port::HBONE), true),
        door("outbound, from outside", attacker, outside(port::OUTBOUND), false),
        door("plaintext, from outside", attacker, outside(port::INBOUND_PLAINTEXT), false),
        door("outbound, from the pod itself", victim, inside(port::OUTBOUND), false),
        door("plaintext, from the pod itself", victim, inside(port::INBOUND_PLAINTEXT), false),
        door("DNS over TCP", victim, inside(port::DNS), false),
        door("metrics", node, inside(port::METRICS), false),
        door("readiness", node, inside(port::READY), false),
        door("controller", node, control, true),
    ])
}

pub(crate) fn garbage_and_half_handshakes_are_closed_on_every_port(_: &Inside) -> Result<()> {
    let range = range()?;
    let hello = client_hello()?;
    let half = hello.get(..hello.len() / 2).context("half a hello")?;
    // Looks like a hello that goes on for ever.
    let endless = [&[22, 3, 1, 0x40, 0][..], &[1; 4096]].concat();
    range.withstands(|| {
        let mut open: Vec<(&str, &str, TcpStream)> = Vec::new();
        for door in doors(range)? {
            let mut tries: Vec<(&str, Vec<u8>)> = vec![("garbage", noise(GARBAGE))];
            if door.speaks_tls {
                tries.push(("half a handshake", half.to_vec()));
                tries.push(("an endless handshake", endless.clone()));
                tries.push(("plain HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()));
            }
            for (what, bytes) in tries {
                let mut stream = door.from.connect(door.to, SOON).context(door.name)?;
                // It may be closed before all of it is through.
                let _cut = stream.write_all(&bytes);
                open.push((door.name, what, stream));
            }
        }
        datagrams(&range.victim.netns)?;
        for (name, what, stream) in &mut open {
            let said =
                read_to_close(stream, SILENCE_MAX).with_context(|| format!("{name}: {what}"))?;
            ensure!(said.len() < 1024, "{name}: {} bytes in answer to {what}", said.len());
        }
        Ok(())
    })
}

/// Datagrams that are no question, to the DNS proxy.
fn datagrams(netns: &Netns) -> Result<()> {
    netns.run(|| {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        for length in [0, 1, 11, 12, 13, 512, 4096, 60_000] {
            socket.send_to(&noise(length), (Ipv4Addr::LOCALHOST, port::DNS))?;
            socket.send_to(&vec![0xc0; length], (Ipv4Addr::LOCALHOST, port::DNS))?;
        }
        Ok(())
    })
}

/// Bytes without any meaning, the same in each run (xorshift).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn client_hello() -> Result<Vec<u8>> {
    let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
    let mut hello = Vec::new();
    ClientConnection::new(peer::config(None, b"h2")?, name)?.write_tls(&mut hello)?;
    Ok(hello)
}

pub(crate) fn silence_is_closed_within_the_deadline(_: &Inside) -> Result<()> {
    let range = range()?;
    let credential = range.authority.issue(&Claims::of(WELCOME))?;
    range.withstands(|| {
        let start = Instant::now();
        let mut open: Vec<(&str, TcpStream)> = Vec::new();
        for door in doors(range)? {
            // Small servers take a few at a time, and let the others wait in the kernel's queue.
            let is_small = matches!(door.name, "metrics" | "readiness" | "DNS over TCP");
            let count = if is_small { SILENT_TO_SMALL } else { SILENT };
            for _ in 0..count {
                open.push((door.name, door.from.connect(door.to, SOON).context(door.name)?));
            }
        }
        peer::run(silence_after_tls(range, &credential))?;
        for (name, stream) in &mut open {
            let left = SILENCE_MAX.saturating_sub(start.elapsed()).max(Duration::from_millis(100));
            stream.set_read_timeout(Some(left))?;
            let end = stream.read(&mut [0; 256]);
            let is_open = end.as_ref().is_err_and(|error| {
                matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                )
            });
            ensure!(!is_open, "{name}: a silent connection is open after {:?}", start.elapsed());
        }
        Ok(())
    })
}

/// Silence after the TLS handshake, and after the HTTP/2 preface.
async fn silence_after_tls(range: &Range, credential: &peer::Credential) -> Result<()> {
    use tokio::io::AsyncReadExt as _;
    let (from, to) = (&range.attacker.netns, range.victim.address(port::HBONE));
    let mut without_preface = peer::tls(from, to, Some(credential)).await?;
    let mut without_tunnel = peer::tls(from, to, Some(credential)).await?;
    tokio::io::AsyncWriteExt::write_all(
        &mut without_tunnel,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    )
    .await?;
    let ended = async {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let both = tokio::join!(
            without_preface.read_to_end(&mut first),
            without_tunnel.read_to_end(&mut second)
        );
        drop(both);
    };
    let end = tokio::time::timeout(SILENCE_MAX, ended).await;
    end.context("silence after the handshake is waited for longer")
}
