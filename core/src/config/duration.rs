//! Durations as Go writes them (`1h30m`, `1.5s`, `250ms`), which is how charts and the incumbent's users do.

use std::time::Duration;

const UNITS: [(&str, f64); 8] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
    ("d", 86_400.0),
];

/// Ten years. Adding much more to the present time would overflow it.
const MOST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Reads a duration. A number without a unit is refused: it would be seconds to one reader and nanoseconds to
/// another. `0` alone needs none.
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    loop {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let (number, after) = rest.split_at_checked(rest.find(|c| !is_number(c))?)?;
        let (unit, after) = after.split_at_checked(after.find(is_number).unwrap_or(after.len()))?;
        let seconds_per_unit = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        let seconds = number.parse::<f64>().ok()? * seconds_per_unit;
        total = total.checked_add(Duration::try_from_secs_f64(seconds).ok()?)?;
        rest = after;
        if rest.is_empty() {
            return Some(total).filter(|total| *total <= MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_are_read() {
        for (text, millis) in [
            ("24h", 86_400_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1500),
            ("250ms", 250),
            ("0", 0),
            ("0s", 0),
            ("2d", 172_800_000),
            ("1m0.5s", 60_500),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "5", "s", "-1s", "1 s", "1x", "1s1", ".s", "1..5s", "1e3s", "9999999999999d"]
        {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
    }
}
