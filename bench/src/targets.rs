//! What the mesh has to reach, from the requirements that `docs/bench.md` lists.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::report::{Place, SideValue, Subject, Unit};

/// A line to stay below or to get above.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    /// At most this multiple of plain.
    RatioAtMost(f64),
    /// At least this multiple of plain.
    RatioAtLeast(f64),
    /// At most this value, in the measure's unit.
    AtMost(f64),
}

/// A target and whether it was met.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// The target.
    pub(crate) bound: Bound,
    /// Whether the mesh's value is on its right side.
    pub(crate) met: bool,
}

impl Bound {
    /// The target in words.
    #[must_use]
    pub(crate) fn show(self, unit: Unit) -> String {
        match self {
            Self::RatioAtMost(ratio) => format!("≤ {ratio:.2} ×"),
            Self::RatioAtLeast(ratio) => format!("≥ {ratio:.2} ×"),
            Self::AtMost(value) => format!("≤ {}", unit.show(value)),
        }
    }

    fn is_met(self, value: f64, ratio: Option<f64>) -> Option<bool> {
        match self {
            Self::RatioAtMost(most) => ratio.map(|ratio| ratio <= most),
            Self::RatioAtLeast(least) => ratio.map(|ratio| ratio >= least),
            Self::AtMost(most) => Some(value <= most),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.met { "met" } else { "missed" })
    }
}

/// Scenario, figure, place, bound.
type Target = (&'static str, &'static str, Option<Place>, Bound);

const ACROSS: Option<Place> = Some(Place::Across);
const LOCAL: Option<Place> = Some(Place::Local);

const TARGETS: [Target; 22] = [
    ("latency", "p50", ACROSS, Bound::RatioAtMost(2.1)),
    ("requests", "rate", ACROSS, Bound::RatioAtLeast(0.42)),
    ("bulk-1", "rate", ACROSS, Bound::RatioAtLeast(0.55)),
    ("connections", "rate", ACROSS, Bound::RatioAtLeast(0.40)),
    ("latency", "p50", LOCAL, Bound::RatioAtMost(1.7)),
    ("requests", "rate", LOCAL, Bound::RatioAtLeast(0.5)),
    ("bulk-1", "rate", LOCAL, Bound::RatioAtLeast(0.8)),
    ("memory", "idle", ACROSS, Bound::AtMost(14e6)),
    ("memory", "idle", LOCAL, Bound::AtMost(14e6)),
    ("memory", "per connection", ACROSS, Bound::AtMost(4e3)),
    ("memory", "per connection", LOCAL, Bound::AtMost(4e3)),
    ("memory", "kept after close", ACROSS, Bound::AtMost(3e6)),
    ("memory", "kept after close", LOCAL, Bound::AtMost(3e6)),
    ("control", "change acted on, p99", None, Bound::AtMost(60.0)),
    ("control", "full load", None, Bound::AtMost(30.0)),
    ("control", "controller's memory", None, Bound::AtMost(90e6)),
    ("control", "a ztunnel's memory", None, Bound::AtMost(45e6)),
    ("l7-latency", "p50", None, Bound::RatioAtMost(4.1)),
    ("l7-requests", "rate", None, Bound::RatioAtLeast(0.27)),
    ("l7-memory", "idle", None, Bound::AtMost(20e6)),
    ("l7-memory", "1,000 services", None, Bound::AtMost(80e6)),
    ("l7-change", "p99", None, Bound::AtMost(200.0)),
];

/// Scenario, figure, bound as a multiple of two Envoys.
const TO_PAIR: [(&str, &str, Bound); 2] = [
    ("l7-latency", "p50", Bound::RatioAtMost(0.7)),
    ("l7-requests", "rate", Bound::RatioAtLeast(1.15)),
];

/// The verdict on the mesh's value; `None` where nothing is asked, or nothing can be told because
/// there is no plain side.
#[must_use]
pub(crate) fn judge(subject: &Subject, mesh: &SideValue) -> Option<Verdict> {
    let fits = |(scenario, figure, place, _): &&Target| {
        subject.scenario == *scenario
            && subject.figure == *figure
            && subject.place == *place
            && subject.workers.is_none()
    };
    let (.., bound) = TARGETS.iter().find(fits)?;
    bound.is_met(mesh.value, mesh.ratio).map(|met| Verdict { bound: *bound, met })
}

/// The verdict on the mesh as a multiple of two Envoys; `None` where nothing is asked.
#[must_use]
pub(crate) fn judge_to_pair(subject: &Subject, ratio: f64) -> Option<Verdict> {
    let fits = |(scenario, figure, _): &&(&str, &str, Bound)| {
        subject.scenario == *scenario && subject.figure == *figure
    };
    let (.., bound) = TO_PAIR.iter().find(fits)?;
    bound.is_met(ratio, Some(ratio)).map(|met| Verdict { bound: *bound, met })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Side;

    fn value(value: f64, ratio: Option<f64>) -> SideValue {
        SideValue { side: Side::Mesh, value, ratio, samples: vec![value] }
    }

    #[test]
    fn a_value_on_the_line_meets_the_target() {
        let latency = Subject::new("latency", "p50", Unit::Microseconds).at(Place::Across);
        let met = |ratio| judge(&latency, &value(1.0, Some(ratio))).map(|verdict| verdict.met);
        assert_eq!(met(2.1), Some(true));
        assert_eq!(met(2.11), Some(false));
        let bulk = Subject::new("bulk-1", "rate", Unit::GigabitsPerSecond).at(Place::Local);
        let met = |ratio| judge(&bulk, &value(1.0, Some(ratio))).map(|verdict| verdict.met);
        assert_eq!((met(0.8), met(0.79)), (Some(true), Some(false)));
    }

    #[test]
    fn without_a_ratio_there_is_no_verdict_on_one() {
        let latency = Subject::new("latency", "p50", Unit::Microseconds).at(Place::Across);
        assert_eq!(judge(&latency, &value(1.0, None)), None);
    }

    #[test]
    fn absolute_targets_are_in_the_unit_of_the_measure() {
        let idle = Subject::new("memory", "idle", Unit::Bytes).at(Place::Across);
        let verdict = judge(&idle, &value(14_000_001.0, None)).unwrap();
        assert!(!verdict.met);
        assert_eq!(verdict.bound.show(Unit::Bytes), "≤ 14.0 MB");
    }

    #[test]
    fn figures_with_set_workers_have_no_target() {
        let idle = Subject::new("memory", "idle", Unit::Bytes).at(Place::Across);
        assert_eq!(judge(&idle.with_workers(Some(4)), &value(1.0, None)), None);
    }
}
