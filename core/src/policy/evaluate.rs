//! The verdict on one connection.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::{Action, Policy, PolicyEntry, PolicyName};
use crate::identity::SpiffeId;
use crate::mesh::{Snapshot, Workload};

/// What policies may look at.
#[derive(Debug, Clone, Copy)]
pub struct Connection<'a> {
    /// From the verified certificate; `None` for plaintext.
    pub source_identity: Option<&'a SpiffeId>,
    /// Address of the peer's socket.
    pub source_ip: IpAddr,
    /// The address that the workload is reached at in the end, after any translation.
    pub destination: SocketAddr,
}

/// Whether the connection may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Let in.
    Allow {
        /// The ALLOW policy that matched; `None` if there is none in force at all.
        policy: Option<PolicyName>,
        /// What dry-run policies would have done.
        dry_run: Option<DryRun>,
    },
    /// Refuse.
    Deny {
        /// Why.
        reason: Denial,
        /// What dry-run policies would have done.
        dry_run: Option<DryRun>,
    },
    /// The workload names a policy that has not arrived. Wait for a snapshot that has it, and deny if none comes.
    Hold {
        /// Its name.
        missing: PolicyName,
    },
}

impl Verdict {
    /// Whether the connection may go on now.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }

    /// The verdict when waiting is over: a connection still held is refused.
    pub fn after_hold(self) -> Self {
        match self {
            Self::Hold { missing } => {
                Self::Deny { reason: Denial::Missing(missing), dry_run: None }
            }
            verdict => verdict,
        }
    }
}

/// Why a connection was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// A DENY policy matched.
    #[error("denied by policy {0}")]
    Policy(PolicyName),
    /// ALLOW policies are in force and none matched.
    #[error("no ALLOW policy matched; {0} is in force")]
    NoMatch(PolicyName),
    /// A policy in force was not understood.
    #[error(
        "policy {0} could not be decoded, so what it covers is denied; see the control plane's rejections"
    )]
    Undecodable(PolicyName),
    /// A policy that the workload names did not arrive in time.
    #[error("the workload names policy {0}, which has not arrived from the control plane")]
    Missing(PolicyName),
}

impl Denial {
    /// The policy that decided; where several ALLOW policies failed to match, the first of them.
    pub fn policy(&self) -> &PolicyName {
        match self {
            Self::Policy(name)
            | Self::NoMatch(name)
            | Self::Undecodable(name)
            | Self::Missing(name) => name,
        }
    }
}

/// What would have happened if the dry-run policies were enforced. Only reported where one of them decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DryRun {
    /// A dry-run ALLOW policy matched.
    WouldAllow(PolicyName),
    /// A dry-run DENY policy matched; or with `None`, no ALLOW policy did and a dry-run one is in force.
    WouldDeny(Option<PolicyName>),
}

/// The policies that decide on a workload's inbound connections.
///
/// Two values are equal if the same policies, with the same content, are in force; so whoever watches a workload's open
/// connections can tell whether they need to be judged again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoliciesInForce {
    /// Mesh-wide first, then the namespace's, then those that the workload names, each once.
    pub policies: Vec<Arc<PolicyEntry>>,
    /// Named by the workload and not here.
    pub missing: Vec<PolicyName>,
}

/// Lists the policies in force for `workload`. For dumps and watchers; [`evaluate`] does not build the list.
pub fn policies_in_force(snapshot: &Snapshot, workload: &Workload) -> PoliciesInForce {
    let mut found = PoliciesInForce::default();
    for applicable in applicable(snapshot, workload) {
        match applicable {
            Ok(entry) if found.policies.iter().all(|known| known.name() != entry.name()) => {
                found.policies.push(Arc::clone(entry));
            }
            Ok(_) => {}
            Err(missing) => found.missing.push(missing.clone()),
        }
    }
    found
}

