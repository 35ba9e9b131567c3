//! The lines of a chunked body, read strictly (RFC 9112, section 7.1).
//!
//! pingora's reader takes an empty size for the last chunk's, and line feeds for a part of an extension. Whoever stands before
//! us may read either in another way, and what is a body to one is a request to the other.

use super::check::Ambiguous;

/// Digits of a size: what 64 bits hold.
const DIGITS_MAX: u8 = 16;

/// Where a body is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum At {
    /// In a size of so many digits.
    #[default]
    Size,
    /// Behind it, before what may be an extension.
    Blank,
    Extension,
    /// Behind the CR of a size's line.
    SizeEnd,
    Data,
    /// Behind the data, and behind its CR.
    DataCr,
    DataLf,
    /// At the beginning of a trailer, in its name, in its value, and behind its CR.
    Line,
    Name,
    Value,
    ValueEnd,
    /// Behind the last CR.
    LastEnd,
    Done,
}

/// A chunked body that goes by.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    at: At,
    digits: u8,
    /// Of the chunk, or what is left of it.
    size: u64,
}

impl Chunks {
    /// Looks at the next bytes. What comes behind the body's end is another request's.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) -> Result<(), Ambiguous> {
        while let Some((byte, rest)) = bytes.split_first() {
            match self.at {
                At::Done => return Ok(()),
                At::Data => {
                    let left = usize::try_from(self.size).unwrap_or(usize::MAX).min(bytes.len());
                    self.size -= u64::try_from(left).unwrap_or(self.size);
                    bytes = bytes.get(left..).unwrap_or_default();
                    if self.size == 0 {
                        self.at = At::DataCr;
                    }
                }
                _ => {
                    self.at = self.step(*byte).ok_or(Ambiguous::Chunk)?;
                    bytes = rest;
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, byte: u8) -> Option<At> {
        let is_text = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        match (self.at, byte) {
            (At::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.digit(byte),
            (At::Size, _) if self.digits == 0 => None,
            (At::Size | At::Blank, b' ' | b'\t') => Some(At::Blank),
            (At::Size | At::Blank, b';') => Some(At::Extension),
            (At::Size | At::Blank | At::Extension, b'\r') => Some(At::SizeEnd),
            (At::Extension, _) if is_text => Some(At::Extension),
            (At::SizeEnd, b'\n') => {
                self.digits = 0;
                Some(if self.size == 0 { At::Line } else { At::Data })
            }
            (At::DataCr, b'\r') => Some(At::DataLf),
            (At::DataLf, b'\n') => Some(At::Size),
            (At::Line, b'\r') => Some(At::LastEnd),
            // A name, and so neither a blank, which would go on with the line before, nor a request.
            (At::Line | At::Name, _) if is_name(byte) => Some(At::Name),
            (At::Name, b':') => Some(At::Value),
            (At::Value, b'\r') => Some(At::ValueEnd),
            (At::Value, _) if is_text => Some(At::Value),
            (At::ValueEnd, b'\n') => Some(At::Line),
            (At::LastEnd, b'\n') => Some(At::Done),
            _ => None,
        }
    }

    fn digit(&mut self, byte: u8) -> Option<At> {
        let digit = char::from(byte).to_digit(16)?;
        self.digits += 1;
        self.size = self.size.checked_mul(16)?.checked_add(u64::from(digit))?;
        let fits = self.digits <= DIGITS_MAX && i64::try_from(self.size).is_ok();
        fits.then_some(At::Size)
    }
}

/// RFC 9110, section 5.6.2.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_is_read_alike_however_it_is_cut() {
        let whole = b"3;a=\"b\"\r\nabc\r\nA \r\n0123456789\r\n00\r\nX: y\r\n\r\nGET";
        for cut in 0..whole.len() {
            let mut chunks = Chunks::default();
            chunks.read(&whole[..cut]).unwrap();
            chunks.read(&whole[cut..]).unwrap();
            assert_eq!(chunks.at, At::Done, "{cut}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_chunk() {
        for bad in [
            "\r\n",
            ";a\r\n",
            " 1\r\n",
            "1\n",
            "1;\n",
            "1;\r2",
            "1 2",
            "-1",
            "0x1",
            "g",
            "00000000000000001",
            "8000000000000000",
            "1\r\nab",
            "1\r\na\n",
            "0\r\n\n",
            "0\r\n X",
            "0\r\nGET / HTTP/1.1\r\n",
            "0\r\nX: a\n",
        ] {
            assert_eq!(Chunks::default().read(bad.as_bytes()), Err(Ambiguous::Chunk), "{bad:?}");
        }
    }
}
