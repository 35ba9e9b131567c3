//! The server that a client of TLS asks for, read from its first message. Its bytes go on untouched.
//!
//! rustls reads the message; what it makes nothing of is no TLS here, and names nobody. Nothing is gained by that: a
//! client may as well leave the name out, and rules that ask for one don't hold then.

use rustls::server::Acceptor;
use tokio::time::timeout;

use super::choose::Greeting;
use super::stream::Inner;
use crate::limits;

/// The first byte of a TLS connection: a record of handshake messages (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// Reads on until it is clear how the client begins, but not for ever. What was read is still there to be read.
pub(super) async fn read(stream: &mut Inner) -> Greeting {
    timeout(limits::CLIENT_HELLO_DEADLINE, look(stream)).await.unwrap_or_default()
}

async fn look(stream: &mut Inner) -> Greeting {
    let (mut hello, mut taken) = (Hello::default(), 0);
    loop {
        if let Some(greeting) = hello.take(stream.seen().get(taken..).unwrap_or_default()) {
            return greeting;
        }
        taken = stream.seen().len();
        if taken >= limits::CLIENT_HELLO_BYTES_MAX || !matches!(stream.look().await, Ok(true)) {
            return Greeting::Plain;
        }
    }
}

/// A ClientHello that arrives in pieces.
#[derive(Default)]
struct Hello {
    acceptor: Acceptor,
    is_begun: bool,
}

impl Hello {
    /// The next bytes. `None`: more are needed.
    fn take(&mut self, mut bytes: &[u8]) -> Option<Greeting> {
        if bytes.is_empty() {
            return None;
        }
        // At once: a client of another protocol may say less than a record's header, and wait.
        if !self.is_begun && bytes.first() != Some(&HANDSHAKE) {
            return Some(Greeting::Plain);
        }
        self.is_begun = true;
        while !bytes.is_empty() {
            if !matches!(self.acceptor.read_tls(&mut bytes), Ok(1..)) {
                return Some(Greeting::Plain);
            }
        }
        match self.acceptor.accept() {
            Ok(None) => None,
            Ok(Some(accepted)) => {
                let name = accepted.client_hello().server_name().map(Box::from);
                Some(Greeting::Tls(name))
            }
            Err(_) => Some(Greeting::Plain),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::crypto::aws_lc_rs::default_provider;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// What a client that asks for `name` begins with: an address is no name (RFC 6066, section 3).
    pub(crate) fn hello(name: &str) -> Vec<u8> {
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let name = name.to_owned().try_into().unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    /// The same handshake message in records of so many bytes.
    fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
        let record = |part: &[u8]| {
            let length = u16::try_from(part.len()).unwrap().to_be_bytes();
            [&hello[..3], &length, part].concat()
        };
        hello[5..].chunks(size).flat_map(record).collect()
    }

    fn taken(bytes: &[u8], piece: usize) -> Option<Greeting> {
        let mut hello = Hello::default();
        bytes.chunks(piece).find_map(|piece| hello.take(piece))
    }

    fn named(name: &str) -> Option<Greeting> {
        Some(Greeting::Tls(Some(name.into())))
    }

    #[test]
    fn name_is_found_however_the_message_is_cut() {
        let hello = hello("a.bank.example");
        for piece in [1, 2, 5, 6, 100, 10_000] {
            assert_eq!(taken(&hello, piece), named("a.bank.example"), "{piece}");
            let records = in_records(&hello, piece.max(3));
            assert_eq!(taken(&records, 7), named("a.bank.example"), "records of {piece}");
        }
        assert_eq!(taken(&hello[..hello.len() - 1], 50), None, "it isn't whole");
    }

    #[test]
    fn tls_without_a_name_names_nobody() {
        assert_eq!(taken(&hello("10.1.2.3"), 10), Some(Greeting::Tls(None)));
    }

    #[test]
    fn what_is_no_client_hello_is_plain_as_soon_as_that_is_clear() {
        for bytes in [&b"S"[..], b"\x00\x00\x00\x08\x04\xd2\x16\x2f", b"\x16\x09\x01\x00\x01\x01"] {
            assert_eq!(taken(bytes, 100), Some(Greeting::Plain), "{bytes:?}");
        }
        // A server's first message.
        let mut other = hello("a.example");
        other[5] = 2;
        assert_eq!(taken(&other, 10_000), Some(Greeting::Plain));
    }

    proptest! {
        #[test]
        fn damage_is_borne(at in 0_usize..300, byte: u8, piece in 1_usize..400) {
            let mut bytes = hello("a.example");
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            taken(&bytes, piece);
        }

        #[test]
        fn any_bytes_are_borne(bytes in prop::collection::vec(any::<u8>(), 0..400), piece in 1_usize..400) {
            let bytes = [&[HANDSHAKE, 3, 1], &bytes[..]].concat();
            prop_assert!(!matches!(taken(&bytes, piece), Some(Greeting::Tls(Some(_)))));
        }
    }
}
