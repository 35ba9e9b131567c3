//! When a request began, in the formats of `%START_TIME(…)%`.

use std::fmt::Write as _;
use std::time::SystemTime;

use weft_core::telemetry::Civil;

/// A format of times, UTC.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TimeFormat(Vec<Part>);

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Year,
    ShortYear,
    Month,
    MonthName,
    Day,
    DayOfYear,
    Hour,
    Minute,
    Second,
    /// Seconds since 1970.
    Epoch,
    /// So many digits of the second's fraction.
    Fraction(usize),
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Default for TimeFormat {
    /// `2024-01-31T12:00:00.123Z`, Envoy's default.
    fn default() -> Self {
        Self::parse("%Y-%m-%dT%H:%M:%S.%3fZ").unwrap_or(Self(Vec::new()))
    }
}

impl TimeFormat {
    /// The conversions of `strftime` that logs use, and Envoy's `%f`, `%1f` to `%9f`, `%s`. `None`: one is not known.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('%') {
            push_literal(&mut parts, literal);
            let mut chars = after.chars();
            let mut specifier = chars.next()?;
            let mut digits = 9;
            if let Some(count @ 1..=9) = specifier.to_digit(10) {
                digits = usize::try_from(count).ok()?;
                specifier = chars.next().filter(|next| *next == 'f')?;
            }
            parts.extend(parts_of(specifier, digits)?);
            rest = chars.as_str();
        }
        push_literal(&mut parts, rest);
        Some(Self(parts))
    }

    /// Appends `time` to `out`.
    pub(super) fn write(&self, out: &mut String, time: SystemTime) {
        let at = Civil::of(time);
        let epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        for part in &self.0 {
            // Writing to a String can't fail.
            let _ = match part {
                Part::Literal(text) => out.write_str(text),
                Part::Year => write!(out, "{:04}", at.year),
                Part::ShortYear => write!(out, "{:02}", at.year % 100),
                Part::Month => write!(out, "{:02}", at.month),
                Part::MonthName => out.write_str(month_name(at.month)),
                Part::Day => write!(out, "{:02}", at.day),
                Part::DayOfYear => write!(out, "{:03}", day_of_year(&at)),
                Part::Hour => write!(out, "{:02}", at.hour),
                Part::Minute => write!(out, "{:02}", at.minute),
                Part::Second => write!(out, "{:02}", at.second),
                Part::Epoch => write!(out, "{epoch}"),
                Part::Fraction(digits) => {
                    let all = format!("{:09}", at.nanosecond);
                    out.write_str(all.get(..*digits).unwrap_or(&all))
                }
            };
        }
    }
}

fn parts_of(specifier: char, digits: usize) -> Option<Vec<Part>> {
    let dashed = |text: &str| Part::Literal(text.to_owned());
    Some(match specifier {
        'Y' => vec![Part::Year],
        'y' => vec![Part::ShortYear],
        'm' => vec![Part::Month],
        'b' | 'h' => vec![Part::MonthName],
        'd' => vec![Part::Day],
        'j' => vec![Part::DayOfYear],
        'H' => vec![Part::Hour],
        'M' => vec![Part::Minute],
        'S' => vec![Part::Second],
        's' => vec![Part::Epoch],
        'f' => vec![Part::Fraction(digits)],
        'F' => vec![Part::Year, dashed("-"), Part::Month, dashed("-"), Part::Day],
        'T' => vec![Part::Hour, dashed(":"), Part::Minute, dashed(":"), Part::Second],
        'z' => vec![dashed("+0000")],
        'Z' => vec![dashed("UTC")],
        '%' => vec![dashed("%")],
        _ => return None,
    })
}

fn push_literal(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Literal(text.to_owned()));
    }
}

fn month_name(month: u64) -> &'static str {
    let nth = usize::try_from(month).unwrap_or_default().wrapping_sub(1);
    MONTHS.get(nth).unwrap_or(&"")
}

fn day_of_year(at: &Civil) -> u64 {
    const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let is_leap =
        at.year.is_multiple_of(4) && (!at.year.is_multiple_of(100) || at.year.is_multiple_of(400));
    let nth = usize::try_from(at.month).unwrap_or_default().wrapping_sub(1);
    BEFORE.get(nth).unwrap_or(&0) + at.day + u64::from(is_leap && at.month > 2)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn formats_of_envoys_documentation_are_written() {
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_709_251_199, 42_001_000);
        for (format, text) in [
            ("%Y/%m/%dT%H:%M:%S%z %s", "2024/02/29T23:59:59+0000 1709251199"),
            ("%F %T.%6f", "2024-02-29 23:59:59.042001"),
            ("%d/%b/%y %j %f", "29/Feb/24 060 042001000"),
            ("100%%", "100%"),
        ] {
            let mut out = String::new();
            TimeFormat::parse(format).unwrap().write(&mut out, time);
            assert_eq!(out, text);
        }
        let mut out = String::new();
        TimeFormat::default().write(&mut out, time);
        assert_eq!(out, "2024-02-29T23:59:59.042Z");
    }

    #[test]
    fn unknown_conversion_is_refused() {
        for format in ["%q", "%", "%3", "%3Y", "%E4Y"] {
            assert_eq!(TimeFormat::parse(format), None, "{format}");
        }
    }
}
