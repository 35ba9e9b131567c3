//! `outlierDetection`.

use serde::Deserialize;
use weft_proto::route as proto;

use crate::objects::fields::FieldError;
use crate::objects::route::check_count;

use super::read::{count, milliseconds, percent};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawOutlier {
    consecutive_errors: Option<i64>,
    split_external_local_origin_errors: Option<bool>,
    consecutive_local_origin_failures: Option<i64>,
    consecutive_gateway_errors: Option<i64>,
    #[serde(rename = "consecutive5xxErrors")]
    consecutive_5xx_errors: Option<i64>,
    interval: Option<String>,
    base_ejection_time: Option<String>,
    max_ejection_percent: Option<i64>,
    min_health_percent: Option<i64>,
    outlier_detection_http_error_codes: Option<Vec<RawStatuses>>,
}

/// One status, or a range with both ends.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum RawStatuses {
    One(u32),
    Range { start: u32, end: u32 },
}

impl RawOutlier {
    pub(super) fn build(
        &self,
        field: &str,
        ignored: &mut Vec<String>,
    ) -> Result<proto::OutlierDetection, FieldError> {
        let at = |name: &str| format!("{field}.{name}");
        let given = |number: Option<i64>, name: &str| {
            number.map(|it| count(Some(it), &at(name))).transpose()
        };
        // Gone from Istio itself; consecutiveGatewayErrors took its place.
        if self.consecutive_errors.is_some() {
            ignored.push(at("consecutiveErrors"));
        }
        let ejected = percent(self.max_ejection_percent, &at("maxEjectionPercent"))?;
        Ok(proto::OutlierDetection {
            consecutive_5xx: given(self.consecutive_5xx_errors, "consecutive5xxErrors")?,
            consecutive_gateway_errors: count(
                self.consecutive_gateway_errors,
                &at("consecutiveGatewayErrors"),
            )?,
            splits_local_origin: self.split_external_local_origin_errors.unwrap_or(false),
            consecutive_local_failures: given(
                self.consecutive_local_origin_failures,
                "consecutiveLocalOriginFailures",
            )?,
            interval_ms: milliseconds(self.interval.as_ref(), &at("interval"))?,
            base_ejection_ms: milliseconds(
                self.base_ejection_time.as_ref(),
                &at("baseEjectionTime"),
            )?,
            ejection_max_ms: 0,
            // In Istio's form 0 and nothing are the same.
            ejected_percent_max: (ejected > 0).then_some(ejected),
            healthy_percent_min: percent(self.min_health_percent, &at("minHealthPercent"))?,
            error_statuses: self.statuses(&at("outlierDetectionHttpErrorCodes"))?,
        })
    }

    fn statuses(&self, field: &str) -> Result<Vec<proto::StatusRange>, FieldError> {
        let given = self.outlier_detection_http_error_codes.as_deref().unwrap_or_default();
        check_count(given.len(), 500, field)?;
        let range = |(at, it): (usize, &RawStatuses)| {
            let (first, last) = match *it {
                RawStatuses::One(status) => (status, status),
                RawStatuses::Range { start, end } => (start, end),
            };
            let is_right = (100..600).contains(&first) && (first..600).contains(&last);
            let reason = "has no statuses from 100 to 599";
            is_right
                .then_some(proto::StatusRange { first, last })
                .ok_or_else(|| FieldError::new(format!("{field}[{at}]"), reason))
        };
        given.iter().enumerate().map(range).collect()
    }
}
