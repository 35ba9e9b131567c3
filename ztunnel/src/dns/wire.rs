//! Bytes to messages and back, with checks that the decoder doesn't make.

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use weft_core::telemetry::QueryType;

/// The fixed part of a message (RFC 1035, section 4.1.1).
struct Header {
    id: u16,
    is_response: bool,
    questions: u16,
    records: usize,
}

const HEADER_BYTES: usize = 12;
/// A record takes at least this: a root name, type, class, TTL, length.
const RECORD_BYTES_MIN: usize = 11;

fn header(bytes: &[u8]) -> Option<Header> {
    let [i0, i1, flags, _, q0, q1, a0, a1, n0, n1, r0, r1] =
        *bytes.first_chunk::<HEADER_BYTES>()?;
    let count = |high, low| usize::from(u16::from_be_bytes([high, low]));
    Some(Header {
        id: u16::from_be_bytes([i0, i1]),
        is_response: flags & 0x80 != 0,
        questions: u16::from_be_bytes([q0, q1]),
        records: count(a0, a1) + count(n0, n1) + count(r0, r1),
    })
}

impl Header {
    /// Whether the counts can be true. The decoder reserves memory for as many records as they promise.
    fn is_plausible(&self, bytes: usize) -> bool {
        self.questions == 1 && self.records.saturating_mul(RECORD_BYTES_MIN) <= bytes
    }
}

/// What came from a pod.
#[derive(Debug)]
pub(super) enum Received {
    /// One question.
    Query(Box<Message>),
    /// Not answerable; this is to be said.
    Refuse(Box<Message>),
    /// Not even to be refused: a response (two servers could play it to and fro), or no message.
    Ignore,
}

/// Reads what a pod sent.
pub(super) fn read_query(bytes: &[u8]) -> Received {
    let Some(header) = header(bytes) else {
        return Received::Ignore;
    };
    if header.is_response {
        return Received::Ignore;
    }
    let refuse =
        |code| Received::Refuse(Box::new(Message::error_msg(header.id, OpCode::Query, code)));
    if !header.is_plausible(bytes.len()) {
        return refuse(ResponseCode::FormErr);
    }
    match Message::from_vec(bytes) {
        Ok(query) if query.metadata.op_code != OpCode::Query => refuse(ResponseCode::NotImp),
        Ok(query) => Received::Query(Box::new(query)),
        Err(_) => refuse(ResponseCode::FormErr),
    }
}

/// Reads what a name server sent.
pub(super) fn read_response(bytes: &[u8]) -> Option<Message> {
    let header = header(bytes)?;
    if !header.is_response || !header.is_plausible(bytes.len()) {
        return None;
    }
    let message = Message::from_vec(bytes).ok()?;
    (message.metadata.message_type == MessageType::Response).then_some(message)
}

/// Encodes a response into at most `bytes_max`; what doesn't fit comes as a request to ask over TCP.
pub(super) fn write_response(response: &Message, bytes_max: usize) -> Option<Vec<u8>> {
    let bytes = response.to_vec().ok()?;
    if bytes.len() <= bytes_max {
        return Some(bytes);
    }
    response.truncate().to_vec().ok().filter(|bytes| bytes.len() <= bytes_max)
}

/// A name as services are named: lower case, without the final dot. `None` if no service can be named so, as when
/// a label holds a dot of its own.
pub(super) fn host(name: &Name) -> Option<String> {
    let mut host = String::with_capacity(name.len());
    for label in name.iter() {
        if !host.is_empty() {
            host.push('.');
        }
        for &byte in label {
            if !byte.is_ascii_alphanumeric() && !b"-_*".contains(&byte) {
                return None;
            }
            host.push(char::from(byte.to_ascii_lowercase()));
        }
    }
    if host.is_empty() { None } else { Some(host) }
}

/// The type under which a query is counted.
pub(super) fn counted_as(record_type: RecordType) -> QueryType {
    match record_type {
        RecordType::A => QueryType::A,
        RecordType::AAAA => QueryType::Aaaa,
        RecordType::CNAME => QueryType::Cname,
        RecordType::MX => QueryType::Mx,
        RecordType::NS => QueryType::Ns,
        RecordType::PTR => QueryType::Ptr,
        RecordType::SOA => QueryType::Soa,
        RecordType::SRV => QueryType::Srv,
        RecordType::SVCB => QueryType::Svcb,
        RecordType::HTTPS => QueryType::Https,
        RecordType::TXT => QueryType::Txt,
        _ => QueryType::Other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn label_with_a_dot_inside_names_no_service() {
        let name = Name::from_labels([&b"checkout.shop"[..], b"svc"]).unwrap();
        assert_eq!(host(&name), None);
        let name = Name::from_ascii("CheckOut.shop.").unwrap();
        assert_eq!(host(&name).as_deref(), Some("checkout.shop"));
        assert_eq!(host(&Name::root()), None);
    }

    #[test]
    fn counts_that_cant_be_true_are_refused_before_memory_is_reserved() {
        let mut bytes = vec![0x12, 0x34, 1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        let Received::Refuse(reply) = read_query(&bytes) else { panic!("not refused") };
        assert_eq!(
            (reply.metadata.id, reply.metadata.response_code),
            (0x1234, ResponseCode::FormErr)
        );
        bytes[2] = 0x81;
        assert!(matches!(read_query(&bytes), Received::Ignore), "a response is never answered");
        assert!(read_response(&bytes).is_none());
    }

    proptest! {
        #[test]
        fn garbage_never_panics_and_its_refusal_is_no_longer(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            if let Received::Refuse(reply) = read_query(&bytes) {
                prop_assert!(reply.to_vec().unwrap().len() <= bytes.len());
            }
            read_response(&bytes);
        }

        /// A sound header with garbage behind it gets further into the decoder.
        #[test]
        fn garbage_behind_a_sound_header_never_panics(
            body in proptest::collection::vec(any::<u8>(), 0..600),
            records in 0u8..4,
        ) {
            for flags in [1, 0x81] {
                let mut bytes = vec![0, 7, flags, 0, 0, 1, 0, records, 0, 0, 0, records];
                bytes.extend_from_slice(&body);
                if let Received::Refuse(reply) = read_query(&bytes) {
                    prop_assert!(reply.to_vec().unwrap().len() <= bytes.len());
                }
                read_response(&bytes);
            }
        }
    }
}
