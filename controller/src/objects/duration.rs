//! Spans of time, as the Gateway API (GEP-2257) and Istio write them.

use std::time::Duration;

/// Longest that is taken: GEP-2257's five digits of hours are eleven years; nothing here needs more than a year.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// Such as `1h30m`, `1.5s` or `250ms`. `0` and `0s` are none at all.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no duration such as 10s or 1m30s");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut sum) = (text, Duration::ZERO);
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let is_number = |byte: char| byte.is_ascii_digit() || byte == '.';
        let unit = rest.find(|byte| !is_number(byte)).ok_or_else(bad)?;
        let (number, behind) = rest.split_at_checked(unit).ok_or_else(bad)?;
        let end = behind.find(is_number).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at_checked(end).ok_or_else(bad)?;
        let seconds = match unit {
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(bad()),
        };
        let number: f64 = number.parse().map_err(|_| bad())?;
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| bad())?;
        sum = sum.checked_add(part).filter(|sum| *sum <= LONGEST).ok_or_else(bad)?;
        rest = behind;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_strictly() {
        for (text, ms) in [
            ("0", 0),
            ("0s", 0),
            ("10s", 10_000),
            ("1m30s", 90_000),
            ("250ms", 250),
            ("1.5s", 1_500),
            ("0.025s", 25),
            ("1h", 3_600_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "10", "-1s", "1x", "1..2s", ".s", "1e3s", "99999999h", "1 s", "ä"] {
            assert!(parse(text).is_err(), "{text:?} was accepted");
        }
    }
}
