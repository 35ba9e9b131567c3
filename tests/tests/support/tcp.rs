//! Small servers and clients of bare TCP, inside pods.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use tokio::time::Instant;
use weft_harness::{Netns, poll};

use super::SOON;

/// Listens on a port of a namespace, on all addresses.
pub(crate) fn listen(netns: &Netns, port: u16) -> Result<TcpListener> {
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    netns.run(|| TcpListener::bind(address).with_context(|| format!("listening on {address}")))
}

/// What serves one connection on a thread of its own.
pub(crate) struct Served<T>(JoinHandle<Result<T>>);

impl<T> Served<T> {
    /// What the server made of it.
    pub(crate) fn outcome(self) -> Result<T> {
        self.0.join().unwrap_or_else(|_| Err(anyhow!("the server panicked")))
    }
}

/// Accepts one connection and serves it by `work`.
pub(crate) fn serve_one<T: Send + 'static>(
    listener: &TcpListener,
    work: impl FnOnce(TcpStream) -> Result<T> + Send + 'static,
) -> Result<Served<T>> {
    let listener = listener.try_clone()?;
    listener.set_nonblocking(true)?;
    let thread = std::thread::Builder::new().name("server".into()).spawn(move || {
        let (stream, _) =
            poll::until("a connection to the test's server", SOON, || Ok(listener.accept()?))?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(SOON))?;
        stream.set_write_timeout(Some(SOON))?;
        work(stream)
    })?;
    Ok(Served(thread))
}

/// `GET /hold` of the shop: a stream of ticks that is known to flow.
pub(crate) struct Ticks {
    stream: TcpStream,
    what: String,
}

impl Ticks {
    /// Opens it and waits for the first ticks.
    pub(crate) fn open(from: &Netns, to: SocketAddr) -> Result<Self> {
        let mut stream = from.connect(to, SOON)?;
        write!(stream, "GET /hold HTTP/1.1\r\nHost: {to}\r\n\r\n")?;
        let what = format!("ticks from {to} in {}", from.name());
        let mut ticks = Self { stream, what };
        for _ in 0..3 {
            ticks.expect_more()?;
        }
        Ok(ticks)
    }

    /// Waits for more of it.
    pub(crate) fn expect_more(&mut self) -> Result<()> {
        let length = self.stream.read(&mut [0; 4096]).with_context(|| self.what.clone())?;
        ensure!(length > 0, "{}: ended", self.what);
        Ok(())
    }

    /// Reads on until the other side ends it; how long that took.
    pub(crate) fn wait_for_end(&mut self, deadline: Duration) -> Result<Duration> {
        let start = Instant::now();
        loop {
            match self.stream.read(&mut [0; 4096]) {
                Ok(0) => return Ok(start.elapsed()),
                // Nothing at all within the socket's own time is silence, not an end.
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    bail!("{}: silent, not ended", self.what);
                }
                Err(_) => return Ok(start.elapsed()),
                Ok(_) if start.elapsed() > deadline => {
                    bail!("{}: still open after {deadline:?}", self.what);
                }
                Ok(_) => {}
            }
        }
    }
}

/// Waits until the other side closes a connection on which nothing more is sent; what it said before.
pub(crate) fn read_to_close(stream: &mut TcpStream, deadline: Duration) -> Result<Vec<u8>> {
    stream.set_read_timeout(Some(deadline))?;
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            bail!("still open after {deadline:?}, having said {} bytes", said.len())
        }
        // Reset: closed with bytes of ours unread.
        _ => Ok(said),
    }
}

/// Ends the sending direction.
pub(crate) fn end_sending(stream: &TcpStream) -> Result<()> {
    stream.shutdown(Shutdown::Write).context("ending the sending direction")
}
