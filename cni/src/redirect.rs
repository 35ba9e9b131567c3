//! Puts a pod's redirection into the kernel and takes it out again.

use std::os::fd::OwnedFd;
use std::path::Path;

use futures::future::BoxFuture;

use crate::netns::{NamespaceId, NetnsError, NetnsFolder};
use crate::pod::{NetnsName, Pod};
use crate::program::{self, ProgramError};
use crate::rules::{self, Capture};
use weft_proto::contract::mark;

/// Why a redirection is not as it should be. All are worth another attempt.
#[derive(Debug, thiserror::Error)]
pub enum RedirectError {
    /// The control plane names no namespace for this pod.
    #[error("no network namespace is named (annotate the pod with weft.io/netns)")]
    Unnamed,
    /// The namespace can't be used.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// A helper program failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
}

impl RedirectError {
    /// Whether the namespace is not there, and everything inside with it.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Unnamed | Self::Netns(NetnsError::Gone(_)))
    }
}

/// The one thing that the agent may do to a pod's network. The second implementation is the tests'.
pub trait Redirect: Send + Sync + 'static {
    /// Makes the pod's redirection what it should be, whatever is there; the namespace that it was done in.
    fn apply(&self, pod: &Pod) -> BoxFuture<'static, Result<NamespaceId, RedirectError>>;
    /// Leaves nothing of it. `namespace` is where it was applied, if that is known: in any other one there is nothing
    /// of this pod's to undo. It is no error if there is nothing.
    fn undo(
        &self,
        pod: &Pod,
        namespace: Option<NamespaceId>,
    ) -> BoxFuture<'static, Result<(), RedirectError>>;
    /// The namespace that the pod's name leads to now.
    fn identify(&self, netns: Option<&NetnsName>) -> Result<NamespaceId, RedirectError>;
    /// The same, as a descriptor to pass on.
    fn open(&self, netns: &NetnsName) -> Result<(NamespaceId, OwnedFd), RedirectError>;
}

/// The real one: `nft` and `ip`, run inside the pod's namespace.
#[derive(Debug, Clone)]
pub struct KernelRedirect {
    folder: NetnsFolder,
}

impl KernelRedirect {
    /// For namespaces named in `folder`.
    pub fn new(folder: NetnsFolder) -> Self {
        Self { folder }
    }
}

impl Redirect for KernelRedirect {
    fn apply(&self, pod: &Pod) -> BoxFuture<'static, Result<NamespaceId, RedirectError>> {
        let (inbound, dns) = (!pod.bypass_inbound_capture, !pod.bypass_dns_capture);
        let opened = named(pod.netns.as_ref()).and_then(|name| Ok(self.folder.open(name)?));
        Box::pin(async move {
            let namespace = opened?;
            let id = namespace.id();
            namespace.run(move || install(inbound, dns)).await??;
            Ok(id)
        })
    }

    fn undo(
        &self,
        pod: &Pod,
        namespace: Option<NamespaceId>,
    ) -> BoxFuture<'static, Result<(), RedirectError>> {
        let opened = named(pod.netns.as_ref()).and_then(|name| Ok(self.folder.open(name)?));
        Box::pin(async move {
            let opened = match opened {
                Ok(opened) => opened,
                Err(error) if error.is_gone() => return Ok(()),
                Err(error) => return Err(error),
            };
            if namespace.is_some_and(|applied| applied != opened.id()) {
                return Ok(());
            }
            Ok(opened.run(remove).await??)
        })
    }

    fn identify(&self, netns: Option<&NetnsName>) -> Result<NamespaceId, RedirectError> {
        Ok(self.folder.open(named(netns)?)?.id())
    }

    fn open(&self, netns: &NetnsName) -> Result<(NamespaceId, OwnedFd), RedirectError> {
        let namespace = self.folder.open(netns)?;
        Ok((namespace.id(), namespace.into_descriptor()))
    }
}

fn named(netns: Option<&NetnsName>) -> Result<&NetnsName, RedirectError> {
    netns.ok_or(RedirectError::Unnamed)
}

/// What the namespace that this thread is in has of IPv6. Read by the thread itself: `/proc/sys/net` shows each reader
/// its own namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ipv6 {
    /// The kernel has none: rules about it would be refused.
    Absent,
    /// Loopback has none, so there is nothing to route to it. The rules still stand, in case another device has.
    NotOnLoopback,
    Present,
}

fn ipv6_here() -> Ipv6 {
    let Ok(disabled) = std::fs::read_to_string("/proc/sys/net/ipv6/conf/lo/disable_ipv6") else {
        return if Path::new("/proc/sys/net/ipv6").exists() {
            Ipv6::NotOnLoopback
        } else {
            Ipv6::Absent
        };
    };
    if disabled.trim() == "0" { Ipv6::Present } else { Ipv6::NotOnLoopback }
}

/// Runs inside the pod's namespace. No kernel setting is touched: the return path works whatever the reverse path filter
/// is, because packets that the proxy sends to its own host keep their route over loopback. Routes come first: without marks they change nothing, and with the rules in place
/// they must be there.
async fn install(inbound: bool, dns: bool) -> Result<(), ProgramError> {
    let ipv6 = ipv6_here();
    let families: &[&str] = if ipv6 == Ipv6::Present { &["-4", "-6"] } else { &["-4"] };
    for family in families {
        tolerate(ip_rule(family, "add").await, &["File exists"])?;
        ip_route(family, "replace").await?;
    }
    let capture = Capture { inbound, dns, v6: ipv6 != Ipv6::Absent };
    nft(&rules::install(capture)).await
}

/// Runs inside the pod's namespace. The rules go first, in one transaction: from then on traffic is as if the pod had
/// never been enrolled.
async fn remove() -> Result<(), ProgramError> {
    nft(&rules::remove()).await?;
    let families: &[&str] = if ipv6_here() == Ipv6::Absent { &["-4"] } else { &["-4", "-6"] };
    for family in families {
        tolerate(ip_rule(family, "del").await, &["No such"])?;
        let absent = ["No such", "FIB table does not exist"];
        tolerate(ip_route(family, "del").await, &absent)?;
    }
    Ok(())
}

async fn nft(document: &serde_json::Value) -> Result<(), ProgramError> {
    program::run("nft", &["-j", "-f", "-"], &document.to_string()).await.map(drop)
}

async fn ip_rule(family: &str, action: &str) -> Result<(), ProgramError> {
    let selector = format!("{:#x}/{:#x}", mark::RETURN_PATH, mark::MASK);
    let (priority, table) =
        (mark::RETURN_RULE_PRIORITY.to_string(), mark::RETURN_TABLE.to_string());
    let arguments =
        [family, "rule", action, "fwmark", &selector, "priority", &priority, "lookup", &table];
    program::run("ip", &arguments, "").await.map(drop)
}

async fn ip_route(family: &str, action: &str) -> Result<(), ProgramError> {
    let table = mark::RETURN_TABLE.to_string();
    let arguments = [family, "route", action, "local", "default", "dev", "lo", "table", &table];
    program::run("ip", &arguments, "").await.map(drop)
}

/// Takes a failure for success if the program complains that it is so already.
fn tolerate(result: Result<(), ProgramError>, complaints: &[&str]) -> Result<(), ProgramError> {
    match result {
        Err(ProgramError::Failed { complaint, .. })
            if complaints.iter().any(|known| complaint.contains(known)) =>
        {
            Ok(())
        }
        result => result,
    }
}
