//! What a command stands for in one line.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use super::super::flags::ResponseFlags;
use super::escape::push_text;
use super::time::TimeFormat;

/// A value.
#[derive(Debug)]
pub(super) enum Value<'a> {
    /// `-` in a text, `null` in JSON.
    Missing,
    /// Of the mesh or of this program.
    Text(&'a str),
    /// Of whoever is on the other side.
    Peer(&'a [u8]),
    Number(u64),
    Address(SocketAddr),
    Ip(IpAddr),
    Flags(ResponseFlags),
    FlagsLong(ResponseFlags),
    Time(SystemTime, &'a TimeFormat),
}

impl<'a> Value<'a> {
    /// A text that is missing if it is empty.
    pub(super) fn text(text: &'a str) -> Self {
        if text.is_empty() { Self::Missing } else { Self::Text(text) }
    }

    /// The same, of a peer.
    pub(super) fn peer(text: &'a str) -> Self {
        if text.is_empty() { Self::Missing } else { Self::Peer(text.as_bytes()) }
    }

    /// Appends it as text.
    pub(super) fn write(&self, out: &mut String) {
        // Writing to a String can't fail.
        let _ = match self {
            Self::Missing => out.write_char('-'),
            Self::Text(text) => {
                push_text(out, text.as_bytes());
                Ok(())
            }
            Self::Peer(bytes) => {
                push_text(out, bytes);
                Ok(())
            }
            Self::Number(number) => write!(out, "{number}"),
            Self::Address(address) => write!(out, "{address}"),
            Self::Ip(ip) => write!(out, "{ip}"),
            Self::Flags(flags) => write!(out, "{flags}"),
            Self::FlagsLong(flags) => flags.write_long(out),
            Self::Time(time, format) => {
                format.write(out, *time);
                Ok(())
            }
        };
    }
}
