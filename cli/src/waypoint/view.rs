//! Waypoints as text.

use serde::{Deserialize, Serialize};

use crate::status::conditions::{self, Condition};
use crate::table::{Cell, Tone, table};

/// A waypoint, as the controller's `/weft/waypoints` has it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Waypoint {
    pub(super) namespace: String,
    pub(super) name: String,
    class: String,
    traffic: String,
    host: String,
    is_ready: bool,
    /// Why it isn't ready.
    fault: String,
    /// Service accounts of its instances.
    accounts: Vec<String>,
    bound: Vec<Bound>,
}

/// What a waypoint stands before.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Bound {
    /// `<kind> <namespace>/<name>`.
    object: String,
    is_enforced: bool,
    is_canary: bool,
}

/// Why an object has the waypoint that it has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Explanation {
    object: String,
    steps: Vec<Step>,
    waypoint: Option<String>,
    is_enforced: bool,
    verdict: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Step {
    holds: bool,
    text: String,
}

pub(super) fn list(waypoints: &[Waypoint], use_color: bool) -> String {
    if waypoints.is_empty() {
        return "No waypoint: `weft waypoint generate` prints one.\n".to_owned();
    }
    let count = |it: &Waypoint, kinds: [&str; 2]| {
        let is_of = |bound: &&Bound| kinds.iter().any(|kind| bound.object.starts_with(kind));
        it.bound.iter().filter(is_of).count().to_string()
    };
    let row = |it: &Waypoint| {
        vec![
            it.namespace.as_str().into(),
            it.name.as_str().into(),
            it.class.as_str().into(),
            it.traffic.as_str().into(),
            ready(it),
            count(it, ["Service ", "ServiceEntry "]).into(),
            count(it, ["Pod ", "WorkloadEntry "]).into(),
            it.accounts.join(", ").into(),
        ]
    };
    let rows: Vec<Vec<Cell>> = waypoints.iter().map(row).collect();
    let header =
        ["NAMESPACE", "NAME", "CLASS", "FOR", "READY", "SERVICES", "WORKLOADS", "SERVICE ACCOUNTS"];
    table(&header, &rows, 2, use_color)
}

fn ready(waypoint: &Waypoint) -> Cell {
    match waypoint.is_ready {
        true => Cell::new("yes", Tone::Good),
        false => Cell::new(format!("no: it {}", waypoint.fault), Tone::Bad),
    }
}

pub(super) fn one(waypoint: &Waypoint, conditions: &[Condition], use_color: bool) -> String {
    let Waypoint { namespace, name, class, traffic, host, .. } = waypoint;
    let mut out =
        format!("Waypoint {namespace}/{name} of class {class}, for {traffic}, at {host}\n\n");
    let header = ["CONDITION", "HOLDS", "REASON", "ABOUT", "MESSAGE"];
    out.push_str(&table(&header, &conditions::rows(conditions), 2, use_color));
    if waypoint.bound.is_empty() {
        out.push_str(&format!(
            "\nIt stands before nothing. Label a service or a namespace istio.io/use-waypoint: {name}\n"
        ));
        return out;
    }
    out.push('\n');
    let row = |bound: &Bound| {
        let round = match bound.is_enforced {
            true => Cell::new("refused", Tone::Good),
            false => Cell::new("let in", Tone::Pending),
        };
        let role = if bound.is_canary { "canary" } else { "waypoint" };
        vec![bound.object.as_str().into(), role.into(), round]
    };
    let rows: Vec<Vec<Cell>> = waypoint.bound.iter().map(row).collect();
    out.push_str(&table(&["STANDS BEFORE", "AS", "CALLS ROUND IT"], &rows, 2, use_color));
    out
}

pub(super) fn explanation(explanation: &Explanation, use_color: bool) -> String {
    let rows = explanation.steps.iter().enumerate().map(|(at, step)| {
        let holds = match step.holds {
            true => Cell::new("yes", Tone::Good),
            false => Cell::new("no", Tone::Pending),
        };
        vec![(at + 1).to_string().into(), holds, step.text.as_str().into()]
    });
    let rows: Vec<Vec<Cell>> = rows.collect();
    let Explanation { object, verdict, .. } = explanation;
    let steps = table(&["STEP", "HOLDS", "WHAT"], &rows, 2, use_color);
    format!("{object}\n\n{steps}\nSo: {verdict}\n")
}

#[cfg(test)]
mod tests {
    use weft_controller::translate as controller;

    use super::*;

    fn waypoint() -> Waypoint {
        let bound = |object: &str, is_enforced, is_canary| controller::BoundObject {
            object: object.into(),
            is_enforced,
            is_canary,
        };
        let written = serde_json::to_value(controller::WaypointStatus {
            namespace: "shop".into(),
            name: "wp".into(),
            class: "weft-waypoint".into(),
            traffic: "service".into(),
            host: "wp.shop.svc.cluster.local".into(),
            is_ready: false,
            fault: "has no ready instance".into(),
            accounts: vec!["wp".into()],
            bound: vec![bound("Service shop/web", true, false), bound("Pod shop/a", false, true)],
        })
        .unwrap();
        let read: Waypoint = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), written);
        read
    }

    #[test]
    fn list_counts_what_a_waypoint_stands_before() {
        let expected = "\
NAMESPACE  NAME  CLASS          FOR      READY                         SERVICES  WORKLOADS  SERVICE ACCOUNTS
shop       wp    weft-waypoint  service  no: it has no ready instance  1         1          wp
";
        assert_eq!(list(&[waypoint()], false), expected);
        assert!(list(&[], false).contains("weft waypoint generate"));
    }

    #[test]
    fn one_waypoint_shows_its_conditions_and_what_goes_round_it() {
        let condition = Condition {
            kind: "Programmed".into(),
            reason: "Pending".into(),
            message: "no pod is ready".into(),
            ..Condition::default()
        };
        let expected = "\
Waypoint shop/wp of class weft-waypoint, for service, at wp.shop.svc.cluster.local

CONDITION   HOLDS  REASON   ABOUT  MESSAGE
Programmed  false  Pending  -      no pod is ready

STANDS BEFORE     AS        CALLS ROUND IT
Service shop/web  waypoint  refused
Pod shop/a        canary    let in
";
        assert_eq!(one(&waypoint(), &[condition], false), expected);
        let idle = Waypoint { bound: Vec::new(), ..waypoint() };
        assert!(one(&idle, &[], false).contains("It stands before nothing. Label"));
    }

    #[test]
    fn explanation_ends_with_what_becomes_of_a_call() {
        let step = |holds, text: &str| controller::Step { holds, text: text.into() };
        let written = serde_json::to_value(controller::Explanation {
            object: "Service shop/web".into(),
            steps: vec![step(true, "its label names shop/wp"), step(false, "there is no Gateway")],
            waypoint: None,
            is_enforced: false,
            verdict: "calls go direct".into(),
        })
        .unwrap();
        let read: Explanation = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), written);
        let expected = "\
Service shop/web

STEP  HOLDS  WHAT
1     yes    its label names shop/wp
2     no     there is no Gateway

So: calls go direct
";
        assert_eq!(explanation(&read, false), expected);
    }
}
