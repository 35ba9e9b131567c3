//! Selectors of the Kubernetes API with expressions (`metav1.LabelSelector`).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::Pool;
use super::fields::{self, FieldError, Given};
use super::meta::Labels;

/// What labels must be like. One without any demand selects everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelSelector {
    labels: Labels,
    expressions: Box<[Expression]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Expression {
    key: Arc<str>,
    operator: Operator,
    values: Box<[Arc<str>]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl LabelSelector {
    /// Whether all demands hold.
    pub fn selects(&self, labels: &Labels) -> bool {
        let holds = |it: &Expression| {
            let value = labels.get(&it.key);
            let is_listed = value.is_some_and(|value| it.values.iter().any(|own| **own == *value));
            match it.operator {
                Operator::In => is_listed,
                Operator::NotIn => !is_listed,
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        };
        self.labels.select(labels) && self.expressions.iter().all(holds)
    }
}

/// It lets somebody in, so every field is known and has a value.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawLabelSelector {
    #[serde(default, deserialize_with = "fields::not_null")]
    match_labels: Option<BTreeMap<String, String>>,
    #[serde(default, deserialize_with = "fields::not_null")]
    match_expressions: Option<Vec<Given<RawExpression>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExpression {
    key: String,
    operator: Operator,
    #[serde(default, deserialize_with = "fields::not_null")]
    values: Option<Vec<String>>,
}

impl RawLabelSelector {
    pub(super) fn build(&self, field: &str, pool: &mut Pool) -> Result<LabelSelector, FieldError> {
        let labels = match &self.match_labels {
            Some(labels) => Labels::of_selector(labels, &format!("{field}.matchLabels"), pool)?,
            None => Labels::default(),
        };
        let raw = self.match_expressions.as_deref().unwrap_or_default();
        let mut expressions = Vec::with_capacity(raw.len());
        for (at, Given(it)) in raw.iter().enumerate() {
            let field = format!("{field}.matchExpressions[{at}]");
            expressions.push(it.build(&field, pool)?);
        }
        Ok(LabelSelector { labels, expressions: expressions.into() })
    }
}

impl RawExpression {
    fn build(&self, field: &str, pool: &mut Pool) -> Result<Expression, FieldError> {
        if !fields::is_label_key(&self.key) {
            let reason = format!("{:?} is no label's key", self.key);
            return Err(FieldError::new(format!("{field}.key"), reason));
        }
        let values = self.values.as_deref().unwrap_or_default();
        let takes_values = matches!(self.operator, Operator::In | Operator::NotIn);
        if takes_values == values.is_empty() {
            let reason = if takes_values { "needs a value" } else { "takes no values" };
            let reason = format!("{:?} {reason}", self.operator);
            return Err(FieldError::new(format!("{field}.values"), reason));
        }
        if let Some(value) = values.iter().find(|value| !fields::is_label_value(value)) {
            let reason = format!("{value:?} is no label's value");
            return Err(FieldError::new(format!("{field}.values"), reason));
        }
        Ok(Expression {
            key: pool.text(&self.key),
            operator: self.operator,
            values: values.iter().map(|value| pool.text(value)).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(yaml: &str) -> Result<LabelSelector, FieldError> {
        let raw: RawLabelSelector = serde_json::from_str(yaml).unwrap();
        raw.build("s", &mut Pool::default())
    }

    #[test]
    fn every_operator_selects_as_kubernetes_does() {
        let labels =
            Labels::of_map(&[("team".to_owned(), "a".to_owned())].into(), &mut Pool::default());
        let of = |key: &str, operator: &str, values: &str| {
            format!(
                r#"{{"matchExpressions":[{{"key":"{key}","operator":"{operator}","values":[{values}]}}]}}"#
            )
        };
        for (text, is_selected) in [
            ("{}".to_owned(), true),
            (r#"{"matchLabels":{"team":"a"}}"#.to_owned(), true),
            (r#"{"matchLabels":{"team":"b"}}"#.to_owned(), false),
            (of("team", "In", r#""b","a""#), true),
            (of("other", "In", r#""a""#), false),
            (of("team", "NotIn", r#""a""#), false),
            (of("other", "NotIn", r#""a""#), true),
            (of("team", "Exists", ""), true),
            (of("other", "Exists", ""), false),
            (of("other", "DoesNotExist", ""), true),
        ] {
            assert_eq!(selector(&text).unwrap().selects(&labels), is_selected, "{text}");
        }
        for text in
            [of("team", "In", ""), of("team", "Exists", r#""a""#), of("a/b/c", "Exists", "")]
        {
            assert!(selector(&text).is_err(), "{text} was accepted");
        }
    }
}
