//! Wall time as text (RFC 3339), for logs and dumps.

use std::fmt::Write as _;
use std::time::SystemTime;

/// `2024-08-21T15:32:05.754291Z`; without a fraction if it is zero. Times before 1970 read as 1970.
pub fn rfc3339(time: SystemTime) -> String {
    let mut text = String::with_capacity(27);
    write(&mut text, time);
    text
}

/// A time of the Gregorian calendar, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the parts of a date")]
pub struct Civil {
    pub year: u64,
    pub month: u64,
    pub day: u64,
    pub hour: u64,
    pub minute: u64,
    pub second: u64,
    pub nanosecond: u32,
}

impl Civil {
    /// Of `time`; times before 1970 read as 1970.
    pub fn of(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (days, second_of_day) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute) = (second_of_day / 3600, second_of_day / 60 % 60);
        let (second, nanosecond) = (second_of_day % 60, since.subsec_nanos());
        Self { year, month, day, hour, minute, second, nanosecond }
    }
}

/// Appends `time` to `out`.
pub(super) fn write(out: &mut String, time: SystemTime) {
    let Civil { year, month, day, hour, minute, second, nanosecond } = Civil::of(time);
    // Writing to a String can't fail.
    let _ = write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if nanosecond >= 1000 {
        let _ = write!(out, ".{:06}", nanosecond / 1000);
    }
    out.push('Z');
}

/// Days since 1970-01-01 to a date of the Gregorian calendar. Years are counted from March, so that the leap day
/// is a year's last, and in eras of 400 years, after which the calendar repeats.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_FROM_MARCH_OF_YEAR_0: u64 = 719_468;
    const DAYS_PER_ERA: u64 = 146_097;
    let days = days + DAYS_FROM_MARCH_OF_YEAR_0;
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let leap_days = day_of_era / 1460 + day_of_era / 146_096;
    let year_of_era = (day_of_era + day_of_era / 36_524 - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn known_instants_read_as_they_should() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_164_799, "2024-02-28T23:59:59Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn fraction_has_six_digits() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_000_042);
        assert_eq!(rfc3339(time), "1970-01-01T00:00:01.000042Z");
    }
}
