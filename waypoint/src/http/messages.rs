//! How many gRPC messages go by, without keeping any of them.

use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};

use crate::telemetry::RequestProtocol;

/// Bytes before a message: a flag and its length (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX_BYTES: u8 = 5;

/// Counts the messages of one direction. A message counts when its last byte has gone by; where frames of HTTP/2 begin and
/// end has nothing to do with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Messages {
    is_grpc: bool,
    whole: u64,
    /// Bytes of the next prefix that went by.
    prefix: u8,
    length: u32,
    /// Bytes of the message that are still to come.
    left: u32,
}

impl Messages {
    /// Of a request or response with this head: none where it isn't gRPC.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        let is_grpc = RequestProtocol::of(content_type) == RequestProtocol::Grpc;
        Self { is_grpc, ..Self::default() }
    }

    /// Whole ones so far.
    pub(super) fn whole(&self) -> u64 {
        self.whole
    }

    /// The next bytes.
    pub(super) fn pass(&mut self, mut data: &[u8]) {
        if !self.is_grpc {
            return;
        }
        loop {
            if self.left > 0 {
                let left = usize::try_from(self.left).unwrap_or(usize::MAX);
                let (part, rest) = data.split_at(left.min(data.len()));
                self.left -= u32::try_from(part.len()).unwrap_or(self.left);
                data = rest;
                self.whole += u64::from(self.left == 0);
            }
            let Some((byte, rest)) = data.split_first() else { return };
            data = rest;
            self.prefixed(*byte);
        }
    }

    fn prefixed(&mut self, byte: u8) {
        // The first byte is the flag.
        self.length = if self.prefix == 0 { 0 } else { self.length << 8 | u32::from(byte) };
        self.prefix += 1;
        if self.prefix == PREFIX_BYTES {
            self.prefix = 0;
            self.left = self.length;
            self.whole += u64::from(self.left == 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grpc() -> Messages {
        Messages { is_grpc: true, ..Messages::default() }
    }

    fn framed(lengths: &[u16]) -> Vec<u8> {
        let frame = |length: &u16| {
            let mut frame = vec![1];
            frame.extend(u32::from(*length).to_be_bytes());
            frame.resize(frame.len() + usize::from(*length), 7);
            frame
        };
        lengths.iter().flat_map(frame).collect()
    }

    proptest! {
        #[test]
        fn count_does_not_depend_on_how_the_bytes_are_cut(
            lengths in prop::collection::vec(0_u16..600, 0..20),
            pieces in prop::collection::vec(1_usize..400, 1..60),
        ) {
            let bytes = framed(&lengths);
            let (mut messages, mut rest) = (grpc(), &bytes[..]);
            for piece in pieces.iter().cycle() {
                let (part, left) = rest.split_at((*piece).min(rest.len()));
                messages.pass(part);
                rest = left;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(messages.whole(), lengths.len() as u64);
        }

        #[test]
        fn any_bytes_are_borne(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut messages = grpc();
            messages.pass(&bytes);
            prop_assert!(messages.whole() <= bytes.len() as u64 / 5);
        }
    }

    #[test]
    fn message_that_was_cut_off_does_not_count() {
        let mut messages = grpc();
        messages.pass(&framed(&[3, 3])[..15]);
        assert_eq!(messages.whole(), 1);
        messages.pass(&[7]);
        assert_eq!(messages.whole(), 2);
    }

    #[test]
    fn nothing_but_grpc_is_counted() {
        for (content_type, counts) in [
            ("application/grpc", 2),
            ("application/grpc+proto", 2),
            ("application/grpc-web", 0),
            ("application/json", 0),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
            let mut messages = Messages::of(&headers);
            messages.pass(&framed(&[1, 0]));
            assert_eq!(messages.whole(), counts, "{content_type}");
        }
    }
}
