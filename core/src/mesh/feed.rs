//! A store fed by the discovery client.

use weft_proto::contract::type_url;

use super::{Rejection, Store, Update};
use crate::xds::{Change, Handler, Rejected};

impl Handler for Store {
    /// Takes the two types that snapshots are made of; resources of any other type are rejected.
    fn apply(&mut self, type_url: &str, changes: Vec<Change>) -> Vec<Rejected> {
        let update: fn(Change) -> Update = match type_url {
            type_url::ADDRESS => |it| Update::Address { name: it.name, resource: it.resource },
            type_url::AUTHORIZATION => {
                |it| Update::Authorization { name: it.name, resource: it.resource }
            }
            _ => {
                let reason = format!("resources of type {type_url} are not taken");
                let reject = |it: Change| Rejected { name: it.name, reason: reason.clone() };
                return changes.into_iter().map(reject).collect();
            }
        };
        let rejections = Store::apply(self, changes.into_iter().map(update).collect());
        rejections.into_iter().map(|Rejection { name, reason }| Rejected { name, reason }).collect()
    }
}
