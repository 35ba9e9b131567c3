//! Ethernet, IP and TCP headers, as far as a recording needs them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const ETHERNET_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERNET_IPV6: [u8; 2] = [0x86, 0xdd];
const TCP: u8 = 6;
const FLAG_SYN: u8 = 0x02;

/// What a frame carries.
pub(super) enum Packet<'a> {
    /// A TCP segment.
    Tcp { from: SocketAddr, to: SocketAddr, sequence: u32, opening: bool, payload: &'a [u8] },
    /// Anything else above IP.
    Other(&'a [u8]),
}

impl<'a> Packet<'a> {
    /// Reads an Ethernet frame; none for what isn't IP.
    pub(super) fn parse(frame: &'a [u8]) -> Option<Self> {
        let (_addresses, rest) = frame.split_at_checked(12)?;
        let (kind, packet) = rest.split_first_chunk::<2>()?;
        match *kind {
            ETHERNET_IPV4 => Self::parse_v4(packet),
            ETHERNET_IPV6 => Self::parse_v6(packet),
            _ => None,
        }
    }

    pub(super) fn payload(&self) -> &'a [u8] {
        match self {
            Self::Tcp { payload, .. } | Self::Other(payload) => payload,
        }
    }

    fn parse_v4(packet: &'a [u8]) -> Option<Self> {
        let header = packet.first_chunk::<20>()?;
        let header_length = usize::from(header[0] & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
        // Frames shorter than 60 bytes are padded: the length in the header counts. Zero stands
        // for a segment that was too large for the field.
        let end = if total == 0 { packet.len() } else { total.min(packet.len()) };
        let body = packet.get(header_length..end)?;
        let from = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
        let to = Ipv4Addr::new(header[16], header[17], header[18], header[19]);
        Self::parse_body(header[9], from.into(), to.into(), body)
    }

    fn parse_v6(packet: &'a [u8]) -> Option<Self> {
        let (header, body) = packet.split_first_chunk::<40>()?;
        let (_, addresses) = header.split_at_checked(8)?;
        let (from, to) = addresses.split_first_chunk::<16>()?;
        let to: &[u8; 16] = to.first_chunk()?;
        // Extension headers don't occur in the harness; such a packet would count as `Other`.
        Self::parse_body(header[6], Ipv6Addr::from(*from).into(), Ipv6Addr::from(*to).into(), body)
    }

    fn parse_body(protocol: u8, from: IpAddr, to: IpAddr, body: &'a [u8]) -> Option<Self> {
        if protocol != TCP {
            return Some(Self::Other(body));
        }
        let header = body.first_chunk::<20>()?;
        let header_length = usize::from(header[12] >> 4) * 4;
        Some(Self::Tcp {
            from: SocketAddr::new(from, u16::from_be_bytes([header[0], header[1]])),
            to: SocketAddr::new(to, u16::from_be_bytes([header[2], header[3]])),
            sequence: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            opening: header[13] & FLAG_SYN != 0,
            payload: body.get(header_length..)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(padding: usize) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00]);
        frame.extend([0x45, 0, 0, 42, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame
            .extend([0x03, 0xe8, 0x3a, 0xa0, 0, 0, 0, 5, 0, 0, 0, 0, 0x50, 0x12, 0, 0, 0, 0, 0, 0]);
        frame.extend(b"hi");
        frame.extend(vec![0; padding]);
        frame
    }

    #[test]
    fn a_segment_is_read_without_the_padding_of_its_frame() {
        let frame = frame(4);
        let Some(Packet::Tcp { from, to, sequence, opening, payload }) = Packet::parse(&frame)
        else {
            panic!("not TCP");
        };
        assert_eq!(from, "10.0.0.1:1000".parse().unwrap());
        assert_eq!(to, "10.0.0.2:15008".parse().unwrap());
        assert_eq!((sequence, opening, payload), (5, true, b"hi".as_slice()));
    }

    #[test]
    fn a_cut_frame_is_none_or_short_and_never_a_panic() {
        let frame = frame(0);
        for length in 0..frame.len() {
            let _any = Packet::parse(&frame[..length]);
        }
    }
}
