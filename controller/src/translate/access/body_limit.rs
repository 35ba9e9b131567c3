//! How large a request's body may be, for which neither Istio nor the Gateway API has a field: an annotation of the Service or
//! ServiceEntry, or for all services of a waypoint one of its Gateway.

use crate::objects::Meta;
use crate::translate::status::ConditionStatus;
use crate::translate::view::View;
use crate::translate::waypoint::GatewayName;

/// `10Mi`, or `none`.
const ANNOTATION: &str = "weft.io/max-request-body";

/// For a service: what it says itself, else the least that its waypoints' Gateways say. 0: there is no limit. One that isn't
/// understood counts as if it weren't there.
pub(super) fn of(view: &View<'_>, own: Option<&Meta>, gateways: &[GatewayName]) -> u64 {
    let own = own.and_then(said).and_then(Result::ok);
    let of_gateways = || {
        let objects = gateways.iter().filter_map(|(home, name)| view.model.gateway(home, name));
        let limits = objects.filter_map(|it| said(&it.meta)?.ok());
        limits.filter(|limit| *limit > 0).min()
    };
    own.or_else(of_gateways).unwrap_or(0)
}

/// What is wrong with what an object says.
pub(in crate::translate) fn body_limit_status(meta: &Meta) -> Option<ConditionStatus> {
    let reason = said(meta)?.err()?;
    let message = format!("{reason}; it counts as if it weren't there");
    Some(ConditionStatus {
        fields: vec![format!("metadata.annotations.{ANNOTATION}")],
        ..ConditionStatus::new("weft.io/RequestBodyLimited", (false, "InvalidValue"), message)
    })
}

fn said(meta: &Meta) -> Option<Result<u64, String>> {
    meta.annotations.get(ANNOTATION).map(parse)
}

/// A whole quantity as Kubernetes writes them; 0 for `none`.
fn parse(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 6] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
    ];
    let bad = || format!("{text:?} is no size such as 10Mi, nor none");
    if text == "none" {
        return Ok(0);
    }
    let unit = UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)));
    let (number, bytes) = unit.unwrap_or((text, 1));
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad());
    }
    let size = number.parse::<u64>().ok().and_then(|number| number.checked_mul(bytes));
    size.filter(|size| *size > 0).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_strictly() {
        for (text, wanted) in [
            ("none", 0),
            ("1", 1),
            ("64Ki", 65_536),
            ("10Mi", 10_485_760),
            ("2Gi", 2_147_483_648),
            ("5M", 5_000_000),
            ("5k", 5_000),
        ] {
            assert_eq!(parse(text), Ok(wanted), "{text}");
        }
        for text in
            ["", "0", "0Mi", "Mi", "-1", "+1", "1.5Mi", "1 Mi", "1mb", "99999999999Gi", "No"]
        {
            assert!(parse(text).is_err(), "{text:?} was accepted");
        }
    }
}
