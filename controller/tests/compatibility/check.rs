//! The table against the reader and the translation.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use weft_controller::objects::{self, Object, ObjectChange, Pool};
use weft_controller::translate::{Settings, Translator};

use super::document::{containers, indexed, set};
use super::table::{Field, Kind, State};

/// What there is besides the object.
const MESH: &str = include_str!("mesh.yaml");

/// What became of a document.
struct Outcome {
    /// Everything that proxies are sent.
    resources: BTreeMap<(&'static str, String), Vec<u8>>,
    /// Conditions that don't hold or name fields: of the object itself.
    conditions: Vec<String>,
}

fn read(text: &str) -> Result<Object, String> {
    let header = objects::header(text).map_err(|error| error.to_string())?;
    let kind = objects::Kind::of(&header.api_version, &header.kind).expect("a kind that is read");
    objects::read(kind, text, &mut Pool::default()).map_err(|error| error.to_string())
}

fn outcome(document: &Value) -> Result<Outcome, String> {
    let object = read(&document.to_string())?;
    let key = object.key();
    let mesh = MESH.split("\n---\n").filter(|text| !text.trim().is_empty());
    let mesh = mesh.map(|text| read(text).unwrap_or_else(|error| panic!("{error}: {text}")));
    let others = mesh.filter(|it| it.key() != key);
    let all = others.chain([object.clone()]);
    let change = |object: Object| ObjectChange { key: object.key(), object: Some(object) };
    let mut translator = Translator::new(Settings::standalone());
    translator.apply(all.map(change).collect());
    let resources = translator.resources().into_iter();
    let resources = resources.map(|((of, name), bytes)| ((of, name.to_string()), bytes.to_vec()));
    // Keys that the controller itself fetches for them.
    let keys = format!("{:?}", translator.key_sources()).into_bytes();
    let resources = resources.chain([(("keys", String::new()), keys)]);
    let statuses = translator.statuses();
    let own = statuses.iter().filter(|status| status.object == key);
    let conditions = own
        .flat_map(|status| &status.conditions)
        .map(|it| format!("{}={} {:?} {}", it.kind, it.status, it.fields, it.message));
    Ok(Outcome { resources: resources.collect(), conditions: conditions.collect() })
}

/// Without the field and with it.
fn documents(kind: &Kind, field: &Field) -> (Value, Value) {
    let mut without = kind.base.clone();
    for (path, value) in &field.given {
        set(&mut without, path, value);
    }
    let mut with = without.clone();
    set(&mut with, field.at.as_ref().unwrap_or(&field.path), &field.with);
    (without, with)
}

/// What is wrong with the rows of a kind.
pub(crate) fn fields(kind: &Kind) -> Vec<String> {
    let wrong = |field: &Field| {
        let problem = judge(kind, field).err()?;
        Some(format!("{} {} is not {:?}: {problem}", kind.kind, field.path, field.is))
    };
    kind.fields.iter().filter_map(wrong).collect()
}

fn judge(kind: &Kind, field: &Field) -> Result<(), String> {
    let (without, with) = documents(kind, field);
    let before = outcome(&without).map_err(|error| format!("without it: {error}"))?;
    let after = outcome(&with);
    let path = indexed(&field.path);
    // Annotations are named by their keys, which have dots.
    let path = path.replace(':', ".");
    let last = path.rsplit('.').next().unwrap_or_default();
    // A status may name what the field is part of; of a parent it is about that one.
    let around = containers(&field.path).into_iter().filter(|it| it != "spec");
    let around: Vec<_> = around
        .map(|it| match it.matches('.').count() {
            1 => format!("{:?}", indexed(&it)),
            _ => indexed(&it),
        })
        .collect();
    let is_parent = path.starts_with("spec.parentRefs");
    let names = |text: &str| {
        let is_around = around.iter().any(|it| text.contains(it));
        is_parent || text.contains(&path) || text.contains(last) || is_around
    };
    let told = |outcome: &Outcome| {
        let new = outcome.conditions.iter().filter(|it| !before.conditions.contains(it));
        new.filter(|it| names(it)).cloned().collect::<Vec<_>>()
    };
    match (field.is, after) {
        (State::Rejected, Err(error)) if names(&error) => Ok(()),
        (State::Rejected, Err(error)) => Err(format!("the error doesn't name it: {error}")),
        (State::Rejected, Ok(after)) => match told(&after).iter().any(|it| it.contains("=false")) {
            true => Ok(()),
            false => Err(format!("it is accepted: {:?}", after.conditions)),
        },
        (_, Err(error)) => Err(error),
        (State::Honoured, Ok(after)) => match after.resources == before.resources {
            false => Ok(()),
            true => Err(format!("nothing changes: {:?}", after.conditions)),
        },
        (State::Ignored, Ok(after)) if after.resources != before.resources => {
            Err("it changes what proxies are sent".to_owned())
        }
        (State::Ignored, Ok(after)) => match told(&after).is_empty() {
            false => Ok(()),
            true => Err(format!("no status names it: {:?}", after.conditions)),
        },
        (State::Told, Ok(after)) => {
            match after.resources == before.resources && told(&after).is_empty() {
                true => Ok(()),
                false => Err(format!("it has an effect: {:?}", after.conditions)),
            }
        }
    }
}

/// Places at which the table's fields aren't those that the reader knows: it names them where it meets one that it doesn't.
pub(crate) fn completeness(kind: &Kind) -> Vec<String> {
    const UNKNOWN: &str = "zzUnknown";
    let mut places: BTreeMap<String, (&Field, BTreeSet<&str>)> = BTreeMap::new();
    for field in &kind.fields {
        let parts: Vec<_> = field.path.split('.').collect();
        for (container, child) in containers(&field.path).into_iter().zip(&parts[1..]) {
            let place = places.entry(container).or_insert((field, BTreeSet::new()));
            // What is refused for its own sake says nothing about its neighbours.
            if place.0.is == State::Rejected {
                place.0 = field;
            }
            let known = &mut place.1;
            known.insert(child.trim_end_matches("[]"));
        }
    }
    let mut failures = Vec::new();
    for (place, (field, known)) in places {
        if place.starts_with("metadata") {
            continue;
        }
        let (_, mut document) = documents(kind, field);
        set(&mut document, &format!("{place}.{UNKNOWN}"), &Value::from(1));
        let error = read(&document.to_string()).err().unwrap_or_default();
        let expected: BTreeSet<&str> = match error.split_once(UNKNOWN) {
            Some((_, listed)) => {
                let listed = listed.split_once("expected ").map_or("", |(_, listed)| listed);
                let names = listed.trim_start_matches("one of ").split(", ");
                names.map(|name| name.trim_matches('`')).collect()
            }
            None if kind.is_lenient && error.is_empty() => continue,
            None => {
                failures.push(format!(
                    "{} {place}: an unknown field is not refused: {error}",
                    kind.kind
                ));
                continue;
            }
        };
        let lacks: Vec<_> = expected.difference(&known).collect();
        let extra: Vec<_> = known.difference(&expected).collect();
        if !(lacks.is_empty() && extra.is_empty()) {
            failures.push(format!(
                "{} {place}: lacks {lacks:?}, has too much {extra:?} ({error})",
                kind.kind
            ));
        }
    }
    failures
}
