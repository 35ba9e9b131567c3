//! Sets of keys (RFC 7517), cut down to what verifies signatures.

use serde_json::{Map, Value};
use weft_proto::contract::access::{KEYS_BYTES_MAX, KEYS_MAX};

/// Members of a key that verifying needs. Certificates are left out for their size, private parts for what they are.
const KEPT: [&str; 9] = ["kty", "kid", "use", "alg", "crv", "n", "e", "x", "y"];

/// The set with only its public keys, each with what verifying needs, as the shortest text. Symmetric keys are left out:
/// whoever can verify with one can sign with it.
///
/// The error says what is wrong with the text. A set that nothing is left of is no error: its issuer has no keys.
pub fn trimmed(text: &str) -> Result<String, String> {
    let set: Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
    let keys = set.get("keys").and_then(Value::as_array).ok_or("no set of keys (RFC 7517)")?;
    let keys: Vec<Value> = keys.iter().filter_map(key).collect();
    if keys.len() > KEYS_MAX {
        return Err(format!("{} keys; at most {KEYS_MAX} are taken", keys.len()));
    }
    let mut set = Map::new();
    set.insert("keys".to_owned(), keys.into());
    let text = Value::Object(set).to_string();
    match text.len() {
        length if length > KEYS_BYTES_MAX => {
            Err(format!("{length} bytes of keys; at most {KEYS_BYTES_MAX} are taken"))
        }
        _ => Ok(text),
    }
}

fn key(value: &Value) -> Option<Value> {
    let key = value.as_object()?;
    let is_public = matches!(key.get("kty")?.as_str()?, "RSA" | "EC" | "OKP");
    let kept = KEPT.iter().filter_map(|name| Some(((*name).to_owned(), key.get(*name)?.clone())));
    is_public.then(|| Value::Object(kept.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_parts_certificates_and_symmetric_keys_are_left_out() {
        let set = r#"{"keys": [
            {"kty": "EC", "crv": "P-256", "x": "a", "y": "b", "kid": "1", "d": "secret", "x5c": ["long"]},
            {"kty": "oct", "k": "secret"}, {"kty": 7}, 7
        ], "other": true}"#;
        assert_eq!(
            trimmed(set).unwrap(),
            r#"{"keys":[{"crv":"P-256","kid":"1","kty":"EC","x":"a","y":"b"}]}"#
        );
    }

    #[test]
    fn anything_but_a_set_is_refused() {
        for text in ["", "[]", "{}", r#"{"keys": {}}"#, "<html>"] {
            assert!(trimmed(text).is_err(), "{text}");
        }
        let many = vec![r#"{"kty":"EC"}"#; KEYS_MAX + 1].join(",");
        assert!(trimmed(&format!(r#"{{"keys":[{many}]}}"#)).is_err());
    }
}
