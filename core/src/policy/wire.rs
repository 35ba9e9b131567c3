//! What the decoder of protocol buffers does not tell: fields that it skipped, and what is still readable of bytes
//! that it refused.
//!
//! A decoder skips fields that it does not know. Inside a rule that would drop a condition, and a rule with one
//! condition less lets more in, so the rules of a policy are walked and every field must be a known one.

use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

const SCOPE_FIELD: u32 = 3;
const RULES_FIELD: u32 = 5;

/// Known fields of a message and, where they are messages whose fields matter, their shapes.
struct Shape(&'static [(u32, Option<&'static Shape>)]);

static RULE: Shape = Shape(&[(1, Some(&CLAUSE))]);
static CLAUSE: Shape = Shape(&[(2, Some(&MATCH))]);
static MATCH: Shape = Shape(&[
    (1, Some(&STRING)),
    (2, Some(&STRING)),
    (3, Some(&STRING)),
    (4, Some(&STRING)),
    (5, Some(&PAIR)),
    (6, Some(&PAIR)),
    (7, Some(&PAIR)),
    (8, Some(&PAIR)),
    (9, None),
    (10, None),
    (11, Some(&PAIR)),
    (12, Some(&PAIR)),
    // Extensions are for other clients by definition.
    (13, None),
]);
static STRING: Shape = Shape(&[(1, None), (2, None), (3, None), (4, None)]);
/// Both the address block and the service account have two plain fields.
static PAIR: Shape = Shape(&[(1, None), (2, None)]);

/// What a walk over the bytes of a policy found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Walk {
    /// The scope's number where it is written down and the outermost level is sound. An absent number says nothing
    /// here: it may be the default, or lost with what is broken.
    pub(super) scope: Option<u64>,
    /// A field inside the rules that nobody here knows.
    pub(super) unknown_condition: Option<u32>,
}

/// Walks the outermost level of a policy and, as deep as they are sound, its rules.
pub(super) fn walk(mut bytes: &[u8]) -> Walk {
    let mut found = Walk { scope: None, unknown_condition: None };
    while bytes.has_remaining() {
        let Some((field, wire_type)) = decode_key(&mut bytes).ok() else {
            return Walk { scope: None, ..found };
        };
        let step = match (field, wire_type) {
            (SCOPE_FIELD, WireType::Varint) => decode_varint(&mut bytes).ok().map(|number| {
                found.scope = Some(number);
            }),
            (RULES_FIELD, WireType::LengthDelimited) => take(&mut bytes).map(|rule| {
                found.unknown_condition = found.unknown_condition.or(unknown_field(rule, &RULE));
            }),
            _ => skip_field(wire_type, field, &mut bytes, DecodeContext::default()).ok(),
        };
        if step.is_none() {
            return Walk { scope: None, ..found };
        }
    }
    found
}

/// The first field that `shape` does not have. Broken bytes yield none: the real decoder refuses them.
fn unknown_field(mut bytes: &[u8], shape: &Shape) -> Option<u32> {
    while bytes.has_remaining() {
        let (field, wire_type) = decode_key(&mut bytes).ok()?;
        let Some((_, inner)) = shape.0.iter().find(|(known, _)| *known == field) else {
            return Some(field);
        };
        match (inner, wire_type) {
            (Some(inner), WireType::LengthDelimited) => {
                let unknown = unknown_field(take(&mut bytes)?, inner);
                if unknown.is_some() {
                    return unknown;
                }
            }
            _ => skip_field(wire_type, field, &mut bytes, DecodeContext::default()).ok()?,
        }
    }
    None
}

/// Takes one length-delimited value off the front.
fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(decode_varint(bytes).ok()?).ok()?;
    let (value, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(value)
}
