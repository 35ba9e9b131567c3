//! Permissions to refer across namespaces.

use std::sync::Arc;

use serde::Deserialize;

use crate::objects::Pool;
use crate::objects::fields::{self, FieldError, Given};
use crate::objects::meta::Meta;

/// Who may refer to what in the grant's namespace.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceGrant {
    /// Name, labels and so on.
    pub meta: Meta,
    /// Who; one of them.
    pub from: Box<[GrantFrom]>,
    /// What; one of them.
    pub to: Box<[GrantTo]>,
}

/// Who may refer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantFrom {
    /// Of the referring object.
    pub group: Arc<str>,
    /// Of the referring object.
    pub kind: Arc<str>,
    /// Of the referring object.
    pub namespace: Arc<str>,
}

/// What may be referred to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantTo {
    /// Empty for Kubernetes' own.
    pub group: Arc<str>,
    /// Its kind.
    pub kind: Arc<str>,
    /// One object; absent: all of the kind.
    pub name: Option<Arc<str>>,
}

/// A grant opens something, so that nothing of it is guessed: every field is known and has a value.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::objects) struct RawGrant {
    from: Vec<Given<RawFrom>>,
    to: Vec<Given<RawTo>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawFrom {
    group: String,
    kind: String,
    namespace: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawTo {
    group: String,
    kind: String,
    #[serde(default, deserialize_with = "fields::not_null")]
    name: Option<String>,
}

pub(in crate::objects) fn reference_grant(
    meta: Meta,
    raw: &RawGrant,
    pool: &mut Pool,
) -> Result<ReferenceGrant, FieldError> {
    let mut from = Vec::with_capacity(raw.from.len());
    for (at, Given(it)) in raw.from.iter().enumerate() {
        if !fields::is_dns_label(&it.namespace) {
            let reason = format!("{:?} is no namespace's name (RFC 1123 label)", it.namespace);
            return Err(FieldError::new(format!("spec.from[{at}].namespace"), reason));
        }
        from.push(GrantFrom {
            group: pool.text(&it.group),
            kind: pool.text(&it.kind),
            namespace: pool.text(&it.namespace),
        });
    }
    let to = raw.to.iter().map(|Given(it)| GrantTo {
        group: pool.text(if it.group == "core" { "" } else { &it.group }),
        kind: pool.text(&it.kind),
        name: it.name.as_deref().filter(|name| !name.is_empty()).map(|name| pool.text(name)),
    });
    let to = to.collect();
    Ok(ReferenceGrant { from: from.into(), to, meta })
}
