//! Relaying.

use std::time::Duration;

/// Bytes that a direction between two sockets copies before it takes a pipe: below it, making the pipe costs more
/// than the copies that it saves.
pub const SPLICE_AFTER_BYTES: u64 = 64 << 10;
/// Capacity of such a pipe, bytes.
pub const SPLICE_PIPE_BYTES: i32 = 256 << 10;
/// Pipes of the whole process: 256 times 256 KiB is the kernel's default `pipe-user-pages-soft` of 64 MiB. Directions
/// beyond it copy.
pub const SPLICE_PIPES_MAX: usize = 256;
/// A direction without data for so long gives its pipe back.
pub const SPLICE_PIPE_IDLE: Duration = Duration::from_secs(1);
/// Bytes of a tunnel's frames after which no more are waited with for one write: the most that one read of a connection
/// brings.
pub const GATHER_BYTES_MAX: usize = super::READ_BYTES_MAX;
/// Frames besides the first that leave in the same write. Most that come together are the head and the body of a message;
/// four of the largest reach the bound above.
pub const GATHER_FRAMES_MAX: usize = 7;
/// A connection of which one direction ended is closed when the other moves nothing for so long.
pub const HALF_CLOSE_IDLE_MAX: Duration = Duration::from_secs(60);
