//! Numbers of policies, and the retry budget.

use serde::Deserialize;

use weft_proto::route as proto;

use crate::objects::duration;
use crate::objects::fields::FieldError;

/// Istio's counts are signed; none may be below 0.
pub(super) fn count(number: Option<i64>, field: &str) -> Result<u32, FieldError> {
    let number = number.unwrap_or(0);
    u32::try_from(number)
        .map_err(|_| FieldError::new(field, format!("{number} is no number from 0 to 2^32-1")))
}

/// 0 to 100.
pub(super) fn percent(number: Option<i64>, field: &str) -> Result<u32, FieldError> {
    let number = count(number, field)?;
    match number <= 100 {
        true => Ok(number),
        false => Err(FieldError::new(field, format!("{number} is no percentage from 0 to 100"))),
    }
}

/// A percentage that may have a fraction, in thousandths.
pub(super) fn thousandths(percent: f64, max: f64, field: &str) -> Result<u32, FieldError> {
    let bad = || FieldError::new(field, format!("{percent} is no number from 0 to {max}"));
    if !(0.0..=max).contains(&percent) {
        return Err(bad());
    }
    // A whole number below ten digits survives both conversions.
    format!("{:.0}", percent * 1_000.0).parse().map_err(|_| bad())
}

/// Milliseconds; at least one, but where nothing is given.
pub(super) fn milliseconds(text: Option<&String>, field: &str) -> Result<u64, FieldError> {
    match text {
        None => Ok(0),
        Some(text) => match or_zero(text, field)? {
            0 => Err(FieldError::new(field, format!("{text:?} is shorter than a millisecond"))),
            number => Ok(number),
        },
    }
}

/// Milliseconds, of which 0 means something.
pub(super) fn or_zero(text: &str, field: &str) -> Result<u64, FieldError> {
    let read = duration::parse(text).map_err(|reason| FieldError::new(field, reason))?;
    let number = u64::try_from(read.as_millis()).unwrap_or(u64::MAX);
    match number == 0 && !read.is_zero() {
        true => Err(FieldError::new(field, format!("{text:?} is shorter than a millisecond"))),
        false => Ok(number),
    }
}

/// 20 % and at least 3 where nothing is said.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawBudget {
    percent: Option<f64>,
    min_retry_concurrency: Option<i64>,
    budget_interval: Option<String>,
}

impl RawBudget {
    pub(super) fn build(
        &self,
        field: &str,
        ignored: &mut Vec<String>,
    ) -> Result<proto::RetryBudget, FieldError> {
        let interval = self.budget_interval.as_ref();
        let field_of_interval = format!("{field}.budgetInterval");
        // Requests that are over don't count, which is what 0 says.
        if interval.map(|text| or_zero(text, &field_of_interval)).transpose()?.unwrap_or(0) > 0 {
            ignored.push(field_of_interval);
        }
        let percent = self.percent.map(|it| thousandths(it, 100.0, &format!("{field}.percent")));
        let min = self.min_retry_concurrency;
        let min = min.map(|it| count(Some(it), &format!("{field}.minRetryConcurrency")));
        Ok(proto::RetryBudget {
            percent_thousandths: percent.transpose()?,
            retries_min: min.transpose()?,
        })
    }
}
