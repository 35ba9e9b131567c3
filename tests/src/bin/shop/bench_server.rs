//! `shop bench-server`: the other end of the bench client, all modes on one port.
//!
//! A connection opens with one byte for its mode and four (big-endian) for the size of a message:
//!
//! | mode | then |
//! |---|---|
//! | `E` | each message comes back |
//! | `C` | one message comes back, and the server closes |
//! | `S` | everything is read to the end; its length (eight bytes, big-endian) comes back |
//! | `G` | zeros until the client closes |

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{say, socket};

/// Echo each message.
pub(crate) const ECHO: u8 = b'E';
/// Echo one message and close.
pub(crate) const ONCE: u8 = b'C';
/// Read everything.
pub(crate) const SINK: u8 = b'S';
/// Send without end.
pub(crate) const SOURCE: u8 = b'G';

/// Largest message that is echoed, bytes.
pub(crate) const MESSAGE_MAX: usize = 1 << 20;
/// Bytes a read or write of a bulk stream: more gained nothing.
pub(crate) const BULK_PIECE: usize = 256 << 10;
/// Time for the opening bytes: an unused connection must not stay.
const OPENING_DEADLINE: Duration = Duration::from_secs(10);
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "0.0.0.0:9000")]
    listen: SocketAddr,
    /// Threads; 0 for one a core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

/// Serves until killed.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if arguments.threads > 0 {
        builder.worker_threads(arguments.threads);
    }
    builder.enable_all().build()?.block_on(serve(arguments.listen))?;
    Ok(true)
}

async fn serve(on: SocketAddr) -> Result<()> {
    let listener = socket::listen(on).with_context(|| format!("listening on {on}"))?;
    say(&format!("bench server on {on}"));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(async move {
                    // A client that breaks off is its own business.
                    let _ended = connection(stream).await;
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut opening = [0_u8; 5];
    tokio::time::timeout(OPENING_DEADLINE, stream.read_exact(&mut opening)).await??;
    let [mode, size @ ..] = opening;
    let size = usize::try_from(u32::from_be_bytes(size))?.min(MESSAGE_MAX);
    match mode {
        ECHO => echo(stream, size).await,
        ONCE => {
            let mut message = vec![0; size];
            stream.read_exact(&mut message).await?;
            stream.write_all(&message).await?;
            // The server closes first, so that its side keeps the TIME_WAIT and the client's
            // ports are free again at once.
            stream.shutdown().await?;
            Ok(())
        }
        SINK => sink(stream).await,
        SOURCE => source(stream).await,
        _ => Ok(()),
    }
}

async fn echo(mut stream: TcpStream, size: usize) -> Result<()> {
    let mut message = vec![0; size];
    loop {
        stream.read_exact(&mut message).await?;
        stream.write_all(&message).await?;
    }
}

async fn sink(mut stream: TcpStream) -> Result<()> {
    let mut piece = vec![0; BULK_PIECE];
    let mut total = 0_u64;
    loop {
        match stream.read(&mut piece).await? {
            0 => break,
            length => total += length as u64,
        }
    }
    stream.write_all(&total.to_be_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}

async fn source(mut stream: TcpStream) -> Result<()> {
    let piece = vec![0; BULK_PIECE];
    loop {
        stream.write_all(&piece).await?;
    }
}
