//! TLS records as they look from outside (RFC 8446 §4.1.3 and §5.1).

use anyhow::{Result, bail};

const HANDSHAKE: u8 = 22;
const SERVER_HELLO: u8 = 2;
const SUPPORTED_VERSIONS: u16 = 43;

/// The version that a server's side of a connection selected: its `supported_versions` extension,
/// or before TLS 1.3 the field of the hello. None where it doesn't begin with a ServerHello.
pub(super) fn selected_version(stream: &[u8]) -> Option<u16> {
    let mut record = Reader(stream);
    if record.byte()? != HANDSHAKE {
        return None;
    }
    let _record_version = record.word()?;
    let length = record.word()?;
    let mut message = Reader(record.take(length)?);
    if message.byte()? != SERVER_HELLO {
        return None;
    }
    let _length = message.take(3)?;
    let legacy_version = message.word()?;
    let _random = message.take(32)?;
    let session = u16::from(message.byte()?);
    let _session = message.take(session)?;
    let _cipher_suite = message.word()?;
    let _compression = message.byte()?;
    let Some(length) = message.word() else {
        return Some(legacy_version);
    };
    let mut extensions = Reader(message.take(length)?);
    while let Some(kind) = extensions.word() {
        let length = extensions.word()?;
        let mut body = Reader(extensions.take(length)?);
        if kind == SUPPORTED_VERSIONS {
            return body.word();
        }
    }
    Some(legacy_version)
}

/// Content types of the records of one direction; the last may be cut.
///
/// # Errors
/// Something in it is no record.
pub(super) fn record_types(stream: &[u8]) -> Result<Vec<u8>> {
    let mut rest = Reader(stream);
    let mut types = Vec::new();
    while let (Some(kind), Some(version), Some(length)) = (rest.byte(), rest.word(), rest.word()) {
        // Record versions are frozen at 3.1 and 3.3.
        if !(20..=23).contains(&kind) || !matches!(version, 0x0301 | 0x0303) {
            bail!("no TLS record: type {kind}, version {version:#06x}");
        }
        types.push(kind);
        if rest.take(length).is_none() {
            break;
        }
    }
    Ok(types)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn word(&mut self) -> Option<u16> {
        let (first, rest) = self.0.split_first_chunk::<2>()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*first))
    }

    fn take(&mut self, count: u16) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::from(count))?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_hello(extension: &[u8]) -> Vec<u8> {
        let mut message = vec![0x03, 0x03];
        message.extend([7; 32]);
        message.extend([0, 0x13, 0x02, 0]);
        message.extend(u16::try_from(extension.len()).unwrap().to_be_bytes());
        message.extend(extension);
        let length = u8::try_from(message.len()).unwrap();
        let mut record = vec![22, 3, 3, 0, length + 4, 2, 0, 0, length];
        record.extend(message);
        record
    }

    #[test]
    fn tls_1_3_is_read_from_the_extension() {
        let hello = server_hello(&[0, 51, 0, 1, 9, 0, 43, 0, 2, 3, 4]);
        assert_eq!(selected_version(&hello), Some(0x0304));
        assert_eq!(record_types(&hello).unwrap(), vec![22]);
    }

    #[test]
    fn older_tls_is_read_from_the_hello() {
        assert_eq!(selected_version(&server_hello(&[0, 51, 0, 1, 9])), Some(0x0303));
    }

    #[test]
    fn plain_text_is_no_tls() {
        assert_eq!(selected_version(b"HTTP/1.1 200 OK\r\n"), None);
        assert!(record_types(b"HTTP/1.1 200 OK\r\n").is_err());
    }

    #[test]
    fn a_cut_hello_is_none_and_never_a_panic() {
        let hello = server_hello(&[0, 43, 0, 2, 3, 4]);
        for length in 0..hello.len() {
            assert_eq!(selected_version(&hello[..length]), None);
        }
    }
}
