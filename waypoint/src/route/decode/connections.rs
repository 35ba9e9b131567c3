//! Rules for connections.

use weft_proto::route as proto;
use weft_proto::route::connection_condition::Kind as WireKind;

use super::at::At;
use super::{Bad, Effect, Report, actions, conditions};
use crate::limits;
use crate::route::connection::{ConnectionCondition, ConnectionRoutes, ConnectionRule};

pub(super) fn routes(
    routes: &proto::ConnectionRoutes,
    at: &At<'_>,
    report: &mut Report,
) -> ConnectionRoutes {
    let rules = routes.rules.iter().enumerate();
    let rules = rules.map(|(place, rule)| {
        let at = at.entry("rules", place);
        let conditions = all(&rule.conditions, &at, report);
        let conditions = conditions.map_err(|bad| report.note(bad, Effect::NeverMatches)).ok();
        ConnectionRule {
            conditions,
            backends: actions::backends(&rule.backends, &at, report),
            origin: actions::origin(rule.origin.as_ref()),
        }
    });
    ConnectionRoutes { rules: rules.collect() }
}

fn all(
    conditions: &[proto::ConnectionCondition],
    at: &At<'_>,
    report: &mut Report,
) -> Result<Box<[ConnectionCondition]>, Bad> {
    if conditions.len() > limits::CONDITIONS_MAX {
        return Err(Bad::new(&at.field("conditions"), "has too many entries"));
    }
    let conditions = conditions.iter().enumerate();
    conditions.map(|(place, it)| typed(it, &at.entry("conditions", place), report)).collect()
}

fn typed(
    condition: &proto::ConnectionCondition,
    at: &At<'_>,
    report: &mut Report,
) -> Result<ConnectionCondition, Bad> {
    Ok(match condition.kind.as_ref().ok_or_else(|| Bad::unknown(at))? {
        WireKind::ServerNames(it) => {
            ConnectionCondition::ServerNames(conditions::hosts(it, &at.field("server_names"))?)
        }
        WireKind::Source(it) => {
            ConnectionCondition::Source(conditions::source(it, &at.field("source"), report)?)
        }
        WireKind::Ports(it) => {
            ConnectionCondition::Ports(conditions::ports(it, &at.field("ports"))?)
        }
        WireKind::Destinations(it) => {
            let at = at.field("destinations");
            if it.subnets.len() > limits::LIST_MAX {
                return Err(Bad::new(&at, "has too many entries"));
            }
            let subnets = it.subnets.iter().enumerate().map(|(place, subnet)| {
                let reason = || format!("{subnet:?} is no block such as 10.0.0.0/8");
                subnet.parse().map_err(|_| Bad::new(&at.entry("subnets", place), reason()))
            });
            ConnectionCondition::Destinations(subnets.collect::<Result<_, _>>()?)
        }
    })
}
