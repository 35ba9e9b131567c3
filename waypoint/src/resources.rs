//! What the controller says about the services that are bound to this waypoint.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use weft_core::mesh::Store;
use weft_core::xds::{Change, Handler, Rejected};
use weft_proto::contract::type_url;

use crate::route::{self, Table};

/// All that is set for one service. Immutable; a request keeps the one that it began with.
#[derive(Debug, Clone, Default)]
pub struct ServiceRules {
    table: Option<Arc<Table>>,
    /// The last table couldn't be read, and there is no earlier one.
    is_unusable: bool,
}

impl ServiceRules {
    /// Its routes; `None`: requests go to the service itself.
    pub fn table(&self) -> Option<&Table> {
        self.table.as_deref()
    }

    /// Requests are answered 500: what was set can't be read.
    pub fn is_unusable(&self) -> bool {
        self.is_unusable
    }
}

type All = HashMap<Arc<str>, Arc<ServiceRules>>;

/// The rules of all services, as they are now. Clones see the same.
#[derive(Debug, Clone, Default)]
pub struct Rules(Arc<ArcSwap<All>>);

impl Rules {
    /// Of one service, by `namespace/hostname`.
    pub fn of(&self, service: &str) -> Arc<ServiceRules> {
        self.0.load().get(service).cloned().unwrap_or_default()
    }

    /// All, by name.
    pub fn all(&self) -> Arc<All> {
        self.0.load_full()
    }
}

/// Takes what discovery brings: the mesh to its store, the rest here.
#[derive(Debug)]
pub struct Feed {
    mesh: Store,
    rules: Rules,
}

impl Feed {
    /// Feeds `mesh`, and what is returned.
    pub fn new(mesh: Store) -> (Self, Rules) {
        let rules = Rules::default();
        (Self { mesh, rules: rules.clone() }, rules)
    }

    fn change(
        &mut self,
        changes: Vec<Change>,
        mut one: impl FnMut(&mut ServiceRules, &str, Option<Bytes>) -> Result<(), String>,
    ) -> Vec<Rejected> {
        let mut all = All::clone(&self.rules.0.load());
        let mut rejected = Vec::new();
        for Change { name, resource, .. } in changes {
            let rules = all.entry(name.clone()).or_default();
            if let Err(reason) = one(Arc::make_mut(rules), &name, resource) {
                rejected.push(Rejected { name, reason });
            }
        }
        all.retain(|_, rules| rules.table.is_some() || rules.is_unusable);
        self.rules.0.store(Arc::new(all));
        rejected
    }
}

impl Handler for Feed {
    fn apply(&mut self, type_url: &str, changes: Vec<Change>) -> Vec<Rejected> {
        match type_url {
            type_url::ROUTE_TABLE => self.change(changes, take_table),
            _ => Handler::apply(&mut self.mesh, type_url, changes),
        }
    }
}

/// One that can't be read leaves the last good one in force.
fn take_table(rules: &mut ServiceRules, name: &str, bytes: Option<Bytes>) -> Result<(), String> {
    let Some(bytes) = bytes else {
        rules.table = None;
        rules.is_unusable = false;
        return Ok(());
    };
    match route::decode(name, &bytes) {
        Ok(decoded) => {
            rules.table = Some(Arc::new(decoded.table));
            rules.is_unusable = false;
            match decoded.problems.first() {
                None => Ok(()),
                Some(problem) => {
                    let more = decoded.problem_count - 1;
                    let text = format!("{}: {} ({more} more)", problem.field, problem.reason);
                    tracing::warn!(service = name, problem = text, "not all routes are understood");
                    Ok(())
                }
            }
        }
        Err(error) => {
            rules.is_unusable = rules.table.is_none();
            Err(error.to_string())
        }
    }
}
