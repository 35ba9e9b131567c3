//! Certificates of the node's workloads.

use weft_core::admin::dump::{Cert, Certificate};

use super::view::View;
use crate::table::{Cell, table as columns};

const HEADER: [&str; 7] = [
    "CERTIFICATE NAME",
    "TYPE",
    "STATUS",
    "VALID CERT",
    "SERIAL NUMBER",
    "NOT AFTER",
    "NOT BEFORE",
];
/// Between columns, as istioctl has it for this table alone.
const GAP: usize = 5;

pub(super) fn table(view: &View<'_>, now: &str) -> String {
    let rows: Vec<_> = view.certificates().into_iter().flat_map(|it| rows(it, now)).collect();
    columns(&HEADER, &rows, GAP, false)
}

fn rows(certificate: &Certificate, now: &str) -> Vec<Vec<Cell>> {
    // "Unavailable: reason" would make a column as wide as the reason; -o json has it.
    let state = certificate.state.split(':').next().unwrap_or_default();
    let chain = certificate.cert_chain.iter().enumerate().map(|(index, cert)| {
        let kind = if index == 0 { "Leaf" } else { "Intermediate" };
        (kind, cert)
    });
    let all: Vec<_> =
        chain.chain(certificate.root_certs.iter().map(|cert| ("Root", cert))).collect();
    let identity = certificate.identity.as_str();
    if all.is_empty() {
        return vec![row([identity, "NA", state, "false", "NA", "NA", "NA"])];
    }
    let cells = |(kind, cert): &(&str, &Cert)| {
        let valid = if is_valid(cert, now) { "true" } else { "false" };
        let serial = hexadecimal(&cert.serial_number);
        row([
            identity,
            kind,
            state,
            valid,
            &serial,
            or_na(&cert.expiration_time),
            or_na(&cert.valid_from),
        ])
    };
    all.iter().map(cells).collect()
}

fn row(texts: [&str; 7]) -> Vec<Cell> {
    texts.into_iter().map(Cell::from).collect()
}

fn or_na(text: &str) -> &str {
    if text.is_empty() { "NA" } else { text }
}

/// Times of one form, `2033-03-22T13:04:57Z`, are in order as texts are. Any other form counts as not valid.
fn is_valid(cert: &Cert, now: &str) -> bool {
    fn seconds(time: &str) -> Option<&str> {
        let is_utc = time.ends_with('Z') || time.ends_with("+00:00");
        let seconds = time.get(..19)?;
        let is_time = seconds.bytes().all(|byte| byte.is_ascii_digit() || b"-:T".contains(&byte));
        (is_utc && is_time).then_some(seconds)
    }
    let times = (seconds(&cert.valid_from), seconds(now), seconds(&cert.expiration_time));
    matches!(times, (Some(from), Some(now), Some(until)) if from <= now && now < until)
}

/// A decimal number in hexadecimal, as openssl prints serial numbers. What is no number stays as it is.
fn hexadecimal(decimal: &str) -> String {
    if decimal.is_empty() {
        return "NA".to_owned();
    }
    // Nibbles, the least first. A serial number has at most 20 bytes (RFC 5280, section 4.1.2.2).
    let mut nibbles: Vec<u8> = vec![0];
    for digit in decimal.chars() {
        let Some(mut carry) = digit.to_digit(10) else { return decimal.to_owned() };
        for nibble in &mut nibbles {
            let value = u32::from(*nibble) * 10 + carry;
            *nibble = u8::try_from(value % 16).unwrap_or(0);
            carry = value / 16;
        }
        while carry > 0 {
            nibbles.push(u8::try_from(carry % 16).unwrap_or(0));
            carry /= 16;
        }
        if nibbles.len() > 64 {
            return decimal.to_owned();
        }
    }
    nibbles.iter().rev().filter_map(|nibble| char::from_digit((*nibble).into(), 16)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_are_shown_as_openssl_does() {
        for (decimal, shown) in [
            ("0", "0"),
            ("255", "ff"),
            ("256", "100"),
            ("305193748447809457817257845908661519891", "e59a2d8ab17daa9d84dd29686352c613"),
            ("", "NA"),
            ("0xff", "0xff"),
        ] {
            assert_eq!(hexadecimal(decimal), shown);
        }
        assert_eq!(hexadecimal(&"9".repeat(100)), "9".repeat(100));
    }

    #[test]
    fn only_what_is_certainly_valid_now_is_valid() {
        let valid = |from: &str, until: &str, now: &str| {
            let cert =
                Cert { valid_from: from.into(), expiration_time: until.into(), ..Cert::default() };
            is_valid(&cert, now)
        };
        let (from, until) = ("2024-01-01T00:00:00Z", "2024-01-02T00:00:00+00:00");
        assert!(valid(from, until, "2024-01-01T00:00:00.123456Z"));
        assert!(valid(from, until, "2024-01-01T23:59:59Z"));
        assert!(!valid(from, until, "2024-01-02T00:00:00Z"));
        assert!(!valid(from, until, "2023-12-31T23:59:59Z"));
        assert!(!valid(from, "2024-01-02T00:00:00-08:00", "2024-01-01T12:00:00Z"));
        assert!(!valid("", "", "2024-01-01T12:00:00Z"));
    }
}
