//! The header `grpc-timeout`: how long a client of gRPC waits (gRPC over HTTP/2, "Requests").

use std::time::Duration;

/// The header's name.
pub const NAME: &str = "grpc-timeout";

/// At most eight digits, and a unit: `100m`. `None` for anything else.
pub fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = std::str::from_utf8(digits).ok()?;
    let number: u64 = digits.parse().ok()?;
    // Eight digits of hours are eleven thousand years, which a duration holds.
    Some(match unit {
        b'H' => Duration::from_secs(number * 3_600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// In the finest unit that eight digits allow, rounded up: a deadline that isn't over isn't written as none.
pub fn format(time: Duration) -> String {
    const UNITS: [(u128, char); 6] = [
        (1, 'n'),
        (1_000, 'u'),
        (1_000_000, 'm'),
        (1_000_000_000, 'S'),
        (60_000_000_000, 'M'),
        (3_600_000_000_000, 'H'),
    ];
    let nanoseconds = time.as_nanos();
    let fitting = UNITS.iter().find_map(|(length, unit)| {
        let number = nanoseconds.div_ceil(*length);
        (number < 100_000_000).then(|| format!("{number}{unit}"))
    });
    fitting.unwrap_or_else(|| "99999999H".to_owned())
}
