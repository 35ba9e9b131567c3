//! L4 authorisation: what a policy says, and whether a connection is let in.
//!
//! ```text
//!  bytes ──decode──▶ PolicyEntry ─┬─ Policy       (typed, complete)
//!                                 └─ Undecodable  (denies what it covers)
//!  Snapshot + Workload + Connection ──evaluate──▶ Verdict (Allow | Deny | Hold)
//! ```
//!
//! Invariants: a condition is understood entirely or its policy denies; nothing is dropped from a rule. A policy that
//! a workload names and that is not here holds the connection instead of letting it through. Nothing here does I/O.

mod decode;
mod evaluate;
mod index;
mod rule;
mod wire;

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

pub use decode::{PolicyError, decode};
pub use evaluate::{
    Connection, Denial, DryRun, PoliciesInForce, Verdict, evaluate, policies_in_force,
};
pub use index::PolicyIndex;
pub use rule::{Clause, IpBlock, Match, Rule, ServiceAccount, StringMatch};

/// `<namespace>/<name>`: the resource name of a policy, and how a workload refers to it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyName(Arc<str>);

impl PolicyName {
    /// Any text is a name; one without a namespace can only be covered by reference.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the first slash.
    pub fn namespace(&self) -> Option<&str> {
        self.0.split_once('/').map(|(namespace, _)| namespace)
    }
}

impl std::borrow::Borrow<str> for PolicyName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which workloads a policy is in force for, besides those that name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Every workload of the mesh.
    Global,
    /// Every workload of the policy's namespace.
    Namespace,
    /// Only workloads that name it.
    WorkloadSelector,
}

/// What follows from a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Let in; and where any ALLOW policy is in force, whatever none of them matches is denied.
    Allow,
    /// Refuse, whatever else allows it.
    Deny,
}

/// A policy that was understood entirely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its resource name.
    pub name: PolicyName,
    /// Where it is in force.
    pub scope: Scope,
    /// What a match means.
    pub action: Action,
    /// Evaluated and reported, never enforced.
    pub is_dry_run: bool,
    /// Alternatives. Without any, the policy never matches.
    pub rules: Box<[Rule]>,
}

impl Policy {
    /// Whether some rule matches.
    pub fn matches(&self, connection: &Connection<'_>) -> bool {
        self.rules.iter().any(|rule| rule.matches(connection))
    }
}

/// A policy that was not understood: it denies everything that it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecodable {
    /// Its resource name.
    pub name: PolicyName,
    /// Where it would be in force, as far as its bytes still tell.
    pub scope: Option<Scope>,
    /// A dry run, which is never enforced, so that this one denies nothing.
    pub is_dry_run: bool,
    /// Why it was not understood.
    pub reason: PolicyError,
}

/// What is known under a policy's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyEntry {
    /// Understood.
    Policy(Policy),
    /// Not understood, so everything it covers is denied.
    Undecodable(Undecodable),
}

impl PolicyEntry {
    /// The resource name.
    pub fn name(&self) -> &PolicyName {
        match self {
            Self::Policy(policy) => &policy.name,
            Self::Undecodable(undecodable) => &undecodable.name,
        }
    }

    /// Where the entry is in force besides workloads that name it.
    ///
    /// Where the bytes of an undecodable policy do not tell, it is assumed to cover all that a control plane could have
    /// meant: a policy of the root namespace may be mesh-wide, any other reaches no further than its namespace.
    pub fn coverage(&self, root_namespace: &str) -> Scope {
        match self {
            Self::Policy(policy) => policy.scope,
            Self::Undecodable(Undecodable { scope: Some(scope), .. }) => *scope,
            Self::Undecodable(Undecodable { name, .. }) => {
                if name.namespace() == Some(root_namespace) {
                    Scope::Global
                } else {
                    Scope::Namespace
                }
            }
        }
    }
}
