//! Edits in the folder, and the time until they show.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use tokio::time::Instant;
use weft_harness::{Manifests, Pod, poll};
use weft_proto::contract::type_url;

use super::discovery::{Client, inside};
use super::estate::{PREFIX, pod_object};
use crate::bed::{NAMESPACE, PORT, Site};
use crate::progress::say;

/// Longest time for an edit to act, in either direction.
const DEADLINE: Duration = Duration::from_secs(15);
/// Name of the policy's file and object.
const POLICY: &str = "bench-cut";
/// Repetitions between two lines of progress.
const TOLD_EVERY: usize = 25;

/// How a file gets into the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Written where it is to be, as `cp` and many editors do: its reader must see that the writer
    /// is done.
    InPlace,
    /// Written elsewhere and renamed, as `git` and careful programs do.
    Renamed,
}

impl Way {
    fn write(self, manifests: &Manifests) -> Result<()> {
        match self {
            Self::InPlace => {
                let path = manifests.path(POLICY);
                fs::write(&path, policy()).with_context(|| format!("writing {}", path.display()))
            }
            Self::Renamed => manifests.write(POLICY, &policy()),
        }
    }
}

/// Times from the edit of a policy until both ztunnels have cut a connection that it forbids.
///
/// Each ztunnel holds one connection to a server on its node. The clock runs from before the file
/// is written until the later of both ends at the client, so that everything is in it: the
/// file watch, reading, translating, pushing, applying, and judging open connections anew.
///
/// # Errors
/// A connection wasn't cut, or for another reason, or the way wasn't free again in time.
pub(super) fn policies_act(site: &Site, way: Way, count: usize) -> Result<Vec<Duration>> {
    let manifests = site.mesh.manifests();
    let mut times = Vec::with_capacity(count);
    for done in 0..count {
        let held = [echoing(site, &site.near)?, echoing(site, &site.far)?];
        times.push(time_cut(manifests, way, held)?);
        for server in [&site.near, &site.far] {
            ensure!(echoing(site, server).is_err(), "cut, but a new connection is let through");
        }
        manifests.remove(POLICY)?;
        for server in [&site.near, &site.far] {
            poll::until("the way free again", DEADLINE, || echoing(site, server).map(drop))?;
        }
        if (done + 1) % TOLD_EVERY == 0 {
            say(&format!("  {} of {count} policy edits", done + 1));
        }
    }
    Ok(times)
}

fn time_cut(manifests: &Manifests, way: Way, held: [TcpStream; 2]) -> Result<Duration> {
    std::thread::scope(|scope| {
        let ends = held.map(|stream| scope.spawn(move || end_of(stream)));
        let start = Instant::now();
        way.write(manifests)?;
        let mut last = Duration::ZERO;
        for end in ends {
            let end = end.join().map_err(|_| anyhow!("a waiting thread panicked"))??;
            let time = end.checked_duration_since(start);
            last = last.max(time.context("a connection ended before the edit")?);
        }
        Ok(last)
    })
}

fn policy() -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n  name: {POLICY}\n  \
         namespace: {NAMESPACE}\nspec:\n  action: DENY\n  rules:\n  - to:\n    - operation:\n        \
         ports: [\"{PORT}\"]\n"
    )
}

/// A connection from the client that has carried a byte in both directions.
fn echoing(site: &Site, server: &Pod) -> Result<TcpStream> {
    let mut stream = site.client.netns.connect(server.address(PORT), DEADLINE)?;
    // The bench server's opening: echo, messages of one byte; and the first message.
    stream.write_all(b"E\0\0\0\x01!")?;
    let mut answer = [0];
    stream.read_exact(&mut answer).context("no echo")?;
    Ok(stream)
}

/// When the connection ended.
fn end_of(mut stream: TcpStream) -> Result<Instant> {
    match stream.read(&mut [0]) {
        Ok(0) => Ok(Instant::now()),
        Ok(_) => bail!("the server sent what nobody asked for"),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            bail!("a connection that the new policy forbids is open after {DEADLINE:?}")
        }
        // However it was cut.
        Err(_) => Ok(Instant::now()),
    }
}

/// Times from writing a new pod's file until a discovery client has it.
///
/// # Errors
/// It isn't pushed in time.
pub(super) fn pods_seen(site: &Site, count: usize) -> Result<Vec<Duration>> {
    let namespace = format!("{PREFIX}000");
    // Past all of the estate, so that its name and address are its own.
    let object = pod_object(&namespace, 0, 60_000);
    let name = object.pointer("/metadata/name").and_then(|name| name.as_str()).unwrap_or_default();
    let manifests = site.mesh.manifests();
    inside(&site.mesh, |runtime| {
        runtime.block_on(async {
            let mut client = Client::open(&site.mesh).await?;
            client.subscribe(type_url::ADDRESS).await?;
            // Whatever the first load is, the first removal below comes after it.
            let mut times = Vec::with_capacity(count);
            for _ in 0..count {
                let start = Instant::now();
                manifests.objects("bench-pod", std::slice::from_ref(&object))?;
                wait_for(&mut client, |response| {
                    response.resources.iter().any(|it| it.name.ends_with(name))
                })
                .await?;
                times.push(start.elapsed());
                manifests.remove("bench-pod")?;
                wait_for(&mut client, |response| {
                    response.removed_resources.iter().any(|it| it.ends_with(name))
                })
                .await?;
            }
            Ok(times)
        })
    })
}

async fn wait_for(
    client: &mut Client,
    is_it: impl Fn(&weft_proto::discovery::DeltaDiscoveryResponse) -> bool,
) -> Result<()> {
    loop {
        if is_it(&client.next().await?) {
            return Ok(());
        }
    }
}
