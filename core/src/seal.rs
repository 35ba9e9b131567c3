//! A digest at the end of an encoded message, so that a damaged one is told from another sound one.
//!
//! A decoder of protocol buffers takes most damaged bytes for some message, if only one with a field less; of a policy
//! that would be a policy less. It is no protection from an attacker: the connection that brings the message is.

use xxhash_rust::xxh3::xxh3_64;

/// Field 15 as a fixed 64-bit number.
const TAG: u8 = 15 << 3 | 1;
const DIGEST_BYTES: usize = 8;

/// Appends the digest of `message`, an encoding without field 15, as its field 15.
pub fn seal(mut message: Vec<u8>) -> Vec<u8> {
    let digest = xxh3_64(&message).to_le_bytes();
    message.push(TAG);
    message.extend_from_slice(&digest);
    message
}

/// The message before its seal; `None` if the seal is missing, elsewhere, or another's.
pub fn open(sealed: &[u8]) -> Option<&[u8]> {
    let (rest, digest) = sealed.split_last_chunk::<DIGEST_BYTES>()?;
    let (tag, message) = rest.split_last()?;
    (*tag == TAG && xxh3_64(message).to_le_bytes() == *digest).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_message_opens_and_any_flipped_bit_does_not() {
        let message = b"\x0a\x01a\x12\x01b".to_vec();
        let sealed = seal(message.clone());
        assert_eq!(open(&sealed), Some(&*message));
        for place in 0..sealed.len() {
            for bit in 0..8 {
                let mut damaged = sealed.clone();
                damaged[place] ^= 1 << bit;
                assert_eq!(open(&damaged), None, "byte {place}, bit {bit}");
            }
        }
        for length in 0..sealed.len() {
            assert_eq!(open(&sealed[..length]), None, "cut after {length}");
        }
        assert_eq!(open(&seal(Vec::new())), Some(&[][..]));
    }
}