/// Judges one connection to `destination`. Pure.
///
/// The order is Istio's: DENY, then ALLOW if there is any, else let in. Before either, a policy that was not
/// understood denies; after DENY, a policy that is named and missing holds. Take `destination` from the same snapshot,
/// not from when the connection began: its list of policies is part of what may have changed.
pub fn evaluate(
    snapshot: &Snapshot,
    destination: &Workload,
    connection: &Connection<'_>,
) -> Verdict {
    let mut tally = Tally::default();
    for policy in applicable(snapshot, destination) {
        match policy {
            Ok(entry) => tally.count(entry, connection),
            Err(missing) => tally.missing = tally.missing.or(Some(missing)),
        }
    }
    tally.verdict()
}

fn applicable<'a>(
    snapshot: &'a Snapshot,
    workload: &'a Workload,
) -> impl Iterator<Item = Result<&'a Arc<PolicyEntry>, &'a PolicyName>> {
    let policies = snapshot.policies();
    let named = workload
        .authorization_policies
        .iter()
        .map(|name| policies.named(name.as_str()).ok_or(name));
    let by_scope = policies.global().iter().chain(policies.of_namespace(&workload.namespace));
    by_scope.map(Ok).chain(named)
}

/// What was seen while going through the policies once: the first name of each outcome.
#[derive(Default)]
struct Tally<'a> {
    undecodable: Option<&'a PolicyName>,
    missing: Option<&'a PolicyName>,
    enforced: Outcomes<'a>,
    dry_run: Outcomes<'a>,
}

#[derive(Default)]
struct Outcomes<'a> {
    denied_by: Option<&'a PolicyName>,
    allowed_by: Option<&'a PolicyName>,
    /// The first ALLOW policy in force, whether it matched or not.
    allow: Option<&'a PolicyName>,
}

impl<'a> Outcomes<'a> {
    fn count(&mut self, policy: &'a Policy, connection: &Connection<'_>) {
        let matched = || policy.matches(connection).then_some(&policy.name);
        match policy.action {
            Action::Deny => self.denied_by = self.denied_by.or_else(matched),
            Action::Allow => {
                self.allow = self.allow.or(Some(&policy.name));
                self.allowed_by = self.allowed_by.or_else(matched);
            }
        }
    }
}

impl<'a> Tally<'a> {
    fn count(&mut self, entry: &'a PolicyEntry, connection: &Connection<'_>) {
        match entry {
            PolicyEntry::Policy(policy) if policy.is_dry_run => {
                self.dry_run.count(policy, connection);
            }
            PolicyEntry::Policy(policy) => self.enforced.count(policy, connection),
            PolicyEntry::Undecodable(entry) if entry.is_dry_run => {}
            PolicyEntry::Undecodable(entry) => {
                self.undecodable = self.undecodable.or(Some(&entry.name));
            }
        }
    }

    fn verdict(&self) -> Verdict {
        let dry_run = self.dry_run();
        let deny = |reason, dry_run| Verdict::Deny { reason, dry_run };
        if let Some(policy) = self.undecodable {
            deny(Denial::Undecodable(policy.clone()), dry_run)
        } else if let Some(policy) = self.enforced.denied_by {
            deny(Denial::Policy(policy.clone()), dry_run)
        } else if let Some(missing) = self.missing {
            Verdict::Hold { missing: missing.clone() }
        } else if let Some(policy) = self.enforced.allow
            && self.enforced.allowed_by.is_none()
        {
            deny(Denial::NoMatch(policy.clone()), dry_run)
        } else {
            Verdict::Allow { policy: self.enforced.allowed_by.cloned(), dry_run }
        }
    }

    fn dry_run(&self) -> Option<DryRun> {
        if let Some(policy) = self.dry_run.denied_by {
            Some(DryRun::WouldDeny(Some(policy.clone())))
        } else if let Some(policy) = self.dry_run.allowed_by {
            Some(DryRun::WouldAllow(policy.clone()))
        } else if self.dry_run.allow.is_some() && self.enforced.allowed_by.is_none() {
            Some(DryRun::WouldDeny(None))
        } else {
            None
        }
    }
}
