//! A redirection that only remembers what was asked of it.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use futures::future::BoxFuture;
use weft_core::zds::PodIdentity;

use crate::netns::{NamespaceId, NetnsError};
use crate::pod::{NetnsName, Pod};
use crate::redirect::{Redirect, RedirectError};
use crate::zds::Announcement;

pub(crate) fn pod(uid: &str, netns: &str) -> Pod {
    let identity =
        PodIdentity { name: uid.into(), namespace: "shop".into(), service_account: "cart".into() };
    Pod {
        uid: uid.parse().unwrap(),
        identity,
        netns: Some(netns.parse().unwrap()),
        addresses: vec![],
        bypass_inbound_capture: false,
        bypass_dns_capture: false,
    }
}

pub(crate) fn namespace(inode: u64) -> NamespaceId {
    NamespaceId { device: 4, inode }
}

pub(crate) fn announcement(netns: &str, inode: u64) -> Announcement {
    let Pod { identity, .. } = pod("a", netns);
    Announcement { identity, netns: netns.parse().unwrap(), namespace: namespace(inode) }
}

/// Namespaces by name with their inodes, what was done, and what fails.
#[derive(Debug, Default)]
pub(crate) struct FakeRedirect {
    pub(crate) namespaces: Mutex<BTreeMap<String, u64>>,
    pub(crate) done: Mutex<Vec<String>>,
    pub(crate) is_failing: Mutex<bool>,
}

impl FakeRedirect {
    pub(crate) fn with(namespaces: &[(&str, u64)]) -> Self {
        let fake = Self::default();
        namespaces.iter().for_each(|(name, inode)| fake.set(name, Some(*inode)));
        fake
    }

    pub(crate) fn set(&self, name: &str, inode: Option<u64>) {
        let mut namespaces = self.namespaces.lock().unwrap();
        match inode {
            Some(inode) => drop(namespaces.insert(name.to_owned(), inode)),
            None => drop(namespaces.remove(name)),
        }
    }

    pub(crate) fn fail(&self, is_failing: bool) {
        *self.is_failing.lock().unwrap() = is_failing;
    }

    pub(crate) fn take_done(&self) -> Vec<String> {
        std::mem::take(&mut self.done.lock().unwrap())
    }

    fn do_it(&self, what: &str, pod: &Pod) -> Result<NamespaceId, RedirectError> {
        if *self.is_failing.lock().unwrap() {
            let error = std::io::Error::other("told to fail");
            return Err(NetnsError::Io(error).into());
        }
        let id = self.identify(pod.netns.as_ref())?;
        self.done.lock().unwrap().push(format!("{what} {}", pod.uid));
        Ok(id)
    }
}

impl Redirect for FakeRedirect {
    fn apply(&self, pod: &Pod) -> BoxFuture<'static, Result<NamespaceId, RedirectError>> {
        let result = self.do_it("apply", pod);
        Box::pin(async move { result })
    }

    fn undo(
        &self,
        pod: &Pod,
        _: Option<NamespaceId>,
    ) -> BoxFuture<'static, Result<(), RedirectError>> {
        let result = match self.do_it("undo", pod) {
            Err(error) if error.is_gone() => Ok(()),
            result => result.map(drop),
        };
        Box::pin(async move { result })
    }

    fn identify(&self, netns: Option<&NetnsName>) -> Result<NamespaceId, RedirectError> {
        let name = netns.ok_or(RedirectError::Unnamed)?.as_str();
        match self.namespaces.lock().unwrap().get(name) {
            Some(inode) => Ok(namespace(*inode)),
            None => Err(NetnsError::Gone(name.to_owned()).into()),
        }
    }

    fn open(&self, netns: &NetnsName) -> Result<(NamespaceId, OwnedFd), RedirectError> {
        let id = self.identify(Some(netns))?;
        if *self.is_failing.lock().unwrap() {
            return Err(NetnsError::Io(std::io::Error::other("told to fail")).into());
        }
        Ok((id, std::fs::File::open("/dev/null").unwrap().into()))
    }
}
