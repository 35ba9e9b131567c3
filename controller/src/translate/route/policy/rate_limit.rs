//! A service's rate limit, which no object of Istio's has a field for: an annotation of the Service or ServiceEntry.

use weft_proto::route as proto;

use crate::objects::{Meta, parse_duration};

/// `100/1s`: so many requests in which time; a bucket for as many, or `100/1s burst 200`.
pub(super) const ANNOTATION: &str = "weft.io/local-rate-limit";

/// Nothing where there is no annotation; otherwise the limit, or what is wrong with it.
pub(super) fn of(meta: &Meta) -> Option<Result<proto::RateLimit, String>> {
    meta.annotations.get(ANNOTATION).map(parse)
}

fn parse(text: &str) -> Result<proto::RateLimit, String> {
    let bad = || format!("{text:?} is no rate limit such as 100/1s or 100/1s burst 200");
    let (rate, burst) = match text.trim().split_once(" burst ") {
        Some((rate, burst)) => (rate, Some(burst.trim())),
        None => (text.trim(), None),
    };
    let (tokens, interval) = rate.split_once('/').ok_or_else(bad)?;
    let tokens: u32 = tokens.trim().parse().map_err(|_| bad())?;
    let burst: u32 = burst.map_or(Ok(tokens), str::parse).map_err(|_| bad())?;
    let interval = parse_duration(interval.trim())?;
    let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
    if interval_ms == 0 || interval_ms > 86_400_000 {
        return Err(format!("{text:?} has an interval that isn't between 1ms and 24h"));
    }
    Ok(proto::RateLimit { burst, tokens, interval_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_strictly() {
        let limit = |burst, tokens, interval_ms| proto::RateLimit { burst, tokens, interval_ms };
        assert_eq!(parse("100/1s"), Ok(limit(100, 100, 1_000)));
        assert_eq!(parse(" 5 / 1m burst 20 "), Ok(limit(20, 5, 60_000)));
        assert_eq!(parse("0/1s"), Ok(limit(0, 0, 1_000)));
        for text in
            ["", "100", "100/", "/1s", "-1/1s", "1/0s", "1/1us", "1/48h", "1/1s burst", "1/1s 2"]
        {
            assert!(parse(text).is_err(), "{text:?} was accepted");
        }
    }
}
