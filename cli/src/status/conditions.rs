//! What became of the objects: the controller's `/weft/objects`.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::args::ControllerArgs;
use crate::table::{Cell, Tone, table};
use crate::token::controller;

/// An object and what is said about it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ObjectConditions {
    pub(crate) object: ObjectKey,
    pub(crate) conditions: Vec<Condition>,
}

/// An object's name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ObjectKey {
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// One statement about an object.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Whether it holds.
    pub(crate) status: bool,
    pub(crate) reason: String,
    pub(crate) message: String,
    /// Paths of fields that it is about.
    pub(crate) fields: Vec<String>,
    /// The parent or the listener that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<String>,
}

impl ObjectKey {
    /// `<kind> <namespace>/<name>`, as the controller's messages have it.
    fn text(&self) -> String {
        match self.namespace.as_str() {
            "" => format!("{} {}", self.kind, self.name),
            namespace => format!("{} {namespace}/{}", self.kind, self.name),
        }
    }
}

/// Asks the controller.
pub(crate) async fn fetch(args: &ControllerArgs) -> anyhow::Result<Vec<ObjectConditions>> {
    let answer = controller(args).get("/weft/objects").await?;
    serde_json::from_slice(&answer).context("what the controller says of objects can't be read")
}

/// A line: how many objects are as they were meant.
pub(super) fn summary(objects: &[ObjectConditions]) -> String {
    let is_fine = |object: &&ObjectConditions| object.conditions.iter().all(|it| it.status);
    let fine = objects.iter().filter(is_fine).count();
    let rest = objects.len() - fine;
    format!("Conditions: of {} objects {fine} are fine and {rest} need a look\n", objects.len())
}

/// Every condition that doesn't hold; nothing if all do.
pub(super) fn failing(objects: &[ObjectConditions], use_color: bool) -> String {
    let rows = objects.iter().flat_map(|object| {
        let failing = object.conditions.iter().filter(|condition| !condition.status);
        failing.map(|condition| row(&object.object, condition))
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return String::new();
    }
    let header = ["OBJECT", "CONDITION", "REASON", "ABOUT", "MESSAGE"];
    format!("\nNeed a look:\n{}", table(&header, &rows, 2, use_color))
}

/// An object's conditions, all of them; of one kind, namespace and name.
pub(crate) fn of(
    objects: &[ObjectConditions],
    kind: &str,
    namespace: &str,
    name: &str,
) -> Vec<Condition> {
    let found = objects.iter().find(|it| {
        let key = &it.object;
        key.kind == kind && key.namespace == namespace && key.name == name
    });
    found.map(|it| it.conditions.clone()).unwrap_or_default()
}

/// Conditions as rows: type, whether it holds, reason, what it is about, message.
pub(crate) fn rows(conditions: &[Condition]) -> Vec<Vec<Cell>> {
    let build = |condition: &Condition| {
        let holds = match condition.status {
            true => Cell::new("true", Tone::Good),
            false => Cell::new("false", Tone::Bad),
        };
        let Condition { kind, reason, message, .. } = condition;
        vec![
            kind.as_str().into(),
            holds,
            reason.as_str().into(),
            about(condition).into(),
            message.as_str().into(),
        ]
    };
    conditions.iter().map(build).collect()
}

fn row(object: &ObjectKey, condition: &Condition) -> Vec<Cell> {
    let Condition { kind, reason, message, .. } = condition;
    vec![
        object.text().into(),
        kind.as_str().into(),
        Cell::new(reason.as_str(), Tone::Bad),
        about(condition).into(),
        message.as_str().into(),
    ]
}

fn about(condition: &Condition) -> String {
    let parts: Vec<&str> =
        condition.parent.iter().chain(&condition.fields).map(String::as_str).collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use weft_controller::objects::{Kind, ObjectKey as ControllersKey};
    use weft_controller::translate::{ConditionStatus, ObjectStatus};

    use super::*;

    fn objects() -> Vec<ObjectConditions> {
        let condition =
            |status, reason: &'static str, fields: &[&str], parent: Option<&str>| ConditionStatus {
                kind: "Accepted",
                status,
                reason,
                message: "a sentence".into(),
                fields: fields.iter().map(ToString::to_string).collect(),
                parent: parent.map(Into::into),
            };
        let statuses = vec![
            ObjectStatus {
                object: ControllersKey::new(Kind::HTTPRoute, "shop", "r"),
                conditions: vec![
                    condition(true, "Accepted", &[], Some("Service shop/web")),
                    condition(false, "Odd", &["spec.rules[0]", "spec.x"], Some("Service shop/api")),
                ],
            },
            ObjectStatus {
                object: ControllersKey::new(Kind::GatewayClass, "", "weft-waypoint"),
                conditions: vec![condition(true, "Accepted", &[], None)],
            },
        ];
        let written = serde_json::to_value(statuses).unwrap();
        let read: Vec<ObjectConditions> = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), written);
        read
    }

    #[test]
    fn every_condition_that_does_not_hold_is_listed_with_its_field() {
        let objects = objects();
        assert_eq!(summary(&objects), "Conditions: of 2 objects 1 are fine and 1 need a look\n");
        let listed = failing(&objects, false);
        let expected = "\nNeed a look:\n\
            OBJECT            CONDITION  REASON  ABOUT                                    MESSAGE\n\
            HTTPRoute shop/r  Accepted   Odd     Service shop/api, spec.rules[0], spec.x  a sentence\n";
        assert_eq!(listed, expected);
        assert_eq!(failing(&objects[1..], false), "");
    }

    #[test]
    fn conditions_of_one_object_are_found_by_its_name() {
        let objects = objects();
        assert_eq!(of(&objects, "HTTPRoute", "shop", "r").len(), 2);
        assert!(of(&objects, "HTTPRoute", "bank", "r").is_empty());
        assert_eq!(rows(&of(&objects, "GatewayClass", "", "weft-waypoint")).len(), 1);
    }
}
