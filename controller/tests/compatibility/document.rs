//! Documents with fields set by path.

use serde_json::{Map, Value};

/// Sets the value at a path; lists get one item, objects what they need.
pub(crate) fn set(document: &mut Value, path: &str, value: &Value) {
    let mut place = document;
    for part in path.split('.') {
        let (name, is_list) = match part.strip_suffix("[]") {
            Some(name) => (name, true),
            None => (part, false),
        };
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        // Keys of annotations have dots, which paths write as colons.
        let object = place.as_object_mut().unwrap();
        place = object.entry(name.replace(':', ".")).or_insert(Value::Null);
        if is_list {
            if !place.is_array() {
                *place = Value::Array(vec![Value::Null]);
            }
            place = &mut place.as_array_mut().unwrap()[0];
        }
    }
    match (place, value) {
        // A list or a map may be given in parts.
        (Value::Object(into), Value::Object(from)) => into.extend(from.clone()),
        (place, value) => *place = value.clone(),
    }
}

/// The path as readers and statuses write it.
pub(crate) fn indexed(path: &str) -> String {
    path.replace("[]", "[0]")
}

/// All containers of a path, the outermost first: `spec`, `spec.rules[]`.
pub(crate) fn containers(path: &str) -> Vec<String> {
    let parts: Vec<_> = path.split('.').collect();
    (1..parts.len()).map(|count| parts[..count].join(".")).collect()
}
